"""Configurations: strict, frozen, and the same in YAML as in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from corolla.config import Config, preset, preset_names, read_yaml
from corolla.errors import UsageError

configs = st.builds(
    lambda seed, beta, size, sigma, epochs: Config.from_dict(
        {
            "seed": seed,
            "data": {"size": size},
            "objective": {"beta": beta},
            "likelihood": {"name": "gaussian", "sigma": sigma},
            "training": {"epochs": epochs},
        }
    ),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1e6),
    st.tuples(st.integers(8, 512), st.integers(8, 512)),
    st.one_of(st.just("calibrated"), st.floats(1e-3, 10)),
    st.integers(1, 1000),
)


def test_flat_names_are_those_that_updates_take() -> None:
    config = Config.from_dict({"data": {"size": "48x64"}, "objective": {"beta": 2.5}, "training": {"devices": "auto"}})
    flat = config.flat()
    assert flat["data.size"] == [48, 64]
    assert flat["objective.beta"] == 2.5
    assert flat["seed"] == config.seed
    assert Config().updated(flat) == config


@given(configs)
def test_yaml_and_back_is_the_same_value(config: Config) -> None:
    import yaml

    assert Config.from_dict(yaml.safe_load(config.to_yaml())) == config


def test_values_are_frozen() -> None:
    config = Config()
    with pytest.raises(ValidationError):
        config.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("written", "size"), [(64, (64, 64)), ("64", (64, 64)), ("48x64", (48, 64)), ([48, 64], (48, 64))]
)
def test_sizes_are_read_in_every_spelling(written: object, size: tuple[int, int]) -> None:
    assert Config.from_dict({"data": {"size": written}}).data.size == size


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sed": 1}, "sed: unknown key"),
        ({"training": {"epoch": 3}}, "training.epoch: unknown key"),
        ({"objective": {"beta": -1}}, "objective.beta = -1"),
        ({"objective": {"beta": float("nan")}}, "objective.beta"),
        ({"data": {"size": "big"}}, "'big' is not a size"),
        ({"data": {"size": 4}}, "data.size"),
        ({"network": {"latent_dim": 0}}, "network.latent_dim = 0"),
        ({"likelihood": {"name": "gaussian", "sigma": 0}}, "likelihood.sigma"),
        ({"training": {"batch_size": "many"}}, "training.batch_size = 'many'"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Config.from_dict(values, where="test")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(UsageError, match=r"seed.*objective\.beta"):
        Config.from_dict({"seed": -1, "objective": {"beta": -1}})


def test_changes_by_dotted_name() -> None:
    config = Config().updated({"objective.beta": 2, "training.ema_decay": 0.9})
    assert config.flat()["objective.beta"] == 2
    assert config.training.ema_decay == 0.9
    assert Config().flat()["objective.beta"] == 4
    for name in ("objective.betta", "beta", "objective.beta.x", ""):
        with pytest.raises(UsageError, match="no such setting"):
            Config().updated({name: 1})


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"objective.beta": -1}, "objective.beta"),
        ({"objective.gamma": 3}, "objective.gamma"),
        ({"network.name": "resnt"}, "network.name"),
        ({"data.size": [64, 4]}, "data.size"),
        ({"training.epochs": 0}, "training.epochs"),
        ({"objective.cycle_steps": 5}, "objective"),  # which is wrong with another setting of the section
    ],
)
def test_an_error_names_the_whole_setting(changes: dict[str, Any], setting: str) -> None:
    with pytest.raises(UsageError) as caught:
        Config().updated(changes)
    assert caught.value.setting == setting


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "a: [1", "just words"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"run\.yaml"):
        read_yaml(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_yaml(tmp_path / "missing.yaml")


def test_presets_give_shares_that_are_the_steps_they_were_measured_with() -> None:
    """Of the steps that each has on its own images: 4,800 of 6,000 florets, 1,020 and 7,169 flowers."""
    expected = {
        "quick": (24 * 75, {"objective.warmup_steps": 200, "training.evaluate_every": 300}),
        "flowers": (250 * 32, {"training.evaluate_every": 320}),
        "gallery": (100 * 225, {"training.evaluate_every": 2240}),
        "vivid": (48 * 225, {"objective.perceptual_after": 9000, "training.evaluate_every": 2250}),
    }
    for name, (total_steps, steps) in expected.items():
        settings = preset(name).flat()
        assert all(0 < settings[setting] < 1 for setting in steps)
        assert preset(name).in_steps(total_steps) == preset(name).updated(steps)
    assert preset("notebook").in_steps(960) == preset("notebook")


@pytest.mark.parametrize("value", [1.5, -1, -0.5, "a third", None])
def test_what_is_neither_steps_nor_a_share_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match=r"objective\.warmup_steps = "):
        Config().updated({"objective.warmup_steps": value})


def test_steps_are_written_as_they_were_given() -> None:
    for value, text in ((200, "200"), (200.0, "200"), ("200", "200"), (0.25, "0.25"), (0, "0")):
        config = Config().updated({"objective.warmup_steps": value})
        assert f"  warmup_steps: {text}\n" in config.to_yaml().partition("objective:")[2]
        assert Config.from_dict(config.model_dump(mode="json")) == config


def test_presets_are_valid_and_the_notebooks_is_exact() -> None:
    assert preset_names() == ["flowers", "gallery", "notebook", "quick", "vivid"]
    for name in preset_names():
        assert isinstance(preset(name), Config)
    with pytest.raises(UsageError, match="flowers, gallery, notebook, quick, vivid"):
        preset("flower")
    notebook = preset("notebook")
    assert notebook.seed == 42
    assert (notebook.data.source, notebook.data.recipe, notebook.data.size) == ("flowers102", "enhance", (136, 136))
    assert (notebook.data.flip, notebook.data.shift_px) == (False, 0)
    assert (notebook.network.name, notebook.network.latent_dim) == ("notebook", 64)
    assert (notebook.likelihood.name, notebook.objective.name, notebook.objective.effective_beta()) == (
        "bernoulli",
        "beta_vae",
        4,
    )
    training = notebook.training
    assert (training.optimizer, training.learning_rate, training.batch_size, training.epochs) == ("adam", 3e-4, 32, 30)
    assert (training.schedule, training.warmup_steps, training.weight_decay) == ("constant", 0, 0)
    assert (training.ema_decay, training.clip_norm, training.precision) == (None, None, "32-true")


def test_black_and_white_are_two_values() -> None:
    with pytest.raises(UsageError, match="black and white are the same"):
        Config().updated({"data.white": [5, 5]})
