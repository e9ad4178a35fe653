"""Reads JSON by the kinds that a format says, entry by entry, so that all faults are told at once."""

from __future__ import annotations

import codecs
import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.run.errors import UserError


def read_object(path: Path) -> dict[str, msgspec.Raw]:
    """The entries of the object that a file holds, not yet decoded.

    Raises:
        UserError: It cannot be read, is no JSON, holds something else than an object, or has a name twice.
    """
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
        entries: dict[str, msgspec.Raw] = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
    except msgspec.ValidationError:
        raise UserError(f'{path} holds no JSON object (no "{{...}}"), as annotations in JSON are.') from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error).removeprefix("JSON is malformed: ") or "nested too deeply"
        raise UserError(f"{path} is not readable as JSON ({reason}): export it again.") from None
    return entries


def decode_entry(raw: msgspec.Raw, kind: Any) -> Any:
    """One entry as the kind that it should be.

    Raises:
        ValueError: It is of another kind, has a number that is none, or a name twice; a fragment that fits behind
            "annotation 7: ".
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).replace("`", "").partition(" - at ")
        place = place.removeprefix("$").removeprefix(".")
        raise ValueError(f"{place}: " * bool(place) + reason[0].lower() + reason[1:]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("it is not readable as JSON") from None


def names_twice(path: Path) -> list[str]:
    """Names that stand twice in one object, of which JSON would keep the last and drop the first.

    Args:
        path: A file that ``read_object`` reads.
    """
    twice: list[str] = []

    def seen(pairs: list[tuple[str, Any]]) -> None:
        twice.extend(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)

    json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=seen)
    return twice
