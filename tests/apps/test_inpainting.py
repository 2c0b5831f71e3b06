from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image

from corolla import cli
from corolla.apps.restoration import inpaint
from corolla.apps.restoration.masks import box_mask, brush_mask, colour_mask, file_mask, fitted_mask
from corolla.distributions.priors import GaussianPrior
from corolla.errors import DataError, UsageError
from corolla.trained import TrainedModel

Images = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def _half() -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    missing = np.zeros((16, 16), bool)
    missing[:, 8:] = True
    return missing


def test_known_pixels_stay_and_completions_differ(model: TrainedModel, images: Images) -> None:
    missing = _half()
    found = inpaint(model, images[:2], missing, completions=3, seed=4)
    assert found.images.shape == (2, 3, 16, 16, 3)
    for completion in found.images.transpose(1, 0, 2, 3, 4):
        assert_array_equal(completion[:, ~missing], images[:2, ~missing])
    for image in found.images[:, :, missing].astype(int):
        apart = [np.abs(image[a] - image[b]).max() for a, b in ((0, 1), (0, 2), (1, 2))]
        assert min(apart) > 0
    assert_array_equal(inpaint(model, images[:2], missing, completions=3, seed=4).images, found.images)
    assert (inpaint(model, images[:2], missing, completions=3, seed=5).images != found.images).any()


def test_each_image_may_have_its_own_gap(model: TrainedModel, images: Images) -> None:
    missing = np.stack([_half(), ~_half()])
    found = inpaint(model, images[:2], missing)
    assert_array_equal(found.images[:, 0][~missing], images[:2][~missing])


def test_what_is_missing_has_no_influence(model: TrainedModel, images: Images) -> None:
    missing = _half()
    other = np.where(missing[..., None], 255 - images[:1], images[:1])
    first, second = (inpaint(model, x, missing).images for x in (images[:1], other))
    assert_array_equal(first, second)


def test_one_completion_is_all_that_an_auto_encoder_has(model: TrainedModel, images: Images) -> None:
    model.config = model.config.updated({"objective.name": "ae"})
    assert inpaint(model, images[:1], _half()).images.shape[1] == 1
    with pytest.raises(UsageError, match="no posterior to draw"):
        inpaint(model, images[:1], _half(), completions=2)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (np.zeros((16, 16), bool), "no missing pixel"),
        (np.ones((16, 16), bool), "no known pixel"),
        (np.ones((8, 8), bool), r"a mask of shape \(8, 8\)"),
        (np.ones((16, 16), np.uint8), "give booleans"),
    ],
)
def test_masks_that_do_not_match_are_refused(
    model: TrainedModel, images: Images, missing: np.ndarray, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        inpaint(model, images[:1], missing)


# --- masks ------------------------------------------------------------------------------------------------------------


def test_a_box_a_colour_and_a_file_say_the_same(tmp_path: Path) -> None:
    expected = np.zeros((12, 20), bool)
    expected[3:8, 5:9] = True
    plain = Image.new("RGB", (20, 12), "teal")
    assert_array_equal(box_mask("5,3,4,5")(plain), expected)
    marked = plain.copy()
    marked.paste((255, 0, 255), (5, 3, 9, 8))
    assert_array_equal(colour_mask("#ff00ff")(marked), expected)
    Image.fromarray(expected.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    assert_array_equal(file_mask(tmp_path / "mask.png")(plain), expected)


def test_a_stroke_is_as_wide_as_its_brush(tmp_path: Path) -> None:
    file = tmp_path / "brush.json"
    file.write_text(json.dumps([{"radius": 3, "points": [[10, 15], [30, 15]]}, {"radius": 2, "points": [[5, 5]]}]))
    mask = brush_mask(file)(Image.new("RGB", (40, 30)))
    y, x = np.mgrid[:30, :40]
    stroke = np.hypot(x - np.clip(x, 10, 30), y - 15)
    dot = np.hypot(x - 5, y - 5)
    assert mask[(stroke < 2) | (dot < 1)].all()
    assert not mask[(stroke > 4.5) & (dot > 3.5)].any()


def test_no_known_pixel_holds_anything_of_a_missing_one(model: TrainedModel) -> None:
    grey = np.full((60, 90, 3), 100, np.uint8)
    missing = np.zeros((60, 90), bool)
    missing[20:33, 41:57] = True
    pure, marred = (
        model.pixels(Image.fromarray(np.where(missing[..., None], v, grey).astype(np.uint8))) for v in (100, 255)
    )
    fitted = fitted_mask(model, missing)
    assert_array_equal(pure[0][~fitted], marred[0][~fitted])
    assert 0 < fitted.mean() < 0.4


def test_nor_of_scattered_ones(model: TrainedModel) -> None:
    rng = np.random.default_rng(0)
    for height, width in rng.integers(20, 200, (60, 2)):
        missing = rng.random((height, width)) < 0.02
        missing[: height // 3, width // 2 :] = True  # and a corner, to whose sides bicubic weights are below 0
        pure = np.full((height, width, 3), 100, np.uint8)
        marred = np.where(missing[..., None], 255, pure).astype(np.uint8)
        fitted = fitted_mask(model, missing)
        first, second = (model.pixels(Image.fromarray(x))[0] for x in (pure, marred))
        assert_array_equal(first[~fitted], second[~fitted])


@pytest.mark.parametrize(
    ("text", "message"),
    [("1,2,3", "x,y,w,h"), ("a,b,c,d", "x,y,w,h"), ("90,0,5,5", "not inside"), ("0,0,0,4", "0 pixels across")],
)
def test_impossible_boxes_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        box_mask(text)(Image.new("RGB", (20, 12)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"radius": -3, "points": [[1, 1]]}]', "0: radius: .*greater than 0"),
        ('[{"radius": 0, "points": [[1, 1]]}]', "0: radius: .*greater than 0"),
        ('[{"radius": NaN, "points": [[1, 1]]}]', "0: radius: .*finite"),
        ('[{"radius": 1e12, "points": [[1, 1]]}]', "0: radius: .*100000"),
        ('[{"radius": 1e400, "points": [[1, 1]]}]', "0: radius: .*finite"),
        ('[{"radius": 3, "points": [[NaN, 1]]}]', "0: points: 0: 0: .*finite"),
        ('[{"radius": 3, "points": [[1, 1e30]]}]', "0: points: 0: 1: .*100000"),
        ('[{"radius": 3, "points": [[1]]}]', "0: points: 0: 1"),
        ('[{"radius": 3, "points": []}]', "0: points"),
        ('[{"radius": 3}]', "0: points"),
        ("[]", "at least 1 item"),
        ("{}", "array"),
        ("3", "array"),
        ("petals", "JSON"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_strokes_that_cannot_be_drawn_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "brush.json").write_text(text)
    with pytest.raises(DataError, match=rf"brush\.json: not a brush file.*{message}"):
        brush_mask(tmp_path / "brush.json")(Image.new("RGB", (20, 12)))


def test_the_largest_brush_covers_all(tmp_path: Path) -> None:
    (tmp_path / "brush.json").write_text('[{"radius": 100000, "points": [[10, 5], [-100000, 100000]]}]')
    assert brush_mask(tmp_path / "brush.json")(Image.new("RGB", (20, 12))).all()


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(model: TrainedModel, images: Images, tmp_path: Path) -> list[str]:
    """The beginning of a command line: a model, two images of its size, and a larger one."""
    (tmp_path / "photos").mkdir()
    for name, image in zip("ab", images[:2], strict=True):
        Image.fromarray(image).save(tmp_path / "photos" / f"{name}.png")
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "photos" / "large.png")
    Image.fromarray(_half().astype(np.uint8) * 255).save(tmp_path / "mask.png")
    return ["inpaint", str(model.path), str(tmp_path / "photos"), "-o", str(tmp_path / "out")]


def test_the_rest_of_a_batch_goes_on(
    command: list[str], images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*command, "--mask", str(tmp_path / "mask.png"), "--completions", "2"]) == 0
    out, err = capsys.readouterr()
    assert "large.png" in err
    assert "a mask of 16x16 pixels for an image of 30x40" in err
    assert "2 images, 1 left out" in out
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == [
        "a-1.png",
        "a-2.png",
        "b-1.png",
        "b-2.png",
    ]
    written = np.asarray(Image.open(tmp_path / "out" / "b-2.png"))
    assert_array_equal(written[~_half()], images[1][~_half()])


def test_larger_images_are_fitted_and_it_says_so(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*command, "--box", "4,4,8,8"]) == 0
    assert "3 images; 1 brought to 16x16 pixels by the recipe `fit`" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ([], 2, "said in 0 ways; give one of --mask, --mask-colour, --box and --brush"),
        (["--box", "1,1,2,2", "--mask-colour", "red"], 2, "one of --mask"),
        (["--mask", "{mask}", "--strict"], 1, "a mask of 16x16"),
        (["--mask", "nothing.png", "--strict"], 1, "nothing.png"),
        (["--mask-colour", "petal", "--strict"], 2, "colour 'petal'"),
        (["--box", "1,1,2,2", "--completions", "0", "--strict"], 2, "0 completions"),
    ],
)
def test_wrong_use_gets_one_line(
    command: list[str], tmp_path: Path, more: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*command, *(part.format(mask=tmp_path / "mask.png") for part in more)]) == code
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--mask", "nothing.png"], 1, "nothing.png: cannot be read"),
        (["--brush", "nothing.json"], 1, "nothing.json: cannot be read"),
        (["--mask-colour", "petal"], 2, "colour 'petal'"),
        (["--box", "1,2,3"], 2, "box '1,2,3'"),
        (["--box", "1,2,0,3"], 2, "0 pixels across"),
        (["--box", "1,1,2,2", "--completions", "0"], 2, "0 completions: give 1 to 256"),
        (["--box", "1,1,2,2", "--completions", "1000000000"], 2, "1000000000 completions"),
        (["--box", "1,1,2,2", "--seed", "-1"], 2, "seed -1"),
    ],
)
def test_what_is_wrong_with_all_images_is_said_once(
    command: list[str], more: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*command, *more]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_gap_that_the_recipe_cuts_away_is_told_from_none(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (16, 60), "teal").save(tmp_path / "tall.png")
    command[2] = str(tmp_path / "tall.png")
    assert cli.run([*command, "--box", "0,0,16,4"]) == 2
    assert "outside of what the model sees" in capsys.readouterr().err


def test_no_usable_image_is_a_failure_and_not_wrong_use(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"petals")
    command[2:3] = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert cli.run([*command, "--box", "0,0,4,4"]) == 1
    assert "none of the 2 images can be used" in capsys.readouterr().err


def test_an_image_that_is_named_twice_is_filled_once_and_seeds_do_not_run_over(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.insert(2, str(tmp_path / "photos" / "a.png"))
    assert cli.run([*command, "--box", "4,4,8,8", "--seed", str(2**64 - 1)]) == 0
    assert "3 images;" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == ["a.png", "b.png", "large.png"]


def test_a_fitted_prior_fills_differently_and_what_it_cannot_do_is_refused(model: TrainedModel) -> None:
    prior = GaussianPrior(model.latent_dim)
    prior.mean = torch.full((model.latent_dim,), 2.0).double()
    prior.scale_tril = 0.1 * torch.eye(model.latent_dim).double()
    model.fitted_priors["gaussian"] = prior
    images = model.sample(1, seed=3)
    missing = np.zeros((model.height, model.width), bool)
    missing[:, model.width // 4 :] = True
    standard, fitted = (inpaint(model, images, missing, completions=2, prior=name) for name in ("standard", "gaussian"))
    assert (standard.images != fitted.images).any()
    middle = model.decode(prior.mean.numpy())[0]
    near, far = (
        np.abs(found.images[0][:, missing].astype(float) - middle[missing]).mean() for found in (fitted, standard)
    )
    assert near < far  # the narrow prior holds completions to its middle
    for wish, told in (
        ({"prior": "gmm", "completions": 2}, "draws are made under standard and gaussian"),
        ({"prior": "cauchy"}, "no such prior"),
    ):
        with pytest.raises(UsageError, match=told):
            inpaint(model, images, missing, **wish)
