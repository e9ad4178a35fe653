"""What a reader gives: entries as the annotation tells them, before image files are looked at, and what is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.formats.labelled import LabelledObject
from benchmarks.run.errors import UserError


@dataclass
class Entry:
    """One image.

    Attributes:
        where: File and entry, for messages.
        name: Its name in the set.
        path: Where it is.
        objects: Each behind where it was read.
        labels: Categories that are told without a place.
        size: Width and height that the annotation states.
    """

    where: str
    name: str
    path: Path
    objects: list[tuple[str, LabelledObject]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    size: tuple[int, int] | None = None


@dataclass
class Reading:
    """All that a reader found.

    Attributes:
        entries: In the order of the annotation.
        categories: All that it knows, in its order.
        faults: A sentence each.
        remarks: What is odd but may be meant, a sentence each.
        in_shares: Whether coordinates are shares of the image instead of pixels.
    """

    entries: list[Entry] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    in_shares: bool = False

    @contextmanager
    def at(self, where: str) -> Iterator[None]:
        """Keep what is found wrong here as a fault, and go on behind it.

        Args:
            where: File and entry, which the sentence begins with.
        """
        try:
            yield
        except (UserError, ValueError) as error:
            self.faults.append(f"{where}: {str(error).rstrip('.')}.")

    def in_alphabet(self) -> Reading:
        """The same, with the categories of all entries in the order of the alphabet."""
        found = {thing.category for entry in self.entries for _, thing in entry.objects}
        self.categories = sorted(found.union(*(entry.labels for entry in self.entries)))
        return self


def text_of(path: Path) -> str:
    """What a text file in UTF-8 holds, without a mark of the byte order.

    Raises:
        UserError: It cannot be read, or is in another encoding.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not in UTF-8: save it so.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None


def names_in(path: Path) -> list[str]:
    """Names of classes, one a line; blank lines at the end do not count.

    Raises:
        UserError: As ``text_of``; or a line is blank before the last, which shifts the classes behind.
    """
    names = [line.strip() for line in text_of(path).rstrip().splitlines()]
    if "" in names:
        raise UserError(f"{path}, line {names.index('') + 1}: it is blank where a class is named: remove or name it.")
    return names


def number_in(text: str, name: str) -> float:
    """A number of a text file.

    Args:
        text: Its letters.
        name: What it is, for the sentence.

    Raises:
        ValueError: It is none, or not finite; a fragment that fits behind "row 7: ".
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:  # which Python allows in numbers
        raise ValueError(f"its {name} is {text.strip()[:40]!r} where a number is expected")
    return value
