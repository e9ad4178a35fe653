"""Run lengths: how long each run of unmarked and marked pixels of an image is, in turn, the first unmarked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from benchmarks.films.grey import MOST_PIXELS


@dataclass(frozen=True)
class RunLengths:
    """The marked pixels of an image.

    Attributes:
        counts: Length of each run in pixels, beginning with unmarked ones; they sum to ``height * width``.
        height: Of the image in pixels.
        width: Of the image in pixels.
        column_major: Whether a run goes down a column, as in COCO, or along a row.

    Raises:
        ValueError: The image would be too large, a count is negative, or they sum to another number of pixels; a
            fragment that fits behind "annotation 7: ".

    Example:
        >>> RunLengths((2, 3, 1), height=2, width=3, column_major=True).mask.astype(int)
        array([[0, 1, 1],
               [0, 1, 0]])
        >>> RunLengths((2, 3, 1), height=2, width=3, column_major=False).box
        (0.0, 0.0, 3.0, 2.0)
    """

    counts: tuple[int, ...]
    height: int
    width: int
    column_major: bool = True

    def __post_init__(self) -> None:
        """Check size and counts."""
        if self.height * self.width > MOST_PIXELS:
            raise ValueError(f"its run lengths are for {self.width} x {self.height} pixels, more than any image has")
        if any(count < 0 for count in self.counts):
            raise ValueError(f"its run lengths hold the negative count {min(self.counts)}")
        if sum(self.counts) != self.height * self.width:
            raise ValueError(
                f"its run lengths hold {sum(self.counts)} pixels where {self.height} rows of {self.width} are "
                f"{self.height * self.width}"
            )

    @classmethod
    def of(cls, mask: npt.NDArray[np.bool_]) -> RunLengths:
        """Run lengths along the rows of a mask.

        Args:
            mask: bool (height, width).

        Returns:
            The run lengths, not column-major.
        """
        height, width = mask.shape
        return _placed(mask, 0, 0, height, width)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """The marked pixels, bool (height, width), made anew each time."""
        marked = np.arange(len(self.counts)) % 2 == 1
        shape = (self.height, self.width)
        return np.repeat(marked, self.counts).reshape(shape, order="F" if self.column_major else "C")

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """Bounding box (x1, y1, x2, y2) of the marked pixels, ends exclusive; all 0 where none is marked."""
        ends = np.cumsum(np.array(self.counts, dtype=np.int64))
        first, last = ends[:-1:2], ends[1::2] - 1
        marked = last >= first
        if not marked.any():
            return 0.0, 0.0, 0.0, 0.0
        length = self.height if self.column_major else self.width
        (line, start), (end_line, end) = divmod(first[marked], length), divmod(last[marked], length)
        whole = bool((end_line > line).any())  # a run that turns into the next line has been at both ends
        along = (0, length) if whole else (int(start.min()), int(end.max()) + 1)
        across = int(line.min()), int(end_line.max()) + 1
        (x1, x2), (y1, y2) = (across, along) if self.column_major else (along, across)
        return float(x1), float(y1), float(x2), float(y2)

    def components(self) -> list[RunLengths]:
        """Take it apart.

        Returns:
            Its connected pieces, from top to bottom; pixels that touch at a corner are connected.
        """
        from scipy import ndimage  # late: boxes need not wait for it

        if not any(self.counts[1::2]):
            return []
        x1, y1, x2, y2 = map(int, self.box)
        pieces, _ = ndimage.label(self.mask[y1:y2, x1:x2], structure=np.ones((3, 3)))
        return [
            _placed(pieces[rows, columns] == number, y1 + rows.start, x1 + columns.start, self.height, self.width)
            for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1)
        ]


def _placed(mask: npt.NDArray[np.bool_], top: int, left: int, height: int, width: int) -> RunLengths:
    """Run lengths of a mask that lies somewhere on an image."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    (row, first), (_, last) = np.nonzero(edges == 1), np.nonzero(edges == -1)
    begin = (row + top) * width + left
    bounds = np.stack([begin + first, begin + last], axis=1).ravel()
    counts = np.diff(bounds, prepend=0, append=height * width)
    return RunLengths(tuple(counts.tolist()), height, width, column_major=False)


def decompress(text: str) -> tuple[int, ...]:
    """Counts of COCO's compressed run lengths.

    A count is written in pieces of 5 bits, the lowest first, as letters from ``0`` on; the sixth bit says that more
    pieces follow, and the highest bit of the last piece is the sign. From the fourth count on it is the difference
    to the count before the last.

    Args:
        text: ``counts`` of a COCO file.

    Raises:
        ValueError: It is none; a fragment that fits behind "annotation 7: ".

    Example:
        >>> decompress("231"), decompress("5131")
        ((2, 3, 1), (5, 1, 3, 2))
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        piece = ord(letter) - 48
        if not 0 <= piece < 64 or shift > 60:
            raise ValueError(f"its compressed run lengths hold {letter!r} where COCO has none")
        value |= (piece & 31) << shift
        shift += 5
        if not piece & 32:
            if piece & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("its compressed run lengths end in the middle of a count")
    return tuple(counts)


def compress(counts: Iterable[int]) -> str:
    """Write counts as ``decompress`` reads them.

    Example:
        >>> compress((5, 1, 3, 2))
        '5131'
    """
    letters: list[str] = []
    known: list[int] = []
    for count in counts:
        value = count - (known[-2] if len(known) > 2 else 0)
        known.append(count)
        more = True
        while more:
            piece = value & 31
            value >>= 5
            more = value != (-1 if piece & 16 else 0)
            letters.append(chr(48 + piece + 32 * more))
    return "".join(letters)
