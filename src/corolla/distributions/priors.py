"""Priors p(z) that latents are drawn from: the standard normal that models are trained with, and fitted ones.

What images leave behind in latent space is the aggregated posterior q(z) = 1/N Σ_n q(z|x_n). It is not quite the prior
of training, so that some draws from that prior fall where the decoder has never been. A prior fitted to q(z) after
training repairs that, and the model stays as it is (Hoffman & Johnson 2016, "ELBO surgery"; Ghosh et al. 2020,
arXiv 1903.12436). Parameters and log-probabilities of fitted ones are in double precision; draws are in single.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn

from corolla.distributions.posterior import LOG_2PI
from corolla.errors import UsageError

FitProgress = Callable[[int, int, str], None]
"""Told how many steps of a fit are done, of how many at most, and a few words on how it stands."""

RIDGE = 1e-6
EM_ITERATIONS = 200
EM_ITERATIONS_AT_A_TIME = 5

_LOG = logging.getLogger("corolla")


class LatentDistribution(Protocol):
    """p(z), on the CPU."""

    @property
    def options(self) -> dict[str, Any]:
        """What the constructor takes beside the number of latents; with `tensors`, all that there is to save."""

    def sample(self, count: int, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """Draws, count×latent_dim, float32. The temperature scales standard deviations; at 0 nothing is spread."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of z, N×latent_dim, in nats, N."""

    def tensors(self) -> dict[str, Tensor]:
        """What is saved."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what was saved. Raises ValueError that names the tensor with values that cannot be."""


class StandardPrior(nn.Module):
    """N(0, I): what models are trained with."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.options: dict[str, Any] = {}

    def sample(self, count: int, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """Draws from N(0, temperature²·I), count×latent_dim."""
        return temperature * torch.randn(count, self.latent_dim, generator=generator)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats, N, in double precision."""
        return -0.5 * (z.double() ** 2 + LOG_2PI).sum(1)

    tensors = nn.Module.state_dict

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Nothing to take over."""


def code_rows(codes: Tensor) -> Tensor:
    """Codes N×latent_dim or images×draws×latent_dim as rows, in double precision."""
    if codes.ndim not in (2, 3) or codes.shape[-1] < 1:
        raise UsageError(f"codes of shape {tuple(codes.shape)}: give N×latent_dim, or images×draws×latent_dim")
    z = codes.detach().cpu().double().flatten(0, -2)
    if not torch.isfinite(z).all():
        raise UsageError("the codes hold values that are not finite; no prior can be fitted to them")
    if len(z) < 2 or not z.std(0, correction=0).any():
        raise UsageError(f"the {len(z)} codes do not differ; a prior is fitted to images that a model tells apart")
    return z


def ridge(z: Tensor) -> float:
    """RIDGE times the variance of codes, N×latent_dim, averaged over latents; with it a covariance has a factor."""
    return RIDGE * float(z.var(0, correction=0).mean())


class GaussianPrior(nn.Module):
    """N(mean, scale_tril·scale_trilᵀ): one Gaussian with a full covariance."""

    mean: Tensor
    scale_tril: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.options: dict[str, Any] = {}
        self.register_buffer("mean", torch.zeros(latent_dim, dtype=torch.float64))
        self.register_buffer("scale_tril", torch.eye(latent_dim, dtype=torch.float64))

    @classmethod
    def fit(cls, codes: Tensor, *, seed: int = 0, progress: FitProgress | None = None) -> GaussianPrior:  # noqa: ARG003
        """The Gaussian of largest likelihood: mean and covariance (divided by N) of the codes, plus `ridge`."""
        z = code_rows(codes)
        prior = cls(z.shape[1])
        centred = z - z.mean(0)
        covariance = centred.T @ centred / len(z) + ridge(z) * torch.eye(z.shape[1], dtype=z.dtype)
        prior.mean = z.mean(0)
        prior.scale_tril = torch.linalg.cholesky(covariance)
        return prior

    def sample(self, count: int, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """Draws from N(mean, temperature²·covariance), count×latent_dim; at temperature 0, the mean."""
        noise = torch.randn(count, self.latent_dim, generator=generator).double()
        return self.unwhiten(temperature * noise).float()

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats, N."""
        return -0.5 * (self.whiten(z) ** 2 + LOG_2PI).sum(1) - self.log_volume

    def whiten(self, z: Tensor) -> Tensor:
        """Points N×latent_dim as standard normal ones, in double precision."""
        return _whitened(z, self.mean, self.scale_tril)

    def unwhiten(self, noise: Tensor) -> Tensor:
        """The inverse of `whiten`."""
        return self.mean + noise.double() @ self.scale_tril.T

    @property
    def log_volume(self) -> Tensor:
        """Log-determinant of the Jacobian of `unwhiten`."""
        return self.scale_tril.diagonal().log().sum()

    tensors = nn.Module.state_dict

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what was saved. Raises ValueError that names the tensor with values that cannot be."""
        _check_triangular("scale_tril", tensors["scale_tril"])
        self.load_state_dict(tensors)


class MixturePrior(nn.Module):
    """Σ_k weights[k]·N(means[k], covariance of k).

    `scales` are the Cholesky factors of full covariances, or the standard deviations of diagonal ones.
    """

    weights: Tensor
    means: Tensor
    scales: Tensor

    def __init__(self, latent_dim: int, components: int = 10, covariance: Literal["full", "diagonal"] = "full") -> None:
        super().__init__()
        self.latent_dim, self.covariance = latent_dim, covariance
        self.options: dict[str, Any] = {"components": components, "covariance": covariance}
        scales = torch.eye(latent_dim) if covariance == "full" else torch.ones(latent_dim)
        self.register_buffer("weights", torch.full((components,), 1 / components, dtype=torch.float64))
        self.register_buffer("means", torch.zeros(components, latent_dim, dtype=torch.float64))
        self.register_buffer("scales", scales.double().repeat(components, *[1] * scales.ndim))

    @classmethod
    def fit(cls, codes: Tensor, *, seed: int = 0, progress: FitProgress | None = None, **options: Any) -> MixturePrior:
        """Expectation-maximisation from a seeded k-means; `ridge` is added to every variance.

        Ghosh et al. 2020 (arXiv 1903.12436, section 4) fit ten full components to the codes of auto-encoders. For the
        `options` see the constructor.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture
        from threadpoolctl import threadpool_limits

        z = code_rows(codes)
        prior = cls(z.shape[1], **options)
        components, covariance = prior.options["components"], prior.covariance
        kind = "full" if covariance == "full" else "diag"
        model = GaussianMixture(
            components, covariance_type=kind, reg_covar=ridge(z), random_state=seed % 2**32, warm_start=True
        ).set_params(max_iter=EM_ITERATIONS_AT_A_TIME)
        # Sums over threads come in any order, so that one thread alone gives the same last bits every time.
        with threadpool_limits(limits=1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for done in range(0, EM_ITERATIONS, EM_ITERATIONS_AT_A_TIME):
                try:
                    model.fit(z.numpy())
                except ValueError as error:
                    problem = f"{components} components with {covariance} covariances for {len(z)} codes"
                    remedy = "one of them shrank to nothing; take fewer components, or diagonal covariances"
                    raise UsageError(f"{problem}: {remedy}") from error
                if progress is not None:
                    progress(done + EM_ITERATIONS_AT_A_TIME, EM_ITERATIONS, f"log p(z) {model.lower_bound_:.2f} nats")
                if model.converged_:
                    break
            else:
                _LOG.warning("the mixture still changes after %d iterations; it is used as it is", EM_ITERATIONS)
        variances = torch.from_numpy(model.covariances_)
        prior.weights = torch.from_numpy(model.weights_)
        prior.means = torch.from_numpy(model.means_)
        prior.scales = torch.linalg.cholesky(variances) if covariance == "full" else variances.sqrt()
        return prior

    def sample(self, count: int, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """Draws, count×latent_dim, with every component's covariance times temperature² and its weight unchanged.

        At temperature 0 they are means of components.
        """
        noise = temperature * torch.randn(count, self.latent_dim, generator=generator).double()
        chosen = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        draws = torch.empty_like(noise)
        for component in torch.unique(chosen).tolist():
            rows, scale = chosen == component, self.scales[component]
            spread = noise[rows] @ scale.T if self.covariance == "full" else noise[rows] * scale
            draws[rows] = self.means[component] + spread
        return draws.float()

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats, N."""
        parts = []
        for weight, mean, scale in zip(self.weights, self.means, self.scales, strict=True):
            if self.covariance == "full":
                white, diagonal = _whitened(z, mean, scale), scale.diagonal()
            else:
                white, diagonal = (z.double() - mean) / scale, scale
            parts.append(weight.log() - 0.5 * (white**2 + LOG_2PI).sum(1) - diagonal.log().sum())
        return torch.logsumexp(torch.stack(parts), 0)

    tensors = nn.Module.state_dict

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what was saved. Raises ValueError that names the tensor with values that cannot be."""
        weights = tensors["weights"]
        if (weights < 0).any() or not math.isclose(float(weights.sum()), 1, abs_tol=1e-6):
            raise ValueError("weights are not those of a mixture: at least 0, and 1 together")
        if self.covariance == "full":
            _check_triangular("scales", tensors["scales"])
        elif not (tensors["scales"] > 0).all():
            raise ValueError("scales are not all above 0, as standard deviations are")
        self.load_state_dict(tensors)


def _check_triangular(name: str, factor: Tensor) -> None:
    if factor.triu(1).any() or not (factor.diagonal(dim1=-2, dim2=-1) > 0).all():
        raise ValueError(f"{name} is no Cholesky factor: lower triangular, above 0 on the diagonal")


def _whitened(z: Tensor, mean: Tensor, scale_tril: Tensor) -> Tensor:
    return cast("Tensor", torch.linalg.solve_triangular(scale_tril, (z.double() - mean).T, upper=False).T)
