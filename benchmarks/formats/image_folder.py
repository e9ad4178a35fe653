"""Images in a folder for each class: labels without a place. One that links put into several shows all of these."""

from __future__ import annotations

from pathlib import Path

from benchmarks.formats.entries import Entry, Reading
from benchmarks.formats.image_files import (
    ask_for_one,
    files_below,
    folders_in,
    images_below,
    images_in,
    is_hidden,
    remark_on_others,
    splits_among,
    which_image,
)
from benchmarks.run.errors import UserError

_ANNOTATIONS = (".xml", ".txt", ".json", ".csv")
"""Of files that bear an image's name beside it, and are more than a folder of images has."""


def recognises(source: Path, images: Path | None) -> bool:
    """Whether it is a folder whose folders hold images, and images alone."""
    if images is not None or not source.is_dir():
        return False
    folders = folders_in(source)
    here = [path for path in source.iterdir() if path.is_file() and not is_hidden(path.name)]
    reserved = {"images", "masks", "labels", "Annotations", "JPEGImages"} & {folder.name for folder in folders}
    if here or reserved or not any(next(images_below(folder), None) for folder in folders):
        return False
    annotated = {path.with_suffix("") for path in files_below(source, _ANNOTATIONS)}
    return not annotated or not any(path.with_suffix("") in annotated for path in images_below(source))


def read(source: Path, images: Path | None) -> Reading:
    """Read the names of folders and images.

    Args:
        source: The folder of the folders.
        images: Must be None.

    Raises:
        UserError: There is no such folder in it.
    """
    if images is not None:
        raise UserError(f"a folder with a folder a class holds its images itself ({source}): leave `images` out.")
    folders = folders_in(source) if source.is_dir() else []
    if not folders:
        raise UserError(f"{source} holds no folders: give a folder with a folder for each class.")
    if splits_among(folders) == folders:
        raise ask_for_one(source, folders)
    if len(folders) == 1 and not images_in(folders[0]) and folders_in(folders[0]):  # as unpacking makes
        raise UserError(f"{source} holds one folder, {folders[0].name}, which holds folders alone: give {folders[0]}.")
    reading = Reading(categories=[folder.name for folder in folders])
    reading.faults += [f"{path}: it is in no folder of a class: move it into one." for path in images_in(source)]
    entries: dict[tuple[int, int], Entry] = {}
    for folder in folders:
        paths = list(images_below(folder))
        if not paths:
            reading.faults.append(f"{folder}: it holds no image of a kind that is read: remove it, or fill it.")
        for path in paths:
            entry = Entry(str(path), path.relative_to(source).as_posix(), path)
            entries.setdefault(which_image(path), entry).labels.append(folder.name)
    reading.entries = list(entries.values())
    reading.remarks = remark_on_others(source)
    return reading
