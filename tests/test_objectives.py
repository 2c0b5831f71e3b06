"""The family of objectives, each against a closed form, a sum by hand or a known optimum."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from corolla.config import Config, Objective, registered
from corolla.distributions import DiagonalGaussian
from corolla.distributions.likelihoods import LogitLikelihood
from corolla.distributions.pixels import Bernoulli, Gaussian
from corolla.errors import UsageError
from corolla.models.vae import VAE
from corolla.objectives.capacity_vae import CapacityVAE
from corolla.objectives.companions import Controller, Discriminator, permute_latents
from corolla.objectives.dip_vae import moment_penalties
from corolla.objectives.free_bits import FreeBits
from corolla.objectives.info_vae import KERNELS, gaussian, mmd2
from corolla.objectives.loss import Loss, LossTerms, build_loss

LATENT_DIM = 7
OBJECTIVES = list(registered("objective"))
Batch = tuple[torch.Tensor, DiagonalGaussian, torch.Tensor, Bernoulli]


def objective_config(name: str, **changes: object) -> Objective:
    """An objective with those of the settings that it has."""
    cls: type[Objective] = registered("objective")[name]
    settings = {"discriminator_width": 8} | changes
    own = {key: value for key, value in settings.items() if key in cls.model_fields and key not in cls.idle}
    return cls.model_validate(own)


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(0)
    x = torch.rand(6, 3, 4, 5, dtype=torch.float64)
    q = DiagonalGaussian(
        torch.randn(6, LATENT_DIM, dtype=torch.float64), torch.randn(6, LATENT_DIM, dtype=torch.float64)
    )
    return x, q, q.sample(), Bernoulli(torch.randn(6, 3, 4, 5, dtype=torch.float64))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_terms_add_up_to_the_loss(name: str, batch: Batch) -> None:
    objective = build_loss(objective_config(name, beta=3.0, warmup_steps=9), LATENT_DIM)
    if objective.companion is not None:
        objective.companion.double()
    torch.manual_seed(1)
    terms = objective(*batch, step=5, data_size=100)
    assert terms.total.shape == ()
    assert sum(float(term) for term in terms.weighted.values()) == pytest.approx(float(terms.total), rel=1e-12)
    assert terms.weighted["reconstruction"] is terms.reconstruction
    assert float(terms.kl) == pytest.approx(float(batch[1].kl().mean()))


@pytest.mark.parametrize("name", ["ae", "dae", "vae", "beta_vae"])
def test_loss_of_a_batch_is_the_mean_of_the_losses_of_its_images(name: str, batch: Batch) -> None:
    x, q, z, p = batch
    objective = build_loss(objective_config(name, beta=3.0), LATENT_DIM)
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


def one_image(name: str, **changes: object) -> LossTerms:
    """Two pixels of 0.5 under logits of 0 cost ln 2 each; one latent at mean 2, unit variance, has a KL of 2."""
    x = torch.full((1, 1, 1, 2), 0.5)
    q = DiagonalGaussian(torch.tensor([[2.0]]), torch.zeros(1, 1))
    return build_loss(objective_config(name, **changes), 1)(x, q, q.mean, Bernoulli(torch.zeros(1, 1, 1, 2)), 0, 1)


def test_one_image_by_hand() -> None:
    reconstruction = 2 * math.log(2)
    assert float(one_image("beta_vae", beta=4.0).total) == pytest.approx(reconstruction + 8)
    assert float(one_image("vae", beta=4.0).total) == pytest.approx(reconstruction + 2)
    assert float(one_image("ae").total) == pytest.approx(reconstruction)
    assert float(one_image("ae").kl) == pytest.approx(2.0)
    assert float(one_image("free_bits", free_nats=3.0).total) == pytest.approx(reconstruction + 3)
    assert float(one_image("free_bits", free_nats=1.0).total) == pytest.approx(reconstruction + 2)
    capacity = one_image("capacity_vae", gamma=10.0, capacity_nats=5.0)
    assert float(capacity.total) == pytest.approx(reconstruction + 20)  # at step 0 the capacity is 0
    # One image has no spread: covariance 0, so the diagonal lacks 1 of its means and has the variance 1 in all.
    assert float(one_image("dip_vae_i", lambda_diagonal=7.0).total) == pytest.approx(reconstruction + 2 + 7)
    assert float(one_image("dip_vae_ii", lambda_diagonal=7.0).total) == pytest.approx(reconstruction + 2)


def test_schedules_are_functions_of_the_step(batch: Batch) -> None:
    kl = float(batch[1].kl().mean())
    warm = build_loss(objective_config("beta_vae", warmup_steps=9), LATENT_DIM)
    for step, weight in [(0, 0.4), (4, 2.0), (9, 4.0), (1000, 4.0), (None, 4.0)]:
        assert float(warm(*batch, step=step, data_size=1).weighted["kl"]) == pytest.approx(weight * kl)
    # Fu et al. 2019: in each cycle the weight grows over the first part and then stays.
    cyclic = build_loss(objective_config("beta_vae", warmup_steps=9, cycle_steps=20), LATENT_DIM)
    for step, weight in [(0, 0.4), (9, 4.0), (19, 4.0), (20, 0.4), (24, 2.0), (45, 2.4), (None, 4.0)]:
        assert float(cyclic(*batch, step=step, data_size=1).weighted["kl"]) == pytest.approx(weight * kl)


def test_capacity_grows_and_costs_to_either_side(batch: Batch) -> None:
    q, z = batch[1], batch[2]
    kl = float(q.kl().mean())
    objective = CapacityVAE(gamma=3.0, capacity_nats=2 * kl, capacity_steps=100)
    for step, expected in [(0, kl), (25, kl / 2), (50, 0.0), (100, kl), (500, kl), (None, kl)]:
        assert float(objective.terms(q, z, step=step)["capacity"]) == pytest.approx(3 * expected, abs=1e-9)


def test_free_bits_do_not_push_on_latents_that_say_little() -> None:
    mean = torch.tensor([[1.0, 0.2], [3.0, -0.2]], requires_grad=True)
    q = DiagonalGaussian(mean, torch.zeros(2, 2))
    term = FreeBits(free_nats=0.5).terms(q, mean)["kl"]
    assert float(term.detach()) == pytest.approx(
        (0.5 + 4.5) / 2 + 0.5
    )  # the second latent has 0.02 nats, and pays for 0.5
    (gradient,) = torch.autograd.grad(term, mean)
    assert torch.allclose(gradient, torch.tensor([[0.5, 0.0], [1.5, 0.0]]))


def test_dip_vae_penalises_the_covariances_of_numpy(batch: Batch) -> None:
    q = batch[1]
    of_means = np.cov(q.mean.numpy(), rowvar=False, bias=True)
    # The aggregated posterior by the law of total variance, for a uniform mixture of the batch's Gaussians.
    aggregate = of_means + np.diag(np.exp(q.logvar.numpy()).mean(0))
    off = ~np.eye(LATENT_DIM, dtype=bool)
    for of_aggregate, covariance in ((False, of_means), (True, aggregate)):
        terms = moment_penalties(q, 2.0, 5.0, aggregate=of_aggregate)
        assert float(terms["off_diagonal"]) == pytest.approx(2 * (covariance[off] ** 2).sum())
        assert float(terms["diagonal"]) == pytest.approx(5 * ((np.diag(covariance) - 1) ** 2).sum())


def test_dip_vae_ii_sees_the_covariance_of_draws_from_the_aggregate() -> None:
    torch.manual_seed(0)
    q = DiagonalGaussian(torch.randn(50, 2) @ torch.tensor([[1.0, 0.6], [0.0, 0.5]]), torch.randn(50, 2) * 0.3 - 1)
    draws = DiagonalGaussian(q.mean.repeat(8000, 1), q.logvar.repeat(8000, 1)).sample().numpy()
    covariance = np.cov(draws, rowvar=False)
    terms = moment_penalties(q, 1.0, 1.0, aggregate=True)
    assert float(terms["off_diagonal"]) == pytest.approx(2 * covariance[0, 1] ** 2, rel=0.03)
    assert float(terms["diagonal"]) == pytest.approx(((np.diag(covariance) - 1) ** 2).sum(), rel=0.1)


@pytest.mark.parametrize("name", KERNELS)
def test_mmd_agrees_with_sums_by_hand(name: str) -> None:
    torch.manual_seed(2)
    a, b = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64) + 1

    def k(x: torch.Tensor, y: torch.Tensor) -> float:
        return float(KERNELS[name](((x - y) ** 2).sum(), 3))

    within = sum(k(s[i], s[j]) for s in (a, b) for i in range(5) for j in range(5) if i != j) / 20
    between = sum(k(x, y) for x in a for y in b) / 25
    assert float(mmd2(a, b, KERNELS[name])) == pytest.approx(within - 2 * between, rel=1e-10)


@pytest.mark.parametrize("name", KERNELS)
def test_mmd_is_unbiased_where_the_distributions_agree(name: str) -> None:
    torch.manual_seed(3)
    values = torch.stack([mmd2(torch.randn(16, 4), torch.randn(16, 4), KERNELS[name]) for _ in range(4000)])
    error = float(values.std()) / math.sqrt(len(values))
    assert abs(float(values.mean())) < 4 * error
    assert float((values < 0).float().mean()) > 0.3  # a biased estimate, with the diagonals, is never negative


def test_mmd_of_two_gaussians_has_its_closed_form() -> None:
    # E k(x, y) for x - y ~ N(m, v·I) is (h²/(h² + v))^(d/2)·exp(-|m|²/2(h² + v)), h² = d.
    torch.manual_seed(4)
    d, shift, scale = 3, 1.5, 0.5

    def expected(v: float, square: float) -> float:
        return float((d / (d + v)) ** (d / 2) * math.exp(-square / (2 * (d + v))))

    exact = expected(2 * scale**2, 0) + expected(2, 0) - 2 * expected(1 + scale**2, d * shift**2)
    values = torch.stack([mmd2(shift + scale * torch.randn(64, d), torch.randn(64, d), gaussian) for _ in range(500)])
    assert float(values.mean()) == pytest.approx(exact, abs=4 * float(values.std()) / math.sqrt(500))


def test_mmd_of_single_points_says_nothing() -> None:
    z = torch.ones(1, 3, requires_grad=True)
    value = mmd2(z, torch.zeros(1, 3), KERNELS["imq"])
    value.backward()  # type: ignore[no-untyped-call]
    assert float(value.detach()) == 0
    assert z.grad is not None


def test_infovae_weights_are_those_of_the_paper(batch: Batch) -> None:
    q = batch[1]
    objective = build_loss(objective_config("info_vae", alpha=0.25, lambda_mmd=10.0), LATENT_DIM)
    torch.manual_seed(5)
    terms = objective(*batch, step=0, data_size=1)
    torch.manual_seed(5)
    discrepancy = mmd2(batch[2], torch.randn_like(batch[2]), KERNELS["imq"])
    assert float(terms.weighted["kl"]) == pytest.approx(0.75 * float(q.kl().mean()))
    assert float(terms.weighted["mmd"]) == pytest.approx(9.25 * float(discrepancy))


def test_beta_tcvae_with_equal_weights_is_the_sampled_elbo(batch: Batch) -> None:
    x, q, z, p = batch
    objective = build_loss(objective_config("beta_tcvae", beta=1.0), LATENT_DIM)
    terms = objective(x, q, z, p, step=0, data_size=50)
    prior = DiagonalGaussian(torch.zeros_like(z), torch.zeros_like(z))
    sampled_kl = float((q.log_prob(z) - prior.log_prob(z)).mean())
    assert float(terms.total) == pytest.approx(float(terms.reconstruction) + sampled_kl)


@given(count=st.integers(2, 40), seed=st.integers(0, 100))
def test_permuting_keeps_every_marginal(count: int, seed: int) -> None:
    torch.manual_seed(seed)
    z = torch.randn(count, 3)
    assert torch.equal(permute_latents(z).sort(0).values, z.sort(0).values)


def test_latents_are_permuted_independently_of_each_other() -> None:
    torch.manual_seed(6)
    same = torch.arange(2000.0)[:, None].repeat(1, 3)
    correlation = np.corrcoef(permute_latents(same).numpy(), rowvar=False)
    assert np.abs(correlation - np.eye(3)).max() < 0.1


def test_discriminator_finds_the_total_correlation_of_a_gaussian() -> None:
    torch.manual_seed(7)
    correlation = 0.8
    exact = -0.5 * math.log(1 - correlation**2)
    factor = torch.linalg.cholesky(torch.tensor([[1.0, correlation], [correlation, 1.0]]))
    discriminator = Discriminator(2, width=48, layers=2, learning_rate=3e-3)
    for _ in range(1200):
        discriminator.update(torch.randn(256, 2) @ factor.T, torch.tensor(0.0))
    with torch.no_grad():
        estimate = float(discriminator.log_ratio(torch.randn(20_000, 2) @ factor.T).mean())
    assert estimate == pytest.approx(exact, abs=0.08)
    assert discriminator.complaint() is None
    # The best cross-entropy is below that of guessing by the Jensen-Shannon divergence.
    assert 0.3 < discriminator.report()["discriminator_loss"] < math.log(2)


def test_model_and_discriminator_do_not_move_each_other(batch: Batch) -> None:
    objective = build_loss(objective_config("factor_vae"), LATENT_DIM)
    assert isinstance(objective.companion, Discriminator)
    discriminator = objective.companion.double()
    mean = batch[1].mean.clone().requires_grad_()
    q = DiagonalGaussian(mean, batch[1].logvar)
    z = q.sample()
    objective(batch[0], q, z, batch[3], step=0, data_size=1).weighted["total_correlation"].backward()  # type: ignore[no-untyped-call]
    assert mean.grad is not None
    assert float(mean.grad.abs().sum()) > 0
    assert all(weight.grad is None for weight in discriminator.parameters())
    before = copy.deepcopy(discriminator.state_dict()["net.0.weight"])
    moved = mean.grad.clone()
    discriminator.update(z.detach(), torch.tensor(0.0))
    assert not torch.equal(discriminator.state_dict()["net.0.weight"], before)
    assert torch.equal(mean.grad, moved)


def test_discriminator_goes_on_from_its_saved_state_bit_for_bit() -> None:
    def steps(discriminator: Discriminator, seeds: range) -> None:
        for seed in seeds:
            torch.manual_seed(seed)
            discriminator.update(torch.randn(8, 3), torch.tensor(0.0))

    torch.manual_seed(8)
    whole = Discriminator(3, width=8, layers=2, learning_rate=1e-2)
    resumed = copy.deepcopy(whole)
    steps(whole, range(6))
    steps(resumed, range(3))
    fresh = Discriminator(3, width=8, layers=2, learning_rate=1e-2)
    fresh.load_state_dict(resumed.state_dict())
    steps(fresh, range(3, 6))
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, fresh.net.state_dict()[name]), name


def test_discriminator_says_when_it_diverges_or_is_always_right() -> None:
    torch.manual_seed(9)
    discriminator = Discriminator(2, width=16, layers=1, learning_rate=1e-2)
    assert discriminator.complaint() is None
    line = torch.linspace(-3, 3, 64)[:, None].repeat(1, 2)
    for _ in range(600):
        discriminator.update(line[torch.randperm(64)] + 0.001 * torch.randn(64, 2), torch.tensor(0.0))
        discriminator.loss.clamp_(max=0.5)
    discriminator.loss.fill_(0.01)
    assert "nearly always right" in str(discriminator.complaint())
    diverging = Discriminator(2, width=16, layers=3, learning_rate=1e3)
    for _ in range(80):
        diverging.update(line[torch.randperm(64)], torch.tensor(0.0))
    assert "has diverged" in str(diverging.complaint())


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_discriminator_leaves_out_a_batch_too_small_to_permute(batch_size: int) -> None:
    discriminator = Discriminator(2, width=4, layers=1, learning_rate=1e-2)
    before = discriminator.net[0].weight.clone()  # type: ignore[operator]
    discriminator.update(torch.randn(batch_size, 2), torch.tensor(0.0))
    assert torch.equal(before, discriminator.net[0].weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", [5.0, 20.0, 60.0])
def test_controller_finds_the_beta_at_which_the_kl_is_the_target(target: float) -> None:
    # The KL of an imagined model that follows its optimum, 100 / (1 + beta), slowly and with noise.
    torch.manual_seed(10)
    controller = Controller(target, proportional=0.01, integral=0.001, max_beta=1000.0)
    kl = torch.tensor(0.0)
    for _ in range(6000):
        kl = kl + 0.05 * (100 / (1 + controller.beta) - kl)
        controller.update(torch.zeros(1), kl + torch.randn(()))
    assert float(kl) == pytest.approx(target, rel=0.1)
    assert float(controller.beta) == pytest.approx(100 / target - 1, rel=0.25)
    assert controller.complaint() is None


def test_controller_follows_equation_5() -> None:
    controller = Controller(10.0, proportional=0.5, integral=0.1, max_beta=100.0)
    total = 0.0
    for kl in (14.0, 13.0, 15.0, 12.0):
        error = 10.0 - kl
        total += error
        controller.update(torch.zeros(1), torch.tensor(kl))
        assert float(controller.beta) == pytest.approx(0.5 / (1 + math.exp(error)) - 0.1 * total, rel=1e-5)


def test_controller_says_when_it_cannot_reach_the_target() -> None:
    too_high = Controller(10.0, proportional=0.01, integral=1.0, max_beta=5.0)
    too_low = Controller(10.0, proportional=0.01, integral=1.0, max_beta=5.0)
    for _ in range(100):
        too_high.update(torch.zeros(1), torch.tensor(50.0))
        too_low.update(torch.zeros(1), torch.tensor(1.0))
    assert "largest beta, 5" in str(too_high.complaint())
    assert "is below the target" in str(too_low.complaint())
    # The sum has not run on meanwhile: the controller lets go as soon as the KL has passed the target.
    for _ in range(3):
        too_high.update(torch.zeros(1), torch.tensor(5.0))
    assert float(too_high.beta) < 5


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "info_vae"])
def test_gradients_agree_with_finite_differences(name: str) -> None:
    torch.manual_seed(1)
    x = torch.rand(4, 1, 2, 2, dtype=torch.float64)
    objective = build_loss(objective_config(name, capacity_nats=1.0), 3)
    if objective.companion is not None:
        objective.companion.double()
        if isinstance(objective.companion, Controller):
            objective.companion.beta.fill_(2.0)
    noise = torch.randn(4, 3, dtype=torch.float64)
    inputs = [torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)]
    inputs.append(torch.randn(4, 1, 2, 2, dtype=torch.float64))

    def loss(mean: torch.Tensor, logvar: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
        q = DiagonalGaussian(mean, logvar)
        z = mean + q.stddev * noise
        bernoulli = objective(x, q, z, Bernoulli(raw), None, 20).total
        return bernoulli + objective(x, q, z, Gaussian(raw, torch.tensor(0.3, dtype=torch.float64)), None, 20).total

    assert torch.autograd.gradcheck(loss, [value.requires_grad_() for value in inputs])


@pytest.mark.parametrize("logvar", [-1e30, -1000.0, -89.0, 50.0, 89.0, 1e30])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_log_variance_makes_a_loss_or_a_gradient_infinite(name: str, logvar: float) -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean = nn.Parameter(3 * torch.randn(6, LATENT_DIM))
            self.logvar = nn.Parameter(torch.cat([torch.full((3, LATENT_DIM), logvar), torch.zeros(3, LATENT_DIM)]))

        def forward(self, _: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.mean, self.logvar

    torch.manual_seed(0)
    vae = VAE(
        Encoder(), nn.Sequential(nn.Linear(LATENT_DIM, 12), nn.Unflatten(1, (3, 2, 2))), LogitLikelihood(Bernoulli)
    )
    loss = build_loss(objective_config(name), LATENT_DIM)
    if isinstance(loss.companion, Controller):
        loss.companion.beta.fill_(2.0)
    x = torch.rand(6, 3, 2, 2)
    q = vae.encode(x)
    z = q.mean if loss.objective.auto_encoder else q.sample()
    terms = loss(x, q, z, vae.decode(z, x), None, 20)
    weights = list(vae.parameters())
    gradients = torch.autograd.grad(terms.total, weights, materialize_grads=True)
    values = [terms.total, terms.kl, *(gradient.norm() for gradient in gradients)]
    assert torch.stack(values).isfinite().all()
    # A log-variance out of bounds is led back wherever the loss has a slope there.
    by_logvar = gradients[1]
    assert (by_logvar[:3] * math.copysign(1, logvar) >= 0).all()
    if name in ("vae", "beta_vae", "control_vae"):
        assert by_logvar[:3].all()


def test_gradient_of_the_mmd_agrees_with_finite_differences() -> None:
    torch.manual_seed(2)
    z = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    prior = torch.randn(4, 3, dtype=torch.float64)
    for kernel in KERNELS.values():
        assert torch.autograd.gradcheck(lambda z, kernel=kernel: mmd2(z, prior, kernel), [z])


def test_auto_encoders_are_marked_and_vae_is_beta_one() -> None:
    for name in OBJECTIVES:
        assert objective_config(name).auto_encoder == (name in ("ae", "dae"))
    vae, beta_vae = one_image("vae"), one_image("beta_vae", beta=1.0)
    assert torch.equal(vae.total, beta_vae.total)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"objective.name": "dae", "objective.noise": 0}, "dae needs noise or mask"),
        ({"objective.name": "factor_vae", "objective.gamma": -1}, "objective.gamma = -1"),
        ({"objective.name": "vae", "objective.beta": 4}, "vae has no such setting; beta_tcvae and beta_vae have it"),
        ({"objective.name": "ae", "objective.warmup_steps": 5}, "warmup_steps means nothing for ae"),
        ({"objective.betta": 2}, "did you mean 'beta'?"),
        ({"objective.mask_patch_px": 4}, "nothing is hidden"),
        ({"objective.perceptual_after": 4}, "set perceptual too"),
        ({"objective.name": "info_vae", "objective.alpha": 2}, "1 - alpha weighs the KL"),
        ({"objective.name": "info_vae", "objective.lambda_mmd": 0.5}, "must not be below 0"),
        ({"objective.cycle_steps": 5}, "set warmup_steps"),
        ({"objective.cycle_steps": 5, "objective.warmup_steps": 5}, "must be more than the 5 warmup_steps"),
        ({"objective.name": "beta_tcvae", "training.batch_size": 2}, "training.batch_size to 4 or more"),
        ({"objective.name": "control_vae", "training.patience": 3}, "leave training.patience out"),
        ({"objective.mask": 1.0}, "objective.mask = 1.0"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(changes: dict[str, object], part: str) -> None:
    with pytest.raises(UsageError) as caught:
        Config().updated(changes)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_perceptual_term_is_the_weighted_distance_to_the_mean_of_the_likelihood() -> None:
    objective = build_loss(objective_config("vae"), 2)
    distance = lambda x, y: (x - y).abs().flatten(1).sum(1)  # noqa: E731
    with_distance = Loss(objective_config("vae", perceptual=3.0), distance=distance)
    torch.manual_seed(3)
    x = torch.rand(4, 3, 16, 16)
    q = DiagonalGaussian(torch.randn(4, 2), torch.randn(4, 2))
    p = Bernoulli(torch.randn(4, 3, 16, 16))
    plain, more = (one(x, q, q.mean, p, 0, 4) for one in (objective, with_distance))
    expected = 3 * float((x - torch.sigmoid(p.logits)).abs().sum()) / 4
    assert float(more.weighted["perceptual"]) == pytest.approx(expected, rel=1e-5)
    assert float(more.total - plain.total) == pytest.approx(expected, rel=1e-4)
    assert torch.equal(more.reconstruction, plain.reconstruction)
    late = Loss(objective_config("vae", perceptual=3.0, perceptual_after=2), distance=distance)
    totals = [late(x, q, q.mean, p, step, 4).total for step in (0, 1, 2, None)]
    assert totals == [plain.total, plain.total, more.total, more.total]
