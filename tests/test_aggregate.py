"""q(z) from a batch: against sums and integrals that are done by hand, in NumPy and SciPy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import integrate, stats
from torch import Tensor

from corolla.distributions import DiagonalGaussian, kl_terms, log_importance_weights
from corolla.distributions.posterior import AggregateEstimator, log_aggregate, pairwise_log_density
from corolla.errors import UsageError

Weights = Callable[[int, int], Tensor]
F64 = torch.float64


def _posteriors(count: int, latent_dim: int, *, spread: float = 1.0, logvar: float = -1.0) -> DiagonalGaussian:
    rng = np.random.default_rng(count * 10 + latent_dim)
    mean = spread * rng.standard_normal((count, latent_dim))
    return DiagonalGaussian(
        torch.from_numpy(mean), torch.from_numpy(logvar + 0.5 * rng.standard_normal((count, latent_dim)))
    )


def _take(q: DiagonalGaussian, rows: object) -> DiagonalGaussian:
    return DiagonalGaussian(q.mean[rows], q.logvar[rows])  # type: ignore[index]


def _densities(q: DiagonalGaussian, z: Tensor) -> NDArray[np.float64]:
    """q(z_ij | x_n) with SciPy, draws × posteriors × latents."""
    one = stats.norm(q.mean.numpy()[None], np.exp(0.5 * q.logvar.numpy())[None])
    return np.asarray(one.pdf(z.numpy()[:, None]))


def _named(estimator: AggregateEstimator) -> Weights:
    return lambda batch, data: log_importance_weights(batch, data, estimator, dtype=F64)


def _columns(batch: int, data: int) -> Tensor:
    """The mistake to find: a stride of the batch size fills columns where the diagonals should be."""
    others = batch - 1
    weights = torch.full((batch, batch), 1 / others, dtype=F64)
    weights.view(-1)[::batch] = 1 / data
    weights.view(-1)[1::batch] = (data - others) / (data * others)
    weights[others - 1, 0] = (data - others) / (data * others)
    return weights.log()


# --- the weights ------------------------------------------------------------------------------------------------------


def test_stratified_weights_of_four_images_of_ten() -> None:
    own, next_one, other = Fraction(1, 10), Fraction(7, 30), Fraction(1, 3)
    expected = [
        [own, next_one, other, other],
        [other, own, next_one, other],
        [other, other, own, next_one],
        [next_one, other, other, own],
    ]
    weights = log_importance_weights(4, 10, "stratified", dtype=F64).exp()
    assert torch.allclose(weights, torch.tensor([[float(w) for w in row] for row in expected], dtype=F64))
    assert torch.allclose(log_importance_weights(4, 10, "weighted", dtype=F64).exp(), torch.tensor(1 / 40, dtype=F64))
    assert torch.allclose(log_importance_weights(4, 10, "exact").exp(), torch.full((4, 10), 0.1))


@pytest.mark.parametrize(("batch", "data"), [(1, 1), (1, 9), (2, 2), (2, 9), (8, 9), (9, 9), (9, 4), (64, 1020)])
def test_weights_of_small_and_whole_batches(batch: int, data: int) -> None:
    stratified = log_importance_weights(batch, data, "stratified", dtype=F64).exp()
    assert torch.allclose(stratified.sum(1), torch.ones(batch, dtype=F64))
    assert torch.allclose(
        stratified.diagonal(), torch.tensor(1.0 if batch == 1 else 1 / max(batch, data), dtype=F64).expand(batch)
    )
    weighted = log_importance_weights(batch, data, "weighted", dtype=F64).exp()
    assert torch.allclose(weighted.sum(1), torch.tensor(1 / max(batch, data), dtype=F64).expand(batch))
    if batch >= data:
        assert torch.allclose(stratified, torch.full_like(stratified, 1 / batch))


def test_a_batch_of_one_has_no_mutual_information_and_no_correlation() -> None:
    q = _posteriors(1, 3)
    terms = kl_terms(q, q.mean + 0.3, log_importance_weights(1, 500, "stratified", dtype=F64))
    assert torch.allclose(terms.mutual_information, torch.zeros(1, dtype=F64))
    assert torch.allclose(terms.total_correlation, torch.zeros(1, dtype=F64))


def test_sizes_and_names_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="a batch of 0 from 5 images"):
        log_importance_weights(0, 5, "stratified")
    with pytest.raises(UsageError, match="at least 1"):
        log_importance_weights(5, 0, "exact")
    with pytest.raises(UsageError, match="typo: no such estimator"):
        log_importance_weights(4, 5, "typo")  # type: ignore[arg-type]


# --- the density ------------------------------------------------------------------------------------------------------


def test_exact_weights_give_the_mixture_that_is_summed_by_hand() -> None:
    q = _posteriors(7, 3)
    z = q.mean + q.stddev * torch.from_numpy(np.random.default_rng(1).standard_normal((7, 3)))
    by_hand = _densities(q, z)
    assert np.allclose(pairwise_log_density(q, z).exp().numpy(), by_hand, rtol=1e-12)
    joint, product = log_aggregate(q, z, log_importance_weights(7, 7, "exact", dtype=F64))
    assert np.allclose(joint.exp().numpy(), by_hand.prod(2).mean(1), rtol=1e-12)
    assert np.allclose(product.exp().numpy(), by_hand.mean(1).prod(1), rtol=1e-12)


def _mean_estimate(weights: Weights, q: DiagonalGaussian, z: Tensor, batch_size: int) -> NDArray[np.float64]:
    """The estimate of q(z_i), averaged over every batch there is with image i in it, in every order, i = 0, 1, ..."""
    count = len(z)
    log_weights = weights(batch_size, count)
    total, times = np.zeros(count), np.zeros(count)
    for batch in itertools.permutations(range(count), batch_size):
        rows = list(batch)
        joint, _ = log_aggregate(_take(q, rows), z[rows], log_weights)
        total[rows] += joint.exp().numpy()
        times[rows] += 1
    return np.asarray(total / times)


@pytest.mark.parametrize("batch_size", [2, 3, 4])
def test_stratified_density_is_unbiased_and_columns_in_place_of_diagonals_are_not(batch_size: int) -> None:
    # With one latent the joint density is the marginal one as well, so the second case is the check of the marginals.
    for latent_dim in (2, 1):
        q = _posteriors(6, latent_dim)
        z = q.mean + 0.7 * q.stddev
        exact = _densities(q, z).prod(2).mean(1)
        assert np.allclose(_mean_estimate(_named("stratified"), q, z, batch_size), exact, rtol=1e-10)
        wrong = _mean_estimate(_columns, q, z, batch_size)
        assert np.abs(wrong / exact - 1).max() > 0.1


@pytest.mark.parametrize("batch_size", [2, 3, 4])
def test_weighted_density_has_the_bias_that_theory_gives(batch_size: int) -> None:
    q = _posteriors(6, 2)
    z = q.mean + 0.7 * q.stddev
    densities = _densities(q, z).prod(2)
    own, others = densities.diagonal(), (densities.sum(1) - densities.diagonal()) / 5
    expected = (own + (batch_size - 1) * others) / (6 * batch_size)
    assert np.allclose(_mean_estimate(_named("weighted"), q, z, batch_size), expected, rtol=1e-10)


# --- the bias of the logarithm, and so of the terms -------------------------------------------------------------------

COUNT, DRAWS = 24, 6000


def _term_errors(weights: Weights, batch_size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far MI, TC and dimension-wise KL from batches are from those of the whole set at the same draws, on average.

    Returns the three means and their standard errors.
    """
    q = _posteriors(COUNT, 3, logvar=0.0)
    rng = np.random.default_rng(batch_size)
    log_weights, whole = weights(batch_size, COUNT), log_importance_weights(batch_size, COUNT, "exact", dtype=F64)
    errors = []
    for _ in range(DRAWS // batch_size):
        part = _take(q, rng.permutation(COUNT)[:batch_size])
        z = part.mean + part.stddev * torch.from_numpy(rng.standard_normal(part.mean.shape))
        estimate, exact = kl_terms(part, z, log_weights), kl_terms(part, z, whole, posteriors=q)
        errors.append([float((getattr(estimate, name) - getattr(exact, name)).mean()) for name in TERMS])
    table = np.asarray(errors)
    return table.mean(0), table.std(0) / math.sqrt(len(table))


TERMS = ("mutual_information", "total_correlation", "dimension_wise")


def _assert_shrinks(size: NDArray[np.float64]) -> None:
    """From each batch size to the next; the total correlation's, a difference of two biases, on the whole."""
    assert (size[1:, [0, 2]] < 0.75 * size[:-1, [0, 2]]).all()
    assert size[3, 1] < 0.5 * size[:3, 1].max()
    assert np.allclose(size[-1], 0, atol=1e-12)


def test_bias_of_the_stratified_terms_shrinks_to_nothing() -> None:
    means, errors = zip(*(_term_errors(_named("stratified"), size) for size in (2, 4, 8, 16, COUNT)), strict=True)
    bias, error = np.array(means), np.array(errors)
    # Jensen: the logarithm of an unbiased density is too low, so MI is too high and the dimension-wise KL too low.
    assert (bias[:-1, 0] > 4 * error[:-1, 0]).all()
    assert (bias[:-1, 2] < -4 * error[:-1, 2]).all()
    _assert_shrinks(np.abs(bias))


def test_bias_of_the_weighted_terms_shrinks_to_its_constant() -> None:
    constant = np.array([1.0, 2.0, -3.0]) * math.log(COUNT)  # of log 1/N in q(z) and in each of three q(z_j)
    means = [_term_errors(_named("weighted"), size)[0] - constant for size in (2, 4, 8, 16, COUNT)]
    _assert_shrinks(np.abs(np.array(means)))


def test_bias_of_the_columns_is_another_one() -> None:
    right, error = _term_errors(_named("stratified"), 16)
    wrong, _ = _term_errors(_columns, 16)
    assert np.abs(wrong - right).max() > 20 * error.max()


def test_bias_of_the_logarithm_is_half_the_relative_variance() -> None:
    # E log(1 + e) = -Var(e)/2 + O(e³). The variance of a weighted sum over a sample without replacement, from a
    # population of P with variance S², is S² (Σ w² - (Σ w)²/P): finite-population sampling.
    batch_size, others = 12, 11
    q = _posteriors(COUNT, 2, spread=0.5, logvar=0.5)
    z = q.mean
    densities = _densities(q, z).prod(2)
    population = np.array([np.delete(row, i) for i, row in enumerate(densities)])
    stand_in = (COUNT - others) / (COUNT * others)
    weights = np.array([stand_in] + [1 / others] * (others - 1))
    variance = population.var(1, ddof=1) * ((weights**2).sum() - weights.sum() ** 2 / (COUNT - 1))
    expected = float((-0.5 * variance / densities.mean(1) ** 2).mean())
    rng = np.random.default_rng(0)
    log_weights = log_importance_weights(batch_size, COUNT, "stratified", dtype=F64)
    values = []
    for _ in range(3000):
        rows = rng.permutation(COUNT)[:batch_size]
        joint, _ = log_aggregate(_take(q, rows), z[rows], log_weights)
        ratio = np.exp(joint.numpy()) / densities.mean(1)[rows]
        values.append(float((np.log(ratio) - (ratio - 1)).mean()))  # ratio - 1 is zero on average, and takes noise away
    error = float(np.std(values)) / math.sqrt(len(values))
    assert expected < -20 * error
    assert np.mean(values) == pytest.approx(expected, rel=0.02, abs=4 * error)


# --- the terms against integrals --------------------------------------------------------------------------------------


def test_terms_of_a_correlated_mixture_agree_with_numerical_integration() -> None:
    mean = torch.tensor([[-1.5, -1.2], [-0.2, 0.1], [0.4, 0.9], [1.6, 1.1]], dtype=F64)
    q = DiagonalGaussian(mean, torch.tensor([[-2.0, -1.0], [-1.5, -1.5], [-1.0, -2.0], [-1.2, -1.4]], dtype=F64))
    grid = np.linspace(-7, 7, 701)
    sigma = np.exp(0.5 * q.logvar.numpy())
    parts = stats.norm(mean.numpy()[:, :, None], sigma[:, :, None]).pdf(grid)  # image × latent × place
    joint = np.einsum("nx,ny->xy", parts[:, 0], parts[:, 1]) / 4
    marginals = parts.mean(0)

    def integral(values: NDArray[np.float64]) -> float:
        for _ in range(values.ndim):
            values = integrate.simpson(values, x=grid)
        return float(values)

    product = np.multiply.outer(*marginals)
    total_correlation = integral(joint * np.log(joint / product))
    entropies = (0.5 * np.log(2 * np.pi * np.e * sigma**2)).sum(1)
    mutual_information = -integral(joint * np.log(joint)) - float(entropies.mean())
    dimension_wise = sum(integral(m * np.log(m / stats.norm.pdf(grid))) for m in marginals)
    assert total_correlation > 0.3

    draws = 40_000
    many = DiagonalGaussian(q.mean.repeat(draws // 4, 1), q.logvar.repeat(draws // 4, 1))
    z = many.mean + many.stddev * torch.from_numpy(np.random.default_rng(3).standard_normal((draws, 2)))
    terms = kl_terms(many, z, log_importance_weights(draws, 4, "exact", dtype=F64), posteriors=q)
    for name, expected in zip(TERMS, (mutual_information, total_correlation, dimension_wise), strict=True):
        values = getattr(terms, name)
        assert float(values.mean()) == pytest.approx(expected, abs=4 * float(values.std()) / math.sqrt(draws)), name
    # And the three add up to the closed form of the KL, as they must.
    assert mutual_information + total_correlation + dimension_wise == pytest.approx(float(q.kl().mean()), abs=1e-6)


def test_another_prior_moves_the_dimension_wise_part_only() -> None:
    q = _posteriors(5, 2)
    z = q.mean + 0.5
    weights = log_importance_weights(5, 50, "stratified", dtype=F64)
    log_prior = torch.from_numpy(stats.multivariate_normal([0.3, -0.2], [[2.0, 0.4], [0.4, 1.0]]).logpdf(z.numpy()))
    plain, other = kl_terms(q, z, weights), kl_terms(q, z, weights, log_prior=log_prior)
    assert torch.equal(plain.total_correlation, other.total_correlation)
    standard = torch.from_numpy(stats.multivariate_normal([0, 0]).logpdf(z.numpy()))
    assert torch.allclose(other.dimension_wise - plain.dimension_wise, standard - log_prior)
    whole = other.mutual_information + other.total_correlation + other.dimension_wise
    assert torch.allclose(whole, q.log_prob(z) - log_prior)


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["stratified", "weighted"])
def test_gradients_agree_with_finite_differences(estimator: AggregateEstimator) -> None:
    torch.manual_seed(0)
    mean = torch.randn(4, 3, dtype=F64, requires_grad=True)
    logvar = torch.randn(4, 3, dtype=F64, requires_grad=True)
    noise = torch.randn(4, 3, dtype=F64)
    weights = log_importance_weights(4, 20, estimator, dtype=F64)

    def terms(mean: Tensor, logvar: Tensor) -> tuple[Tensor, ...]:
        q = DiagonalGaussian(mean, logvar)
        split = kl_terms(q, mean + q.stddev * noise, weights)
        return split.mutual_information, split.total_correlation, split.dimension_wise

    assert torch.autograd.gradcheck(terms, (mean, logvar))


def test_posteriors_far_apart_and_narrow_stay_finite_in_float32() -> None:
    mean = (100 * torch.arange(8.0)[:, None].expand(8, 4)).requires_grad_()
    logvar = torch.full((8, 4), -12.0, requires_grad=True)
    q = DiagonalGaussian(mean, logvar)
    terms = kl_terms(q, q.mean + 0.0, log_importance_weights(8, 1000, "stratified"))
    # No two posteriors meet, so each image is known for sure: MI is at its ceiling, the log of the number of images.
    assert torch.allclose(terms.mutual_information, torch.full((8,), math.log(1000)), rtol=1e-5)
    for gradient in torch.autograd.grad(terms.total_correlation.mean() + terms.dimension_wise.mean(), [mean, logvar]):
        assert torch.isfinite(gradient).all()
