"""What happens between steps: evaluation, the best model, checkpoints, pictures, progress, stopping."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from corolla.config import Config
from corolla.errors import TrainingError, command
from corolla.files import replacing
from corolla.pictures.grids import grid, save_picture
from corolla.progress import ProgressDisplay
from corolla.trained import TrainedModel
from corolla.trained.model_folder import ModelCard, save_model
from corolla.trained.run_folder import RunFolder, versions
from corolla.training.module import TrainingModule
from corolla.training.validation import Evaluation, evaluate

StopRule: TypeAlias = Callable[[Mapping[str, Any]], bool]
"""Given a new row of `metrics.csv`, but for the last, whether to end the training there."""

CHECKPOINT_INTERVAL_SECONDS = 60.0
"""Without `checkpoint_every`, checkpoints are written at evaluations, but not more often than this."""
SAMPLE_PICTURES = 10
"""How many pictures a run leaves when `samples_every` is not set."""


class TrainingInterrupted(TrainingError):  # noqa: N818 - it is not a fault
    """Ctrl-C or SIGTERM: the state is saved, and the message says how to go on."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Recorder(pl.Callback):
    """Writes the run folder. Nothing waits for the device but evaluations, checkpoints and the display."""

    def __init__(
        self, config: Config, run: RunFolder, display: ProgressDisplay, stop_at: StopRule | None = None
    ) -> None:
        self.config, self.run, self.display, self.stop_at = config, run, display, stop_at
        self.best_loss = float("inf")
        self.evaluations_since_best = 0
        self.finished = False
        self.train_seconds = 0.0
        self.sums: Tensor | None = None
        self.summed = 0
        self.rows: list[dict[str, Any]] = []
        self._finite: Tensor | None = None
        self._complaining = False
        self._signal: int | None = None
        self._checkpointed_at = time.monotonic()
        self._tick = self._shown_at = time.perf_counter()
        self._shown_step: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs, and the settings that the state belongs to."""
        names = ("best_loss", "evaluations_since_best", "finished", "train_seconds", "sums", "summed", "rows")
        return {name: getattr(self, name) for name in names} | {"settings": self.config.flat()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # noqa: D102
        for name, value in state_dict.items():
            if name != "settings":
                setattr(self, name, value)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002, D102
        if trainer.world_size > 1:  # only the first process knows which new folder it has made
            self.run = RunFolder(trainer.strategy.broadcast(self.run.path))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        if self.sums is not None:
            self.sums = self.sums.to(pl_module.device)
            self._finite = torch.tensor(self.summed, device=pl_module.device)  # nothing else is saved
        if self.rows and trainer.is_global_zero:
            self.run.write_rows(self.rows)  # what a killed run wrote after its last checkpoint will come again
        assert isinstance(pl_module, TrainingModule)
        self.display.begin(trainer.global_step, pl_module.total_steps)
        self._tick = time.perf_counter()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: Any) -> None:
        self._signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C stops at once

    def on_train_batch_end(  # noqa: D102
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        assert pl_module.terms is not None
        step, training = trainer.global_step, self.config.training
        terms = pl_module.terms
        self.sums = terms if self.sums is None else self.sums + terms
        self.summed += 1
        finite = torch.isfinite(self.sums).all().long()  # a sum that was spoilt once stays so
        self._finite = finite if self._finite is None else self._finite + finite
        self.train_seconds += time.perf_counter() - self._tick

        last = step >= pl_module.total_steps
        evaluation_due = last or step % (training.evaluate_every or pl_module.steps_per_epoch) == 0
        stop = self._stop_signal(trainer, evaluation_due)
        if self._shown_step is None:  # the first step pays for warming up and says nothing of the rate
            self._shown_at, self._shown_step = time.perf_counter(), step
        if self.display.due():
            self._show(pl_module, step, self._shown_step)
        checkpoint_due = self._checkpoint_due(trainer, step, evaluation_due) or last or stop is not None
        if evaluation_due or checkpoint_due:
            self._check_finite(pl_module, step)
        if evaluation_due:
            self._evaluate(trainer, pl_module, step)
            if training.patience and self.evaluations_since_best >= training.patience and not last:
                last = checkpoint_due = True
                self.display.line(f"stopping early: no better model in {training.patience} evaluations")
            if not last and self._told_to_stop(trainer):
                last = checkpoint_due = True
        self.finished = last
        if checkpoint_due:
            self._save_checkpoint(trainer)
        if evaluation_due or checkpoint_due:  # neither counts in the rate that is shown
            self._shown_at, self._shown_step = time.perf_counter(), step
        if last:
            trainer.should_stop = True
        elif stop is not None:
            raise TrainingInterrupted(
                f"{signal.Signals(stop).name}: stopped at step {step} of {pl_module.total_steps}, all saved; "
                f"go on with `{command('train', '--resume', self.run.path)}`",
                128 + stop,
            )
        self._tick = time.perf_counter()

    def _stop_signal(self, trainer: pl.Trainer, evaluation_due: bool) -> int | None:
        if trainer.world_size == 1:
            return self._signal
        # Several processes must agree before one of them may stop; they ask each other at evaluations only.
        if evaluation_due and trainer.strategy.reduce_boolean_decision(self._signal is not None, all=False):
            return self._signal or signal.SIGTERM
        return None

    def _told_to_stop(self, trainer: pl.Trainer) -> bool:
        """Ask the rule that came with the call; the first process decides for all."""
        if self.stop_at is None:
            return False
        told = trainer.is_global_zero and self.stop_at(self.rows[-1])
        return bool(trainer.strategy.broadcast(told)) if trainer.world_size > 1 else told

    def _checkpoint_due(self, trainer: pl.Trainer, step: int, evaluation_due: bool) -> bool:
        if self.config.training.checkpoint_every:
            return step % self.config.training.checkpoint_every == 0
        # The clocks of several processes differ, so they go by the step alone.
        rested = time.monotonic() - self._checkpointed_at > CHECKPOINT_INTERVAL_SECONDS
        return evaluation_due and (rested or trainer.world_size > 1)

    def _check_finite(self, module: TrainingModule, step: int) -> None:
        assert self._finite is not None
        weights = torch.stack([p.detach().sum() for p in module.vae.parameters()]).sum()
        finite, whole = torch.stack([self._finite, torch.isfinite(weights).long()]).tolist()
        if finite == self.summed and whole:
            return
        first = step - self.summed + finite + 1
        what = f"the loss is not finite at step {first}" if first <= step else f"step {step} left weights not finite"
        saved = self.run.last_checkpoint.is_file()
        remedy = (
            f"try a smaller training.learning_rate than {self.config.training.learning_rate:g}, "
            "or training.clip_norm 100"
        )
        complaint = module.companion.complaint() if module.companion else None
        raise TrainingError(
            f"{what}; {complaint or remedy}; "
            + (f"the last good checkpoint stays in {self.run.last_checkpoint}" if saved else "nothing was saved yet")
        )

    def _show(self, module: TrainingModule, step: int, since: int) -> None:
        assert module.terms is not None
        loss, reconstruction, kl = module.terms.tolist()
        if not np.isfinite(loss):
            self._check_finite(module, step)
        now = time.perf_counter()
        images = (step - since) * self.config.training.batch_size * module.trainer.world_size
        self.display.update(
            step,
            f"loss {loss:.1f}  distortion {reconstruction:.1f}  rate {kl:.1f} nats  "
            f"{images / max(1e-9, now - self._shown_at):.0f} images/s",
        )
        self._shown_at, self._shown_step = now, step

    def _evaluate(self, trainer: pl.Trainer, module: TrainingModule, step: int) -> None:
        improved = False
        if trainer.is_global_zero:
            evaluation = evaluate(
                module.best_weights,
                module.loss,
                module.data.images,
                module.eval_rows,
                seed=self.config.seed,
            )
            module.vae.train()
            # Where losses of different steps cannot be compared, the latest model is the best.
            improved = evaluation.scores["loss"] < self.best_loss or not self.config.objective.stationary
            self._write_row(trainer, module, evaluation, step)
            if improved:
                self.best_loss = evaluation.scores["loss"]
                self._save_model(module, evaluation, step)
            self._save_samples(module, step)
        if trainer.world_size > 1:
            improved = trainer.strategy.broadcast(improved)
        self.evaluations_since_best = 0 if improved else self.evaluations_since_best + 1
        self.sums, self.summed, self._finite = None, 0, None

    def _write_row(self, trainer: pl.Trainer, module: TrainingModule, evaluation: Evaluation, step: int) -> None:
        assert self.sums is not None
        loss, reconstruction, kl = (self.sums / self.summed).tolist()
        learning_rate = trainer.optimizers[0].param_groups[0]["lr"]
        row = {
            "step": step,
            "epoch": round(step / module.steps_per_epoch, 3),
            **evaluation.scores,
            "train_loss": loss,
            "train_reconstruction": reconstruction,
            "train_kl": kl,
            **(module.companion.report() if module.companion else {}),
            "learning_rate": float(learning_rate),
            "train_seconds": round(self.train_seconds, 3),
        }
        self.rows.append(row)
        self.run.write_rows(self.rows)
        if trainer.logger is not None:
            trainer.logger.log_metrics({name: float(value) for name, value in row.items() if name != "step"}, step)
        self._pass_on_complaint(module)
        scores = evaluation.scores
        self.display.line(
            f"step {step}/{module.total_steps}: loss {scores['loss']:.1f} (train {loss:.1f})  "
            f"distortion {scores['reconstruction']:.1f}  rate {scores['kl']:.1f} nats  "
            f"PSNR {scores['psnr_db']:.2f} dB  "
            f"{scores['active_latents']:.0f} active latents  {self.train_seconds:.0f} s"
        )

    def _pass_on_complaint(self, module: TrainingModule) -> None:
        """Say once when a discriminator or controller goes wrong, and again only after it has recovered."""
        complaint = module.companion.complaint() if module.companion else None
        if complaint is not None and not self._complaining:
            self.display.line(f"warning: {complaint}")
        self._complaining = complaint is not None

    def _card(self, module: TrainingModule, evaluation: Evaluation, step: int) -> ModelCard:
        manifest = module.data.manifest
        data = {
            "source": self.config.data.source,
            "fingerprint": manifest["fingerprint"],
            "training_images": len(module.train_rows),
            "evaluation_images": len(module.eval_rows),
        }
        return ModelCard(self.config, step, evaluation.scores, evaluation.latent_kl_nats, data, versions())

    def _save_model(self, module: TrainingModule, evaluation: Evaluation, step: int) -> None:
        save_model(self.run.model, module.best_weights, self._card(module, evaluation, step))

    def _save_samples(self, module: TrainingModule, step: int) -> None:
        every = self.config.training.samples_every
        if every is None:
            evaluations = module.total_steps // (self.config.training.evaluate_every or module.steps_per_epoch)
            every = max(1, evaluations // SAMPLE_PICTURES)
        if len(self.rows) % every and step < module.total_steps:
            return
        card = ModelCard(self.config)
        model = TrainedModel(module.best_weights, card, device=module.device)
        originals = module.data.images[module.eval_rows[:8]]
        rows = [originals, model.reconstruct(originals), model.sample(16, seed=self.config.seed)]
        module.vae.train()
        self.run.samples.mkdir(exist_ok=True)
        save_picture(self.run.samples / f"step-{step:07d}.png", grid(np.concatenate(rows), columns=8))

    def _save_checkpoint(self, trainer: pl.Trainer) -> None:
        path = self.run.last_checkpoint
        path.parent.mkdir(exist_ok=True)
        if trainer.is_global_zero:
            with replacing(path) as temporary:
                trainer.save_checkpoint(temporary)
        else:
            trainer.save_checkpoint(path)  # takes part, and writes nothing
        self._checkpointed_at = time.monotonic()
