"""Guidance: each finding comes where it should, with a remedy that names a setting; a healthy run gets no alarm."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from corolla.config import Config, registered
from corolla.training.advice import EARLY_STEPS, advise, disentangled, too_short

# The numbers of real runs on 2,000 drawn flowers (`over`: on 200) at 32×32 with 10 latents, 800 steps (`over`: 1,500).
HEALTHY = {"loss": 1814.15, "reconstruction": 1804.96, "kl": 9.19, "psnr_db": 21.51, "active_latents": 10.0}
HEALTHY_LATENTS = (0.05, 2.07, 0.05, 0.03, 0.04, 1.84, 0.04, 1.39, 1.99, 1.71)


def row(step: int = 800, **numbers: float) -> dict[str, str]:
    values = {"loss": 1814.15, "reconstruction": 1804.96, "kl": 9.19}
    values |= {"train_loss": 1811.23, "train_reconstruction": 1802.09, "train_kl": 9.14} | numbers
    return {"step": str(step)} | {name: str(value) for name, value in values.items()}


def config(name: str = "beta_vae", **settings: Any) -> Config:
    cls = registered("objective")[name]
    settings = {"beta": 1.0} | settings
    own = {key: value for key, value in settings.items() if key in cls.model_fields and key not in cls.idle}
    changes = {f"objective.{key}": value for key, value in ({"name": name} | own).items()}
    return Config.from_dict({"data": {"size": 32}, "network": {"latent_dim": 10, "patch": 4}}).updated(changes)


def kinds(*arguments: Any, **keywords: Any) -> list[str]:
    return [finding.kind for finding in advise(*arguments, **keywords)]


def test_a_healthy_run_hears_nothing() -> None:
    assert advise(config(), HEALTHY, HEALTHY_LATENTS, [row(400), row()]) == ()


@pytest.mark.parametrize("name", registered("objective"))
def test_no_objective_of_the_family_alarms_a_healthy_run(name: str) -> None:
    settings = {"capacity_nats": 9.0, "capacity_steps": 500, "target_nats": 9.0}
    rows = [row(400), row(beta=1.1)] if name == "control_vae" else [row(400), row()]
    assert advise(config(name, **settings), HEALTHY, HEALTHY_LATENTS, rows) == ()


def test_a_collapse_is_said_with_remedies() -> None:
    (finding,) = advise(config(beta=16, warmup_steps=100), HEALTHY | {"kl": 0.03}, [0.003] * 10, [row()])
    assert (finding.kind, finding.alarm) == ("collapsed", True)
    for words in (
        "0.03 nats",
        "smaller objective.beta than 16",
        "objective.warmup_steps=300",
        "objective.name=free_bits",
        "objective.target_nats",
    ):
        assert words in finding.text
    assert "objective.warmup_steps=0.3, a share" in advise(config(), {"kl": 0.0})[0].text
    assert "objective.warmup_steps=0.6)" in advise(config(warmup_steps=0.2), {"kl": 0.0})[0].text
    assert "objective.warmup_steps=0.9)" in advise(config(warmup_steps=0.4), {"kl": 0.0})[0].text  # a share is below 1


def test_dead_latents_are_normal() -> None:
    latents = [1.31, 1.30, 1.28, 1.04, 0.005, 0.004, 0.001, 0.0, 0.0, 0.009]
    (finding,) = advise(config(beta=4), HEALTHY | {"kl": 4.95}, latents, [row()])
    assert (finding.kind, finding.alarm) == ("6 dead", False)
    assert "network.latent_dim=4" in finding.text
    assert "objective.beta than 4" in finding.text


def test_latents_that_are_all_needed_ask_for_more() -> None:
    (finding,) = advise(config(), HEALTHY, [0.9] * 10, [row()])
    assert (finding.kind, finding.alarm) == ("all latents needed", False)
    assert "network.latent_dim=20" in finding.text
    assert kinds(config(), HEALTHY, [0.9] * 9 + [math.log(2)], [row()]) == []
    # Nats that cost nothing are not needed.
    assert kinds(config("free_bits", free_nats=0.5), HEALTHY, [0.9] * 10, [row()]) == []


def test_overfitting_is_said_with_the_step_of_the_best_model() -> None:
    rows = [
        row(600, loss=1825.67, reconstruction=1815.24, kl=10.43, train_reconstruction=1788.88, train_kl=9.99),
        row(1500, loss=1831.12, reconstruction=1819.92, kl=11.19, train_reconstruction=1772.98, train_kl=11.08),
    ]
    (finding,) = advise(config(), HEALTHY, HEALTHY_LATENTS, rows)
    assert (finding.kind, finding.alarm) == ("overfitting", True)
    for words in ("47 nats", "step 600", "objective.beta than 1", "data.shift_px", "More images"):
        assert words in finding.text
    # A code under more pressure is worth more distortion, so the same gap is less of an alarm.
    assert kinds(config(beta=8), HEALTHY, HEALTHY_LATENTS, rows) == []


def test_an_auto_encoder_overfits_when_new_images_get_worse_while_training_gets_better() -> None:
    first = row(600, loss=1815.24, reconstruction=1815.24, kl=900.0, train_reconstruction=1788.9, train_kl=800.0)
    worse = row(1500, loss=1819.92, reconstruction=1819.92, kl=900.0, train_reconstruction=1773.0, train_kl=800.0)
    better = row(1500, loss=1814.92, reconstruction=1814.92, kl=900.0, train_reconstruction=1773.0, train_kl=800.0)
    assert kinds(config("ae"), HEALTHY, HEALTHY_LATENTS, [first, worse]) == ["overfitting"]
    assert kinds(config("ae"), HEALTHY, HEALTHY_LATENTS, [first, better]) == []


def test_a_rate_far_from_the_one_asked_for() -> None:
    for name, asked in (("control_vae", "target_nats"), ("capacity_vae", "capacity_nats")):
        for amount, expected in ((9.0, []), (10.0, []), (10.5, ["off target"]), (8.0, ["off target"])):
            asks = config(name, **{asked: amount, "capacity_steps": 100})
            found = advise(asks, HEALTHY, HEALTHY_LATENTS, [row(beta=2.0)])
            assert [finding.kind for finding in found] == expected, (name, amount)
            assert all(f"objective.{asked} asks for {amount:g}" in finding.text for finding in found)


def test_a_controller_at_its_bound() -> None:
    asks = config("control_vae", target_nats=5.0, control_max_beta=50.0)
    (finding,) = advise(asks, HEALTHY, HEALTHY_LATENTS, [row(beta=50.0)])
    assert finding.kind == "beta at its bound"
    assert "control_max_beta" in finding.text
    (finding,) = advise(config("control_vae", target_nats=90.0), HEALTHY, HEALTHY_LATENTS, [row(beta=0.0)])
    assert finding.kind == "beta at its bound"
    assert "ask for about 9 nats" in finding.text


def test_a_warm_up_that_has_not_ended() -> None:
    assert kinds(config(warmup_steps=900), HEALTHY, HEALTHY_LATENTS, [row()]) == ["still warming up"]
    assert kinds(config(warmup_steps=800), HEALTHY, HEALTHY_LATENTS, [row()]) == []
    capacity = config("capacity_vae", capacity_nats=9, capacity_steps=2000)
    assert kinds(capacity, HEALTHY, HEALTHY_LATENTS, [row()]) == ["still warming up"]


def test_a_warm_up_that_is_a_share_of_the_run_ends_with_it() -> None:
    # 800 steps of 40 epochs, each of 50 steps: a warm-up over half of the 2,000 steps is not over.
    half, rows = config(warmup_steps=0.5).updated({"training.epochs": 40}), [row(epoch=16.0)]
    (finding,) = advise(half, HEALTHY, HEALTHY_LATENTS, rows)
    assert finding.kind == "still warming up"
    assert "objective.warmup_steps is 1,000, and these are 800 steps" in finding.text
    assert kinds(half.updated({"objective.warmup_steps": 0.4}), HEALTHY, HEALTHY_LATENTS, rows) == []
    assert kinds(half, HEALTHY, HEALTHY_LATENTS, step=800) == []  # of how many steps, nobody knows


def test_a_setting_that_cannot_take_effect_is_said_before_training() -> None:
    asks = config(warmup_steps=100, cycle_steps=960, perceptual=1.0, perceptual_after=9000)
    asks = asks.updated({"training.warmup_steps": 50})
    late, cycle = too_short(asks, 960)  # the numbers of the preset vivid on 638 images
    assert "objective.perceptual_after is 9,000 and this run has 960 steps" in late
    assert "objective.cycle_steps is 960" in cycle
    assert list(too_short(asks, 9001)) == []
    (rate,) = too_short(config().updated({"training.warmup_steps": 49}), 40)
    assert "the learning rate never comes to its peak" in rate
    assert list(too_short(config(), 40)) == []  # 50, the default
    shares = asks.updated({"objective.perceptual_after": 0.99, "objective.cycle_steps": 0.9})
    assert list(too_short(shares.updated({"objective.warmup_steps": 0.2}), 51)) == []
    (pressure,) = too_short(config("capacity_vae", capacity_steps=2000), 2000)
    assert "objective.capacity_steps is 2,000" in pressure
    assert "never comes under its full pressure" in pressure


def test_reconstructions_are_judged_by_the_mean_image() -> None:
    def judged(*arguments: Any) -> list[str]:
        return kinds(*arguments, mean_image_psnr_db=16.98)

    assert judged(config(), HEALTHY, HEALTHY_LATENTS, [row()]) == []
    # A capacity_vae of docs/objectives.md: ten nats of code, of which the decoder reads none.
    (finding,) = advise(
        config(), HEALTHY | {"psnr_db": 16.98, "kl": 10.0}, HEALTHY_LATENTS, [row()], mean_image_psnr_db=16.98
    )
    assert (finding.kind, finding.alarm) == ("no better than the mean image", True)
    assert "17.0 dB against 17.0 dB" in finding.text
    assert "objective.beta than 1" in finding.text
    assert "larger network" in advise(config("ae"), {"psnr_db": 17.9}, mean_image_psnr_db=16.98)[0].text
    assert judged(config(), HEALTHY | {"psnr_db": 17.99}, HEALTHY_LATENTS, [row()]) == []
    assert judged(config(), {"kl": 0.1, "psnr_db": 17.0}, [0.01] * 10, [row()]) == ["collapsed"]


def test_disentanglement_below_the_stated_levels_is_a_finding() -> None:
    assert list(disentangled({"mig": 0.48, "dci_disentanglement": 0.4})) == []
    assert list(disentangled({"psnr_db": 20.0})) == []
    (finding,) = disentangled({"mig": 0.48, "dci_disentanglement": 0.11})
    assert (finding.kind, finding.alarm) == ("entangled", True)
    assert "DCI disentanglement 0.11, below 0.3" in finding.text
    assert "MIG" not in finding.text


def test_the_first_steps_say_nothing() -> None:
    (finding,) = advise(config(), {"kl": 0.0}, [0.0] * 10, [row(EARLY_STEPS - 1)])
    assert (finding.kind, finding.alarm) == ("too early", False)
    assert kinds(config(), {"kl": 0.0}, [0.0] * 10, step=20) == ["too early"]


@pytest.mark.parametrize("name", ["ae", "dae"])
def test_an_auto_encoder_hears_nothing_of_a_beta(name: str) -> None:
    early = advise(config(name), {"kl": 0.0}, [0.0] * 10, [row(EARLY_STEPS - 1)])
    late = advise(
        config(name),
        {"kl": 0.0},
        [0.0] * 10,
        [row(train_reconstruction=1900.0), row(900, loss=1900.0, reconstruction=1900.0)],
    )
    assert [finding.kind for finding in early + late] == ["too early", "overfitting"]
    assert not [finding.text for finding in early + late if "beta" in finding.text]


def test_alarms_come_first_and_every_setting_that_is_named_exists() -> None:
    rows = [row(900, train_reconstruction=1700.0)]
    assert kinds(config(), HEALTHY, [0.9] * 10, rows) == ["overfitting", "all latents needed"]
    fields = {"network": set(), "data": set(Config().data.model_dump())} | {
        kind: {field for cls in registered(kind).values() for field in cls.model_fields}
        for kind in ("objective", "network")
    }
    for name in registered("objective"):
        cases = (
            advise(config(name, warmup_steps=900), {"kl": 0.0}, [0.0] * 10, [row()]),
            advise(config(name), HEALTHY, [1.0] * 9 + [0.0], rows),
        )
        text = " ".join(finding.text for findings in cases for finding in findings)
        assert text or name in ("ae", "dae")
        for section, field in re.findall(r"\b(objective|network|data)\.([a-z_]+)", text):
            assert field in fields[section], f"{section}.{field}"


def test_numbers_that_are_missing_or_not_finite_are_not_judged() -> None:
    assert advise(config(), {}) == ()
    assert advise(config(), {"kl": math.nan}, [], [row(train_reconstruction=math.nan)]) == ()
    assert advise(config(), HEALTHY, HEALTHY_LATENTS, [{"step": "800", "loss": "3.0", "beta": ""}]) == ()


def test_what_beta_each_objective_amounts_to() -> None:
    expected: dict[str, float | None] = dict.fromkeys(registered("objective"), 1.0)
    expected |= {"ae": 0.0, "dae": 0.0, "beta_vae": 3.0, "beta_tcvae": 3.0, "capacity_vae": None, "control_vae": 2.5}
    for name, value in expected.items():
        objective = config(name, beta=3.0).objective
        assert objective.effective_beta([row(beta=2.5)]) == value, name
        assert objective.describe(value)
    assert config("control_vae").objective.effective_beta() is None
    assert config("info_vae", alpha=0.75).objective.effective_beta() == 0.25
    # Higgins et al. 2017, sec. 4.2: β_norm = β·M / N, with M latents and N pixel values.
    assert config().normalised_beta(4.0) == pytest.approx(4 * 10 / (32 * 32 * 3))
    assert config().normalised_beta(None) is None
