"""Reads JSON by the kinds that a format says, entry by entry, so that all faults are told at once."""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.formats.entries import text_of
from benchmarks.run.errors import UserError


def read_object(path: Path) -> dict[str, msgspec.Raw]:
    """The entries of the object that a file holds, not yet decoded.

    Raises:
        UserError: It cannot be read, is not in UTF-8, is no JSON, or holds something else than an object.
    """
    text = text_of(path)
    try:
        entries: dict[str, msgspec.Raw] = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise UserError(f'{path} holds no JSON object (no "{{...}}"), as annotations in JSON are.') from None
    except (msgspec.DecodeError, RecursionError) as error:
        reason = str(error).removeprefix("JSON is malformed: ") or "nested too deeply"
        if place := re.search(r"\(byte (\d+)\)", reason):  # Python writes NaN, which JSON has not
            reason += f", at {text.encode()[int(place[1]) :][:12].decode(errors='replace')!r}"
        raise UserError(f"{path} is not readable as JSON ({reason}): export it again.") from None
    return entries


def decode_entry(raw: msgspec.Raw, kind: Any) -> Any:
    """One entry as the kind that it should be; 1.0 is as good as 1.

    Raises:
        ValueError: It is of another kind, or has a number that is none; a fragment that fits behind "annotation 7: ".
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        with suppress(ValueError, RecursionError):
            return msgspec.convert(json.loads(bytes(raw), parse_float=_whole), kind)
        reason, _, place = str(error).replace("`", "").partition(" - at ")
        place = place.removeprefix("$").removeprefix(".")
        raise ValueError(f"{place}: " * bool(place) + reason[0].lower() + reason[1:]) from None
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("it is not readable as JSON") from None


def names_twice(path: Path) -> list[str]:
    """Faults of names that stand twice in one object, of which JSON would keep the last and drop the first.

    Args:
        path: A file that ``read_object`` reads.
    """
    faults: list[str] = []

    def seen(pairs: list[tuple[str, Any]]) -> None:  # returns nothing, so that nothing is kept
        counts = Counter(name for name, _ in pairs)
        if len(counts) < len(pairs):
            place = next((f" in the object of id {value}" for name, value in pairs if name == "id"), "")
            faults.extend(f"{path}: {n!r} is there twice{place}: keep one." for n, count in counts.items() if count > 1)

    json.loads(text_of(path), object_pairs_hook=seen, parse_int=str)  # of digits, Python has a limit
    return faults


def _whole(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() else number
