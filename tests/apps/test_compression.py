from __future__ import annotations

import base64
import io
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import norm

from corolla import cli
from corolla.apps.compression import compress, decompress
from corolla.apps.compression.coder import (
    COARSEST,
    FINEST,
    LIMIT,
    Grid,
    decode_points,
    decode_residual,
    encode_points,
    grid_of,
    largest_point,
    point_probabilities,
    reference_exponents,
    step_size,
)
from corolla.apps.compression.container import Header, Reader, Writer
from corolla.apps.compression.files import exact_pictures, fingerprint, scale_of
from corolla.errors import CorollaError, DataError, ModelError, UsageError
from corolla.trained import TrainedModel, load

pytest.importorskip("constriction", reason="the extra `codec` is not installed")

Bytes = NDArray[np.uint8]
same_model = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
grids = st.lists(st.integers(FINEST, COARSEST), max_size=5).map(
    lambda exponents: Grid(7, tuple(range(1, 1 + len(exponents))), tuple(exponents))
)


def _compressed(model: TrainedModel, images: Bytes, **options: bool) -> bytes:
    file = io.BytesIO()
    compress(model, images, file, **options)  # type: ignore[arg-type]
    return file.getvalue()


def _decompressed(model: TrainedModel, content: bytes) -> Bytes:
    return np.concatenate([block.images for block in decompress(model, io.BytesIO(content))])


# --- the grid ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [FINEST, -41, -8, 0, 7, COARSEST])
def test_probabilities_are_the_normal_masses_about_the_points(exponent: int) -> None:
    step, largest = 2 ** (exponent / 8), largest_point(exponent)
    edges = np.concatenate([[-np.inf], (np.arange(-largest, largest) + 0.5) * step, [np.inf]])
    np.testing.assert_allclose(point_probabilities(exponent), np.diff(norm.cdf(edges)), atol=1e-11)


@given(exponent=st.integers(FINEST, COARSEST))
def test_steps_are_powers_of_the_eighth_root_of_two(exponent: int) -> None:
    assert step_size(exponent) == pytest.approx(2 ** (exponent / 8), rel=1e-15)


@given(grid=grids, data=st.data())
def test_rounding_to_the_grid_errs_by_half_a_step(grid: Grid, data: st.DataObject) -> None:
    codes = data.draw(arrays(np.float64, (3, 7), elements=st.floats(-LIMIT / 2, LIMIT / 2)))
    points = grid.quantise(codes)
    returned = grid.codes(points)
    assert (returned[:, [j for j in range(7) if j not in grid.latents]] == 0).all()
    for latent, exponent in zip(grid.latents, grid.exponents, strict=True):
        assert np.abs(returned[:, latent] - codes[:, latent]).max() <= 2 ** (exponent / 8) * 0.5 + 1e-6
    np.testing.assert_array_equal(grid.quantise(returned), points)


def test_codes_far_outside_the_prior_come_to_its_limit() -> None:
    grid = Grid(1, (0,), (0,))
    assert grid.codes(grid.quantise(np.array([[1e30], [-9.0]]))).tolist() == [[8.0], [-8.0]]


def test_steps_are_as_long_as_posteriors_are_wide() -> None:
    stddev = np.array([0.5, 0.01, 0.9])
    kl = [*-np.log(stddev), 0.0, 0.0099]
    reference = reference_exponents(kl)
    assert reference == (*np.rint(8 * np.log2(stddev)).astype(int), None, None)
    doubled = grid_of(reference, scale_of(2.0))
    assert doubled.latents == (0, 1, 2)
    np.testing.assert_allclose([step_size(e) for e in doubled.exponents], 2 * stddev, rtol=0.05)
    assert grid_of(reference, scale_of(200)).latents == (1,)  # the others' steps would be longer than the prior is wide
    assert reference_exponents([1e300]) == reference_exponents([1e9])


# --- the coder --------------------------------------------------------------------------------------------------------


@given(grid=grids, data=st.data())
def test_points_survive_and_take_the_bytes_of_their_information(grid: Grid, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 20))
    seed = data.draw(st.integers(0, 2**32 - 1))
    spread = data.draw(st.sampled_from([0.0, 1.0, 3.0]))
    points = grid.quantise(spread * np.random.default_rng(seed).standard_normal((count, 7)))
    content = encode_points(points, grid)
    np.testing.assert_array_equal(decode_points(content, count, grid), points)
    bits = 0.0
    for column, exponent in enumerate(grid.exponents):
        step, last = 2 ** (exponent / 8), largest_point(exponent)
        k = points[:, column]
        upper = np.where(k == last, np.inf, (k + 0.5) * step)
        lower = np.where(k == -last, -np.inf, (k - 0.5) * step)
        # The coder's probabilities are multiples of 2^-24, so that improbable points differ from the normal's.
        bits -= np.log2(np.maximum(norm.cdf(upper) - norm.cdf(lower), 2.0**-24)).sum()
    assert len(content) <= bits / 8 * 1.05 + 2
    if spread == 1.0:
        assert len(content) >= bits / 8 * 0.9 - 2


# --- the residual -----------------------------------------------------------------------------------------------------


def test_a_residual_of_an_earlier_version_restores_the_pixels() -> None:
    """Bytes that the encoder of that version made of this image and this picture."""
    content = base64.b85decode(
        b"M)*SlLI0@zXaM;CECBk@xj(G{tq3v*SOE$G68~iX$p4uCy#L-wPTZL7!u(|XMgzS65CRnaL<mIx@Bgy^jQ<1x^8XM7==?7JLjd#tHvIPlum45"
        b">j{W@vtpFYW000002><{D1^@s64FCWD1_lBE0000000000004{awR3@&K<LTkz)B&z6^5GOgpXNwm`-1zFDV1O>w(LH#+)mO$SD"
    )
    ys, xs = np.mgrid[:5, :4]
    one = np.stack([40 * ys + 9 * xs, 255 - 30 * xs - 7 * ys, ys * xs * 12 % 256], -1).astype(np.uint8)
    image = np.stack([one, one[::-1]])
    np.testing.assert_array_equal(decode_residual(content, image // 2 + 40), image)
    for damaged in (b"", content[:96], content[:130]):
        with pytest.raises(DataError, match="residual cannot be decoded") if len(damaged) < 126 else nullcontext():
            assert (decode_residual(damaged, image // 2 + 40) != image).any()


# --- files ------------------------------------------------------------------------------------------------------------


def _with_residual(model: TrainedModel, residual: bytes) -> bytes:
    """A lossless file of one image as an earlier version wrote it."""
    file, grid = io.BytesIO(), grid_of(reference_exponents(model.card.latent_kl_nats), 0)
    points = np.zeros((1, len(grid.latents)), np.int32)
    check = zlib.crc32(points.astype("<i4").tobytes()).to_bytes(4, "little")[:2]
    picture = zlib.crc32(exact_pictures(model)(grid.codes(points)).tobytes()).to_bytes(4, "little")
    writer = Writer(file, Header(fingerprint(model.card), 0, lossless=True))
    writer.write(1, [check + encode_points(points, grid), picture + residual])
    writer.close()
    return file.getvalue()


def test_lossless_files_of_an_earlier_version_still_open(model: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    residual = bytes(96) + bytes([20] * 30) + bytes(range(200))
    picture = exact_pictures(model)(np.zeros((1, 6), np.float32))
    assert np.abs(picture.astype(int) - model.decode(np.zeros((1, 6), np.float32))).max() <= 1
    content = _with_residual(model, residual)
    np.testing.assert_array_equal(_decompressed(model, content), decode_residual(residual, picture))
    monkeypatch.setattr("corolla.apps.compression.files.exact_pictures", lambda _: lambda _: picture ^ 1)
    with pytest.raises(DataError, match="block 1: this machine computes other pictures"):
        _decompressed(model, content)


def test_images_come_back_as_the_model_draws_their_rounded_codes(model: TrainedModel, images: Bytes) -> None:
    (block,) = decompress(model, io.BytesIO(_compressed(model, images)))
    assert block.names is None
    np.testing.assert_array_equal(block.images, model.decode(block.codes))
    means = model.encode(images)
    steps = np.exp(-np.asarray(model.card.latent_kl_nats))
    live = np.asarray(model.card.latent_kl_nats) >= 0.01
    assert (block.codes[:, ~live] == 0).all()
    # Steps are rounded to powers of 2^(1/8), which may make them 4.5% longer.
    assert (np.abs(block.codes - means)[:, live] <= 0.523 * steps[live] + 1e-6).all()


@same_model
@given(step=st.floats(0.01, 100), count=st.integers(1, 5))
def test_finer_steps_bring_codes_nearer(model: TrainedModel, images: Bytes, step: float, count: int) -> None:
    file = io.BytesIO()
    written = compress(model, images[:count], file, step=step)
    assert written.bytes == len(file.getvalue())
    assert written.images == count
    file.seek(0)
    codes = np.concatenate([block.codes for block in decompress(model, file)])
    live = [0, 1, 3, 5]
    steps = np.maximum(step * np.exp(-np.asarray(model.card.latent_kl_nats)), 2.0**-10)[live]
    means = model.encode(images[:count])[:, live]
    within = np.where(steps <= 3.8, 0.55 * steps, np.inf)
    assert (np.abs(codes[:, live] - means) <= within + 1e-6).all()


def test_the_same_images_make_the_same_file(model: TrainedModel, images: Bytes, tmp_path: Path) -> None:
    first = _compressed(model, images)
    assert first == _compressed(model, images)
    compress(model, images, tmp_path / "new" / "x.corolla")
    assert (tmp_path / "new" / "x.corolla").read_bytes() == first
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.corolla"]


def test_the_layout_is_that_of_the_documents(model: TrainedModel, images: Bytes) -> None:
    content = _compressed(model, images)
    magic, version, flags, scale, mark = struct.unpack("<4sBBb8s", content[:15])
    assert (magic, version, flags, scale, mark) == (b"CRLA", 1, 0, 0, fingerprint(model.card))
    assert content[15:19] == zlib.crc32(content[:15]).to_bytes(4, "little")
    count, length = content[19], content[20]
    assert count == 5
    body = content[19 : 21 + length]
    stored = content[21 + length : 25 + length]
    assert stored == zlib.crc32(content[:15] + body).to_bytes(4, "little")
    assert content[25 + length : 27 + length] == b"\0\5"
    assert len(content) == 31 + length


def test_every_altered_bit_is_an_error(model: TrainedModel, images: Bytes) -> None:
    content = _compressed(model, images[:2])
    for altered in _with_one_bit_changed(content):
        with pytest.raises(DataError, match=r"^file: "):
            _decompressed(model, altered)


def test_every_altered_bit_of_a_file_with_everything_is_an_error(model: TrainedModel, images: Bytes) -> None:
    content = _compressed(model, images[:1], names=True)
    assert len(list(Reader(io.BytesIO(content), "file").blocks())) == 1
    for altered in _with_one_bit_changed(content):
        with pytest.raises(DataError, match=r"^file: "):
            list(Reader(io.BytesIO(altered), "file").blocks())


def _with_one_bit_changed(content: bytes) -> Iterator[bytes]:
    for place in range(8 * len(content)):
        altered = bytearray(content)
        altered[place // 8] ^= 1 << place % 8
        yield bytes(altered)


def test_every_cut_is_an_error_and_so_is_what_was_added(model: TrainedModel, images: Bytes) -> None:
    content = _compressed(model, images[:2], names=True)
    for length in range(len(content)):
        with pytest.raises(DataError, match=r"cut short|not a \.corolla file"):
            _decompressed(model, content[:length])
    with pytest.raises(DataError, match="end: altered"):
        _decompressed(model, content + b"\0")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corolla.apps.compression.files._BLOCK_PIXELS", 2 * 16 * 16)


@pytest.mark.usefixtures("small_blocks")
def test_blocks_that_are_missing_repeated_or_exchanged_are_errors(model: TrainedModel, images: Bytes) -> None:
    content = _compressed(model, images)
    places = [19]
    for _ in range(3):
        places.append(places[-1] + 2 + content[places[-1] + 1] + 4)
    head, a, b, c, end = (content[i:j] for i, j in zip([0, *places], [*places, len(content)], strict=True))
    np.testing.assert_array_equal(_decompressed(model, head + a + b + c + end), _decompressed(model, content))
    for wrong in (a + b, a + c, b + c, a + a + b + c, b + a + c):
        with pytest.raises(DataError, match=r"block \d|end"):
            _decompressed(model, head + wrong + end)


@pytest.mark.usefixtures("small_blocks")
def test_images_are_read_and_given_out_as_the_file_goes(model: TrainedModel, images: Bytes) -> None:
    file = io.BytesIO()
    written = []

    def endless() -> Iterator[Bytes]:
        for number in range(9):
            written.append((number, len(file.getvalue())))
            yield images[number % 5]

    compress(model, endless(), file)
    assert [size for _, size in written][:3] == [19, 19, written[2][1]]
    assert written[2][1] > 19
    file.seek(0)
    blocks = decompress(model, file)
    first = next(blocks)
    assert len(first.images) == 2
    assert file.tell() == written[2][1]
    assert sum(len(block.images) for block in blocks) == 7


@pytest.mark.usefixtures("small_blocks")
def test_whole_blocks_come_out_before_the_damage_is_met(model: TrainedModel, images: Bytes) -> None:
    content = _compressed(model, images)
    blocks = decompress(model, io.BytesIO(content[:-8]))
    assert [len(next(blocks).images), len(next(blocks).images)] == [2, 2]
    with pytest.raises(DataError, match="file: block 3: cut short; get the whole file"):
        next(blocks)


def test_another_model_is_refused(model: TrainedModel, images: Bytes) -> None:
    content = _compressed(model, images)
    own = fingerprint(model.card).hex()
    for card in (
        replace(model.card, weights_sha256="0" * 64),
        replace(model.card, latent_kl_nats=(0.6, *model.card.latent_kl_nats[1:])),
    ):
        other = TrainedModel(model.vae, card)
        with pytest.raises(ModelError, match=f"made with the model {own}, but this one is {fingerprint(card).hex()}"):
            _decompressed(other, content)


def test_codes_of_another_coder_are_refused(
    model: TrainedModel, images: Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = _compressed(model, images)
    monkeypatch.setattr(
        "corolla.apps.compression.files.decode_points",
        lambda *arguments: decode_points(*arguments) + np.int32(1),
    )
    with pytest.raises(DataError, match="block 1: decodes to other codes than were stored"):
        _decompressed(model, content)


def test_models_that_cannot_compress_say_why(model: TrainedModel, images: Bytes) -> None:
    config = model.config.updated({"objective.name": "ae"})
    for card, reason in (
        (replace(model.card, config=config), "objective ae has no prior"),
        (replace(model.card, weights_sha256=""), "never saved"),
        (replace(model.card, latent_kl_nats=()), "no record of its latents' KL"),
    ):
        with pytest.raises(ModelError, match=reason):
            _compressed(TrainedModel(model.vae, card), images)


def test_a_model_whose_latents_are_all_dead_gives_its_mean_picture(model: TrainedModel, images: Bytes) -> None:
    dead = TrainedModel(model.vae, replace(model.card, latent_kl_nats=(0.0,) * 6))
    content = _compressed(dead, images)
    np.testing.assert_array_equal(_decompressed(dead, content), np.repeat(model.decode(np.zeros(6)), 5, axis=0))


@pytest.mark.parametrize("step", [0, -1, 2.0**-8, 256, float("nan"), float("inf")])
def test_steps_that_cannot_be_are_refused(model: TrainedModel, images: Bytes, step: float) -> None:
    with pytest.raises(UsageError, match=r"step .*: give a number above"):
        compress(model, images, io.BytesIO(), step=step)


def test_nothing_to_compress_leaves_no_file(model: TrainedModel, tmp_path: Path) -> None:
    output = tmp_path / "x.corolla"
    with pytest.raises(UsageError, match="no images given"):
        compress(model, [], output)
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"no image")
    with pytest.raises(DataError, match="none of the 1 images can be used"):
        compress(model, [damaged], output, on_error="skip")
    with pytest.raises(DataError, match=r"damaged\.jpg"):
        compress(model, [damaged], output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged.jpg", "model"]
    with pytest.raises(CorollaError, match="cannot be written"):
        compress(model, np.zeros((1, 16, 16, 3), np.uint8), damaged / "x.corolla")


def test_every_kind_of_image_goes_in(model: TrainedModel, images: Bytes, tmp_path: Path) -> None:
    wanted = _compressed(model, images[:2])
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    tensor = torch.from_numpy(images[:2]).permute(0, 3, 1, 2)
    kinds: tuple[Any, ...] = (
        [tmp_path / "a.png", Image.fromarray(images[1])],
        [images[:1], images[1]],
        iter(images[:2]),
        tensor,
        list(tensor),
    )
    for kind in kinds:
        file = io.BytesIO()
        compress(model, kind, file)
        assert file.getvalue() == wanted
    for one in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(images[0]), images[0], tensor[0]):
        file = io.BytesIO()
        assert compress(model, one, file).images == 1
        assert file.getvalue() == _compressed(model, images[:1])


def test_a_missing_extra_is_named(model: TrainedModel, images: Bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(UsageError, match=r"the extra `codec`.*pip install -e '.\[codec\]'"):
        _compressed(model, images)
    with pytest.raises(UsageError, match="the extra `codec`"):
        list(decompress(model, io.BytesIO(b"")))


def test_names_can_be_written_on_any_system(model: TrainedModel, images: Bytes, tmp_path: Path) -> None:
    kept = []
    for stem in ("é" * 122, "two\nlines", "a:b*c?", ".hidden", "1.2", "a."):
        path = tmp_path / f"{stem}.png"
        try:
            Image.fromarray(images[0]).save(path)
        except OSError:
            pytest.skip("this system has no such names")
        file = io.BytesIO()
        compress(model, path, file, names=True)
        file.seek(0)
        kept += [name for block in decompress(model, file) for name in block.names or ()]
    assert kept == ["é" * 100, "two_lines", "a_b_c_", ".hidden", "1.2", "a."]
    file = io.BytesIO()
    compress(model, images[:2], file, names=True)
    file.seek(0)
    assert next(decompress(model, file)).names == ("", "")


# --- the commands -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("model")
def test_the_commands_go_from_files_to_files(images: Bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"petal:{number}.png")
    (folder / "a-damaged.png").write_bytes(b"no image")
    file, out, place = tmp_path / "x.corolla", tmp_path / "out", str(tmp_path / "model")
    command = ["compress", place, str(folder), "-o", str(file), "--names"]
    assert cli.run(command) == 0
    said = capsys.readouterr()
    assert f"5 images, 1 left out, {file.stat().st_size} bytes: {file.stat().st_size / 5:.1f} an image" in said.out
    assert "a-damaged.png" in said.err

    assert cli.run(["decompress", place, str(file), "-o", str(out)]) == 0
    assert sorted(path.name for path in out.glob("[!.]*")) == [f"00000{n + 1}-petal_{n}.png" for n in range(5)]
    expected = _decompressed(load(place), file.read_bytes())
    for number, image in enumerate(expected):
        np.testing.assert_array_equal(np.asarray(Image.open(out / f"00000{number + 1}-petal_{number}.png")), image)

    capsys.readouterr()
    assert cli.run([*command, "--strict"]) == 1
    assert "a-damaged.png" in capsys.readouterr().err
    assert cli.run(["compress", place, str(folder), "-o", "x.zip"]) == 2
    assert cli.run(["compress", place, "-o", str(file)]) == 2
    assert cli.run(["decompress", place, str(tmp_path / "none.corolla"), "-o", str(tmp_path / "new")]) == 1
    assert cli.run(["decompress", place, str(file), "-o", str(out)]) == 2  # there are pictures in it
    assert cli.run(["decompress", place, str(file), "-o", str(file)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 5
