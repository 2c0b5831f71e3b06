"""Configuration -> run folder. The only package that imports Lightning or a logger.

Everything random in a step is a function of the seed and the step's number: the batch, its augmentation, the noise.
So a run that was killed and resumed ends with the same weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import pickle
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning_utilities.core.rank_zero import rank_zero_only
from rich.console import Console

from corolla.config import RETIRED, Config
from corolla.data import ImageCache, select_rows
from corolla.data.recipes import RECIPES
from corolla.errors import ModelError, TrainingError, UsageError
from corolla.models.lite0 import SMALLEST_PX
from corolla.models.vae import build_model
from corolla.objectives import build_objective
from corolla.progress import ProgressDisplay, shown_progress
from corolla.trained import TrainedModel, load
from corolla.trained.own_images import open_images
from corolla.trained.run_folder import RunFolder, check_run, create_run, new_run_path, versions
from corolla.training.module import TrainingModule
from corolla.training.recorder import Recorder, StopRule, TrainingInterrupted

__all__ = ["StopRule", "TrainingInterrupted", "fit", "fit_cache", "is_finished", "prepare", "resolve", "resume"]

_LOG = logging.getLogger("corolla")


def fit(
    config: Config,
    run: Path | str | None = None,
    *,
    force: bool = False,
    stop_at: StopRule | None = None,
) -> TrainedModel:
    """Train a model and leave a run folder; returns the best model.

    Args:
        config: what to train, on what, and how.
        run: the run folder; by default a new one under `runs/`.
        force: replace the run folder if it exists.
        stop_at: is given each new row of `metrics.csv` but the last, and says whether to end the training there; such
            a run is finished, as one that its patience has ended.

    Raises:
        UsageError: an impossible setting, or the run folder exists.
        DataError: the images cannot be used.
        TrainingError: the loss is not finite, another process trains in the folder, or a file cannot be written.
        TrainingInterrupted: Ctrl-C or SIGTERM; what was reached is saved.
    """
    config = resolve(config)
    _check_machine(config)
    if run is not None and _rank() == 0:
        check_run(Path(run), force=force)  # before anything is downloaded or decoded
    data = prepare(config)
    if _rank() != 0:  # the first process of the same run makes the folder, and tells the others (see Recorder.setup)
        return _train(config, data, RunFolder(Path(run or "runs")), stop_at)
    with create_run(Path(run) if run is not None else new_run_path(config), force=force) as created:
        facts = {"versions": versions(), "data_fingerprint": data.manifest["fingerprint"], "images": len(data.images)}
        created.write_config(config, facts)
        return _train(config, data, created, stop_at)


def fit_cache(config: Config, data: ImageCache, folder: Path, *, quiet: bool = False) -> TrainedModel:
    """Train a model on images that are at hand already; returns the best model.

    What a run writes as it goes comes into the folder, but no `config.yaml`, as there is no source to
    repeat it from.

    Args:
        config: what to train and how; of `config.data`, the size, the splits and the augmentation count.
        data: the images, of that size.
        folder: an empty folder.
        quiet: show no progress, and keep no logger.

    Raises:
        UsageError, DataError, TrainingError, TrainingInterrupted: as `fit`.
    """
    config = resolve(config)
    _check_machine(config)
    return _train(config, data, RunFolder(folder), None, quiet=quiet)


def resume(run: Path | str, *, stop_at: StopRule | None = None) -> TrainedModel:
    """Go on with a run that was stopped or killed; a finished one is only loaded. `stop_at` is that of `fit`.

    Raises:
        UsageError: it is not a run folder.
        ModelError: the checkpoint is damaged, or of another configuration or other images.
        TrainingError: as `fit`.
    """
    folder = RunFolder(Path(run))
    config = folder.config()
    if _read_finished(folder, config):
        return load(folder.path)
    _check_machine(config)
    with folder.held() if _rank() == 0 else nullcontext():
        finished = _read_finished(folder, config)  # as it is now that no other process changes it
        if finished:
            return load(folder.path)
        data = prepare(config)
        if folder.facts().get("data_fingerprint") != data.manifest["fingerprint"]:
            raise ModelError(f"{run}: the images of {config.data.source} have changed since it began; train a new run")
        return _train(config, data, folder, stop_at, resumed=finished is not None)


def is_finished(run: Path | str) -> bool:
    """Whether a run has come to its end; also true of one whose checkpoint was removed, but not its model.

    Raises:
        UsageError: it is not a run folder.
        ModelError: the checkpoint is damaged, or of another configuration.
    """
    folder = RunFolder(Path(run))
    finished = _read_finished(folder, folder.config())
    return folder.model.is_dir() if finished is None else finished


def resolve(config: Config) -> Config:
    """The configuration with all that was left open decided. Raises UsageError on an impossible size."""
    RECIPES[config.data.recipe].check_size(*config.data.size)
    filled = config.objective.filled.model_dump(mode="json")
    config = config.updated({f"objective.{name}": value for name, value in filled.items()})
    if config.training.precision == "auto":
        precision = "bf16-mixed" if _multiplies_bfloat16(config.training.accelerator) else "32-true"
        config = config.updated({"training.precision": precision})
    with torch.device("meta"):
        build_model(config)
    if config.objective.perceptual:
        build_objective(config.objective, config.network.latent_dim)  # says what is not installed
        height, width = config.data.size
        if min(height, width) < SMALLEST_PX:
            raise UsageError(
                f"size {height}x{width}: the perceptual distance needs at least {SMALLEST_PX} pixels to a side; "
                "choose a larger size, or set objective.perceptual to 0"
            )
    return config


def _multiplies_bfloat16(accelerator: str) -> bool:
    """Whether the hardware has bfloat16 matrix units, so that mixed precision is faster and not just smaller."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if accelerator not in ("auto", "cpu"):
        return False
    capabilities: Mapping[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("amx_bf16", False))


def _check_machine(config: Config) -> None:
    """Refuse an accelerator or devices that are not there, before anything is downloaded or replaced."""
    training = config.training
    chatter = logging.getLogger("lightning.pytorch")
    level = chatter.level
    try:
        chatter.setLevel(logging.ERROR)
        pl.Trainer(accelerator=training.accelerator, devices=training.devices, logger=False, enable_checkpointing=False)
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise UsageError(
            f"accelerator {training.accelerator}, devices {training.devices}: {' '.join(str(error).split())}"
        ) from None
    finally:
        chatter.setLevel(level)


def prepare(config: Config) -> ImageCache:
    """The images of a configuration, decoded once. Raises DataError or UsageError where they cannot be used."""
    with shown_progress() as progress:
        cache = open_images(config.data, progress=progress)
    for expression in (config.data.train_split, config.data.eval_split):
        select_rows(cache.splits, expression)
    return cache


def _rank() -> int:
    """This process's place among those that train one run together; Lightning sets it before they start."""
    return int(getattr(rank_zero_only, "rank", 0) or 0)


def _read_finished(run: RunFolder, config: Config) -> bool | None:
    """Whether the run had finished at its last checkpoint, or None before the first one.

    Nothing of the file is kept: a system that forbids to replace a file in use must let training do so.
    """
    path = run.last_checkpoint
    if not path.is_file():
        return None
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        state: dict[str, Any] = checkpoint["callbacks"][Recorder.__name__]
    except (RuntimeError, KeyError, pickle.UnpicklingError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: damaged, or not a checkpoint of a run: {reason}; train a new run") from None
    theirs, ours = Config().flat() | state["settings"], config.flat()  # a setting that came later had its default
    names = sorted((theirs | ours).keys() - set(RETIRED))
    differing = [name for name in names if theirs.get(name) != ours.get(name)]
    if differing:
        was = ", ".join(f"{name} was {theirs.get(name)!r} and is {ours.get(name)!r}" for name in differing)
        raise ModelError(f"{path}: of another configuration than {run.config_file}: {was}; put it back, or train anew")
    return bool(state["finished"])


def _train(
    config: Config,
    data: ImageCache,
    run: RunFolder,
    stop_at: StopRule | None,
    *,
    resumed: bool = False,
    quiet: bool = False,
) -> TrainedModel:
    training = config.training
    with _process_put_back(), warnings.catch_warnings():
        # Lightning's own use of what PyTorch has renamed; nothing that a user could change.
        warnings.filterwarnings("ignore", r".*LeafSpec", FutureWarning)
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        torch.manual_seed(config.seed)
        if training.threads:
            torch.set_num_threads(training.threads)
        vae = build_model(config)
        module = TrainingModule(config, vae, data)
        console = Console(quiet=True) if quiet or _rank() != 0 else None
        try:
            with ProgressDisplay("training", module.total_steps, console=console) as display:
                recorder = Recorder(config, run, display, stop_at)
                trainer = pl.Trainer(
                    accelerator=training.accelerator,
                    devices=training.devices,
                    num_nodes=training.num_nodes,
                    precision=training.precision,  # type: ignore[arg-type]
                    max_epochs=-1,  # the recorder stops at the last step
                    gradient_clip_val=training.clip_norm,
                    callbacks=[recorder],
                    logger=_logger(run) if _rank() == 0 and not quiet else False,
                    deterministic="warn",
                    enable_checkpointing=False,
                    enable_progress_bar=False,
                    enable_model_summary=False,
                    use_distributed_sampler=False,
                    default_root_dir=run.path,
                )
                trainer.fit(module, ckpt_path=run.last_checkpoint if resumed else None, weights_only=True)
        except BrokenPipeError:
            raise  # whoever read the progress has gone
        except OSError as error:
            raise _unwritten(run, error) from None
    return load(recorder.run.path)


def _unwritten(run: RunFolder, error: OSError) -> TrainingError:
    """What to say of a failed write: a file by its name, unless it is the run folder's or the system tells none."""
    name = run.path
    if isinstance(error.filename, str | bytes | Path):
        file = Path(os.fsdecode(error.filename))
        if not file.absolute().is_relative_to(run.path.absolute()):
            name = file
    return TrainingError(f"{name}: cannot be read or written: {error.strerror or error}; what was saved before stays")


@contextmanager
def _process_put_back() -> Iterator[None]:
    """Put back at the end what training and Lightning change in this process."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    chatter = logging.getLogger("lightning.pytorch")
    level = chatter.level
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
        else:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = workspace
        chatter.setLevel(level)
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _logger(run: RunFolder) -> Logger | bool:
    """TensorBoard where the extra is installed; `metrics.csv` is written in any case."""
    if importlib.util.find_spec("tensorboard") is None:
        return False
    return TensorBoardLogger(run.path, name="tensorboard", version="")
