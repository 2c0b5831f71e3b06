"""Estimates against known answers: a linear VAE is probabilistic PCA, whose likelihood has a closed form."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import integrate, stats
from torch import Tensor, nn

from corolla.config.registry import find
from corolla.distributions.pixels import Gaussian
from corolla.errors import ModelError, UsageError
from corolla.evaluation import estimates
from corolla.evaluation.estimates import Estimates, estimate
from corolla.models.vae import VAE
from corolla.objectives.loss import build_loss

COUNT, LATENTS, SHAPE = 500, 3, (2, 2, 3)
DIM = int(np.prod(SHAPE))


class LinearEncoder(nn.Module):
    def __init__(self, latent_dim: int, dim: int = DIM) -> None:
        super().__init__()
        self.mean = nn.Linear(dim, latent_dim)
        self.logvar = nn.Parameter(torch.zeros(latent_dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.mean(x.flatten(1))
        return mean, self.logvar.expand_as(mean)


class LinearDecoder(nn.Module):
    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.mean = nn.Linear(latent_dim, DIM)

    def forward(self, z: Tensor) -> Tensor:
        pixels: Tensor = self.mean(z)
        return pixels.view(-1, SHAPE[2], *SHAPE[:2])


class IdentityGaussian(nn.Module):
    """The decoder's output is the mean itself; sigma is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def forward(self, raw: Tensor, x: Tensor | None = None) -> Gaussian:  # noqa: ARG002
        return Gaussian(raw, torch.exp(self.log_sigma))


def _linear_vae() -> VAE:
    return VAE(LinearEncoder(LATENTS), LinearDecoder(LATENTS), IdentityGaussian())


@dataclass(frozen=True)
class Trained:
    vae: VAE
    images: NDArray[np.float32]
    flat: NDArray[np.float64]
    """The pixels in the order of the channels first, as the networks see them."""

    def exact(self) -> NDArray[np.float64]:
        """log p(x) of each image under the model's own N(b, WWᵀ + σ²I), with SciPy."""
        w, b, sigma = self.parameters()
        covariance = w @ w.T + sigma**2 * np.eye(DIM)
        return np.asarray(stats.multivariate_normal(b, covariance).logpdf(self.flat))

    def parameters(self) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        state = {name: value.double().numpy() for name, value in self.vae.state_dict().items()}
        sigma = float(np.exp(state["likelihood.log_sigma"]))
        return state["decoder.mean.weight"], state["decoder.mean.bias"], sigma


@pytest.fixture(scope="module")
def trained() -> Trained:
    """A linear VAE, trained with the package's own objective on images of a linear-Gaussian model."""
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.standard_normal((DIM, LATENTS)))
    flat = (
        rng.standard_normal((COUNT, LATENTS)) @ (axes * [3.0, 1.8, 1.0]).T
        + 0.5
        + 0.4 * rng.standard_normal((COUNT, DIM))
    )
    pixels = flat.astype(np.float32)
    x = torch.from_numpy(pixels).view(COUNT, SHAPE[2], *SHAPE[:2])
    steps = 2500
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = _linear_vae().train()
        optimizer = torch.optim.Adam(vae.parameters(), lr=0.03)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: 10.0 ** (-3.5 * max(0.0, step / steps - 0.2))
        )
        objective = build_loss(find("objective", "vae")(), LATENTS)
        for step in range(steps):
            q, z, p = vae(x)
            optimizer.zero_grad()
            objective(x, q, z, p, step, COUNT).total.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return Trained(vae.eval(), np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy()), pixels.astype(np.float64))


def _maximum_likelihood(flat: NDArray[np.float64]) -> float:
    """Average log p(x) at the optimum of probabilistic PCA (Tipping & Bishop 1999)."""
    eigenvalues = np.linalg.eigvalsh(np.cov(flat.T, bias=True))[::-1]
    kept, noise = eigenvalues[:LATENTS], eigenvalues[LATENTS:].mean()
    log_det = np.log(kept).sum() + (DIM - LATENTS) * np.log(noise)
    return float(-0.5 * (DIM * np.log(2 * np.pi) + log_det + DIM))


def test_training_finds_probabilistic_pca(trained: Trained) -> None:
    gap = _maximum_likelihood(trained.flat) - trained.exact().mean()
    assert 0 < gap < 1e-3
    w, b, sigma = trained.parameters()
    eigenvalues, axes = np.linalg.eigh(np.cov(trained.flat.T, bias=True))
    assert sigma**2 == pytest.approx(eigenvalues[:-LATENTS].mean(), rel=5e-3)
    assert np.allclose(b, trained.flat.mean(0), atol=5e-3)
    # The likelihood allows any rotation of the latents, but the ELBO is tight only where each column of W is a
    # principal axis of its own (Lucas et al. 2019, arXiv 1911.02469), with the length sqrt(λ - σ²).
    found = w[:, np.argsort((w**2).sum(0))]
    assert np.allclose((found**2).sum(0), eigenvalues[-LATENTS:] - sigma**2, rtol=1e-2)
    cosines = np.abs((found / np.linalg.norm(found, axis=0)).T @ axes[:, -LATENTS:])
    assert np.allclose(cosines, np.eye(LATENTS), atol=0.01)


def test_at_the_optimum_elbo_and_every_importance_weighted_bound_are_the_log_likelihood(trained: Trained) -> None:
    exact = trained.exact().mean()
    for samples in (1, 7):
        found = estimate(trained.vae, trained.images, importance_samples=samples, seed=1)
        assert found.elbo_nats.mean == pytest.approx(exact, abs=4 * LATENTS / math.sqrt(2 * samples * COUNT))
        assert found.log_likelihood_nats.mean == pytest.approx(exact, abs=2e-3)
        assert found.log_likelihood_nats.mean == pytest.approx(_maximum_likelihood(trained.flat), abs=3e-3)
        assert found.log_likelihood_nats.standard_error == pytest.approx(
            trained.exact().std(ddof=1) / math.sqrt(COUNT), rel=1e-2
        )
        assert found.effective_samples.mean == pytest.approx(samples, rel=1e-2)
        assert found.elbo_nats.mean == pytest.approx(-found.distortion_nats.mean - found.rate_nats.mean)


def test_with_a_wide_posterior_the_bound_closes_on_the_exact_value_as_theory_says(trained: Trained) -> None:
    # q has the right mean, but e^1.5 times the variance of the true posterior N(m, S). All that follows is known:
    # the ELBO falls short by KL(q ‖ p(z|x)), and the bound by Var(w)/(2K) for large K, the weights w having mean 1.
    widening, exact = 1.5, trained.exact().mean()
    wide = copy.deepcopy(trained.vae)
    assert isinstance(wide.encoder, LinearEncoder)
    wide.encoder.logvar = nn.Parameter(wide.encoder.logvar.detach() + widening)
    short = 0.5 * LATENTS * (math.exp(widening) - 1 - widening)
    # E[w²] = ∫ p²/q for Gaussians of variances s² and t² is t/s / sqrt(2 - s²/t²), to the power of the latents.
    variance = (math.exp(widening / 2) / math.sqrt(2 - math.exp(-widening))) ** LATENTS - 1
    # A draw's log-weight has a variance of 3/2·(e^1.5 - 1)² = 18.
    bounds = []
    for samples in (1, 4, 16, 64, 256):
        found = estimate(wide, trained.images, importance_samples=samples, seed=2)
        bounds.append(found.log_likelihood_nats.mean)
        assert found.elbo_nats.mean == pytest.approx(exact - short, abs=4 * math.sqrt(18 / samples / COUNT))
    assert (np.diff(bounds) > 0).all()
    assert exact - bounds[0] == pytest.approx(short, abs=4 * math.sqrt(18 / COUNT))
    assert exact - bounds[-1] == pytest.approx(0, abs=0.03)
    # Each image ten times over, so that the noise is well below what is left at K = 64.
    rows, samples = np.tile(np.arange(COUNT), 10), 64
    found = estimate(wide, trained.images, rows, importance_samples=samples, seed=3)
    gap, noise = exact - found.log_likelihood_nats.mean, math.sqrt(variance / samples / len(rows))
    assert gap == pytest.approx(variance / (2 * samples), abs=3 * noise)
    assert gap > 5 * noise
    assert found.effective_samples.mean == pytest.approx(samples / (1 + variance), rel=0.1)


# --- the parts of the KL, on posteriors that are known ----------------------------------------------------------------


class Table(nn.Module):
    """q(z|x) read off the image: the first pixels are the means, the last ones the log-variances."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = x.flatten(1).chunk(2, 1)
        return mean, logvar


class Nothing(nn.Module):
    """A decoder that does not look at z."""

    def forward(self, z: Tensor) -> Tensor:
        return z.new_zeros(len(z), 2, 1, 2)


def _table_vae() -> VAE:
    return VAE(Table(), Nothing(), IdentityGaussian())


MEAN = np.array([[-1.5, -1.2], [-0.2, 0.1], [0.4, 0.9], [1.6, 1.1]])
LOGVAR = np.array([[-2.0, -1.0], [-1.5, -1.5], [-1.0, -2.0], [-1.2, -1.4]])


def _table_images(times: int) -> NDArray[np.float32]:
    """Four images, times over, N×1×2×2: the channel decides between mean and log-variance."""
    return np.tile(np.stack([MEAN, LOGVAR], axis=-1)[:, None], (times, 1, 1, 1)).astype(np.float32)


def test_parts_of_the_kl_agree_with_numerical_integration() -> None:
    # Repeating the images leaves q(z) as it is, and averages the draws.
    found = estimate(_table_vae(), _table_images(1000), importance_samples=2, seed=3)
    grid = np.linspace(-7, 7, 701)
    parts = stats.norm(MEAN[:, :, None], np.exp(0.5 * LOGVAR)[:, :, None]).pdf(grid)
    joint, marginals = np.einsum("nx,ny->xy", parts[:, 0], parts[:, 1]) / 4, parts.mean(0)
    log_ratio = np.log(joint / np.multiply.outer(*marginals))
    total_correlation = float(integrate.simpson(integrate.simpson(joint * log_ratio, x=grid), x=grid))
    entropy = -float(integrate.simpson(integrate.simpson(joint * np.log(joint), x=grid), x=grid))
    mutual_information = entropy - float((0.5 * (np.log(2 * np.pi * np.e) + LOGVAR)).sum(1).mean())
    dimension_wise = sum(float(integrate.simpson(m * np.log(m / stats.norm.pdf(grid)), x=grid)) for m in marginals)
    for average, expected in [
        (found.mutual_information_nats, mutual_information),
        (found.total_correlation_nats, total_correlation),
        (found.dimension_wise_kl_nats, dimension_wise),
    ]:
        assert average.mean == pytest.approx(expected, abs=4 * average.standard_error)
        assert 0 < average.standard_error < 0.05
    assert found.rate_nats.mean == pytest.approx(mutual_information + total_correlation + dimension_wise, abs=1e-5)
    kl = 0.5 * (MEAN**2 + np.exp(LOGVAR) - 1 - LOGVAR)
    assert np.allclose(found.latent_rate_nats, kl.mean(0), rtol=1e-5)
    assert np.allclose(found.latent_mean_variance, MEAN.var(0), rtol=1e-5)


def test_images_that_are_known_for_sure_reach_the_ceiling_of_the_mutual_information() -> None:
    images = _table_images(1)
    images[..., 1] = -12
    found = estimate(_table_vae(), images, importance_samples=1)
    assert found.mutual_information_ceiling_nats == pytest.approx(math.log(4))
    assert found.mutual_information_nats.mean == pytest.approx(math.log(4), abs=1e-5)


def test_dead_latents_are_counted_by_both_criteria() -> None:
    images = _table_images(3)
    images[..., 0, 0], images[..., 0, 1] = 0.05, 0.0  # the first latent has the prior's posterior, but for its mean
    found = estimate(_table_vae(), images, importance_samples=1)
    assert (found.active_latents, found.active_units) == (1, 1)
    images[..., 0, 1] = -1.0  # narrow, though its mean tells nothing: the criteria differ
    found = estimate(_table_vae(), images, importance_samples=1)
    assert (found.active_latents, found.active_units) == (2, 1)


@dataclass(frozen=True)
class Uniform:
    """Each number of an image is one of 256 levels, all equally likely."""

    mean: Tensor
    discrete: bool = True

    def sample(self) -> Tensor:
        return self.mean

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.full((len(x),), -x[0].numel() * math.log(256))


class UniformLikelihood(nn.Module):
    def forward(self, raw: Tensor, x: Tensor | None = None) -> Uniform:  # noqa: ARG002
        return Uniform(raw)


def test_bits_per_dimension_of_levels_that_are_equally_likely_are_eight() -> None:
    images = _table_images(2)
    images[..., 0], images[..., 1] = 0, 0  # the posterior is the prior, so there is no rate
    found = estimate(VAE(Table(), Nothing(), UniformLikelihood()), images, importance_samples=3)
    assert found.elbo_bits_per_dim is not None
    assert found.log_likelihood_bits_per_dim is not None
    assert found.elbo_bits_per_dim.mean == pytest.approx(8, rel=1e-6)
    assert found.log_likelihood_bits_per_dim.mean == pytest.approx(8, rel=1e-6)
    images[..., 0] = 2.0  # two means of 2 cost 4 nats, over four numbers
    found = estimate(VAE(Table(), Nothing(), UniformLikelihood()), images, importance_samples=3)
    assert found.elbo_bits_per_dim is not None
    assert found.elbo_bits_per_dim.mean == pytest.approx(8 + 1 / math.log(2), rel=1e-6)
    assert estimate(_table_vae(), images, importance_samples=1).elbo_bits_per_dim is None


# --- how it is done ---------------------------------------------------------------------------------------------------


def _close(first: Estimates, second: Estimates, tolerance: float) -> bool:
    names = ("elbo_nats", "log_likelihood_nats", "rate_nats", "mutual_information_nats", "total_correlation_nats")
    return all(abs(getattr(first, name).mean - getattr(second, name).mean) < tolerance for name in names)


def test_the_seed_fixes_the_numbers_and_progress_is_told(trained: Trained) -> None:
    told: list[tuple[str, int, int]] = []
    rows = np.arange(0, COUNT, 7)
    first = estimate(
        trained.vae, trained.images, rows, importance_samples=3, seed=4, progress=lambda *step: told.append(step)
    )
    assert first == estimate(trained.vae, trained.images[rows], importance_samples=3, seed=4)
    assert first != estimate(trained.vae, trained.images, rows, importance_samples=3, seed=5)
    assert first.images == len(rows)
    assert {what for what, _, _ in told} == {"likelihood", "mutual information", "distortion without each latent"}
    for what in ("likelihood", "mutual information"):
        steps = [done for name, done, _ in told if name == what]
        assert steps == sorted(steps)
        assert steps[-1] == len(rows)


def test_a_small_memory_gives_the_same_estimates(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = estimate(trained.vae, trained.images[:60], importance_samples=50)
    monkeypatch.setattr(estimates, "_NUMBERS", 4 * DIM)
    monkeypatch.setattr(estimates, "_PAIRS", 7 * 60 * LATENTS)
    pieces = estimate(trained.vae, trained.images[:60], importance_samples=50)
    assert pieces.latent_rate_nats == pytest.approx(whole.latent_rate_nats, rel=1e-5)
    assert _close(pieces, whole, 0.5)  # other draws
    monkeypatch.setattr(estimates, "_PAIRS", 1)
    assert _close(pieces, estimate(trained.vae, trained.images[:60], importance_samples=50), 1e-5)


def test_bytes_are_read_as_pixels_between_0_and_1(trained: Trained) -> None:
    levels = np.random.default_rng(1).integers(0, 256, (10, *SHAPE), dtype=np.uint8)
    as_floats = estimate(trained.vae, (levels / np.float32(255)).astype(np.float32), importance_samples=2)
    assert _close(estimate(trained.vae, levels, importance_samples=2), as_floats, 1e-4)


def test_nothing_is_estimated_from_too_little_or_from_nonsense(trained: Trained) -> None:
    with pytest.raises(UsageError, match="0 importance samples: give at least 1"):
        estimate(trained.vae, trained.images, importance_samples=0)
    with pytest.raises(UsageError, match="1 images: averages over images need at least 2"):
        estimate(trained.vae, trained.images[:1])
    with pytest.raises(ModelError, match="not a finite number"):
        estimate(_table_vae(), np.full((2, 1, 2, 2), np.nan, np.float32), importance_samples=1)


def test_the_model_does_not_change(trained: Trained) -> None:
    before = {name: value.clone() for name, value in trained.vae.state_dict().items()}
    estimate(trained.vae.train(), trained.images[:10], importance_samples=2)
    assert not trained.vae.training
    assert all(torch.equal(value, before[name]) for name, value in trained.vae.state_dict().items())


def test_distortion_without_a_latent_has_the_closed_form_of_a_linear_decoder(trained: Trained) -> None:
    found = estimate(trained.vae, trained.images, importance_samples=1)
    chosen = np.unique(np.linspace(0, COUNT - 1, estimates.WITHOUT_IMAGES).astype(int))
    w, b, sigma = trained.parameters()
    x = trained.flat[chosen]
    with torch.inference_mode():
        q = trained.vae.encode(torch.from_numpy(trained.images[chosen]).permute(0, 3, 1, 2))
    mean, variance = q.mean.double().numpy(), np.exp(q.logvar.detach().double().numpy())
    # Of |x - b - Wz + w_j z_j|^2 - |x - b - Wz|^2 over 2 sigma^2, the mean over z ~ q(z|x).
    residual = x - b - mean @ w.T
    rise = (2 * mean * (residual @ w) + (w**2).sum(0) * (mean**2 - variance)) / (2 * sigma**2)
    np.testing.assert_allclose(found.latent_distortion_nats, rise.mean(0), rtol=0.05)
    # A latent that is worth its rate saves more distortion than the rate costs.
    assert (np.array(found.latent_distortion_nats) > found.latent_rate_nats).all()


def test_a_latent_that_the_decoder_ignores_buys_nothing(trained: Trained) -> None:
    vae = copy.deepcopy(trained.vae)
    weight = vae.state_dict()["decoder.mean.weight"]  # shares its memory with the model's
    weight[:, 1] = 0
    bought = estimate(vae, trained.images, importance_samples=1).latent_distortion_nats
    assert bought[1] == 0
    assert bought[0] != 0
