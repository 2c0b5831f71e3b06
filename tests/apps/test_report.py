"""The report: it stands alone, says what the numbers say, and takes what comes from outside for text."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from PIL import Image
from sklearn.decomposition import PCA

from corolla.config import registered
from corolla.data import ImageCache
from corolla.errors import CorollaError, DataError, ModelError
from corolla.evaluation.closest import closest_training
from corolla.metrics import Neighbours, nearest
from corolla.report import SECTIONS, Section, Subject, environment, write_report
from corolla.report.sections.latent_map import draw, principal_plane, project, settle
from corolla.trained.model_folder import CARD_NAME

VOID = {"meta", "link", "img", "source", "line", "polyline"}
ODD = '<u>&"'


class Outline(HTMLParser):
    """Checks that every element is closed in order, and gathers text, links and elements."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pieces: list[str] = []
        self.links: list[str] = []
        self.anchors: list[str] = []
        self.unlabelled = 0
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.links += [values[name] or "" for name in ("src", "srcset", "href") if name in values]
        self.anchors += [values["id"] or ""] if "id" in values else []
        self.unlabelled += tag == "img" and not values.get("alt")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, _attributes: list[tuple[str, str | None]]) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "title"} & set(self.open):
            self.pieces.append(data)

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return " ".join(" ".join(self.pieces).split())

    def pictures(self) -> Iterator[Image.Image]:
        for link in self.links:
            if not link.startswith("#") and link != "data:,":
                kind, _, content = link.partition(";base64,")
                assert kind == "data:image/webp"
                with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as picture:
                    picture.load()
                    yield picture


def read(path: Path) -> Outline:
    outline = Outline()
    outline.feed(path.read_text(encoding="utf-8"))
    outline.close()
    assert outline.open == []
    return outline


# --- the whole page ---------------------------------------------------------------------------------------------------


def test_the_page_stands_alone(run: Path, cache: ImageCache) -> None:
    file = write_report(run, images=cache)
    assert file == run / "report.html"
    outline = read(file)
    pictures = list(outline.pictures())
    assert len(pictures) > 80
    moving = sum(getattr(picture, "is_animated", False) for picture in pictures)
    assert moving == 1 + 4  # the walk, and the latents that are not dead
    assert outline.unlabelled == 0
    assert {link[1:] for link in outline.links if link.startswith("#")} == set(outline.anchors)
    assert "script" not in outline.tags
    assert "http" not in file.read_text(encoding="utf-8")


def test_it_says_what_was_trained_on_what_and_how_good_it_is(run: Path, cache: ImageCache) -> None:
    text = read(write_report(run, images=cache)).text
    assert "What a β-VAE learnt from 24 images" in text
    assert "a β-VAE (beta 2)" in text
    assert "for 30 steps, which took 15 seconds" in text
    assert "tells 9 bits about its image, of the 6,144 bits" in text  # 6.5 nats; 16×16×3 bytes
    assert "Only 30 steps: too early" in text
    assert "latent 1" in text
    assert "3.00 nats" in text
    assert "latent 4" not in text  # dead
    assert "The other 2 matter less" in text
    assert "510.5 nats" in text
    assert "corolla evaluate" in text
    assert "ab" * 32 in text


def test_the_scores_of_the_same_weights_are_explained(scored_run: Path, cache: ImageCache) -> None:
    text = read(write_report(scored_run, images=cache)).text
    assert "kernel distance (pca64) ↓ lower is better" in text
    assert "standard 12.50 × 1000 (11.00 to 14.00)" in text
    assert "gmm 4.25 × 1000" in text
    assert "Whether each factor has one latent of its own" in text
    assert "MIG, of 1" in text
    assert "3.00 nats · follows petal count (60%)" in text
    assert f"2.00 nats · follows {ODD} (80%)" in text
    assert "0.50 nats · follows" not in text


def test_the_scores_of_other_weights_are_not_shown(scored_run: Path, cache: ImageCache) -> None:
    file = scored_run / "scores.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"weights_sha256": "cd" * 32}))
    text = read(write_report(scored_run, images=cache)).text
    assert "The scores in scores.json are those of other weights" in text
    assert "MIG" not in text
    file.write_text(json.dumps(values | {"details": {"disentanglement": {"factors": ["petal_count"]}}}))
    with pytest.raises(ModelError, match=r"scores\.json: damaged"):
        write_report(scored_run, images=cache)
    file.write_text("{}")
    with pytest.raises(ModelError, match=r"scores\.json"):
        write_report(scored_run, images=cache)


def test_names_from_outside_are_text(scored_run: Path, cache: ImageCache) -> None:
    outline = read(write_report(scored_run, images=cache))
    assert "u" not in outline.tags
    # The run's folder, the source, the version, the label, the factor.
    for shown in (f"a {ODD} run", f"folder:{ODD}", f"python {ODD}", f"rose {ODD} tulip", f"petal count {ODD}"):
        assert shown in outline.text


def test_the_page_is_the_same_for_the_same_seed(run: Path, cache: ImageCache, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_report(run, output=tmp_path / name, images=cache, seed=seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_a_model_folder_alone_has_a_page_without_curves(run: Path, cache: ImageCache) -> None:
    alone = (run / "model").rename(run.with_name("alone"))
    outline = read(write_report(alone, images=cache))
    assert "How it learnt" not in outline.text
    assert "corolla train --config" not in outline.text
    assert "How good it is" in outline.text


def test_the_codes_of_an_auto_encoder_are_points(run: Path, cache: ImageCache) -> None:
    card = run / "model" / CARD_NAME
    values = json.loads(card.read_text())
    values["config"]["objective"] = {"name": "ae"}
    card.write_text(json.dumps(values))
    outline = read(write_report(run, images=cache))
    assert "What an auto-encoder learnt" in outline.text
    assert "nothing makes its codes follow the standard normal" in outline.text
    assert "standard deviations of the codes" in outline.text
    for meaningless in ("bits about its image", " rate ", "active latents"):
        assert meaningless not in outline.text
    assert sum(getattr(picture, "is_animated", False) for picture in outline.pictures()) > 1


def test_the_baseline_is_the_average_of_the_training_images(run: Path, cache: ImageCache) -> None:
    images = cache.images.copy()
    images[:24], images[24:] = 100, 151  # off by 51 of 255, a fifth: 20 log10 5 = 13.98 dB, also for a single image
    one = replace(cache, images=images, splits={"train": np.arange(24), "val": np.array([30])})
    assert "shown in place of each, would reach 14.0 dB" in read(write_report(run, images=one)).text


def test_a_section_can_be_added(run: Path, cache: ImageCache) -> None:
    def note(subject: Subject) -> Section:
        template = environment().from_string("<p>{{ section.words }}</p>")
        return Section("note", f"A note {ODD}", template, {"words": f"{len(subject.training)} {ODD} petals"})

    outline = read(write_report(run, images=cache, sections=[*SECTIONS, note]))
    assert f"24 {ODD} petals" in outline.text
    assert f"A note {ODD}" in outline.text
    assert {"note", "scores"} <= set(outline.anchors)
    assert "u" not in outline.tags
    assert read(write_report(run, images=cache, sections=[note])).anchors == ["note"]


def test_a_template_without_its_value_is_an_error(run: Path, cache: ImageCache) -> None:
    bare = Section("bare", "Bare", environment().from_string("{{ section.missing }}"), {})
    with pytest.raises(UndefinedError, match="missing"):
        write_report(run, images=cache, sections=[lambda _subject: bare])


def test_a_single_number_is_said_in_words() -> None:
    numbers = environment().get_template("macros.html.j2").module.numbers  # type: ignore[attr-defined]
    assert (numbers(1, "plain "), numbers(6)) == ("one plain number", "6 numbers")


def test_a_model_whose_latents_are_all_dead_is_shown_too(run: Path, cache: ImageCache) -> None:
    card = run / "model" / CARD_NAME
    values = json.loads(card.read_text())
    card.write_text(json.dumps(values | {"latent_kl_nats": [0.0] * 6, "step": 5000}))
    (run / "metrics.csv").unlink()
    text = read(write_report(run, images=cache)).text
    assert "whatever the code, the image is the same" in text


def test_every_objective_has_a_name_in_words() -> None:
    assert all(cls.title for cls in registered("objective").values())


def test_what_stands_against_a_page_is_one_clear_error(run: Path, cache: ImageCache, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CorollaError, match="cannot be written"):
        write_report(run, output=tmp_path / "file" / "index.html", images=cache)
    with pytest.raises(DataError, match="own images are needed"):
        write_report(run)
    with pytest.raises(ModelError, match="no such folder"):
        write_report(tmp_path / "nowhere")


# --- neighbours and the map -------------------------------------------------------------------------------------------


def test_a_copy_of_a_training_image_is_found(cache: ImageCache) -> None:
    training = cache.splits["train"]
    found = closest_training(cache.images[[5, 17]], cache.images, training, 3)
    assert found.shape == (2, 3, 16, 16, 3)
    assert np.array_equal(found[:, 0], cache.images[[5, 17]])
    new = cache.images[30]
    distances = [np.square(cache.images[row] / 255 - new / 255).sum() for row in training]
    expected = cache.images[training[np.argsort(distances)[:3]]]
    assert np.array_equal(closest_training(new[None], cache.images, training, 3)[0], expected)
    assert closest_training(new[None], cache.images, training[:2], 3).shape[1] == 2


def test_few_training_images_are_held_at_a_time(cache: ImageCache, monkeypatch: pytest.MonkeyPatch) -> None:
    training = cache.splits["train"]
    whole = closest_training(cache.images[24:], cache.images, training, 3)
    held = []

    def counted(queries: np.ndarray[Any, Any], references: np.ndarray[Any, Any], k: int) -> Neighbours:
        held.append(len(references))
        return nearest(queries, references, k)

    monkeypatch.setattr("corolla.evaluation.closest.nearest", counted)
    monkeypatch.setattr("corolla.evaluation.closest._CHUNK", 5)
    assert np.array_equal(closest_training(cache.images[24:], cache.images, training, 3), whole)
    assert sum(held) == len(training)
    assert max(held) <= 5


def test_principal_components_span_the_map() -> None:
    codes = (np.random.default_rng(0).normal(size=(50, 5)) * [5, 1, 3, 1, 1]).astype(np.float32)
    expected = PCA(2).fit(codes)
    points, text = principal_plane(codes)
    assert np.allclose(np.abs(points), np.abs(expected.transform(codes)), atol=1e-4)
    assert f"{expected.explained_variance_ratio_.sum():.0%}" in text
    assert np.allclose(principal_plane(codes[:, :1])[0][:, 1], 0)
    assert np.isfinite(principal_plane(np.ones((4, 3), np.float32))[0]).all()


def test_with_few_codes_the_map_is_linear() -> None:
    codes = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    assert "directions of most variance" in project(codes)[1]


@pytest.mark.slow
def test_t_sne_keeps_clusters_apart_and_the_seed_fixes_it() -> None:
    pytest.importorskip("openTSNE")
    rng = np.random.default_rng(0)
    centres = 20 * np.eye(3)
    codes = np.concatenate([rng.normal(size=(60, 3)) + centre for centre in centres]).astype(np.float32)
    points = project(codes, seed=1)[0]
    assert np.array_equal(points, project(codes, seed=1)[0])
    middles = points.reshape(3, 60, 2).mean(1)
    nearest = np.linalg.norm(points[:, None] - middles, axis=2).argmin(1)
    assert np.array_equal(nearest, np.repeat(np.arange(3), 60))


@given(
    points=st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=3, max_size=40),
    columns=st.integers(1, 6),
    rows=st.integers(1, 6),
)
def test_each_image_stands_in_one_cell_at_most_and_no_wanted_cell_is_empty(
    points: list[tuple[float, float]], columns: int, rows: int
) -> None:
    grid = settle(np.array(points), columns, rows)
    assert grid.shape == (rows, columns)
    placed = grid[grid >= 0]
    assert 1 <= len(placed) <= len(points)
    assert len(set(placed.tolist())) == len(placed)


def test_a_map_by_hand() -> None:
    # Left below, right above, and one that lies closer to the centre of the first cell.
    points = np.array([[0.0, 0.0], [10.0, 10.0], [2.4, 2.6], [10.0, 10.0]])
    grid = settle(points, 2, 2)
    assert grid[1, 0] == 2
    assert grid[0, 1] in (1, 3)
    assert grid[0, 0] == grid[1, 1] == -1


def test_a_drawn_map_is_transparent_where_nothing_stands() -> None:
    images = np.full((2, 8, 8, 3), 200, np.uint8)
    drawn = draw(np.array([[0, -1], [-1, 1]]), images, [None, "#ff0000"], tile_px=10)
    assert drawn.size == (24, 24)
    assert drawn.getpixel((5, 5)) == (200, 200, 200, 255)
    assert drawn.getpixel((17, 5)) == (0, 0, 0, 0)
    assert drawn.getpixel((12, 12)) == (255, 0, 0, 255)
    assert drawn.getpixel((17, 17)) == (200, 200, 200, 255)
