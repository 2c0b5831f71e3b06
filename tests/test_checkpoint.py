"""Model folders: bit-equal and strict."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from corolla.config import Config, registered
from corolla.errors import ModelError, WriteError
from corolla.files import write_file
from corolla.models.vae import build_model
from corolla.trained.model_folder import CARD_NAME, WEIGHTS_NAME, ModelCard, ModelFolder
from corolla.trained.run_folder import RunFolder

SMALL = {"resnet": {"size": 16, "width": 8, "patch": 4}, "notebook": {"size": 12}, "burgess": {"size": 64}}


def small_config(network: str = "resnet", likelihood: str = "bernoulli") -> Config:
    options = dict(SMALL[network])
    return Config.from_dict(
        {
            "data": {"size": options.pop("size")},
            "network": {"name": network, "latent_dim": 3, **options},
            "likelihood": {"name": likelihood},
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = small_config()
    card = ModelCard(config, 7, {"loss": 1.5}, (0.5, 0.0, 2.0), {"source": "florets"}, {"corolla": "0"})
    ModelFolder(tmp_path / "model").save(build_model(config), card)
    return tmp_path / "model"


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("likelihood", registered("likelihood"))
def test_a_model_comes_back_bit_for_bit(tmp_path: Path, network: str, likelihood: str) -> None:
    torch.manual_seed(1)
    config = small_config(network, likelihood)
    vae = build_model(config).eval()
    ModelFolder(tmp_path).save(vae, ModelCard(config))
    before = torch.random.get_rng_state()
    loaded, card = ModelFolder.find(tmp_path).load()
    assert torch.equal(before, torch.random.get_rng_state())
    assert card.config == config
    height, width = config.data.size
    x = torch.rand(2, 3, height, width)
    q, again = vae.encode(x), loaded.encode(x)
    assert torch.equal(q.mean, again.mean)
    assert torch.equal(vae.decode(q.mean).mean, loaded.decode(again.mean).mean)


def test_the_card_comes_back_and_is_found_from_the_run_folder(folder: Path) -> None:
    card = ModelFolder.find(folder.parent).card
    assert ModelFolder.find(folder) == ModelFolder(folder)
    assert ModelFolder.find(folder.parent).path == folder
    (folder.parent / "config.yaml").write_text("seed: 1\n")
    assert ModelFolder.find(folder) == ModelFolder.find(folder.parent) == ModelFolder(folder, RunFolder(folder.parent))
    assert (card.step, card.scores, card.latent_kl_nats) == (7, {"loss": 1.5}, (0.5, 0.0, 2.0))
    assert card.data == {"source": "florets"}
    assert sorted(path.name for path in folder.iterdir()) == [CARD_NAME, WEIGHTS_NAME]


def damage_missing(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["encoder.mean.bias"]


def damage_extra(tensors: dict[str, torch.Tensor]) -> None:
    tensors["encoder.more"] = torch.zeros(1)


def damage_shape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["encoder.mean.bias"] = torch.zeros(4)


def damage_type(tensors: dict[str, torch.Tensor]) -> None:
    tensors["encoder.mean.bias"] = torch.zeros(3, dtype=torch.float64)


def damage_value(tensors: dict[str, torch.Tensor]) -> None:
    tensors["encoder.mean.bias"] = torch.full((3,), float("nan"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_missing, "encoder.mean.bias is missing"),
        (damage_extra, "encoder.more is not part"),
        (damage_shape, "encoder.mean.bias is \\(4,\\)"),
        (damage_type, "float64"),
        (damage_value, "encoder.mean.bias holds values that are not finite"),
    ],
)
def test_a_wrong_tensor_is_named(folder: Path, damage: object, words: str) -> None:
    tensors = load_file(folder / WEIGHTS_NAME)
    assert callable(damage)
    damage(tensors)
    save_file(tensors, folder / WEIGHTS_NAME)
    with pytest.raises(ModelError, match=words) as caught:
        ModelFolder.find(folder).load()
    assert "\n" not in str(caught.value)


def test_a_damaged_folder_is_said_to_be_one(folder: Path) -> None:
    weights = (folder / WEIGHTS_NAME).read_bytes()
    (folder / WEIGHTS_NAME).write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match="damaged"):
        ModelFolder.find(folder).load()
    (folder / WEIGHTS_NAME).unlink()
    with pytest.raises(ModelError, match="missing"):
        ModelFolder.find(folder).load()
    values = json.loads((folder / CARD_NAME).read_text())
    damages: list[tuple[str | bytes, str]] = [
        ("{", "not JSON"),
        ("[]", "not a Corolla model"),
        (json.dumps(values | {"format": 99}), "format"),
        (json.dumps(values | {"surprise": 1}), "surprise"),
        (json.dumps(values | {"config": {"sed": 1}}), "sed: unknown key"),
        (json.dumps(values | {"config": 3}), "config.json"),
        (json.dumps(values | {"scores": "high"}), "scores = 'high'"),
        (json.dumps(values | {"step": None}), "step = None"),
        (json.dumps(values | {"latent_kl_nats": [0.5]}), "1 numbers for 3 latents"),
        ("[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
    ]
    for text, words in damages:
        (folder / CARD_NAME).write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ModelError, match=words) as caught:
            repr(ModelFolder.find(folder).card)
        assert "\n" not in str(caught.value)
        assert str(folder / CARD_NAME) in str(caught.value)


def test_a_folder_without_a_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        ModelFolder.find(tmp_path / "nothing").load()
    with pytest.raises(ModelError, match="holds no model"):
        ModelFolder.find(tmp_path).load()
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(ModelError, match="--resume"):
        ModelFolder.find(tmp_path).load()


def test_a_failed_write_leaves_the_former_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / WEIGHTS_NAME).read_bytes()
    write = Path.write_bytes

    def full_disk(path: Path, content: bytes) -> int:
        write(path, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    config = small_config()
    with pytest.raises(WriteError, match=r"model\.safetensors: cannot be written: No space"):
        ModelFolder(folder).save(build_model(config), ModelCard(config))
    assert (folder / WEIGHTS_NAME).read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == [CARD_NAME, WEIGHTS_NAME]


def test_a_kill_between_weights_and_card_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config()
    (folder / "prior-other.safetensors").write_bytes(b"kept")

    def killed(path: Path, content: bytes) -> None:
        if path.name == CARD_NAME:
            raise KeyboardInterrupt
        write_file(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("corolla.trained.model_folder.write_file", killed)
        with pytest.raises(KeyboardInterrupt):
            ModelFolder(folder).save(build_model(config), ModelCard(config, 8))
    assert ModelFolder.find(folder).card.step == 7
    with pytest.raises(ModelError, match=r"not the weights that config\.json describes.*--resume"):
        ModelFolder.find(folder).load()
    ModelFolder(folder).save(build_model(config), ModelCard(config, 8))  # as the resumed run does
    _, card = ModelFolder.find(folder).load()
    assert card.step == 8
    assert card.weights_sha256 == hashlib.sha256((folder / WEIGHTS_NAME).read_bytes()).hexdigest()
    assert (folder / "prior-other.safetensors").read_bytes() == b"kept"


def test_the_digest_tells_weights_apart(folder: Path) -> None:
    config = small_config()
    before = ModelFolder.find(folder).card.weights_sha256
    vae, card = ModelFolder.find(folder).load()
    ModelFolder(folder).save(vae, card)
    assert ModelFolder.find(folder).card.weights_sha256 == before
    with torch.no_grad():
        next(vae.parameters()).mul_(1.01)
    ModelFolder(folder).save(vae, ModelCard(config))
    assert ModelFolder.find(folder).card.weights_sha256 != before
