"""Reads annotated images of any format that is known here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.formats import (
    box_table,
    chexlocalize,
    coco,
    image_folder,
    mask_images,
    object_cxr_split,
    voc,
    yolo,
)
from benchmarks.formats.agree import labelled_set
from benchmarks.formats.entries import Reading
from benchmarks.formats.labelled import LabelledSet
from benchmarks.run.errors import UserError, printable


class Format(NamedTuple):
    """A format: whether a path (with the folder of its images) is one, and its reader."""

    recognises: Callable[[Path, Path | None], bool]
    read: Callable[[Path, Path | None], Reading]


def _table(name: str) -> Format:
    return Format(
        lambda source, images: box_table.recognised(source) == name,
        partial(box_table.read, preset=box_table.PRESETS[name]),
    )


FORMATS = {
    "object-cxr": Format(object_cxr_split.recognises, object_cxr_split.read),
    "coco": Format(coco.recognises, coco.read),
    "voc": Format(voc.recognises, voc.read),
    "yolo": Format(yolo.recognises, yolo.read),
    "masks": Format(mask_images.recognises, mask_images.read),
    "chexlocalize": Format(chexlocalize.recognises, chexlocalize.read),
    **{name: _table(name) for name in box_table.PRESETS},
    "folder": Format(image_folder.recognises, image_folder.read),
}
"""Formats by name."""
_ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".tar", ".7z", ".rar")


def load_dataset(
    path: Path | str,
    images: Path | str | None = None,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> LabelledSet:
    r"""Read annotated images, and look whether annotations, files and sizes agree.

    Args:
        path: File or folder of the annotations.
        images: Folder of the images; where None, what the format says, or beside the annotations.
        format: One of ``FORMATS``; recognised from the content where None.
        columns: Of boxes in a CSV, the table's name of each of ``image``, ``category`` and either ``x1``, ``y1``,
            ``x2``, ``y2`` or ``x``, ``y``, ``width``, ``height``, in pixels.

    Returns:
        The set. Headers of all images have been read, their pixels have not.

    Raises:
        UserError: The format is not recognised, or what is there is none of it.
        FaultyTableError: What is wrong with the annotations or images: all of it, a sentence each in ``faults``.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> with TemporaryDirectory() as folder:
        ...     Image.new("L", (40, 30)).save(Path(folder) / "1.png")
        ...     _ = (Path(folder) / "boxes.csv").write_text("image,category,x1,y1,x2,y2\n1.png,cat,5,5,20,10\n")
        ...     data = load_dataset(Path(folder) / "boxes.csv")
        >>> data.format, data.categories, data.images[0].objects[0].box
        ('csv', ('cat',), (5.0, 5.0, 20.0, 10.0))
    """
    try:
        return _loaded(Path(path), None if images is None else Path(images), format, columns)
    except OSError as error:  # a folder that may not be looked into, a name that is too long
        raise UserError(f"{printable(error.filename or path, 200)} cannot be read ({error.strerror}).") from None


def _loaded(source: Path, folder: Path | None, format: str | None, columns: Mapping[str, str] | None) -> LabelledSet:
    if not source.exists():
        raise UserError(f"There is no file or folder {source}.")
    if columns is not None:
        if format not in (None, "csv"):
            raise UserError(f"columns names the columns of a CSV, but the format is {format}: leave one of them out.")
        return labelled_set(box_table.read(source, folder, box_table.preset_of(columns)), "csv", source)
    name = _recognised(source, folder) if format is None else format
    if name not in FORMATS:
        raise UserError(f"There is no format {name!r}, but {', '.join(FORMATS)}.")
    return labelled_set(FORMATS[name].read(source, folder), name, source)


def _recognised(source: Path, images: Path | None) -> str:
    names = [name for name, format in FORMATS.items() if format.recognises(source, images)]
    if len(names) > 1:
        raise UserError(f"{source} may be {' or '.join(names)}: say which with `format`.")
    suffix = source.suffix.lower()
    if not names and suffix in box_table.SUFFIXES and (header := box_table.header_of(source)):
        raise UserError(
            f"{source} has the columns {printable(', '.join(header), 200)}: say with `columns` which are image, "
            "category, and x1, y1, x2, y2 or x, y, width, height, or write it so."
        )
    if not names and suffix in box_table.SUFFIXES:
        raise UserError(f"{source} is empty: fetch or export it again.")
    if not names and suffix in _ARCHIVES and source.is_file():
        raise UserError(f"{source} is an archive: unpack it, and give the file or folder that was in it.")
    if not names:
        raise UserError(f"{source} is not recognised: name its format, one of {', '.join(FORMATS)}, with `format`.")
    return names[0]
