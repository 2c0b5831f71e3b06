"""Configuration -> run folder: begin a run, go on with it, ask whether it has ended.

Everything random in a step is a function of the seed and the step's number: the batch, its augmentation, the noise.
So a run that was killed and resumed ends with the same weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from numpy.typing import ArrayLike

from corolla.config import Config, Objective, register, registered
from corolla.data import ImageCache, select_rows
from corolla.data.batches import Batches
from corolla.data.factor_file import store_given
from corolla.data.given import Given, given
from corolla.data.preprocessing import preprocessing
from corolla.data.recipes import recipe_named
from corolla.data.sources import chosen_split, corolla_home
from corolla.errors import ModelError, UsageError, WriteError
from corolla.models.lite0 import SMALLEST_PX
from corolla.models.networks import Handmade
from corolla.models.vae import VAE, build_model
from corolla.objectives.loss import build_loss
from corolla.pixels import format_of
from corolla.progress import Progress
from corolla.trained import TrainedModel, load
from corolla.trained.own_images import open_images
from corolla.trained.run_folder import RunFolder, check_run, create_run, new_folder, versions
from corolla.training.advice import too_short
from corolla.training.loop import TrainingState, train
from corolla.training.machine import connect, deterministic, multiplies_bfloat16
from corolla.training.recorder import Recorder, StopRule

_LOG = logging.getLogger("corolla")


def fit(
    config: Config,
    run: Path | str | Any = None,
    *,
    force: bool = False,
    stop_at: StopRule | None = None,
    progress: Progress | None = None,
    images: Any = None,
    labels: ArrayLike | None = None,
    factors: ArrayLike | Mapping[str, ArrayLike] | None = None,
    splits: Sequence[str] | None = None,
    vae: VAE | None = None,
    objective: Objective | None = None,
) -> TrainedModel:
    """Train a model and leave a run folder, by default a new one under `runs/`; returns the best model.

    `fit(config, images)` trains on images that are at hand: an array, a tensor, a data set of PyTorch or Hugging Face,
    or a sequence; see `corolla.data.given.given`. They are kept below `COROLLA_HOME` as a source of the kind `array`,
    so that the run can be resumed, scored and reported like any other.

    Args:
        config: what to train, on what, and how.
        run: the run folder; by default a new one under `runs/`.
        force: replace the run folder if it exists.
        stop_at: is given each new row of `metrics.csv` but the last, and says whether to end the training there; such
            a run is finished, as one that its patience has ended.
        progress: Where to say how far training is, such as `corolla.progress.ProgressDisplay("training")`.
        images: Images to train on, in place of `config.data.source`.
        labels: One for each of these images; those of a data set by default.
        factors: Their factors of variation, N×F numbers or columns by name.
        splits: train, val or test for each of them; default: by its number.
        vae: Networks made by hand, in place of `config.network`; they are trained as they are. What is saved can be
            loaded with `corolla.load(run, vae=...)`.
        objective: In place of `config.objective`; it is registered, if it is not yet.

    Raises UsageError on an impossible setting or if the run folder exists, DataError if the images cannot be used,
    TrainingError if the loss is not finite or another process trains in the folder, WriteError, and TrainingInterrupted
    on Ctrl-C or SIGTERM, with all saved.
    """
    if objective is not None:
        known = registered("objective").get(objective.name) or register(type(objective))
        if known is not type(objective):
            raise UsageError(f"objective {objective.name!r} is another class already; give yours another name")
        config = config.model_copy(update={"objective": objective}).updated({})  # checks it with the rest
    if run is not None and not isinstance(run, str | Path):
        run, images = None, run
    if vae is not None:
        config = config.model_copy(update={"network": Handmade(latent_dim=config.network.latent_dim)})
    elif isinstance(config.network, Handmade):
        raise UsageError("network handmade: give the networks, as corolla.fit(config, vae=...)")
    config = resolve(config)
    fabric = connect(config.training)
    if run is not None and fabric.is_global_zero:
        check_run(Path(run), force=force)  # before anything is downloaded or decoded
    if images is not None:
        config = config.updated(
            {
                "data.source": _kept(
                    config,
                    given(
                        images,
                        labels=labels,
                        factors=factors,
                        splits=splits,
                        reading=preprocessing(config.data).reading,
                    ),
                )
            }
        )
    data = prepare(config, progress)
    config = _with_format(config, data)
    if vae is not None:
        config = config.model_copy(update={"network": Handmade(latent_dim=_latent_dim(vae, config))})
    if not fabric.is_global_zero:  # the first process makes the folder, and tells the others (see Recorder)
        return _train(config, data, RunFolder(Path(run or "runs")), fabric, stop_at, vae=vae)
    path = Path(run or new_folder(f"{config.data.source.split(':')[0]}-{config.objective.name}"))
    with create_run(path, force=force) as created:
        facts = {"versions": versions(), "data_fingerprint": data.manifest["fingerprint"], "images": len(data.images)}
        if config.plugins:
            facts["plugins"] = config.plugins
        created.write_config(config, facts)
        return _train(config, data, created, fabric, stop_at, progress, vae=vae)


def fit_cache(config: Config, data: ImageCache, folder: Path, *, progress: Progress | None = None) -> TrainedModel:
    """As `fit`, on images that are at hand already, of which the configuration's size, splits and augmentation count.

    What a run writes comes into the folder, which is empty, but no `config.yaml`: there is no source to repeat it from.
    """
    config = _with_format(resolve(config), data)
    return _train(config, data, RunFolder(folder), connect(config.training), progress=progress, logged=False)


def resume(
    run: Path | str, *, stop_at: StopRule | None = None, progress: Progress | None = None, vae: VAE | None = None
) -> TrainedModel:
    """Go on with a run that was stopped or killed, as `fit`; a finished one is only loaded.

    Raises UsageError if it is not a run folder, and ModelError if the checkpoint is damaged, or of another
    configuration or other images.
    """
    folder = RunFolder(Path(run))
    config = folder.config()
    if _read_finished(folder, config):
        return load(folder.path, vae=vae)
    fabric = connect(config.training)
    with folder.held() if fabric.is_global_zero else nullcontext():
        finished = _read_finished(folder, config)  # as it is now that no other process changes it
        if finished:
            return load(folder.path, vae=vae)
        data = prepare(config, progress)
        if not data.is_of(folder.facts().get("data_fingerprint")):
            raise ModelError(f"{run}: the images of {config.data.source} have changed since it began; train a new run")
        return _train(config, data, folder, fabric, stop_at, progress, resumed=finished is not None, vae=vae)


def is_finished(run: Path | str) -> bool:
    """Whether a run has come to its end; also true of one whose checkpoint was removed, but not its model.

    Raises UsageError if it is not a run folder, and ModelError as `resume`.
    """
    folder = RunFolder(Path(run))
    finished = _read_finished(folder, folder.config())
    return folder.model.is_dir() if finished is None else finished


def resolve(config: Config) -> Config:
    """The configuration with all that was left open decided. Raises UsageError on an impossible size."""
    recipe_named(config.data.recipe).check_size(*config.data.size)
    if config.training.precision == "auto":
        precision = "bf16-mixed" if multiplies_bfloat16(config.training.accelerator) else "32-true"
        config = config.updated({"training.precision": precision})
    if not isinstance(config.network, Handmade):
        with torch.device("meta"):
            build_model(config)
    if config.objective.perceptual:
        build_loss(config.objective, config.network.latent_dim)  # says what is not installed
        height, width = config.data.size
        if min(height, width) < SMALLEST_PX:
            problem = f"size {height}x{width}: the perceptual distance needs at least {SMALLEST_PX} pixels to a side"
            raise UsageError(f"{problem}; choose a larger size, or set objective.perceptual to 0")
    return config


def _with_format(config: Config, data: ImageCache) -> Config:
    """The configuration with what the images decide: channels and bits, and the split to evaluate on."""
    pixels, split = format_of(data.images), chosen_split(data.splits, config.data.eval_split)
    return config.updated({"data.channels": pixels.channels, "data.bits": pixels.bits, "data.eval_split": split})


def _kept(config: Config, images: Given) -> str:
    """The source that images at hand become; those of several sizes are made the model's."""
    if isinstance(images.images, list):
        how = preprocessing(config.data, images.format)
        if how.recipe.name != "fit":
            problem = f"images of several sizes with the recipe `{how.recipe.name}`"
            raise UsageError(f"{problem}: save them as files and give the folder, or choose the recipe fit")
        images = replace(images, images=np.stack([how.apply(image) for image in images.images]))
    return store_given(images, corolla_home())


def _latent_dim(vae: VAE, config: Config) -> int:
    """The latents of networks made by hand. Raises UsageError where they do not fit the images."""
    x = torch.zeros(1, config.data.pixel_format.channels, *config.data.size, device=next(vae.parameters()).device)
    training = vae.training
    try:
        with torch.inference_mode():
            z = vae.eval().encode(x).mean
            shape = tuple(vae.decode(z).mean.shape)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"the networks do not take images of {tuple(x.shape)}: {reason}; set data.size") from None
    finally:
        vae.train(training)
    if z.ndim != 2 or shape != tuple(x.shape):
        raise UsageError(f"the networks make codes {tuple(z.shape)} and images {shape} of images {tuple(x.shape)}")
    return z.shape[1]


def prepare(config: Config, progress: Progress | None = None) -> ImageCache:
    """The images of a configuration, decoded once. Raises DataError or UsageError where they cannot be used."""
    data, progress = config.data, progress or Progress()
    with progress.pieces() as shown:
        cache = open_images(data, progress=shown)
    progress.line(cache.summary)
    for note in cache.notes:
        progress.line(f"  {note}")
    config = _with_format(config, cache)
    if (data.eval_split, config.data.eval_split) == ("auto", "test"):
        progress.line("  no split val: evaluated on test; data.eval_split names another")
    for expression in (
        config.data.train_split,
        config.data.eval_split,
        config.data.select_split or config.data.eval_split,
    ):
        select_rows(cache.splits, expression)
    return cache


def _read_finished(run: RunFolder, config: Config) -> bool | None:
    """Whether the run had finished at its last checkpoint, or None before the first one.

    Raises ModelError if the checkpoint is damaged, or of another configuration.
    """
    path, state = run.last_checkpoint, run.checkpoint_state()
    if state is None:
        return None
    # A setting that came later had its default.
    theirs, ours = Config.from_flat(state["settings"], where=str(path)).flat(), config.flat()
    differing = [name for name in sorted(theirs | ours) if theirs.get(name) != ours.get(name)]
    if differing:
        was = ", ".join(f"{name} was {theirs.get(name)!r} and is {ours.get(name)!r}" for name in differing)
        raise ModelError(f"{path}: of another configuration than {run.config_file}: {was}; put it back, or train again")
    return bool(state["finished"])


def _train(
    config: Config,
    data: ImageCache,
    run: RunFolder,
    fabric: Fabric,
    stop_at: StopRule | None = None,
    progress: Progress | None = None,
    *,
    logged: bool = True,
    resumed: bool = False,
    vae: VAE | None = None,
) -> TrainedModel:
    training = config.training
    # TensorBoard where the extra is installed; `metrics.csv` is written in any case.
    logged = logged and fabric.is_global_zero and importlib.util.find_spec("tensorboard") is not None
    logger = TensorBoardLogger(run.path, name="tensorboard", version="") if logged else None
    with deterministic():
        try:
            fabric.launch()
            if training.threads:
                torch.set_num_threads(training.threads)
            torch.manual_seed(config.seed)
            rows, rank, size = select_rows(data.splits, config.data.train_split), fabric.global_rank, fabric.world_size
            batches = Batches(data.images, rows, training.batch_size, seed=config.seed, rank=rank, world_size=size)
            state = TrainingState(config, batches.steps_per_epoch, vae)
            for sentence in too_short(config, state.total_steps) if fabric.is_global_zero else ():
                _LOG.warning("%s", sentence)
            with (progress if fabric.is_global_zero else None) or Progress() as shown:
                recorder = Recorder(config, run, fabric, state, data, progress=shown, logger=logger, stop_at=stop_at)
                train(fabric, config, state, batches, recorder, resumed=resumed)
        except BrokenPipeError:
            raise  # whoever read the progress has gone
        except OSError as error:
            name = run.path  # and not the file by its name, unless it lies elsewhere
            if isinstance(error.filename, str | bytes | Path):
                file = Path(os.fsdecode(error.filename))
                name = name if file.absolute().is_relative_to(name.absolute()) else file
            problem = f"{name}: cannot be read or written: {error.strerror or error}; what was saved before stays"
            raise WriteError(problem, path=name) from None
        finally:
            if logger is not None:
                logger.finalize("")
    return load(recorder.run.path, vae=None if vae is None else copy.deepcopy(vae).cpu())
