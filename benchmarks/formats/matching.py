"""Which output of a model is which category of a set: they meet by name."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.formats.image_files import composed
from benchmarks.formats.labelled import LabelledSet
from benchmarks.run.errors import UserError, printable


def match_categories(data: LabelledSet, classes: Sequence[str]) -> tuple[dict[str, int], str]:
    """Find the output of each category.

    Names meet where they are the same, else where they are the same but for case, spaces, hyphens, underscores and how
    accents are written.

    Args:
        data: The set.
        classes: Names of the model's outputs, in order.

    Returns:
        The number of the output of each category that has one, in the order of the categories; and a sentence that
        lists what does not meet, empty where all do.

    Raises:
        UserError: No category meets an output, one meets several, or two meet the same.

    Example:
        >>> from pathlib import Path
        >>> data = LabelledSet((), ("Pleural Effusion", "Fracture"), "coco", Path("cxr.json"))
        >>> match_categories(data, ["Cardiomegaly", "pleural_effusion"])[0]
        {'Pleural Effusion': 1}
        >>> match_categories(data, ["Fracture", "pleural_effusion", "Cardiomegaly"])[1]
        '1 of 3 outputs has no category: Cardiomegaly.'
    """
    exact = _places(classes)
    folded = _places([_folded(name) for name in classes])
    meeting: dict[str, int] = {}
    for category in data.categories:
        places = exact.get(category) or folded.get(_folded(category), [])
        if len(places) > 1:
            raise UserError(
                f"The category {category!r} meets the outputs {' and '.join(map(str, places))} of the model: "
                "give the outputs different names with `classes`."
            )
        if places:
            if rival := next((name for name, place in meeting.items() if place == places[0]), None):
                raise UserError(
                    f"The categories {rival!r} and {category!r} of {data.source} both meet the output "
                    f"{classes[places[0]]!r} of the model: give objects of one kind one name, or rename one category."
                )
            meeting[category] = places[0]
    if not meeting:
        raise UserError(
            f"No category of {data.source} ({_some(data.categories)}) is an output of the model ({_some(classes)}): "
            "name the outputs in order with `classes`."
        )
    lacking = [name for name in data.categories if name not in meeting]
    idle = [name for place, name in enumerate(classes) if place not in meeting.values()]
    clauses = [
        _clause(lacking, len(data.categories), "categories", "output"),
        _clause(idle, len(classes), "outputs", "category"),
    ]
    told = "; ".join(filter(None, clauses))
    return meeting, printable(f"{told}.") if told else ""


def _places(names: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    return places


def _folded(name: str) -> str:
    return " ".join(composed(name).casefold().replace("_", " ").replace("-", " ").split())


def _clause(names: Sequence[str], total: int, nouns: str, other: str) -> str:
    verb = "has" if len(names) == 1 else "have"
    return f"{len(names)} of {total} {nouns} {verb} no {other}: {_some(names)}" if names else ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
