"""Shapes, sizes and the notebook's exact architecture."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from corolla.config import registered
from corolla.errors import UsageError
from corolla.models.blocks import Shape
from corolla.models.networks import Notebook, ResNet
from corolla.models.vae import parameter_count

WITH_WEIGHTS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@pytest.mark.parametrize("name", ["notebook", "burgess", "resnet"])
def test_decoder_output_has_the_size_of_the_encoder_input(name: str) -> None:
    encoder, decoder = registered("network")[name]().build(Shape(64, 64, 5, out_channels=4))
    mean, logvar = encoder(torch.rand(2, 3, 64, 64))
    assert mean.shape == logvar.shape == (2, 5)
    assert decoder(mean).shape == (2, 4, 64, 64)


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), patch=st.sampled_from([2, 4, 5]), stages=st.integers(1, 4))
@settings(deadline=None, max_examples=20)
def test_resnet_takes_any_multiple_of_its_patch(rows: int, columns: int, patch: int, stages: int) -> None:
    shape = Shape(rows * patch, columns * patch, 3)
    encoder, decoder = ResNet(width=8, stages=stages, patch=patch).build(shape)
    x = torch.rand(2, 3, shape.height, shape.width)
    assert decoder(encoder(x)[0]).shape == x.shape


@given(height=st.integers(9, 24), width=st.integers(9, 24))
@settings(deadline=None, max_examples=15)
def test_notebook_takes_any_size_of_at_least_nine(height: int, width: int) -> None:
    encoder, decoder = Notebook().build(Shape(height, width, 3))
    x = torch.rand(2, 3, height, width)
    assert decoder(encoder(x)[0]).shape == x.shape


def test_notebook_is_the_study_notebooks_network() -> None:
    encoder, decoder = Notebook().build(Shape(136, 136, 64))
    features = 32 * 128 * 128
    layers = [m for net in (encoder, decoder) for m in net.modules() if not list(m.children())]
    described = [(type(m).__name__, tuple(m.weight.shape)) for m in layers if isinstance(m, WITH_WEIGHTS)]
    assert described == [
        ("Conv2d", (16, 3, 5, 5)),
        ("Conv2d", (32, 16, 5, 5)),
        ("Linear", (64, features)),
        ("Linear", (64, features)),
        ("Linear", (features, 64)),
        ("ConvTranspose2d", (32, 16, 5, 5)),
        ("ConvTranspose2d", (16, 3, 5, 5)),
    ]
    assert [m.approximate for m in layers if isinstance(m, nn.GELU)] == ["tanh"] * 4
    for m in layers:
        if isinstance(m, nn.Linear):
            bound = (6 / (m.in_features + m.out_features)) ** 0.5  # Glorot & Bengio 2010, eq. 16
            assert m.weight.abs().max() <= bound
            assert m.weight.abs().max() > 0.95 * bound


def test_impossible_sizes_are_refused_in_one_line() -> None:
    for name, shape, word in [
        ("notebook", Shape(8, 64, 3), "9x9"),
        ("burgess", Shape(32, 64, 3), "64x64"),
        ("resnet", Shape(62, 64, 3), "patch"),
    ]:
        with pytest.raises(UsageError, match=word) as caught:
            registered("network")[name]().build(shape)
        assert "\n" not in str(caught.value)


def test_resnet_starts_as_a_shallow_network_and_counts_its_parameters() -> None:
    encoder, _ = ResNet(width=8, stages=2, patch=4).build(Shape(16, 16, 2))
    assert parameter_count(encoder) == sum(p.numel() for p in encoder.parameters())
    block = next(m for m in encoder.modules() if type(m).__name__ == "ResidualBlock")
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(block(x), x)
