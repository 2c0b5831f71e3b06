"""Folders as people have them: which pictures are for what."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corolla.data.layout import SPLITS, Layout, LayoutOptions, split_of, understood
from corolla.errors import DataError, UsageError


def keys_in(layout: Layout, keys: list[str]) -> dict[str, list[str]]:
    return {split: [keys[layout.rows[row]] for row in rows] for split, rows in layout.splits.items()}


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "val", "test"),
        ("training", "validation", "testing"),
        ("Train", "dev", "Test"),
        ("train_set", "val_set", "test_set"),
        ("train-images", "valid", "test images"),
        ("training", "eval", "test"),
    ],
)
def test_folders_name_splits(folders: tuple[str, str, str]) -> None:
    keys = [f"{folder}/{number}.jpg" for folder in folders for number in range(2)]
    layout = understood(keys)
    assert keys_in(layout, keys) == {
        split: [f"{folder}/0.jpg", f"{folder}/1.jpg"] for split, folder in zip(SPLITS, folders, strict=True)
    }
    assert layout.notes[0].startswith("splits by folders: ")


def test_what_lies_beside_splits_is_left_out_and_said() -> None:
    keys = ["extra/x.jpg", "loose.jpg", "test/b/1.jpg", "train/a/1.jpg", "train/b/2.jpg"]
    layout = understood(keys)
    assert keys_in(layout, keys) == {"train": keys[3:], "test": keys[2:3]}
    assert layout.label_names == ("a", "b")
    assert "extra/: 1 in no split, left out" in layout.notes
    assert "beside these folders: 1 in no split, left out" in layout.notes


def test_mvtec_masks_are_no_images() -> None:
    keys = ["ground_truth/crack/0.png", "test/crack/0.png", "test/good/0.png", "train/good/0.png", "train/good/1.png"]
    layout = understood(keys)
    assert keys_in(layout, keys) == {"train": keys[3:], "test": keys[1:3]}
    assert layout.label_names == ("crack", "good")
    assert layout.labels is not None
    assert layout.labels.tolist() == [0, 1, 1, 1]
    assert any("MVTec" in note for note in layout.notes)


def test_one_such_folder_alone_is_a_label() -> None:
    layout = understood([f"train/{number}.jpg" for number in range(40)])
    assert set(layout.splits) == set(SPLITS)
    assert layout.notes == ()


def test_folders_are_named_for_splits() -> None:
    keys = ["2022/a.jpg", "2023/a.jpg", "2024/a.jpg"]
    layout = understood(keys, LayoutOptions(split_folders={"train": "2022", "test": "2024"}))
    assert keys_in(layout, keys) == {"train": keys[:1], "test": keys[2:]}
    with pytest.raises(UsageError, match=r"'2021': no images in a folder by that name .did you mean '202\d'"):
        understood(keys, LayoutOptions(split_folders={"train": "2021"}))
    with pytest.raises(UsageError, match="'holdout': give folders for train, val, test"):
        understood(keys, LayoutOptions(split_folders={"holdout": "2022"}))


@given(st.lists(st.text("abcdef/", min_size=1, max_size=8), unique=True, min_size=3, max_size=60))
def test_no_split_of_three_images_or_more_is_empty(names: list[str]) -> None:
    keys = [f"x/{number}{name}" for number, name in enumerate(names)]
    layout = understood(keys)
    assert all(len(rows) for rows in layout.splits.values())
    assert sorted(np.concatenate(list(layout.splits.values())).tolist()) == list(range(len(keys)))


def test_a_further_image_moves_no_other() -> None:
    keys = [f"{number}.jpg" for number in range(200)]
    for split, rows in understood(keys).splits.items():
        assert all(split_of(keys[row]) == split for row in rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", "file,label,split\na.jpg,rose,train\nb.jpg,tulip,test\n"),
        ("labels.csv", "\ufeffFilename;Class;Set\na.jpg;rose;training\nb.jpg;tulip;testing\n"),
        ("labels.tsv", "image\tcategory\tsplit\na\trose\ttrain\nb\ttulip\ttest\n"),
        (
            "labels.json",
            json.dumps(
                [
                    {"path": "deep/a.jpg", "label": "rose", "split": "train"},
                    {"path": "deep/b.jpg", "label": "tulip", "split": "test"},
                ]
            ),
        ),
    ],
)
def test_labels_come_from_a_table(tmp_path: Path, name: str, content: str) -> None:
    table = tmp_path / name
    table.write_text(content, encoding="utf-8")
    keys = ["deep/a.jpg", "deep/b.jpg", "deep/c.jpg"]
    layout = understood(keys, LayoutOptions(table=table))
    assert layout.label_names == ("rose", "tulip")
    assert keys_in(layout, keys) == {"train": keys[:1], "test": keys[1:2]}
    assert layout.notes == (
        f"labels from {name}: 2 of 3 images, 2 labels",
        "1 images that it does not name are left out",
    )


def test_a_json_object_gives_labels(tmp_path: Path) -> None:
    table = tmp_path / "labels.json"
    table.write_text(json.dumps({"a.jpg": 1, "b.jpg": 0, "c.jpg": 0}))
    layout = understood(["a.jpg", "b.jpg", "c.jpg"], LayoutOptions(table=table))
    assert layout.labels is not None
    assert layout.labels.tolist() == [1, 0, 0]
    assert set(layout.splits) == set(SPLITS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,colour\na.jpg,red\n", "needs a column file and a column label or split; it has file, colour"),
        ("file,label\nx.jpg,red\n", r"names none of the 1 images; its first is 'x.jpg'"),
        ("file,label,split\na.jpg,red,somewhere\n", "split 'somewhere': write train, val or test"),
        ("", "holds no rows with a heading"),
    ],
)
def test_a_table_that_says_nothing_is_refused(tmp_path: Path, content: str, message: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(content)
    with pytest.raises(DataError, match=message):
        understood(["a.jpg"], LayoutOptions(table=table))


def test_patterns_are_left_out() -> None:
    keys = ["a/thumbs/1.jpg", "a/1.jpg", "b/2.jpg", "b/2_mask.png"]
    layout = understood(keys, LayoutOptions(ignore=("*/thumbs/*", "*_mask.png")))
    assert [keys[row] for row in layout.rows] == ["a/1.jpg", "b/2.jpg"]
    assert layout.notes == ("2 ignored by */thumbs/*, *_mask.png",)
    with pytest.raises(UsageError, match=r"ignore \*: matches every image"):
        understood(keys, LayoutOptions(ignore=("*",)))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("rows.json", '[{"file": "a.png", "label": "x"}, {"image": "b.png"}]', "row 2 has no file"),
        ("deep.json", "[" * 100_000, "not JSON"),
        ("long.csv", f"file,label\na.png,{'x' * 200_000}\n", "not CSV"),
        ("empty.csv", "file,label\na.png,x\n,y\n", "row 2 has no file"),
    ],
)
def test_a_damaged_table_is_a_data_error(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words):
        understood(["a.png", "b.png"], LayoutOptions(tmp_path / name))


def test_a_folder_cannot_be_two_splits() -> None:
    with pytest.raises(UsageError, match="'a': given for two splits"):
        understood(["a/1.png", "b/1.png"], LayoutOptions(split_folders={"train": "a", "val": "a"}))
