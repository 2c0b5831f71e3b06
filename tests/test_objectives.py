"""The seam of the family: terms that add up, in nats per image, whatever the batch."""

from __future__ import annotations

import pytest
import torch

from corolla.config import ObjectiveConfig
from corolla.distributions import Bernoulli, DiagonalGaussian, Gaussian
from corolla.objectives import OBJECTIVES, AutoEncoder, BetaVAE, build_objective


@pytest.fixture
def batch() -> tuple[torch.Tensor, DiagonalGaussian, torch.Tensor, Bernoulli]:
    torch.manual_seed(0)
    x = torch.rand(6, 3, 4, 5, dtype=torch.float64)
    q = DiagonalGaussian(torch.randn(6, 7, dtype=torch.float64), torch.randn(6, 7, dtype=torch.float64))
    return x, q, q.sample(), Bernoulli(torch.randn(6, 3, 4, 5, dtype=torch.float64))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_terms_add_up_to_the_loss(
    name: str, batch: tuple[torch.Tensor, DiagonalGaussian, torch.Tensor, Bernoulli]
) -> None:
    terms = build_objective(ObjectiveConfig.model_validate({"name": name, "beta": 3.0}))(*batch, step=5, data_size=100)
    assert terms.total.shape == ()
    assert float(sum(terms.weighted.values(), torch.zeros(()))) == pytest.approx(float(terms.total), rel=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_of_a_batch_is_the_mean_of_the_losses_of_its_images(
    name: str, batch: tuple[torch.Tensor, DiagonalGaussian, torch.Tensor, Bernoulli]
) -> None:
    x, q, z, p = batch
    objective = build_objective(ObjectiveConfig.model_validate({"name": name, "beta": 3.0}))
    whole = objective(x, q, z, p, step=0, data_size=100).total
    alone = [
        objective(
            x[i : i + 1],
            DiagonalGaussian(q.mean[i : i + 1], q.logvar[i : i + 1]),
            z[i : i + 1],
            Bernoulli(p.logits[i : i + 1]),
            step=0,
            data_size=100,
        ).total
        for i in range(6)
    ]
    assert float(whole) == pytest.approx(float(torch.stack(alone).mean()), rel=1e-12)


def test_one_image_by_hand() -> None:
    # Two pixels of 0.5 under logits of 0 cost ln 2 each; one latent at mean 2, unit variance, has a KL of 2.
    x = torch.full((1, 1, 1, 2), 0.5)
    q = DiagonalGaussian(torch.tensor([[2.0]]), torch.zeros(1, 1))
    p = Bernoulli(torch.zeros(1, 1, 1, 2))
    terms = BetaVAE(beta=4.0)(x, q, q.mean, p, step=0, data_size=1)
    assert float(terms.reconstruction) == pytest.approx(2 * 0.6931472)
    assert float(terms.kl) == pytest.approx(2.0)
    assert float(terms.total) == pytest.approx(2 * 0.6931472 + 8.0)
    plain = AutoEncoder()(x, q, q.mean, p, step=0, data_size=1)
    assert float(plain.total) == pytest.approx(2 * 0.6931472)


def test_warm_up_is_a_function_of_the_step(
    batch: tuple[torch.Tensor, DiagonalGaussian, torch.Tensor, Bernoulli],
) -> None:
    objective = BetaVAE(beta=4.0, warmup_steps=9)
    kl = float(batch[1].kl().mean())
    for step, weight in [(0, 0.4), (4, 2.0), (9, 4.0), (1000, 4.0)]:
        assert float(objective(*batch, step=step, data_size=1).weighted["kl"]) == pytest.approx(weight * kl)


def test_vae_is_beta_one_and_the_auto_encoder_takes_no_noise() -> None:
    assert build_objective(ObjectiveConfig(name="vae", beta=7.0)) == BetaVAE(1.0)
    assert not build_objective(ObjectiveConfig(name="ae")).stochastic
    assert build_objective(ObjectiveConfig(name="beta_vae", beta=7.0)) == BetaVAE(7.0)


def test_gradients_agree_with_finite_differences() -> None:
    torch.manual_seed(1)
    x = torch.rand(2, 1, 2, 2, dtype=torch.float64)
    inputs = [torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)]
    inputs.append(torch.randn(2, 1, 2, 2, dtype=torch.float64))

    def loss(mean: torch.Tensor, logvar: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
        q = DiagonalGaussian(mean, logvar)
        bernoulli = BetaVAE(4.0)(x, q, mean, Bernoulli(raw), 0, 1).total
        gaussian = BetaVAE(4.0)(x, q, mean, Gaussian(raw, torch.tensor(0.3, dtype=torch.float64)), 0, 1).total
        return bernoulli + gaussian

    assert torch.autograd.gradcheck(loss, [value.requires_grad_() for value in inputs])
