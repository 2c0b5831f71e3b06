"""Spellings of the release before are understood, with a note; those of today pass as they are."""

from __future__ import annotations

import shlex

import pytest

from corolla.cli.spelling import in_todays_spelling


@pytest.mark.parametrize(
    ("before", "today", "named"),
    [
        ("anomalies a b --against run -o odd", "anomalies run a b -o odd", "--against"),
        ("anomalies --against=run a", "anomalies run a", "--against"),
        ("anomalies --against run -o odd -- -a", "anomalies run -o odd -- -a", "--against"),
        ("decompress x.corolla --model run -o out", "decompress run x.corolla -o out", "--model"),
        ("direction run --use d --extent 4", "direction run --use d --span 4", "--span"),
        ("direction run --extent=4 -o p.png", "direction run --span=4 -o p.png", "--span"),
        ("direction run --from a b --to c d e", "direction run --from a --from b --to c --to d --to e", "--from A"),
        ("poster run --reach 2", "poster run --span 2", "--span"),
        ("sample run --like a b --count 3", "sample run --like a --like b --count 3", "--like A"),
        ("traverse run --latent 0 --latent=3 -o p", "traverse run -o p --latent 0,3", "--latent 0,3"),
    ],
)
def test_old_spellings_become_those_of_today(before: str, today: str, named: str) -> None:
    notes: list[str] = []
    assert shlex.join(in_todays_spelling(shlex.split(before), notes.append)) == today
    assert any(named in note for note in notes)
    assert in_todays_spelling(shlex.split(today), pytest.fail) == shlex.split(today)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--help",
        "sample run --like a --like b -o p.png",
        "poster run --like=a --span 2",
        "traverse run -o p --latent 0,3",
        "evaluate run --images 16 --only images",
        "inpaint run a b --mask m",
        "traverse run --latents 3 --latent 2",
        "sample run -o p.png -- --like",
    ],
)
def test_what_is_spelt_as_today_is_left_as_it_is(line: str) -> None:
    assert in_todays_spelling(shlex.split(line), pytest.fail) == shlex.split(line)


def test_a_word_after_a_value_with_an_equals_sign_is_no_value() -> None:
    words = ["traverse", "--latent=0,3", "run"]
    assert in_todays_spelling(words, pytest.fail) == ["traverse", "run", "--latent", "0,3"]
