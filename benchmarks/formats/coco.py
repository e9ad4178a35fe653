"""COCO's JSON: boxes, polygons, run lengths, crowds. Coordinates are floats from the image's corner, ends exclusive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from benchmarks.data.annotations import Shape
from benchmarks.formats.entries import Entry, Reading
from benchmarks.formats.image_files import ImageFiles
from benchmarks.formats.json_entries import decode_entry, names_twice, read_object
from benchmarks.formats.labelled import LabelledObject
from benchmarks.formats.run_lengths import RunLengths, decompress
from benchmarks.run.errors import UserError
from benchmarks.run.text_tables import counted

_PARTS = ("images", "annotations", "categories")
_SAME_PLACE = 0.5
"""Overlap from which on a box and a segmentation are taken for those of one object: drawn by hand, they differ."""
_Side = Annotated[int, msgspec.Meta(ge=1)]
_Flag = Annotated[int, msgspec.Meta(ge=0, le=1)] | bool | None
_Id = int | str
"""Kept as text, since programs write one id as a number in one place and in quotes in another."""


class Category(msgspec.Struct):
    """An entry of ``categories``, as far as it is read."""

    id: _Id
    name: str

    def __post_init__(self) -> None:
        self.id = str(self.id)


class Identified(msgspec.Struct):
    """What an entry of ``images`` is known by, whatever is wrong with the rest of it."""

    id: _Id

    def __post_init__(self) -> None:
        self.id = str(self.id)


class Image(Identified):
    """An entry of ``images``, as far as it is read."""

    file_name: str
    width: _Side | None = None
    height: _Side | None = None


class Runs(msgspec.Struct):
    """Run lengths: ``size`` is height and width, ``counts`` may be compressed."""

    size: tuple[_Side, _Side]
    counts: str | list[int]


class Segmentation(msgspec.Struct):
    """Run lengths, or an object that says nothing."""

    size: tuple[_Side, _Side] | None = None
    counts: str | list[int] | None = None


class Annotation(msgspec.Struct):
    """An entry of ``annotations``, as far as it is read."""

    image_id: _Id
    category_id: _Id
    id: _Id | None = None
    bbox: list[float] | None = None
    segmentation: list[list[float]] | Segmentation | Literal[""] | None = None
    iscrowd: _Flag = None
    ignore: _Flag = None

    def __post_init__(self) -> None:
        self.image_id, self.category_id = str(self.image_id), str(self.category_id)
        self.id = None if self.id is None else str(self.id)


def recognises(source: Path, images: Path | None) -> bool:
    """Whether it is a JSON file with the parts of COCO."""
    if source.suffix.lower() != ".json" or not source.is_file():
        return False
    return set(_PARTS[:2]) <= set(read_object(source))


def read(source: Path, images: Path | None) -> Reading:
    """Read ``instances_*.json`` and its kind.

    Where an annotation has a segmentation, its box is that of the segmentation.

    Args:
        source: The file.
        images: Folder of the images; else the file's own, ``images`` in or beside it, or, beside it, the last word of
            the file's name (``val2014`` for ``instances_val2014.json``).

    Raises:
        UserError: It is no JSON, or a part is missing.
    """
    parts = read_object(source)
    entries: dict[str, list[msgspec.Raw]] = {}
    for part in _PARTS:
        if part not in parts:
            raise UserError(f'{source} has no "{part}", as COCO\'s annotations have.')
        try:
            entries[part] = decode_entry(parts[part], list[msgspec.Raw])
        except ValueError:
            raise UserError(f'{source}: "{part}" is no list.') from None
    folder = source.parent
    usual = [folder, folder / "images", folder.parent / "images", folder.parent / source.stem.rpartition("_")[2]]
    reading = Reading(faults=names_twice(source))
    names = _categories(source, entries["categories"], reading)
    found = _images(source, entries["images"], ImageFiles(images, usual), reading)
    _annotations(source, entries["annotations"], names, found, reading)
    return reading


def _categories(source: Path, raws: list[msgspec.Raw], reading: Reading) -> dict[_Id, str]:
    names: dict[_Id, str] = {}
    for number, raw in enumerate(raws):
        with reading.at(f"{source}, categories[{number}]"):
            category = decode_entry(raw, Category)
            if category.id in names:
                raise ValueError(f"the id {category.id} is that of {names[category.id]!r} already: give each its own")
            names[category.id] = category.name
    if not raws:
        reading.faults.append(f"{source}: it has no categories.")
    reading.categories = list(names.values())
    return names


def _images(source: Path, raws: list[msgspec.Raw], files: ImageFiles, reading: Reading) -> dict[_Id, Entry | None]:
    """Entries by the id of their image, None for those with a fault of their own."""
    found: dict[_Id, Entry | None] = {}
    for number, raw in enumerate(raws):
        with reading.at(f"{source}, images[{number}]"):
            id = decode_entry(raw, Identified).id
            if id in found:
                raise ValueError(f"another image has the id {id}: give each its own")
            found[id] = None
            image = decode_entry(raw, Image)
            path = files.find(image.file_name)
            size = None if image.width is None or image.height is None else (image.width, image.height)
            entry = Entry(f"{source}, image {id}", image.file_name, path, size=size)
            found[id] = entry
            reading.entries.append(entry)
    return found


def _annotations(
    source: Path, raws: list[msgspec.Raw], names: dict[_Id, str], images: dict[_Id, Entry | None], reading: Reading
) -> None:
    known: set[_Id] = set()
    elsewhere: list[str] = []
    for number, raw in enumerate(raws):
        where = f"{source}, annotations[{number}]"
        with reading.at(where):
            annotation = decode_entry(raw, Annotation)
            if annotation.id in known:
                raise ValueError(f"another annotation has the id {annotation.id}: give each its own")
            if annotation.id is not None:
                known.add(annotation.id)
            if annotation.image_id not in images:
                raise ValueError(f'its image_id {annotation.image_id} is none of "images"')
            if annotation.category_id not in names:
                raise ValueError(f'its category_id {annotation.category_id} is none of "categories"')
            entry = images[annotation.image_id]
            crowd, ignored = bool(annotation.iscrowd), bool(annotation.ignore)
            found = LabelledObject(names[annotation.category_id], _shapes(annotation), ignored, crowd)
            if entry is not None:
                entry.objects.append((where, found))
            if annotation.segmentation and _overlap(annotation.bbox, found.box) < _SAME_PLACE:
                elsewhere.append(where)
    if elsewhere:
        reading.remarks.append(
            f"{counted(len(elsewhere), 'bbox', 'boxes')} elsewhere than the segmentation, which counts, such as in "
            f"{elsewhere[0]}: were corners written where x, y, width, height are expected, or one of the two scaled?"
        )


def _overlap(bbox: list[float] | None, box: tuple[float, float, float, float]) -> float:
    """Intersection over union of x, y, width, height and two corners; 1 where one is none or has no area."""
    if bbox is None or len(bbox) != 4 or not bbox[2] * bbox[3]:
        return 1
    (x, y, width, height), (x1, y1, x2, y2) = bbox, box
    shared = max(min(x + width, x2) - max(x, x1), 0) * max(min(y + height, y2) - max(y, y1), 0)
    return shared / (abs(width * height) + (x2 - x1) * (y2 - y1) - shared)


def _shapes(annotation: Annotation) -> tuple[Shape | RunLengths, ...]:
    parts = annotation.segmentation
    if isinstance(parts, Segmentation) and parts != Segmentation():
        if parts.size is None or parts.counts is None:
            raise ValueError("its segmentation is an object without size or counts, which run lengths have")
        counts = decompress(parts.counts) if isinstance(parts.counts, str) else tuple(parts.counts)
        runs = RunLengths(counts, *parts.size)
        if not any(counts[1::2]):
            raise ValueError("its run lengths mark no pixel: remove it")
        return (runs,)
    if isinstance(parts, list) and any(parts):  # [] and [[]] say as little as null, "" and {}
        return tuple(_polygon(part) for part in parts if part)
    if annotation.bbox is None:
        raise ValueError("it has neither a bbox nor a segmentation")
    if len(annotation.bbox) != 4:
        raise ValueError(f"its bbox has {len(annotation.bbox)} numbers where x, y, width, height are 4")
    return (box_of_size(*annotation.bbox),)


def _polygon(numbers: list[float]) -> Shape:
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(f"a polygon has {len(numbers)} numbers where x and y of 3 points and more are expected")
    return Shape("polygon", tuple(zip(numbers[::2], numbers[1::2], strict=True)))


def box_of_size(x: float, y: float, width: float, height: float) -> Shape:
    """A rectangle of a corner and a size, in pixels, without the noise of adding them.

    Raises:
        ValueError: A side is negative; a fragment that fits behind "row 7: ".
    """
    if width < 0 or height < 0:
        raise ValueError(f"its box has the size {width:g} x {height:g}: a width and a height are not negative")
    return Shape("rectangle", ((x, y), (round(x + width, 6), round(y + height, 6))))
