"""Exported graphs give what the model gives, and a folder that does not is not there."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import corolla
from corolla.config import Config
from corolla.distributions.priors import GaussianPrior, MixturePrior
from corolla.errors import ModelError, StaleError, UsageError
from corolla.export import Differences, check_export, export_model
from corolla.export.graphs import Graph, sampler_graph, to_onnx
from corolla.export.parity import TOLERANCES, expected_of
from corolla.models.vae import build_model
from corolla.trained import TrainedModel
from corolla.trained.model_folder import ModelCard, ModelFolder

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

Cli = Callable[..., tuple[int, str, str]]

DOCUMENT = Path(__file__).parents[1] / "docs" / "export.md"
TINY = {"name": "resnet", "width": 8, "patch": 4}
VARIANTS: dict[str, dict[str, Any]] = {
    "resnet, RGB, 8 bits": {"network": TINY, "likelihood": {"name": "bernoulli"}},
    "burgess, grey, 8 bits": {
        "data": {"size": 64, "channels": 1},
        "network": {"name": "burgess"},
        "likelihood": {"name": "continuous_bernoulli"},
    },
    "notebook, 5 channels, 16 bits": {
        "data": {"channels": 5, "bits": 16},
        "network": {"name": "notebook"},
        "likelihood": {"name": "gaussian", "sigma": "calibrated"},
    },
    "resnet, grey, 16 bits": {
        "data": {"channels": 1, "bits": 16},
        "network": TINY,
        "likelihood": {"name": "discretised_logistic", "sigma": "learned"},
    },
    "notebook, 5 channels, 8 bits": {
        "data": {"channels": 5},
        "network": {"name": "notebook"},
        "likelihood": {"name": "laplace", "sigma": "learned"},
    },
}


def _model(variant: dict[str, Any], source: str = "folder:none") -> TrainedModel:
    """A model with weights that make images of some contrast; the first log-variance is at its bound."""
    data = {"size": "12x16", "source": source} | variant.get("data", {})
    config = Config.from_dict(variant | {"data": data, "network": variant["network"] | {"latent_dim": 5}})
    torch.manual_seed(3)
    vae = build_model(config)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        vae.encoder.get_parameter("logvar.bias")[0] = 100.0
    return TrainedModel(vae, ModelCard(config))


def _images(model: TrainedModel, count: int) -> np.ndarray:
    pixels = model.pixel_format
    shape = count, model.height, model.width, pixels.channels
    return np.random.default_rng(1).integers(0, pixels.largest, shape, pixels.dtype, endpoint=True)


def _run(file: Path, **values: Any) -> list[Any]:
    outputs: list[Any] = onnxruntime.InferenceSession(str(file)).run(None, values)
    return outputs


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with two fitted priors, in `model`, and what it was exported to, in `exported`."""
    home = tmp_path_factory.mktemp("export")
    made = _model(VARIANTS["resnet, RGB, 8 bits"], source="florets:40")
    folder = ModelFolder(home / "model")
    folder.save(made.vae, made.card)
    model = corolla.load(home / "model")
    codes = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 6.0) + 1
    model.fitted_priors = {"gaussian": GaussianPrior.fit(codes), "gmm": MixturePrior.fit(codes, components=3)}
    export_model(model, home / "exported", images=_images(model, 3))
    return home


@pytest.fixture
def exported(home: Path, tmp_path: Path) -> Path:
    """A copy to do with as one likes."""
    return Path(shutil.copytree(home / "exported", tmp_path / "exported"))


@pytest.fixture
def ready(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graphs of the model in `home` need not be made again."""

    def read(graph: Graph, *_: object, **_half: object) -> Any:
        return onnx.load(home / "exported" / ("encoder.onnx" if "mean" in graph.outputs else "decoder.onnx"))

    monkeypatch.setattr("corolla.export.folder.to_onnx", read)


@pytest.mark.parametrize("name", VARIANTS)
def test_graphs_give_what_the_model_gives_for_any_number_of_images(name: str, tmp_path: Path) -> None:
    model = _model(VARIANTS[name])
    done = export_model(model, tmp_path / "out", images=_images(model, 2))
    assert done.tolerance == TOLERANCES["float32"]
    for count in (1, 2, 7):
        images = _images(model, count)
        mean, logvar = _run(tmp_path / "out" / "encoder.onnx", images=images)
        q = model.posterior(images)
        assert mean.dtype == logvar.dtype == np.float32
        np.testing.assert_allclose(mean, q.mean.numpy(), rtol=0, atol=1e-4)
        np.testing.assert_allclose(logvar, q.logvar.numpy(), rtol=0, atol=1e-4)
        latents = 2 * np.random.default_rng(2).standard_normal((count, 5), np.float32)
        (image,) = _run(tmp_path / "out" / "decoder.onnx", latents=latents)
        expected = model.decode(latents)
        assert (image.shape, image.dtype) == (expected.shape, expected.dtype)
        assert expected.std() > 0.01 * model.pixel_format.largest  # there is something to see
        assert np.abs(image.astype(float) - expected).max() * 255 / model.pixel_format.largest <= 1
    assert (logvar[:, 0] == 10).all()


def test_the_files_say_what_they_are(home: Path) -> None:
    folder = home / "exported"
    metadata = json.loads((folder / "metadata.json").read_text())
    assert {path.name for path in folder.iterdir()} == {*metadata["sha256"], "metadata.json"}
    weights = hashlib.sha256((home / "model" / "model.safetensors").read_bytes()).hexdigest()
    assert (metadata["weights_sha256"], metadata["weights"], metadata["opset"]) == (weights, "float32", 18)
    assert metadata["graphs"]["encoder.onnx"] == {
        "inputs": {"images": {"type": "uint8", "shape": ["N", 12, 16, 3]}},
        "outputs": {name: {"type": "float32", "shape": ["N", 5]} for name in ("mean", "logvar")},
    }
    assert metadata["graphs"]["prior-gmm.onnx"]["inputs"]["uniform"] == {"type": "float32", "shape": ["N"]}
    assert metadata["data_licence"] == "Apache-2.0"
    assert metadata["corolla"] == corolla.__version__
    assert Config.from_dict(metadata["config"]) == corolla.load(home / "model").config
    for name in metadata["graphs"]:
        content = (folder / name).read_bytes()
        proto = onnx.load_from_string(content)
        assert [opset.version for opset in proto.opset_import] == [18]
        facts = {entry.key: entry.value for entry in proto.metadata_props}
        assert facts["weights_sha256"] == weights
        assert json.loads(facts["config"]) == metadata["config"]
        assert facts.keys() == {*metadata["facts"]}
        assert b"site-packages" not in content  # nor any other place on this machine
        assert str(Path(corolla.__file__).parent).encode() not in content


def test_the_recipe_is_written_step_by_step(home: Path) -> None:
    recipe = json.loads((home / "exported" / "recipe.json").read_text(encoding="utf-8"))
    assert (recipe["name"], recipe["height"], recipe["width"], recipe["bits"]) == ("fit", 12, 16, 8)
    (step,) = recipe["steps"]
    assert (step["operation"], step["parameters"]) == ("fit", {"method": "bicubic"})
    assert "scale it to size" in step["what"]
    assert "not part of the graph" in recipe["note"]


def test_half_the_size_with_half_the_bits(tmp_path: Path, home: Path) -> None:
    model = corolla.load(home / "model")
    done = export_model(model, tmp_path / "half", half=True, images=_images(model, 3))
    assert done.tolerance == TOLERANCES["float16"]
    assert 1e-6 < done.differences.latents < 0.01
    proto = onnx.load(tmp_path / "half" / "encoder.onnx")
    types = {each.data_type for each in proto.graph.initializer if np.prod(each.dims) > 1}
    assert types <= {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64}
    sizes = [(folder / "decoder.onnx").stat().st_size for folder in (tmp_path / "half", home / "exported")]
    assert sizes[0] < 0.8 * sizes[1]
    assert check_export(tmp_path / "half").tolerance == TOLERANCES["float16"]


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("components", [1, 3])
def test_a_mixture_draws_its_components_by_their_weights(components: int, covariance: Any, tmp_path: Path) -> None:
    prior = MixturePrior(2, components, covariance)
    prior.means = torch.tensor([[0.0, 10], [20, 30], [40, 50]], dtype=torch.float64)[:components]
    prior.scales *= torch.arange(1.0, components + 1).reshape(-1, *[1] * (prior.scales.ndim - 1))
    if covariance == "full":
        prior.scales[0, 1, 0] = 0.5
    prior.weights = torch.tensor([0.25, 0.25, 0.5] if components == 3 else [1.0], dtype=torch.float64)
    graph = sampler_graph(prior)
    assert graph is not None
    onnx.save(to_onnx(graph, {}), tmp_path / "prior.onnx")
    normal = np.array([[1, 2], [1, 2], [1, 2], [1, 2]], np.float32)
    (draws,) = _run(tmp_path / "prior.onnx", normal=normal, uniform=np.array([0.2, 0.25, 0.49, 0.9], np.float32))
    first = [1.0, 12.5 if covariance == "full" else 12.0]
    expected = [first, [22.0, 34.0], [22.0, 34.0], [43.0, 56.0]] if components == 3 else [first] * 4
    np.testing.assert_allclose(draws, expected, rtol=1e-6)


def test_a_gaussians_draws_are_those_of_the_prior(home: Path) -> None:
    model = corolla.load(home / "model")
    prior = GaussianPrior.fit(torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) * 3)
    arrays = expected_of(model, _images(model, 4), {"gaussian": prior})
    unwhitened = prior.unwhiten(torch.from_numpy(arrays["normal"])).float().numpy()
    np.testing.assert_allclose(arrays["prior-gaussian.onnx"], unwhitened, rtol=1e-6)


def test_a_sampler_that_is_not_written_is_named(tmp_path: Path, home: Path) -> None:
    model = corolla.load(home / "model")
    model.fitted_priors = {"flow": GaussianPrior(5)}
    done = export_model(model, tmp_path / "out", images=_images(model, 1))
    assert len(done.left_out) == 1
    assert "flow" in done.left_out[0]
    assert not (tmp_path / "out" / "prior-flow.onnx").exists()


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    ("source", "words"),
    [("florets:40", "of the evaluation split"), ("folder:none", "samples"), ("flowers102", "not downloaded here")],
)
def test_the_models_own_images_are_compared_where_they_are(source: str, words: str, tmp_path: Path) -> None:
    model = _model(VARIANTS["resnet, RGB, 8 bits"], source=source)
    assert words in export_model(model, tmp_path / "out").images


def test_a_folder_is_checked_against_what_was_written_and_against_its_model(home: Path) -> None:
    alone = check_export(home / "exported")
    assert "samples" in alone.images
    model = corolla.load(home / "model")
    with pytest.raises(StaleError, match="no such prior"):
        check_export(home / "exported", against=model, images=_images(model, 2))
    other = _model(VARIANTS["resnet, RGB, 8 bits"])
    other.card = replace(other.card, weights_sha256="0" * 64)
    with pytest.raises(StaleError, match="other weights"):
        check_export(home / "exported", against=other, images=_images(other, 2))


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx", "prior-gmm.onnx", "recipe.json", "reference.npz"])
def test_an_altered_file_is_named(exported: Path, name: str) -> None:
    content = bytearray((exported / name).read_bytes())
    content[len(content) // 2] ^= 1
    (exported / name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{re.escape(name)}: altered"):
        check_export(exported)
    (exported / name).unlink()
    with pytest.raises(ModelError, match=rf"{re.escape(name)}: missing"):
        check_export(exported)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"height": 13}, "altered: says other things"),
        ({"weights_sha256": "0" * 64}, "altered: says other things"),
        ({"format": 2}, "not of format 1"),
        ({"sha256": 5}, "damaged"),
        ({"weights": "float8"}, "damaged"),
        ({"graphs": {"../encoder.onnx": {}}}, "missing"),
    ],
)
def test_altered_metadata_are_noticed(exported: Path, change: dict[str, Any], words: str) -> None:
    file = exported / "metadata.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelError, match=words):
        check_export(exported)
    file.write_text("[]")
    with pytest.raises(ModelError, match="damaged"):
        check_export(exported)
    file.unlink()
    with pytest.raises(ModelError, match="missing"):
        check_export(exported)


def test_other_weights_with_the_right_sums_are_noticed(exported: Path) -> None:
    proto = onnx.load(exported / "decoder.onnx")
    weights = max(proto.graph.initializer, key=lambda each: int(np.prod(each.dims)))
    changed = onnx.numpy_helper.to_array(weights) * np.float32(1.5)
    weights.CopyFrom(onnx.numpy_helper.from_array(changed, weights.name))
    onnx.save(proto, exported / "decoder.onnx")
    _sign_again(exported, "decoder.onnx")
    with pytest.raises(ModelError, match=r"the pixels of the exported graphs differ .* more than 1$"):
        check_export(exported)


def test_what_onnx_runtime_cannot_run_is_named(exported: Path) -> None:
    proto = onnx.load(exported / "decoder.onnx")
    proto.graph.node[0].op_type = "Nonsense"
    onnx.save(proto, exported / "decoder.onnx")
    _sign_again(exported, "decoder.onnx")
    with pytest.raises(ModelError, match=r"decoder\.onnx: ONNX Runtime cannot run it"):
        check_export(exported)


def _sign_again(folder: Path, name: str) -> None:
    metadata = json.loads((folder / "metadata.json").read_text())
    metadata["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "metadata.json").write_text(json.dumps(metadata))


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    ("allowed", "words"),
    [(Differences(-1.0, 1.0), "the latents of"), (Differences(1.0, -1.0), "the pixels of")],
    ids=["latents", "pixels"],
)
def test_nothing_is_left_where_the_graphs_differ(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: Differences, words: str
) -> None:
    model = corolla.load(home / "model")
    monkeypatch.setitem(TOLERANCES, "float32", allowed)
    with pytest.raises(ModelError, match=f"{words} the exported graphs differ from the model's by .* more than -1$"):
        export_model(model, tmp_path / "out", images=_images(model, 1))
    assert not list(tmp_path.iterdir())


def test_what_is_not_a_number_is_too_large() -> None:
    with pytest.raises(ModelError, match=r"pixels .* by nan"):
        Differences(0.0, float("nan")).check(TOLERANCES["float32"], "out")


def test_nothing_is_left_where_weights_do_not_fit_into_half(tmp_path: Path) -> None:
    model = _model(VARIANTS["resnet, RGB, 8 bits"])
    with torch.no_grad():
        model.vae.encoder.get_parameter("mean.weight")[0, 0] = 1e6
    with pytest.raises(ModelError, match="differ"):
        export_model(model, tmp_path / "out", half=True, images=_images(model, 1))
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("ready")
def test_nothing_is_left_after_an_interruption(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
        raise KeyboardInterrupt

    model = corolla.load(home / "model")
    monkeypatch.setattr("corolla.export.folder.differences", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_model(model, tmp_path / "out", images=_images(model, 1))
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("ready")
def test_samples_are_compared_where_the_split_is_empty(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = corolla.load(home / "model")
    monkeypatch.setattr("corolla.export.folder.evaluation_images", lambda *_, **__: _images(model, 0))
    assert "16 samples of the model" in export_model(model, tmp_path / "out").images


def test_a_comparison_of_no_images_is_refused(home: Path, tmp_path: Path) -> None:
    model = corolla.load(home / "model")
    with pytest.raises(UsageError, match="there are none"):
        export_model(model, tmp_path / "out", images=_images(model, 0))
    assert not list(tmp_path.iterdir())


def test_what_is_in_the_way_stays(home: Path, exported: Path) -> None:
    before = {path.name: path.read_bytes() for path in exported.iterdir()}
    with pytest.raises(UsageError, match="is not empty"):
        export_model(corolla.load(home / "model"), exported)
    assert {path.name: path.read_bytes() for path in exported.iterdir()} == before


def test_without_the_extra_it_says_how_to_add_it(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corolla.export.graphs.find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(UsageError, match=r"pip install -e '\.\[export\]'"):
        export_model(corolla.load(home / "model"), tmp_path / "out")
    with pytest.raises(UsageError, match=r"pip install -e '\.\[export\]'"):
        check_export(home / "exported")


def test_a_module_that_onnx_cannot_hold_is_an_error(home: Path, tmp_path: Path) -> None:
    class Unfit(torch.nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            values: torch.Tensor = torch.linalg.eigvals(z.T @ z).real
            return values.sum().expand(len(z), 3, 12, 16)

    model = corolla.load(home / "model")
    model.vae.decoder = Unfit()
    with pytest.raises(ModelError, match="the model cannot be written as ONNX"):
        export_model(model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_documents_script_needs_neither_torch_nor_corolla(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (script,) = [
        text for text in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.S) if "onnxr" in text
    ]
    imports = set(re.findall(r"^(?:import|from) (\w+)", script, re.MULTILINE))
    assert imports == {"json", "numpy", "onnxruntime", "PIL"}
    shutil.copytree(home / "exported", tmp_path / "exported")
    (tmp_path / "photos").mkdir()
    photo = tmp_path / "photos" / "flower-01.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)).save(photo)
    refuse = "import sys\nfor name in ('torch', 'corolla', 'onnx'):\n    sys.modules[name] = None\n"
    show = "\nprint(json.dumps(mean.tolist()))\n"
    monkeypatch.delenv("PYTHONPATH", raising=False)
    done = subprocess.run(
        [sys.executable, "-c", refuse + script + show], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    expected = corolla.load(home / "model").encode(photo)
    np.testing.assert_allclose(json.loads(done.stdout), expected, rtol=0, atol=1e-4)
    with Image.open(tmp_path / "samples.png") as samples:
        assert samples.size == (8 * 16, 12)


def test_the_command_exports_and_checks(home: Path, tmp_path: Path, cli: Cli) -> None:
    code, out, err = cli("export", home / "model", "-o", tmp_path / "out", "--quiet")
    assert (code, err) == (0, "")
    assert re.search(r"latents \d\.\de-\d\d \(at most 0\.0001\), pixels [01] of 255 levels \(at most 1\)", out)
    assert cli("export", "--check", tmp_path / "out")[0] == 0
    code, out, _ = cli("export", "--check", tmp_path / "out", "--against", home / "model", "--json")
    assert code == 0
    assert json.loads(out)["differences"]["pixels"] <= 1
    (tmp_path / "out" / "recipe.json").write_text("{}")
    code, _, err = cli("export", "--check", tmp_path / "out")
    assert code == 1
    assert "recipe.json: altered" in err


@pytest.mark.parametrize(
    "words", ["model", "-o out", "model -o out --against model", "model --check out", "--check out --half"]
)
def test_the_command_says_how_it_is_used(home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.chdir(home)
    code, _, err = cli("export", *words.split())
    assert code == 2
    assert "--check" in err
    assert len(err.splitlines()) == 1


def test_help_names_every_flag(cli: Cli) -> None:
    code, out, _ = cli("export", "--help")
    assert code == 0
    assert all(flag in out for flag in ("--output", "--half", "--check", "--against"))
