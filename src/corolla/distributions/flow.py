"""A normalising flow as a prior, fitted by maximum likelihood to a trained model's codes; needs the extra `flows`."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from corolla.distributions.priors import FitProgress, GaussianPrior, code_rows
from corolla.errors import UsageError, missing_extra

HIDDEN = (64, 64)
EPOCHS = 200
PATIENCE_EPOCHS = 10
BATCH_SIZE = 256
LEARNING_RATE = 1e-3
HELD_OUT = 0.1
FEWEST_IMAGES = 10
CLIP_NORM = 10.0


class FlowPrior(nn.Module):
    """Standard normal noise through learnt invertible maps, then through the affine map of a `GaussianPrior`.

    With u = scale_tril⁻¹(z - mean) and the flow's map f from u to noise,
    log p(z) = log N(f(u); 0, I) + log|det ∂f/∂u| - log|det scale_tril|.
    """

    def __init__(self, latent_dim: int, flow: Literal["nsf", "maf"] = "nsf", transforms: int = 3) -> None:
        """Build the identity, with `transforms` autoregressive maps one after another.

        They are "nsf", splines (Durkan et al. 2019, arXiv 1906.04032), or "maf", affine (Papamakarios et al. 2017,
        arXiv 1705.07057).
        """
        super().__init__()
        try:
            import zuko
        except ImportError:
            raise missing_extra("flows", "The flow prior") from None
        self.latent_dim = latent_dim
        self.options: dict[str, Any] = {"flow": flow, "transforms": transforms}
        self.gaussian = GaussianPrior(latent_dim)
        kind = zuko.flows.NSF if flow == "nsf" else zuko.flows.MAF
        with torch.random.fork_rng(devices=[]):  # what the caller draws next is not touched
            self.flow: Any = kind(latent_dim, transforms=transforms, hidden_features=HIDDEN)
        for transform in self.flow.transform.transforms:
            # One latent alone has parameters in place of a network.
            last = [*transform.hyper[-1].parameters()] if hasattr(transform, "hyper") else [*transform.parameters()]
            for parameter in last:
                nn.init.zeros_(parameter)

    @classmethod
    def fit(cls, codes: Tensor, *, seed: int = 0, progress: FitProgress | None = None, **options: Any) -> FlowPrior:
        """Maximum likelihood with Adam, stopped when the codes of held-out images gain nothing for PATIENCE_EPOCHS.

        A tenth of the images is held out, with all its draws. The flow starts as the Gaussian of the others, and the
        best state on the held-out ones is kept: there it is never worse than that Gaussian. For the `options` see the
        constructor.
        """
        code_rows(codes)  # refuses what cannot be fitted
        if len(codes) < FEWEST_IMAGES:
            raise UsageError(f"{len(codes)} images: a flow, for which some are held out, needs {FEWEST_IMAGES} or more")
        with torch.inference_mode(False), torch.enable_grad():  # whatever the caller has switched off
            codes = codes.detach().cpu().clone()
            generator = torch.Generator().manual_seed(seed)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                prior = cls(codes.shape[-1], **options)
            codes = codes[torch.randperm(len(codes), generator=generator)]
            held_out_images = max(1, round(HELD_OUT * len(codes)))
            prior.gaussian = GaussianPrior.fit(codes[held_out_images:])
            white = prior.gaussian.whiten(codes.flatten(0, -2)).float()
            held_out_rows = held_out_images * len(white) // len(codes)
            prior._train(white[held_out_rows:], white[:held_out_rows], generator, progress)
        return prior

    def _train(self, train: Tensor, held_out: Tensor, generator: torch.Generator, progress: FitProgress | None) -> None:
        """Adam on whitened codes, N×latent_dim; leaves the state that is best on those held out."""
        # Log-probabilities of whitened codes; those of the codes themselves are lower by this volume.
        log_volume = float(self.gaussian.log_volume)
        optimizer = torch.optim.Adam(self.flow.parameters(), LEARNING_RATE)
        best, best_epoch, best_state = self._mean_log_prob(held_out), 0, copy.deepcopy(self.flow.state_dict())
        for epoch in range(1, EPOCHS + 1):
            shuffled = train[torch.randperm(len(train), generator=generator)]
            for batch in torch.split(shuffled, BATCH_SIZE):
                optimizer.zero_grad()
                loss = -self.flow().log_prob(batch).mean()
                loss.backward()
                nn.utils.clip_grad_norm_(self.flow.parameters(), CLIP_NORM)
                optimizer.step()
            reached = self._mean_log_prob(held_out)
            if reached > best:
                best, best_epoch, best_state = reached, epoch, copy.deepcopy(self.flow.state_dict())
            if progress is not None:
                progress(epoch, EPOCHS, f"held-out log p(z) {reached - log_volume:.2f} nats")
            if epoch - best_epoch >= PATIENCE_EPOCHS:
                break
        self.flow.load_state_dict(best_state)

    def sample(self, count: int, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """Draws, count×latent_dim: noise of standard deviation `temperature` through the maps."""
        noise = temperature * torch.randn(count, self.latent_dim, generator=generator)
        with torch.no_grad():
            return self.gaussian.unwhiten(self.flow().transform.inv(noise)).float()

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats, N; the flow's part is computed in single precision."""
        log_prob: Tensor = self.flow().log_prob(self.gaussian.whiten(z).float()).double()
        return log_prob - self.gaussian.log_volume

    def _mean_log_prob(self, white: Tensor) -> float:
        with torch.no_grad():
            parts = [self.flow().log_prob(rows).sum(dtype=torch.float64) for rows in torch.split(white, 4 * BATCH_SIZE)]
        return float(torch.stack(parts).sum()) / len(white)

    tensors = nn.Module.state_dict

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what was saved. Raises ValueError that names the tensor with values that cannot be."""
        prefix = "gaussian."
        self.gaussian.restore({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        for name, built in self.state_dict().items():
            # Which latent may depend on which follows from the options; were it otherwise, this would be no density.
            if not built.is_floating_point() and not torch.equal(built, tensors[name]):
                raise ValueError(f"{name} is not that of a flow with these options")
        self.load_state_dict(tensors)
