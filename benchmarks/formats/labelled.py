"""What every reader gives: images with the objects that are annotated on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.data.annotations import Shape
from benchmarks.formats.run_lengths import RunLengths


@dataclass(frozen=True)
class LabelledObject:
    """One annotated object.

    Attributes:
        category: Its name.
        shapes: One or several, whose union it is. In pixels of the image as it is stored, origin at the top left
            corner of the first pixel, ends exclusive.
        difficult: Whether nobody need find it, as it is hard to see (VOC's ``difficult``, ``ignore`` in files of COCO).
        crowd: Whether it is a group of objects (COCO).

    Example:
        >>> parts = (Shape("rectangle", ((10, 20), (30, 25))), Shape("rectangle", ((5, 22), (8, 40))))
        >>> LabelledObject("dog", parts).box
        (5, 20, 30, 40)
    """

    category: str
    shapes: tuple[Shape | RunLengths, ...]
    difficult: bool = False
    crowd: bool = False

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """Bounding box (x1, y1, x2, y2) of all shapes, in pixels of the image, ends exclusive, unclipped."""
        x1, y1, x2, y2 = zip(*(shape.box for shape in self.shapes), strict=True)
        return min(x1), min(y1), max(x2), max(y2)


@dataclass(frozen=True)
class LabelledImage:
    """One image of a set.

    Attributes:
        name: Unique in the set.
        path: Where it is.
        objects: What is annotated on it.
        labels: Categories that it shows, each once: those of the objects, or those that are told without a place.
        size: Width and height in pixels as stored.
        where: File and entry of the annotation, for messages.
    """

    name: str
    path: Path
    objects: tuple[LabelledObject, ...]
    labels: tuple[str, ...]
    size: tuple[int, int]
    where: str

    @property
    def placed(self) -> bool:
        """Whether anything has a place on it; if not, it may be turned as its EXIF data say."""
        return bool(self.objects)


@dataclass(frozen=True)
class LabelledSet:
    """Images whose annotations, files and sizes agree.

    Attributes:
        images: In the order of the annotation.
        categories: Names, in the order of the annotation where it has one, else in that of the alphabet.
        format: Name of the format that they were read from.
        source: The file or folder that they were read from.
        remarks: What is odd but may be meant, a sentence each.
    """

    images: tuple[LabelledImage, ...]
    categories: tuple[str, ...]
    format: str
    source: Path
    remarks: tuple[str, ...] = ()
