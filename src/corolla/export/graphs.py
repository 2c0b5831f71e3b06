"""Encoder, decoder and the sampler of a fitted prior -> ONNX graphs.

Images go in and come out as levels N×H×W×C of the model's format: what turns them into floats is part of the graphs.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from corolla import __version__
from corolla.distributions.priors import GaussianPrior, MixturePrior
from corolla.errors import ModelError, missing_extra
from corolla.trained import TrainedModel

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
BATCH = "N"
"""What the dimension is called that may have any length."""

_LARGEST_BYTES = 2 * 10**9  # a protocol buffer, which an ONNX file is, holds less than 2 GiB


@dataclass(frozen=True)
class Graph:
    """What becomes one ONNX file: a module, examples of its inputs by their names, and the names of its outputs."""

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]


class _Encoder(nn.Module):
    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.vae, self.largest = model.vae, float(model.pixel_format.largest)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        q = self.vae.encode(images.permute(0, 3, 1, 2).to(torch.float32) / self.largest)
        return q.mean, q.logvar


class _Decoder(nn.Module):
    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.vae, self.largest = model.vae, float(model.pixel_format.largest)
        self.dtype = getattr(torch, str(model.pixel_format.dtype))

    def forward(self, latents: Tensor) -> Tensor:
        levels = (self.vae.decode(latents).mean * self.largest).round().clamp(0.0, self.largest)
        return levels.permute(0, 2, 3, 1).to(self.dtype)


class _GaussianSampler(nn.Module):
    """z = mean + scale·ε."""

    mean: Tensor
    scale: Tensor

    def __init__(self, prior: GaussianPrior) -> None:
        super().__init__()
        self.register_buffer("mean", prior.mean.float())
        self.register_buffer("scale", prior.scale_tril.T.float().contiguous())

    def forward(self, normal: Tensor) -> Tensor:
        return self.mean + normal @ self.scale


class _MixtureSampler(nn.Module):
    """Component k where u lies between the summed weights before k and those up to k; z = means[k] + scales[k]·ε."""

    edges: Tensor
    means: Tensor
    scales: Tensor

    def __init__(self, prior: MixturePrior) -> None:
        super().__init__()
        self.full = prior.covariance == "full"
        self.register_buffer("edges", prior.weights.cumsum(0)[:-1].float())
        self.register_buffer("means", prior.means.float())
        self.register_buffer("scales", prior.scales.float())

    def forward(self, normal: Tensor, uniform: Tensor) -> Tensor:
        chosen = (uniform[:, None] >= self.edges).to(torch.int64).sum(1)
        means, scales = self.means[chosen], self.scales[chosen]
        return means + ((scales @ normal[..., None])[..., 0] if self.full else scales * normal)


def encoder_graph(model: TrainedModel) -> Graph:
    """`images`, levels N×H×W×C -> `mean` and `logvar`, float32 N×latent_dim."""
    pixels = model.pixel_format
    levels = np.zeros((2, model.height, model.width, pixels.channels), pixels.dtype)
    images = torch.from_numpy(levels).to(model.device)
    return Graph(_Encoder(model), {"images": images}, ("mean", "logvar"))


def decoder_graph(model: TrainedModel) -> Graph:
    """`latents`, float32 N×latent_dim -> `image`, levels N×H×W×C rounded as `TrainedModel.decode` does."""
    return Graph(_Decoder(model), {"latents": torch.zeros(2, model.latent_dim, device=model.device)}, ("image",))


def sampler_graph(prior: Any) -> Graph | None:
    """`normal`, draws from N(0, I), and for a mixture `uniform`, draws from [0, 1) -> `latents`; None of other priors.

    A temperature is a factor of `normal`.
    """
    if isinstance(prior, GaussianPrior):
        return Graph(_GaussianSampler(prior), {"normal": torch.zeros(2, prior.latent_dim)}, ("latents",))
    if isinstance(prior, MixturePrior):
        inputs = {"normal": torch.zeros(2, prior.latent_dim), "uniform": torch.zeros(2)}
        return Graph(_MixtureSampler(prior), inputs, ("latents",))
    return None


def check_extra() -> None:
    """Raise UsageError if the extra `export` is not installed."""
    if any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        raise missing_extra("export", "Exporting a model to ONNX, or checking one,")


def to_onnx(graph: Graph, facts: Mapping[str, str], *, half: bool = False) -> ModelProto:
    """The graph as ONNX, with `facts` as its metadata; with `half`, weights are kept in float16 and used in float32.

    Raises ModelError if PyTorch cannot write the module as ONNX, as may be with a plugin's network.
    """
    import onnx

    if sum(tensor.numel() * tensor.element_size() for tensor in graph.module.state_dict().values()) > _LARGEST_BYTES:
        raise ModelError("the model's weights are larger than 2 GB, more than one ONNX file can hold")
    with _silent(), torch.no_grad():
        try:
            program = torch.onnx.export(
                graph.module.eval(),
                tuple(graph.inputs.values()),
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                dynamo=True,
                dynamic_shapes=tuple({0: torch.export.Dim(BATCH)} for _ in graph.inputs),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
                custom_translation_table={torch.ops.aten.copysign.Tensor: _copysign()},
            )
        except torch.onnx.OnnxExporterError as error:
            reason = " ".join(str(error.__cause__ or error).split())[:300]
            raise ModelError(f"the model cannot be written as ONNX: {reason}") from error
    assert program is not None  # None is what the older exporter gives
    proto = program.model_proto
    _strip(proto)
    if half:
        _halve(proto)
    proto.producer_name, proto.producer_version = "corolla", __version__
    onnx.helper.set_model_props(proto, dict(facts))
    onnx.checker.check_model(proto)
    return proto


def _copysign() -> Any:
    """The operation that ONNX lacks, of which the continuous Bernoulli's mean is made."""
    from onnxscript import opset18

    def copysign(size: Any, sign: Any) -> Any:
        # At a sign of 0 the result is 0; there the mean takes nothing of it.
        return opset18.Mul(opset18.Abs(size), opset18.Sign(sign))

    return copysign


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the exporter's notes to itself: they are about torchvision, which nothing needs, and about its own code."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _strip(proto: ModelProto) -> None:
    """Remove what the exporter notes about its own work, such as the places of source files on this machine."""
    graph = proto.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _halve(proto: ModelProto) -> None:
    """Keep the weights in float16, each with a node that makes it float32 again."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < 2:
            continue
        name = tensor.name
        with np.errstate(over="ignore"):  # what is beyond float16 becomes infinite, which the comparison refuses
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    proto.graph.ClearField("node")
    proto.graph.node.extend(nodes)
