from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.formats.labelled import LabelledSet
from benchmarks.formats.matching import match_categories
from benchmarks.run.errors import UserError


def data(*categories: str) -> LabelledSet:
    return LabelledSet((), categories, "coco", Path("set.json"))


def test_all_meet() -> None:
    assert match_categories(data("b", "a"), ["a", "b"]) == ({"b": 1, "a": 0}, "")


def test_case_spaces_hyphens_and_underscores_do_not_count() -> None:
    meeting, sentence = match_categories(data("Pleural Effusion", "no-finding"), ["No_Finding", "pleural_effusion"])
    assert meeting == {"Pleural Effusion": 1, "no-finding": 0}
    assert not sentence


def test_accents_may_be_letters_of_their_own() -> None:
    """As in names of folders from macOS."""
    assert match_categories(data("Ka\u0308fer", "René"), ["Rene\u0301", "käfer"])[0] == {"Ka\u0308fer": 1, "René": 0}


def test_the_same_letters_come_first() -> None:
    assert match_categories(data("Crane"), ["crane", "Crane"])[0] == {"Crane": 1}


def test_what_does_not_meet_is_listed() -> None:
    _, sentence = match_categories(data("a", "x", "y"), ["a", "b"])
    assert sentence == "2 of 3 categories have no output: x, y; 1 of 2 outputs has no category: b."
    _, sentence = match_categories(data("3"), [str(number) for number in range(1000)])
    assert sentence == "999 of 1000 outputs have no category: 0, 1, 2, 4, 5, 6, 7, 8, 9, 10, ...."


def test_nothing_and_too_much_are_refused() -> None:
    with pytest.raises(UserError, match=r"No category of set\.json \(a\) is an output of the model \(b, c\)"):
        match_categories(data("a"), ["b", "c"])
    with pytest.raises(UserError, match="'crane' meets the outputs 0 and 2"):
        match_categories(data("crane"), ["crane", "dog", "crane"])
    assert match_categories(data("dog"), ["crane", "dog", "crane"])[0] == {"dog": 1}
    with pytest.raises(UserError, match=r"'cat' and 'Cat' of set\.json both meet the output 'cat' of the model"):
        match_categories(data("cat", "Cat"), ["cat", "dog"])
    assert match_categories(data("cat", "Cat"), ["cat", "Cat"])[0] == {"cat": 0, "Cat": 1}
