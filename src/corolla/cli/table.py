"""The commands there are. A command's module is imported when it is called, so that help costs next to nothing."""

from __future__ import annotations

from collections.abc import Mapping

TRAIN, USE, LOOK = "Train", "Use a trained model", "Look"
GROUPS = (TRAIN, USE, LOOK)

COMMANDS: Mapping[str, tuple[str, str, str]] = {
    "demo": (TRAIN, "demo:demo", "Train a small model on drawn flowers, score it, and show what it learnt."),
    "train": (TRAIN, "train:train", "Train a model, and leave a run folder."),
    "sweep": (TRAIN, "sweep:sweep", "Train a grid of settings, and compare the runs."),
    "tune": (TRAIN, "sweep:tune", "Search for good settings; needs the extra `tune`."),
    "presets": (TRAIN, "info:presets", "List the presets that `corolla train --preset` takes."),
    "settings": (TRAIN, "settings:settings", "List the settings of a run, with their defaults."),
    "sample": (USE, "use:sample", "Draw new images from a prior, or around a theme."),
    "fit-prior": (USE, "priors:fit_prior", "Fit a prior to the codes of the training images."),
    "reconstruct": (USE, "use:reconstruct", "Pass images through the model and back."),
    "traverse": (USE, "use:traverse", "Move one latent at a time: what does each of them mean?"),
    "interpolate": (USE, "use:interpolate", "Walk through latent space from image to image."),
    "direction": (USE, "use:direction", "Find the direction that leads to a kind of image, and move along it."),
    "loop": (USE, "use:loop", "Walk on a closed, smooth path through latent space."),
    "poster": (USE, "use:poster", "Fill a poster of any size with new images."),
    "compress": (USE, "compress:compress", "Keep images as codes: tens of bytes each; needs the extra `codec`."),
    "decompress": (USE, "compress:decompress", "Get images back from a .corolla file."),
    "embed": (USE, "features:embed", "Write the codes of images as a table."),
    "search": (USE, "features:search", "Find the embedded images that are nearest to an image."),
    "anomalies": (USE, "anomalies:anomalies", "Rank images by how unlike they are to the training images."),
    "denoise": (USE, "restore:denoise", "Take noise off images."),
    "inpaint": (USE, "restore:inpaint", "Fill gaps in images."),
    "info": (LOOK, "info:info", "Show a run or model: configuration, size, data, scores, latents."),
    "report": (LOOK, "report:report", "Write one HTML page about a run."),
    "evaluate": (LOOK, "scores:evaluate", "Score a model: reconstructions, samples, codes, disentanglement."),
    "compare": (LOOK, "scores:compare", "Put scored models side by side."),
    "estimate": (LOOK, "scores:estimate", "Estimate the likelihood of images, and what the latents hold."),
    "data": (LOOK, "data:data", "Look at the images to train on: list, get, preview, info."),
}
"""Group, function and one line of help of each."""
