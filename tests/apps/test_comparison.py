"""Comparisons: seeds share a column, what differs is said, and other images are not compared by mistake."""

from __future__ import annotations

from dataclasses import replace

import pytest

from corolla.config import Config
from corolla.errors import UsageError
from corolla.evaluation import Score, Scores
from corolla.evaluation.comparison import Entry, compare, comparison_lines, comparison_table
from corolla.evaluation.comparison_files import markdown

DATA = {"source": "florets", "fingerprint": "ab", "size": [16, 16], "recipe": "fit"}


def entry(
    name: str, psnr_db: float, *, split: str = "val", data: dict[str, object] | None = None, **changes: object
) -> Entry:
    config = Config().updated({key.replace("__", "."): value for key, value in changes.items()})
    scores = {"psnr_db": Score(psnr_db), "kid_lite0/standard": Score(0.01 / psnr_db)}
    return Entry(name, config, Scores(scores, split=split, data=DATA | (data or {})))


def test_seeds_share_a_column_with_median_and_spread() -> None:
    found = compare(
        [
            entry("runs/vae-1", 20.0, seed=1, objective__name="vae"),
            entry("runs/beta-1", 15.0, seed=1, objective__beta=8),
            entry("runs/vae-2", 22.0, seed=2, objective__name="vae"),
            entry("runs/vae-3", 21.0, seed=3, objective__name="vae"),
        ]
    )
    vae, beta = found.columns
    assert (vae.name, vae.members) == ("runs/vae ×3", ("runs/vae-1", "runs/vae-2", "runs/vae-3"))
    assert (beta.name, beta.members) == ("runs/beta-1", ("runs/beta-1",))
    spread = vae.scores["psnr_db"]
    assert (spread.median, spread.low, spread.high, spread.count) == (21.0, 20.0, 22.0, 3)
    assert found.differing == ("objective.name", "objective.beta")
    assert (vae.settings["objective.name"], beta.settings["objective.beta"]) == ("vae", 8.0)
    assert found.keys == ("psnr_db", "kid_lite0/standard")

    header, rows = comparison_table(found)
    assert header == ["", "runs/vae ×3", "runs/beta-1"]
    assert rows[0] == ["objective.name", "vae", "beta_vae"]
    assert rows[2] == ["PSNR, dB", "21.00 (20.00 to 22.00) *", "15.00"]
    assert rows[3][0] == "kernel distance (lite0), standard, × 1000"
    assert rows[3][1].endswith("*")  # the lower is the better
    assert comparison_lines(found)[0].split() == ["runs/vae", "×3", "runs/beta-1"]
    text = markdown(found, {"goal": ["a", "b | c"]}).splitlines()
    assert text[2] == r"| goal | a | b \| c |"
    assert len(text) == 3 + len(rows)


def test_what_was_not_scored_alike_is_remarked() -> None:
    first, second = entry("a", 1.0), entry("b", 2.0, objective__beta=8)
    assert compare([first, second]).remarks == ()
    kernel = {"psnr_db": Score(2.0), "kid_pca64/standard": Score(0.1)}
    other = replace(second, scores=replace(second.scores, seed=7, scores=kernel))
    found = compare([first, other])
    seed, features = found.remarks
    assert seed.startswith("not scored alike: seed 0 for a, 7 for b: ")
    assert features.startswith("not scored alike: features lite0 for a, pca64 for b: ")
    assert comparison_lines(found)[-2:] == [seed, features]
    assert markdown(found, {}).endswith(f"\n\n{seed}\n\n{features}\n")
    unscored = replace(second, scores=replace(second.scores, scores={"psnr_db": Score(2.0)}))
    assert compare([first, unscored]).remarks == ()
    split = entry("c", 3.0, split="test")
    assert "split val for a, test for c" in compare([first, split], force=True).remarks[0]


def test_scores_that_a_seed_lacks_are_left_out_of_its_column() -> None:
    first, second = entry("a", 1.0, seed=1), entry("b", 2.0, seed=2)
    second.scores.scores["mig"] = Score(0.5)
    found = compare([first, second, entry("c", 3.0, objective__beta=8)])
    assert "mig" not in found.columns[0].scores
    assert "mig" not in found.keys


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"data": {"fingerprint": "cd"}}, "b: scored on other images than a: its fingerprint is cd, not ab"),
        ({"data": {"size": [32, 32]}}, r"its size is \[32, 32\]"),
        ({"split": "test"}, "its split is test, not val"),
    ],
)
def test_other_images_are_compared_only_by_force(other: dict[str, object], told: str) -> None:
    entries = [entry("a", 1.0), entry("b", 2.0, objective__beta=9, **other)]  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=rf"{told}.*\(force=\)"):
        compare(entries)
    assert len(compare(entries, force=True).columns) == 2


def counted(one: Entry, number: str, count: int) -> Entry:
    changed = replace(one.scores, images=count) if number == "images" else replace(one.scores, samples=count)
    return replace(one, scores=changed)


@pytest.mark.parametrize("number", ["images", "samples"])
def test_other_numbers_are_compared_only_by_force(number: str) -> None:
    few, many = entry("a", 1.0), entry("b", 2.0, objective__beta=9)
    entries = [counted(few, number, 32), counted(many, number, 1024)]
    with pytest.raises(UsageError, match=f"numbers of {number}: 32 for a, 1024 for b.*{number}=.*force="):
        compare(entries)
    assert len(compare(entries, force=True).columns) == 2
    assert len(compare([entries[0], counted(many, number, 0)]).columns) == 2


def test_columns_never_share_a_name() -> None:
    found = compare([entry(f"runs/{n}", 1.0, seed=n, objective__beta=1 + n // 3) for n in (1, 2, 3, 4)])
    assert [column.name for column in found.columns] == ["runs/1, runs/2", "runs/3, runs/4"]


def test_images_that_were_moved_are_the_same_and_so_are_runs_of_other_machines() -> None:
    first = entry("a", 1.0, training__threads=1)
    second = entry("b", 2.0, training__threads=2, data__mirror="elsewhere", seed=7, data={"source": "folder:moved"})
    (column,) = compare([first, second]).columns
    assert column.members == ("a", "b")
    assert compare([first, second]).differing == ()


def test_one_model_is_nothing_to_compare() -> None:
    with pytest.raises(UsageError, match="1 model: give at least two"):
        compare([entry("a", 1.0)])
