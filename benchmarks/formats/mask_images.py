"""Masks that are images themselves: one a class and image, or one an image whose values are the classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks.formats.entries import Entry, Reading, names_in
from benchmarks.formats.image_files import (
    ImageFiles,
    ask_for_one,
    composed,
    folders_in,
    images_below,
    images_in,
    remark_on_others,
    splits_among,
)
from benchmarks.formats.labelled import LabelledObject
from benchmarks.formats.run_lengths import RunLengths
from benchmarks.run.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

CLASSES = "classes.txt"
"""Beside the masks: names of the values 1, 2, ..., a line each."""
UNNAMED = "object"
"""Category of masks that hold one value and have no names."""
VOID = 255
"""Value of pixels that nobody judged, where classes have values."""
_NOT_COUNTED = ("background", "bg", "ignore")
"""What other lists of names begin with: theirs are of the values 0, 1, ..."""
_SPREAD = {"L;2": 85, "L;4": 17}
"""By what Pillow multiplies grey of 2 and 4 bits, so that it is seen."""


def recognises(source: Path, images: Path | None) -> bool:
    """Whether it is a folder that holds ``masks`` and ``images``, or one of images where others are given."""
    if not source.is_dir():
        return False
    if images is None or source.resolve() in (images.resolve(), *images.resolve().parents):
        return _folder(source) != source
    return next(images_below(source), None) is not None


def read(source: Path, images: Path | None) -> Reading:
    """Read masks: ``masks/CLASS/NAME.png``, of which all but 0 counts, or ``masks/NAME.png`` with a value a class.

    Args:
        source: The folder of the masks, or one that holds ``masks``.
        images: Folder of the images; else ``images`` beside the masks.

    Raises:
        UserError: There is no mask.
    """
    folder = _folder(source)
    files = ImageFiles(images, [folder.parent / "images"])
    if not folder.is_dir():
        raise UserError(f"{source} is no folder of masks.")
    folders = folders_in(folder)
    classes = [path.name for path in folders]
    masks = [(mask, name) for name in classes for mask in images_below(folder / name)]
    reading = Reading(categories=classes)
    if masks:
        if splits_among(folders) == folders:
            raise ask_for_one(folder, folders)
        reading.faults += [f"{path}: it is in no folder of a class: move it into one." for path in images_in(folder)]
    else:
        masks = [(mask, "") for mask in images_below(folder)]
        reading.categories = _names(folder)
    others = remark_on_others(folder, CLASSES)
    if not masks:
        told = "".join(f" ({other.removesuffix('.')})" for other in others)
        raise UserError(f"{source} holds no masks{told}: give a folder with masks/CLASS/NAME.png or masks/NAME.png.")
    entries: dict[str, Entry | None] = {}
    inverse: list[bool] = []
    for path, name in masks:
        with reading.at(str(path)):
            stem = composed(path.relative_to(folder / name).with_suffix("").as_posix())
            if stem not in entries:
                entries[stem] = None  # an image that is missing is told once
                entries[stem] = Entry(str(path), stem, _image_of(stem, files))
            entry = entries[stem]
            if entry is None:
                continue
            if any(found.category == name for _, found in entry.objects):
                raise ValueError(f"there is another mask of {name!r} for {stem}: keep one")
            values = _values(path)
            pieces = _of_class(values, name) if name else _by_value(values, reading.categories, path)
            if pieces and (name or not reading.categories):
                inverse.append(_seems_inverse(values))
            entry.size = values.shape[1], values.shape[0]
            entry.objects += [(str(path), found) for found in pieces]
    reading.entries = [entry for entry in entries.values() if entry is not None]
    reading.categories = reading.categories or [UNNAMED]
    if 2 * sum(inverse) > len(inverse):
        others.append(
            f"{sum(inverse)} of {len(inverse)} masks mark most of their image with all its corners: if 0 is the object "
            "in them, save them the other way round, as all but 0 counts."
        )
    reading.remarks = others
    return reading


def _image_of(stem: str, files: ImageFiles) -> Path:
    try:
        return files.find(stem)
    except ValueError as error:
        raise ValueError(f"{error}; a mask bears the name of its image") from None


def _seems_inverse(values: npt.NDArray[Any]) -> bool:
    """Whether what is marked may be all but the object."""
    marked = values != 0
    return bool(0.5 < marked.mean() < 1 and marked[[0, 0, -1, -1], [0, -1, 0, -1]].all())


def objects_of(runs: RunLengths, category: str) -> Iterator[LabelledObject]:
    """An object for each connected piece of a mask of one category."""
    return (LabelledObject(category, (piece,)) for piece in runs.components())


def _folder(source: Path) -> Path:
    both = (source / "masks").is_dir() and (source / "images").is_dir()
    return source / "masks" if both else source


def _names(folder: Path) -> list[str]:
    path = folder / CLASSES if (folder / CLASSES).is_file() else folder.parent / CLASSES
    names = names_in(path) if path.exists() else []
    if names and names[0].strip("_").casefold() in _NOT_COUNTED:
        raise UserError(
            f"{path}, line 1: {names[0]!r} would be the name of the value 1, and the lines behind it of 2, 3, ...: "
            "remove it, since 0 needs no name."
        )
    return names


def _values(path: Path) -> npt.NDArray[Any]:
    """Values of a mask, (height, width); those of the palette where it has one."""
    from benchmarks.films.picture import check_upright, opened, rawmode_of, stored_numbers, white_is_zero

    try:
        with path.open("rb") as stream, opened(stream, ("PNG", "TIFF", "BMP", "JPEG")) as image:
            if fault := _fault_of(image, white_is_zero(image)):
                raise ValueError(fault)
            spread = _SPREAD.get(rawmode_of(image)[:3], 1)  # unknown behind the next line, which decodes a PNG
            check_upright(image)
            return stored_numbers(image).astype(np.int64) // spread
    except UserError as error:
        raise ValueError(f"it {error}") from None
    except ValueError:
        raise
    except Exception as error:  # Pillow reports damage by any type
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is damaged or no image"
        raise ValueError(f"it cannot be read ({reason})") from None


def _fault_of(image: Image, inverse: bool) -> str:
    if image.format == "JPEG":
        return "JPEG blurs the values of a mask: save it as PNG"
    if (pages := getattr(image, "n_frames", 1)) > 1:
        return f"it holds {pages} pages where a mask is one picture: save each as a mask of its own"
    if image.mode == "F":
        return "it holds real numbers where a mask has a whole number a pixel: save it as grey of 8 or 16 bits"
    if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
        return f"it has colours ({image.mode}) where a mask has one value a pixel: save it as grey"
    if image.mode == "P" and _shows_zero_as_white(image):
        return "its palette shows 0 as white and 1 as black, so that it is unclear which pixels count: save it as grey"
    if inverse:  # programs that write labels mean what is stored, those that write pictures what is seen
        return "it is a TIFF whose 0 is white (MinIsWhite), so that it is unclear which pixels count: save it as PNG"
    return ""


def _shows_zero_as_white(image: Image) -> bool:
    """Whether a palette is that of a black and white picture whose colours a program has put in order."""
    colours = image.getpalette() or []
    used = {value: colours[3 * value : 3 * value + 3] for value in np.unique(np.asarray(image)).tolist()}
    return used.pop(0, None) == [255] * 3 and all(colour == [0] * 3 for colour in used.values())


def _of_class(values: npt.NDArray[Any], name: str) -> list[LabelledObject]:
    others = np.unique(values[values != 0])
    if len(others) > 1:
        raise ValueError(f"it holds {len(others)} values beside 0 where the mask of one class has one")
    return list(objects_of(RunLengths.of(values != 0), name))


def _by_value(values: npt.NDArray[Any], names: list[str], path: Path) -> list[LabelledObject]:
    present = np.unique(values[values != 0]).tolist()
    if not names:
        if len(present) > 1:
            some = ", ".join(map(str, present[:5]))
            raise ValueError(f"it holds the values {some}: name them in {path.parent / CLASSES}, a line each from 1 on")
        return list(objects_of(RunLengths.of(values != 0), UNNAMED))
    if present == [VOID] and len(names) < VOID:
        raise ValueError(
            f"its only value beside 0 is {VOID}, which stands for pixels that nobody judged: write the number of their "
            f"class, 1 to {len(names)}, or put the mask into a folder of its class and leave {CLASSES} out"
        )
    present = [value for value in present if value != VOID or len(names) >= VOID]
    unknown = [value for value in present if not 0 < value <= len(names)]
    if unknown:
        raise ValueError(f"it holds the value {unknown[0]}, but {CLASSES} names 1 to {len(names)}")
    return [found for value in present for found in objects_of(RunLengths.of(values == value), names[value - 1])]
