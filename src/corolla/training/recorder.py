"""What happens between steps: evaluation, the best model, checkpoints, pictures, progress, stopping."""

from __future__ import annotations

import logging
import signal
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers.logger import Logger
from numpy.typing import NDArray
from torch import Tensor

from corolla.config import Config
from corolla.data import ImageCache, select_rows, spread_rows
from corolla.data.batches import to_float
from corolla.distributions import bits_per_dim
from corolla.distributions.posterior import active_latents
from corolla.errors import TrainingError, command
from corolla.metrics.images import decibels, mean_image_psnr
from corolla.metrics.names import training_words
from corolla.models.vae import VAE
from corolla.objectives.loss import Loss
from corolla.pictures.files import save_picture
from corolla.pictures.grids import grid
from corolla.progress import Progress
from corolla.trained import BATCH_SIZE, TrainedModel
from corolla.trained.checkpoints import read_checkpoint, write_checkpoint
from corolla.trained.likeness import summarise
from corolla.trained.model_folder import ModelCard, ModelFolder
from corolla.trained.run_folder import RunFolder, versions
from corolla.training.loop import TrainingState, data_size

StopRule: TypeAlias = Callable[[Mapping[str, Any]], bool]
"""Given a new row of `metrics.csv`, but for the last, whether to end the training there."""

CHECKPOINT_INTERVAL_SECONDS = 60.0
"""Without `checkpoint_every`, checkpoints are written at evaluations, but not more often than this."""
MOST_FOR_MEAN = 512
"""Images, of those for training and of those held out, that the mean image is measured by."""
SAMPLE_PICTURES = 10
"""How many pictures a run leaves when `samples_every` is not set."""

_LOG = logging.getLogger("corolla")


class TrainingInterrupted(TrainingError):  # noqa: N818 - it is not a fault
    """Ctrl-C or SIGTERM: the state is saved, and the message says how to go on."""

    def __init__(self, problem: str, exit_code: int, **fields: Any) -> None:
        super().__init__(problem, **fields)
        self.exit_code = exit_code


class Recorder:
    """Writes the run folder, in the first process; only evaluations, checkpoints and progress wait for the device.

    `data` holds the images to evaluate on and to show; `logger` takes the rows of `metrics.csv`, too.
    """

    def __init__(
        self,
        config: Config,
        run: RunFolder,
        fabric: Fabric,
        state: TrainingState,
        data: ImageCache,
        *,
        progress: Progress,
        logger: Logger | None = None,
        stop_at: StopRule | None = None,
    ) -> None:
        self.config, self.fabric, self.state, self.data = config, fabric, state, data
        self.progress, self.logger, self.stop_at = progress, logger, stop_at
        self.run = RunFolder(fabric.broadcast(run.path))
        self.eval_rows = select_rows(data.splits, config.data.select_split or config.data.eval_split)
        self.data_size = data_size(config.data, len(select_rows(data.splits, config.data.train_split)))
        self.rows: list[dict[str, Any]] = []
        self.best_loss, self.evaluations_since_best = float("inf"), 0
        self.finished, self.train_seconds = False, 0.0
        self.sums: Tensor | None = None
        self.summed = 0
        self._finite: Tensor | None = None
        self._complaining = False
        self._signal: int | None = None
        self._checkpointed_at = time.monotonic()
        self._tick = self._shown_at = time.perf_counter()
        self._shown_step: int | None = None

    def resume(self) -> None:
        """Go to the step of the run's checkpoint. Raises ModelError if it is damaged."""
        checkpoint = read_checkpoint(self.run.last_checkpoint)
        self.state.load_state_dict(checkpoint)
        self.fabric.strategy.precision.load_state_dict(checkpoint["scaler"])
        for name, value in checkpoint["record"].items():
            setattr(self, name, value)
        if self.sums is not None:
            self.sums = self.sums.to(self.fabric.device)
            self._finite = torch.tensor(self.summed, device=self.fabric.device)  # nothing else is saved

    def begin(self) -> None:
        """Start the clocks, and listen to signals."""
        if self.rows and self.fabric.is_global_zero:
            self.run.write_rows(self.rows)  # what a killed run wrote after its last checkpoint will come again
        self.progress.begin(self.state.step, self.state.total_steps)
        self._tick = time.perf_counter()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: Any) -> None:
        self._signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C stops at once

    def after_step(self, terms: Tensor) -> bool:
        """Record a step, and do what is due after it; returns whether training has come to its end.

        `terms` are loss, reconstruction and KL of the step, on their device. Raises TrainingError if the loss or the
        weights are not finite, and TrainingInterrupted if a signal came; all is saved then.
        """
        state, training = self.state, self.state.training
        step = state.step
        self.sums = terms if self.sums is None else self.sums + terms
        self.summed += 1
        finite = torch.isfinite(self.sums).all().long()  # a sum that was spoilt once stays so
        self._finite = finite if self._finite is None else self._finite + finite
        self.train_seconds += time.perf_counter() - self._tick

        last = step >= state.total_steps
        evaluation_due = last or step % (training.evaluate_every or state.steps_per_epoch) == 0
        stop = self._stop_signal(evaluation_due)
        if self._shown_step is None:  # the first step pays for warming up and says nothing of the rate
            self._shown_at, self._shown_step = time.perf_counter(), step
        if self.progress.due():
            self._show(terms, self._shown_step)
        checkpoint_due = self._checkpoint_due(evaluation_due) or last or stop is not None
        if evaluation_due or checkpoint_due:
            self._check_finite()
        if evaluation_due:
            self._evaluate()
            if training.patience and self.evaluations_since_best >= training.patience and not last:
                last = checkpoint_due = True
                self.progress.line(f"stopping early: no better model in {training.patience} evaluations")
            if not last and self.stop_at is not None:  # the first process decides for all
                last = bool(self.fabric.broadcast(self.fabric.is_global_zero and self.stop_at(self.rows[-1])))
                checkpoint_due = checkpoint_due or last
        self.finished = last
        if checkpoint_due:
            self._save_checkpoint()
        if evaluation_due or checkpoint_due:  # neither counts in the rate that is shown
            self._shown_at, self._shown_step = time.perf_counter(), step
        if last:
            for row in self.rows[-1:]:  # the first process has them
                self.progress.line(
                    f"step {row['step']}/{state.total_steps}: {training_words(row)}; "
                    f"train loss {row['train_loss']:.1f}; {self.train_seconds:.0f} s"
                )
        elif stop is not None:
            problem = f"{signal.Signals(stop).name}: stopped at step {step} of {state.total_steps}, all saved"
            remedy = f"go on with `{command('train', '--resume', self.run.path)}`"
            raise TrainingInterrupted(problem, 128 + stop, step=step, remedy=remedy)
        self._tick = time.perf_counter()
        return last

    def _stop_signal(self, evaluation_due: bool) -> int | None:
        if self.fabric.world_size == 1:
            return self._signal
        # Several processes must agree before one of them may stop; they ask each other at evaluations only.
        agreed = evaluation_due and self._of_all(torch.tensor(self._signal is not None), "max")
        return (self._signal or signal.SIGTERM) if agreed else None

    def _of_all(self, value: Tensor, operation: str = "mean") -> Tensor:
        """A value of all processes together."""
        value = self.fabric.to_device(value.long() if value.dtype == torch.bool else value.clone())
        reduced = self.fabric.all_reduce(value, reduce_op=operation)
        assert isinstance(reduced, Tensor)
        return reduced

    def _checkpoint_due(self, evaluation_due: bool) -> bool:
        if self.config.training.checkpoint_every:
            return self.state.step % self.config.training.checkpoint_every == 0
        # The clocks of several processes differ, so they go by the step alone.
        rested = time.monotonic() - self._checkpointed_at > CHECKPOINT_INTERVAL_SECONDS
        return evaluation_due and (rested or self.fabric.world_size > 1)

    def _check_finite(self) -> None:
        """Raise TrainingError, in all processes together, if a loss or the weights are not finite."""
        assert self._finite is not None
        step = self.state.step
        weights = torch.stack([p.detach().sum() for p in self.state.vae.parameters()]).sum()
        finite, whole = self._of_all(torch.stack([self._finite, torch.isfinite(weights).long()]), "min").tolist()
        if finite == self.summed and whole:
            return
        first = step - self.summed + finite + 1
        what = f"the loss is not finite at step {first}" if first <= step else f"step {step} left weights not finite"
        rate, saved = self.config.training.learning_rate, self.run.last_checkpoint
        complaint = self.state.companion.complaint() if self.state.companion else None
        remedy = complaint or f"try a smaller training.learning_rate than {rate:g}, or training.clip_norm 100"
        kept = f"the last good checkpoint stays in {saved}" if saved.is_file() else "nothing was saved yet"
        raise TrainingError(f"{what}; {remedy}; {kept}")

    def _show(self, terms: Tensor, since: int) -> None:
        loss, _, kl = terms.tolist()
        step, now = self.state.step, time.perf_counter()
        if not np.isfinite(loss) and self.fabric.world_size == 1:  # several processes look together
            self._check_finite()
        images = (step - since) * self.config.training.batch_size * self.fabric.world_size
        evaluated = f"  evaluation {self.rows[-1]['loss']:.1f}" if self.rows else ""
        speed = images / max(1e-9, now - self._shown_at)
        self.progress.update(step, f"loss {loss:.1f}{evaluated}  rate {kl:.1f} nats  {speed:.0f} images/s")
        self._shown_at, self._shown_step = now, step

    def _evaluate(self) -> None:
        state = self.state
        assert self.sums is not None
        trained = self._of_all(self.sums / self.summed).tolist()
        improved = False
        if self.fabric.is_global_zero:
            images, seed = self.data.images, self.config.seed
            size = {"batch_size": self.config.training.batch_size} if self.config.objective.least_batch > 1 else {}
            scores, kl_nats, held_out = evaluate(
                state.best_weights, state.loss, images, self.eval_rows, seed=seed, data_size=self.data_size, **size
            )
            state.vae.train()
            # Where losses of different steps cannot be compared, the latest model is the best.
            improved = scores["loss"] < self.best_loss or not self.config.objective.stationary
            self._write_row(scores, trained)
            if improved:
                self.best_loss = scores["loss"]
                data = {
                    "source": self.config.data.source,
                    "fingerprint": self.data.manifest["fingerprint"],
                    "training_images": len(select_rows(self.data.splits, self.config.data.train_split)),
                    "evaluation_images": len(self.eval_rows),
                    "mean_image_psnr_db": self._mean_image_psnr_db,
                    "held_out": held_out,
                }
                card = ModelCard(self.config, state.step, scores, kl_nats, data, versions())
                ModelFolder(self.run.model, self.run).save(state.best_weights, card)
            self._save_samples()
        improved = self.fabric.broadcast(improved)
        self.evaluations_since_best = 0 if improved else self.evaluations_since_best + 1
        self.sums, self.summed, self._finite = None, 0, None

    @cached_property
    def _mean_image_psnr_db(self) -> float:
        """What a model would have to beat; see `mean_image_psnr`. Of many images, of some evenly spread."""
        training = select_rows(self.data.splits, self.config.data.train_split)
        seen, held_out = (
            np.asarray(self.data.images[spread_rows(rows, MOST_FOR_MEAN)]) for rows in (training, self.eval_rows)
        )
        return round(float(mean_image_psnr(seen, held_out).mean()), 4)

    def _write_row(self, scores: Mapping[str, float], trained: list[float]) -> None:
        state = self.state
        row = {
            **{"step": state.step, "epoch": round(state.step / state.steps_per_epoch, 3)},
            **scores,
            **dict(zip(("train_loss", "train_reconstruction", "train_kl"), trained, strict=True)),
            **(state.companion.report() if state.companion else {}),
            **{"learning_rate": state.learning_rate, "train_seconds": round(self.train_seconds, 3)},
        }
        self.rows.append(row)
        self.run.write_rows(self.rows)
        if self.logger is not None:
            self.logger.log_metrics({name: float(value) for name, value in row.items() if name != "step"}, state.step)
        complaint = state.companion.complaint() if state.companion else None
        if complaint is not None and not self._complaining:  # once, and again only after it has recovered
            _LOG.warning("%s", complaint)
        self._complaining = complaint is not None

    def _save_samples(self) -> None:
        state, training = self.state, self.state.training
        evaluations = state.total_steps // (training.evaluate_every or state.steps_per_epoch)
        every = training.samples_every or max(1, evaluations // SAMPLE_PICTURES)
        if len(self.rows) % every and state.step < state.total_steps:
            return
        model = TrainedModel(state.best_weights, ModelCard(self.config), device=self.fabric.device)
        originals = self.data.images[self.eval_rows[:8]]
        rows = [originals, model.reconstruct(originals), model.sample(16, seed=self.config.seed)]
        state.vae.train()
        self.run.samples.mkdir(exist_ok=True)
        save_picture(self.run.samples / f"step-{state.step:07d}.png", grid(np.concatenate(rows), columns=8))

    def _save_checkpoint(self) -> None:
        if self.sums is not None:
            self.sums = self._of_all(self.sums)  # a resumed run goes on in all processes with what the first has saved
        if self.fabric.is_global_zero:
            names = ("best_loss", "evaluations_since_best", "finished", "train_seconds", "sums", "summed", "rows")
            checkpoint = {
                **self.state.state_dict(),
                "scaler": self.fabric.strategy.precision.state_dict(),
                "record": {name: getattr(self, name) for name in names},
                "settings": self.config.flat(),
            }
            write_checkpoint(self.run.last_checkpoint, checkpoint)
        self._checkpointed_at = time.monotonic()


def evaluate(
    vae: VAE,
    loss: Loss,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    *,
    seed: int,
    batch_size: int = BATCH_SIZE,
    data_size: int | None = None,
) -> tuple[dict[str, float], tuple[float, ...], dict[str, list[float]]]:
    """Averages over images by name, in nats per image, PSNR in dB and bits per dimension; and the KL of each latent.

    Third comes what `summarise` keeps of the images.
    The loss is the objective's at the end of its schedules, so that one during a warm-up compares with later ones.
    Where its terms are estimated from a whole batch, `batch_size` and `data_size` have to be those of the training for
    the same estimate; by default the latter is the number of rows. The
    draws from q(z|x) are fixed by the seed, so that two models see the same noise. PSNR is that of the
    reconstruction from the posterior's mean. Bits per dimension are those of reconstruction and KL together, where
    p(x|z) is a probability of 8-bit pixels: an upper bound on -log₂ p(x) per pixel and channel.
    """
    device, points = next(vae.parameters()).device, loss.objective.auto_encoder
    vae.eval()
    totals = latent_kl = torch.zeros((), dtype=torch.float64)
    per_image: list[Tensor] = []  # PSNR and contrast
    generator = torch.Generator(device=device).manual_seed(zlib.crc32(f"evaluation {seed}".encode()))
    forked = [device] if device.type == "cuda" else []
    with torch.inference_mode(), torch.random.fork_rng(devices=forked):
        torch.manual_seed(seed)  # for objectives that draw from the prior
        starts = list(range(0, len(rows), batch_size))
        if len(starts) > 1 and len(rows) - starts[-1] < loss.objective.least_batch:
            starts.pop()  # the terms cannot be computed of so few images, which go with those before them
        for chosen in np.split(rows, starts[1:]):
            batch = torch.from_numpy(images[chosen]).permute(0, 3, 1, 2)
            x = to_float(batch.to(device))
            q = vae.encode(x)
            noise = torch.randn(q.mean.shape, generator=generator, device=device)
            z = q.mean if points else q.mean + q.stddev * noise
            p = vae.decode(z)
            terms = loss(x, q, z, p, None, data_size or len(rows))
            mean = p.mean if points else vae.decode(q.mean).mean
            psnr = decibels(((mean - x) ** 2).flatten(1).mean(1), torch.log10)
            per_image.append(torch.stack([psnr, x.flatten(2).var(2, correction=0).mean(1).sqrt()]).cpu())
            values = torch.stack([terms.total, terms.reconstruction, terms.kl, psnr.mean()])
            totals = totals + values.cpu().double() * len(x)
            latent_kl = latent_kl + q.kl_per_latent().cpu().double().sum(0)
    names = ("loss", "reconstruction", "kl", "psnr_db")
    scores = {name: total / len(rows) for name, total in zip(names, totals.tolist(), strict=True)}
    if p.discrete and not points:  # an auto-encoder's terms bound no probability
        scores["bits_per_dim"] = bits_per_dim(scores["reconstruction"] + scores["kl"], x[0].numel())
    kl = (latent_kl / len(rows)).tolist()
    scores["active_latents"] = float(active_latents(kl).sum())
    return scores, tuple(kl), summarise(*torch.cat(per_image, 1).numpy())
