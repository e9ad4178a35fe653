"""YOLO's text, a file an image: a class and a box or a polygon a line, in shares of the image's sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.formats.entries import Entry, Reading, names_in, text_of
from benchmarks.formats.image_files import composed, files_below, images_below
from benchmarks.formats.yolo_lines import Lines
from benchmarks.run.errors import UserError
from benchmarks.run.text_tables import counted

NAMES = ("data.yaml", "dataset.yaml", "classes.txt", "obj.names")
"""Files that name the classes, of which the first that is there counts."""
_SPLITS = ("train", "val", "test")


def recognises(source: Path, images: Path | None) -> bool:
    """Whether it is a YAML file with names, or a folder with one of ``NAMES`` in it or above."""
    if source.is_file():
        return source.suffix.lower() in (".yaml", ".yml")
    return _names_file(source) is not None and any(
        path.name not in NAMES for path in files_below(_label_folder(source), (".txt",))
    )


def read(source: Path, images: Path | None) -> Reading:
    """Read the labels of a folder.

    A label's file has the place in its folder that the image has in its own. An image without one shows nothing. Of
    lines with key points, of which ``kpt_shape`` in a YAML file tells, the box counts. Without it, lines that may be
    outlines or have key points are asked about.

    Args:
        source: ``data.yaml`` with one split, or a folder of labels, or one that holds ``labels`` and ``images``.
        images: Folder of the images; else that of the YAML file's split, ``images`` instead of ``labels`` in the
            labels' path, or the labels' own.

    Raises:
        UserError: The classes have no names, or there is no folder of labels or images.
    """
    names_file = source if source.is_file() else _names_file(source)
    if names_file is None:
        raise UserError(f"{source} has none of {', '.join(NAMES)} in it or beside it, which name the classes.")
    content = _yaml(names_file) if names_file.suffix.lower() in (".yaml", ".yml") else {}
    names = _names(names_file, content)
    if source.is_file():
        pictures = images or _split(source, content)
        labels = _swapped(pictures, "images", "labels")
    else:
        labels = _label_folder(source)
        pictures = images or _swapped(labels, "labels", "images")
    for folder in (labels, pictures):
        if not folder.is_dir():
            raise UserError(f"{source}: there is no folder {folder}: name that of the images with `images`.")
    reading = Reading(categories=names, in_shares=True)
    texts: dict[str, Path] = {}
    for path in files_below(labels, (".txt",)):
        if (first := texts.setdefault(_stem(path, labels), path)) != path:
            reading.faults.append(f"{path}: {first} is of the same image: keep one.")
    owners: dict[str, Path] = {}
    lines = Lines(names, content)
    for path in images_below(pictures):
        stem = _stem(path, pictures)
        if stem in owners:
            reading.faults.append(f"{path}: {owners[stem]} would have the same labels: rename one.")
            continue
        owners[stem] = path
        text = texts.pop(stem, None)
        entry = Entry(str(text or path), path.relative_to(pictures).as_posix(), path)
        if text is not None:
            lines.read(text, entry, reading)
        reading.entries.append(entry)
    reading.faults += lines.question(source)
    reading.faults += [
        f"{path}: there is no image for it in {pictures}." for path in texts.values() if path.name not in NAMES
    ]
    return reading


def _stem(path: Path, folder: Path) -> str:
    return composed(path.relative_to(folder).with_suffix("").as_posix())


def _label_folder(source: Path) -> Path:
    return source / "labels" if (source / "labels").is_dir() else source


def _names_file(source: Path) -> Path | None:
    folders = [source, source / "labels", *list(source.parents)[:2]]
    return next((folder / name for folder in folders for name in NAMES if (folder / name).is_file()), None)


def _swapped(folder: Path, old: str, new: str) -> Path:
    """The folder with the last ``old`` of its path replaced, or itself without one."""
    parts = list(folder.parts)
    if old not in parts:
        return folder
    parts[len(parts) - 1 - parts[::-1].index(old)] = new
    return Path(*parts)


def _split(source: Path, content: dict[str, Any]) -> Path:
    """The folder of the only split that a YAML file names."""
    folders = {name: content[name] for name in _SPLITS if content.get(name)}
    if len(folders) != 1:
        named = ", ".join(folders) or "no split"
        raise UserError(f"{source} names {named}: give the folder of the images that count with `images`.")
    (folder,) = folders.values()
    if not isinstance(folder, str):
        raise UserError(f"{source}: its split is no folder: give the folder of the images with `images`.")
    root = source.parent / str(content.get("path") or "")
    inside = root / folder.removeprefix("../")  # Roboflow writes "../train/images" for what lies beside its file
    found = inside if inside.is_dir() and not (root / folder).is_dir() else root / folder
    return found / "images" if (found / "images").is_dir() else found


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    text = text_of(path)
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path} is not readable as YAML ({reason}).") from None
    if not isinstance(content, dict) or "names" not in content:
        raise UserError(f'{path} has no "names", which YOLO\'s YAML files have.')
    return content


def _names(path: Path, content: dict[str, Any]) -> list[str]:
    if not content:
        return names_in(path)
    names = content["names"]
    if isinstance(names, dict):
        numbered = {str(number): name for number, name in names.items()}
        if numbered.keys() != set(map(str, range(len(names)))):
            raise UserError(f'{path}: its "names" are not numbered 0, 1, 2, ... without a gap.')
        names = [numbered[str(number)] for number in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f'{path}: its "names" are no list of words: put those in quotes that look like numbers.')
    if content.get("nc") not in (None, len(names)):
        raise UserError(
            f'{path} has {counted(len(names), "name")}, but its "nc" is {content["nc"]}: correct one of them.'
        )
    return names
