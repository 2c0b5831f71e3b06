"""Every objective with every likelihood, and each of both on every network: what must hold for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from corolla.config import Config, registered
from corolla.distributions import DiagonalGaussian
from corolla.models.vae import VAE, build_model
from corolla.objectives.companions import Controller
from corolla.objectives.loss import Loss, LossTerms, build_loss
from corolla.trained.model_folder import ModelCard, ModelFolder

OBJECTIVES, LIKELIHOODS = (list(registered(kind)) for kind in ("objective", "likelihood"))
SIZES = {"notebook": (12, 14), "burgess": (64, 64), "resnet": (16, 24)}
LATENT_DIM = 5
COUNT = 6


def configuration(objective: str, likelihood: str, network: str) -> Config:
    small = {"width": 8, "patch": 4, "dropout": 0.0} if network == "resnet" else {}
    narrow = {"discriminator_width": 8} if objective == "factor_vae" else {}
    return Config.from_dict(
        {
            "data": {"size": SIZES[network]},
            "network": {"name": network, "latent_dim": LATENT_DIM, **small},
            "likelihood": {"name": likelihood},
            "objective": {"name": objective, **narrow},
        }
    )


def images(config: Config, count: int = COUNT) -> torch.Tensor:
    """Random 8-bit pixels as floats, in the layout of batches."""
    pixels = torch.randint(0, 256, (count, 3, *config.data.size))
    return (pixels / 255).to(memory_format=torch.channels_last)


def built(config: Config) -> tuple[VAE, Loss]:
    torch.manual_seed(0)
    vae, objective = build_model(config), build_loss(config.objective, LATENT_DIM)
    if isinstance(objective.companion, Controller):
        objective.companion.beta.fill_(2.0)  # where the controller has been at work
    return vae, objective


def loss(vae: VAE, objective: Loss, x: torch.Tensor, q: DiagonalGaussian, z: torch.Tensor) -> LossTerms:
    torch.manual_seed(1)
    return objective(x, q, z, vae.decode(z, x), None, 1000)


# Every pair of choices, and not every triple: an objective never meets a network but through the likelihood.
PAIRWISE = [
    (objective, likelihood, list(SIZES)[(i + j) % len(SIZES)])
    for i, objective in enumerate(OBJECTIVES)
    for j, likelihood in enumerate(LIKELIHOODS)
]


@pytest.mark.parametrize(("objective_name", "likelihood", "network"), PAIRWISE)
def test_whole_family(objective_name: str, likelihood: str, network: str, tmp_path: Path) -> None:
    config = configuration(objective_name, likelihood, network)
    vae, objective = built(config)
    vae.train()
    x = images(config)
    q = vae.encode(x)
    points = config.objective.auto_encoder
    z = q.mean if points else q.sample()
    terms = loss(vae, objective, x, q, z)

    assert torch.isfinite(terms.total)
    weighted = [float(term.detach()) for term in terms.weighted.values()]
    assert sum(weighted) == pytest.approx(float(terms.total.detach()), rel=1e-5)

    terms.total.backward()  # type: ignore[no-untyped-call]
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    moved = {name for name, parameter in vae.named_parameters() if parameter.grad is not None and parameter.grad.any()}
    still = {name for name, _ in vae.named_parameters()} - moved
    # Only an auto-encoder's log-variance, which nothing uses, and layers behind weights that start at zero, may rest.
    expected = {"encoder.logvar.weight", "encoder.logvar.bias"} if points else set()
    assert {name for name in still if ".conv1." not in name and ".norm" not in name} <= expected

    vae.eval()
    ModelFolder(tmp_path / "model").save(vae, ModelCard(config))
    again, _ = ModelFolder.find(tmp_path / "model").load()
    with torch.inference_mode():
        assert torch.equal(again.encode(x).mean, vae.encode(x).mean)
        assert torch.equal(again.encode(x).logvar, vae.encode(x).logvar)
        assert torch.equal(again.decode(z).mean, vae.decode(z).mean)
        assert torch.equal(again.decode(z).log_prob(x), vae.decode(z).log_prob(x))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_reconstruction_is_a_sum_over_pixels_and_a_mean_over_images(likelihood: str) -> None:
    config = configuration("vae", likelihood, "resnet")
    vae, objective = built(config)
    vae.eval()
    x, raw = images(config), torch.randn(COUNT, 3, *config.data.size)
    q = DiagonalGaussian(torch.randn(COUNT, LATENT_DIM), torch.randn(COUNT, LATENT_DIM))
    whole = objective(x, q, q.mean, vae.likelihood(raw), None, 10)
    # An image of twice the pixels costs twice as much; a batch of twice the images costs the same.
    taller = objective(x.repeat(1, 1, 2, 1), q, q.mean, vae.likelihood(raw.repeat(1, 1, 2, 1)), None, 10)
    twice = DiagonalGaussian(q.mean.repeat(2, 1), q.logvar.repeat(2, 1))
    larger = objective(x.repeat(2, 1, 1, 1), twice, twice.mean, vae.likelihood(raw.repeat(2, 1, 1, 1)), None, 10)
    assert float(taller.reconstruction.detach()) == pytest.approx(2 * float(whole.reconstruction.detach()), rel=1e-5)
    assert float(larger.reconstruction.detach()) == pytest.approx(float(whole.reconstruction.detach()), rel=1e-5)
    assert float(larger.kl) == pytest.approx(float(whole.kl), rel=1e-5)


@pytest.mark.parametrize("objective_name", OBJECTIVES)
def test_splitting_a_batch_changes_the_loss_by_sampling_noise_only(objective_name: str) -> None:
    config = configuration(objective_name, "bernoulli", "resnet")
    vae, objective = built(config)
    vae.eval()
    torch.manual_seed(2)
    count, parts = 1024, 4
    x = images(config, count)
    q = DiagonalGaussian(torch.randn(count, LATENT_DIM), torch.randn(count, LATENT_DIM) * 0.3 - 2)
    z = q.sample()
    with torch.inference_mode():
        whole = float(loss(vae, objective, x, q, z).total)
        pieces = [
            float(loss(vae, objective, x[rows], DiagonalGaussian(q.mean[rows], q.logvar[rows]), z[rows]).total)
            for rows in torch.arange(count).chunk(parts)
        ]
    # Reconstruction and KL agree exactly; a regulariser of the aggregate has the noise and bias of 256 images.
    tolerance = 1e-4 if objective_name in ("ae", "dae", "vae", "beta_vae", "control_vae", "factor_vae") else 0.02
    assert sum(pieces) / parts == pytest.approx(whole, rel=tolerance)
