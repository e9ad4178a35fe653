"""Whether annotations, files and sizes agree: what is wrong is told all at once, what is odd is remarked."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.data.annotations import LARGEST, Shape
from benchmarks.data.object_cxr import FaultyTableError
from benchmarks.films.decode import stored_size, warnings_hidden
from benchmarks.formats.entries import Entry, Reading
from benchmarks.formats.image_files import which_image
from benchmarks.formats.labelled import LabelledImage, LabelledObject, LabelledSet
from benchmarks.formats.run_lengths import RunLengths
from benchmarks.run.errors import UserError, printable

_DIGITS = 2
"""To which pixels made of shares are rounded: shares of six digits are good for 1/200 of a pixel."""


def labelled_set(reading: Reading, format: str, source: Path) -> LabelledSet:
    """Make a set of what a reader found.

    Args:
        reading: With the reader's own faults.
        format: Name of the format.
        source: Where it was read from.

    Raises:
        FaultyTableError: All faults: the reader's, names that are there twice, images that cannot be read or are to be
            turned, sizes that differ from the stated ones, objects off their image or in shares, no label at all.
    """
    faults = [*reading.faults, *_categories(reading, source), *_twice(reading.entries)]
    images = []
    for entry, size in zip(reading.entries, _sizes(reading.entries), strict=True):
        if isinstance(size, str):
            faults.append(f"{entry.where}: {size}")
        elif entry.size not in (None, size):
            faults.append(
                f"{entry.where}: it is about an image of {_pixels(*entry.size)}, but {entry.path} has "
                f"{_pixels(*size)}: give the image that was annotated."
            )
        else:
            objects = [
                (where, _in_pixels(found, size) if reading.in_shares else found) for where, found in entry.objects
            ]
            told = [(where, _fault_of(found, size)) for where, found in objects]
            faults += [f"{where}: {fault}." for where, fault in told if fault]
            labels = {found.category for _, found in objects}.union(entry.labels)
            ordered = tuple(name for name in reading.categories if name in labels)
            there = tuple(found for _, found in objects)
            images.append(LabelledImage(entry.name, entry.path, there, ordered, size, entry.where))
    if not faults and not any(image.labels for image in images):
        what = f"none of its {len(images)} images has a label" if images else "it holds no images"
        faults.append(f"{source}: {what}.")
    if faults:
        raise FaultyTableError(faults, listed_by="`evaluate --check`, or the error's `faults`,")
    remarks = [*reading.remarks, *_without_area(reading.entries), *_over_the_edge(images), *_empty(reading, images)]
    return LabelledSet(tuple(images), tuple(reading.categories), format, source, tuple(map(printable, remarks)))


def _categories(reading: Reading, source: Path) -> list[str]:
    faults = [
        f"{source}: the category {name!r} is there twice: name each once." for name in _repeated(reading.categories)
    ]
    if not all(name.strip() for name in reading.categories):
        faults.append(f"{source}: a category has an empty name: name it.")
    return faults


def _twice(entries: Sequence[Entry]) -> list[str]:
    first: dict[tuple[int, int], Entry] = {}
    return [
        f"{entry.where}: the image {printable(entry.name, 200)} is there already ({first[key].where}): keep one entry."
        for entry in entries
        for key in [which_image(entry.path)]
        if first.setdefault(key, entry) is not entry
    ]


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _sizes(entries: Sequence[Entry]) -> list[tuple[int, int] | str]:
    """Width and height of each image, or why they cannot be told."""
    console = Console(stderr=True)
    with warnings_hidden(), ThreadPoolExecutor(os.cpu_count()) as pool:  # threads are enough: this waits for disks
        looked_up = pool.map(_look, entries)
        return list(
            track(
                looked_up,
                "Reading sizes",
                len(entries),
                console=console,
                transient=True,
                disable=not console.is_terminal,
            )
        )


def _look(entry: Entry) -> tuple[int, int] | str:
    try:
        return stored_size(entry.path, placed=bool(entry.objects or entry.size))
    except UserError as error:
        return str(error)


def _in_pixels(found: LabelledObject, size: tuple[int, int]) -> LabelledObject:
    def scaled(shape: Shape) -> Shape:
        points = (tuple(round(v * s, _DIGITS) for v, s in zip(point, size, strict=True)) for point in shape.points)
        return replace(shape, points=tuple((x, y) for x, y in points))

    return replace(found, shapes=tuple(scaled(s) if isinstance(s, Shape) else s for s in found.shapes))


def _fault_of(found: LabelledObject, size: tuple[int, int]) -> str:
    width, height = size
    for shape in found.shapes:
        if isinstance(shape, RunLengths) and (shape.width, shape.height) != size:
            return f"its run lengths are for {_pixels(shape.width, shape.height)}, but the image has {_pixels(*size)}"
    x1, y1, x2, y2 = box = found.box
    if not math.isfinite(sum(x + y for shape in found.shapes if isinstance(shape, Shape) for x, y in shape.points)):
        return "a coordinate is not finite"
    if max(map(abs, box)) > LARGEST:
        return "a coordinate is beyond any image"
    if max(map(abs, box)) <= 1 and any(box) and min(size) > 1 and all(isinstance(s, Shape) for s in found.shapes):
        shown = f"the object at {x1:g} {y1:g} {x2:g} {y2:g}"
        return f"{shown} seems to be given in shares of the image: write pixels, of which it has {_pixels(*size)}"
    parts = [("part", shape.box) for shape in found.shapes] if len(found.shapes) > 1 else []
    for noun, (x1, y1, x2, y2) in [("object", box), *parts]:  # a part that is off would widen the box of the object
        shown = f"the {noun} at {x1:g} {y1:g} {x2:g} {y2:g}"
        if not any((x1, y1, x2, y2)):
            return f"{shown} is empty: remove it, or give it a place"
        if noun == "part" and min(x1, y1) >= 0 and x2 <= width and y2 <= height:
            continue  # a sliver on the very edge, as outlines of COCO have, widens nothing
        if x2 < 0 or y2 < 0 or (x2 == 0 and x1 < 0) or (y2 == 0 and y1 < 0) or x1 >= width or y1 >= height:
            return f"{shown} lies off the image, which has {_pixels(*size)}: correct or remove it"
    return ""


def _without_area(entries: Sequence[Entry]) -> list[str]:
    thin = [where for entry in entries for where, (x1, y1, x2, y2) in _boxes(entry) if x1 == x2 or y1 == y2]
    if not thin:
        return []
    count = "one object" if len(thin) == 1 else f"{len(thin)} objects"
    return [f"{count} without an area, counted as a pixel or a line of them: {thin[0]}."]


def _boxes(entry: Entry) -> list[tuple[str, tuple[float, float, float, float]]]:
    return [(where, found.box) for where, found in entry.objects]


def _over_the_edge(images: Sequence[LabelledImage]) -> list[str]:
    """Whether boxes look as if corners had been written where sizes are expected, or the reverse."""
    boxes = [(found.box, image) for image in images for found in image.objects]
    over = [image for (_, _, x2, y2), image in boxes if x2 > image.size[0] + 1 or y2 > image.size[1] + 1]
    if len(boxes) < 4 or 2 * len(over) < len(boxes):
        return []
    return [
        f"{len(over)} of {len(boxes)} objects reach over the edge of their image, such as on {over[0].name}: "
        "were two corners written where a corner and a size are expected?"
    ]


def _empty(reading: Reading, images: Sequence[LabelledImage]) -> list[str]:
    shown = {label for image in images for label in image.labels}
    missing = [name for name in reading.categories if name not in shown]
    if not missing:
        return []
    some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    verb = "has" if len(missing) == 1 else "have"
    return [f"{len(missing)} of {len(reading.categories)} categories {verb} no image: {some}."]


def _pixels(width: int, height: int) -> str:
    return f"{width} x {height} pixels"
