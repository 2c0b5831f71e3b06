"""How far the exported graphs, run in ONNX Runtime, are from the model itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.distributions.priors import GaussianPrior, MixturePrior
from corolla.errors import ModelError
from corolla.trained import TrainedModel

ENCODER, DECODER, SAMPLER = "encoder.onnx", "decoder.onnx", "prior-{}.onnx"

Arrays = dict[str, NDArray[Any]]

_SEED = 0


@dataclass(frozen=True)
class Differences:
    """The largest differences of exported graphs from the model, or the largest that are allowed.

    Attributes:
        latents: Of means, log-variances and draws from priors.
        pixels: Of decoded images, in levels of 255 whatever the number of bits.
    """

    latents: float
    pixels: float

    def check(self, tolerance: Differences, what: Path | str) -> None:
        """Raise ModelError if one of them is larger than the tolerance, or not a number."""
        for name, unit in (("latents", ""), ("pixels", " levels of 255")):
            value, most = getattr(self, name), getattr(tolerance, name)
            if not value <= most:  # so that NaN is refused
                raise ModelError(
                    f"{what}: the {name} of the exported graphs differ from the model's by {value:.2g}{unit}, more "
                    f"than {most:g}"
                )


TOLERANCES = {"float32": Differences(1e-4, 1.0), "float16": Differences(0.01, 2.0)}
"""The largest differences that are allowed, by the type of the weights. Rounding a weight to float16 moves it by up to
1/2048 of itself, which changes latents and pixels by more than the order of sums does."""


def expected_of(model: TrainedModel, images: NDArray[Any], priors: Mapping[str, Any]) -> Arrays:
    """What the model gives for levels N×H×W×C, for latents, and for draws that become latents of each prior.

    The latents are the images' means and as many draws from N(0, I).
    """
    rng = np.random.default_rng(_SEED)
    count = len(images)
    q = model.posterior(images)
    normal = rng.standard_normal((count, model.latent_dim)).astype(np.float32)
    latents = np.concatenate([q.mean.numpy(), normal])
    arrays: Arrays = {"images": images, "mean": q.mean.numpy(), "logvar": q.logvar.numpy(), "latents": latents}
    arrays["image"] = model.decode(latents)
    arrays |= {"normal": normal, "uniform": rng.random(count, np.float32)}
    for name, prior in priors.items():
        arrays[SAMPLER.format(name)] = _draws(prior, normal, arrays["uniform"])
    return arrays


def _draws(prior: GaussianPrior | MixturePrior, normal: NDArray[Any], uniform: NDArray[Any]) -> NDArray[np.float32]:
    """The latents that a prior makes of draws, computed in double precision, one draw after the other."""
    if isinstance(prior, GaussianPrior):
        means, scales, weights = prior.mean[None].numpy(), prior.scale_tril[None].numpy(), np.ones(1)
    else:
        means, scales, weights = (each.numpy() for each in (prior.means, prior.scales, prior.weights))
    # In single precision, as the graph has it: else a draw on an edge could fall to either side.
    edges = np.cumsum(weights)[:-1].astype(np.float32)
    draws = np.empty(normal.shape, np.float32)
    for index, (noise, u) in enumerate(zip(normal.astype(np.float64), uniform, strict=True)):
        component = int(np.searchsorted(edges, u, side="right"))
        scale = scales[component]
        draws[index] = means[component] + (scale @ noise if scale.ndim == 2 else scale * noise)
    return draws


def differences(folder: Path, graphs: Collection[str], *expected: Arrays) -> Differences:
    """The largest differences of what a folder's graphs give; each is run on all rows at once, and on the first alone.

    Raises ModelError if ONNX Runtime cannot run a file.
    """
    latents, pixels = [], []
    for rows in [{name: array[:count] for name, array in each.items()} for each in expected for count in (None, 1)]:
        mean, logvar = run_graph(folder / ENCODER, rows)
        (image,) = run_graph(folder / DECODER, rows)
        latents += [_largest(mean, rows["mean"]), _largest(logvar, rows["logvar"])]
        pixels.append(_largest(image, rows["image"]) * 255 / np.iinfo(rows["image"].dtype).max)
        for name in set(graphs) - {ENCODER, DECODER}:
            (draws,) = run_graph(folder / name, rows)
            latents.append(_largest(draws, rows[name]))
    return Differences(float(np.max(latents)), float(np.max(pixels)))  # NaN stays NaN


def run_graph(file: Path, values: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """The outputs of an ONNX file on the CPU, for the values that it has inputs for. Raises ModelError."""
    from onnxruntime import InferenceSession
    from onnxruntime.capi import onnxruntime_pybind11_state as faults

    errors = (faults.Fail, faults.InvalidGraph, faults.InvalidProtobuf, faults.InvalidArgument, faults.NotImplemented)
    try:
        session = InferenceSession(str(file), providers=["CPUExecutionProvider"])
        inputs = {each.name for each in session.get_inputs()}
        outputs: list[NDArray[Any]] = session.run(None, {name: values[name] for name in values if name in inputs})
    except errors as error:
        problem = f"{file}: ONNX Runtime cannot run it: {' '.join(str(error).split())}"
        raise ModelError(problem, path=file, remedy="export the model again") from None
    return outputs


def graph_facts(file: Path) -> dict[str, str]:
    """The metadata of an ONNX file, by name."""
    import onnx

    proto = onnx.load(file, load_external_data=False)
    return {entry.key: entry.value for entry in proto.metadata_props}


def _largest(given: NDArray[Any], expected: NDArray[Any]) -> float:
    if given.shape != expected.shape or given.dtype != expected.dtype:
        return float("nan")
    return float(np.max(np.abs(given.astype(np.float64) - expected.astype(np.float64)), initial=0.0))
