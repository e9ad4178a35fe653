"""CheXlocalize's JSON: contours (gt_annotations) or run lengths (gt_segmentations) by image and finding."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated

import msgspec

from benchmarks.data.annotations import Shape
from benchmarks.formats.coco import Runs
from benchmarks.formats.entries import Entry, Reading
from benchmarks.formats.image_files import ImageFiles
from benchmarks.formats.json_entries import decode_entry, names_twice, read_object
from benchmarks.formats.labelled import LabelledObject
from benchmarks.formats.mask_images import objects_of
from benchmarks.formats.run_lengths import RunLengths, decompress
from benchmarks.run.errors import UserError

_SIZE = "img_size"
_Side = Annotated[int, msgspec.Meta(ge=1)]
_Contours = list[list[tuple[float, float]]]


def recognises(source: Path, images: Path | None) -> bool:
    """Whether it is a JSON file whose first entry has a size, or run lengths by finding."""
    if source.suffix.lower() != ".json" or not source.is_file():
        return False
    first = next(iter(read_object(source).values()), msgspec.Raw(b"0"))
    try:
        return _SIZE in decode_entry(first, dict[str, msgspec.Raw]) or bool(decode_entry(first, dict[str, Runs]))
    except ValueError:
        return False


def read(source: Path, images: Path | None) -> Reading:
    """Read contours or run lengths; each contour, and each connected piece of run lengths, is an object.

    Args:
        source: The file.
        images: Folder of the images, by their names or laid out like CheXpert
            (``patient1/study1/view1_frontal.jpg`` for ``patient1_study1_view1_frontal``); else beside the file.

    Raises:
        UserError: It is no JSON object.
    """
    folder = source.parent
    files = ImageFiles(images, [folder, folder / "images", folder.parent / "images"], _alias)
    reading = Reading()
    items = read_object(source).items()
    reading.faults += names_twice(source)
    for name, raw in items:
        where = f"{source}, {name}"
        with reading.at(where):
            findings = decode_entry(raw, dict[str, msgspec.Raw])
            entry = Entry(where, name, files.find(name))
            if _SIZE in findings:
                height, width = decode_entry(findings.pop(_SIZE), tuple[_Side, _Side])
                entry.size = width, height
            reading.entries.append(entry)
            for finding, shapes in findings.items():
                with reading.at(f"{where}, {finding}"):
                    found = _objects(finding, shapes, contours=entry.size is not None)
                    entry.objects += [(f"{where}, {finding}", thing) for thing in found]
    if not items:
        raise UserError(f"{source} names no images.")
    return reading.in_alphabet()


def _objects(finding: str, raw: msgspec.Raw, contours: bool) -> list[LabelledObject]:
    if contours:
        return [LabelledObject(finding, (Shape("polygon", tuple(c)),)) for c in decode_entry(raw, _Contours)]
    runs = decode_entry(raw, Runs)
    counts = decompress(runs.counts) if isinstance(runs.counts, str) else tuple(runs.counts)
    return list(objects_of(RunLengths(counts, *runs.size), finding))


def _alias(path: PurePosixPath) -> str:
    """The name that an image of CheXpert has here."""
    return "_".join(path.with_suffix("").parts[-3:])
