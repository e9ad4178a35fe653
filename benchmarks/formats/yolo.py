"""YOLO's text, a file an image: a class and a box or a polygon a line, in shares of the image's sides."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.formats.entries import Entry, Reading, names_in, text_of
from benchmarks.formats.image_files import ImageFiles, composed, files_below, images_below, remark_on_splits
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
        images: Folder of the images; else those of the YAML file's split, folders and lists, ``images`` instead of
            ``labels`` in the labels' path, or the labels' own.

    Raises:
        UserError: The classes have no names, or there is no folder of labels or images.
    """
    names_file = source if source.is_file() else _names_file(source)
    if names_file is None:
        raise UserError(f"{source} has none of {', '.join(NAMES)} in it or beside it, which name the classes.")
    content = _yaml(names_file) if names_file.suffix.lower() in (".yaml", ".yml") else {}
    names = _names(names_file, content)
    reading = Reading(categories=names, in_shares=True)
    places, found = _places(source, images, content), []
    for pictures, labels in places:
        if pictures.is_file():
            found += _in_list(pictures, source, reading)
        else:
            found += _in_folder(pictures, labels, source, reading)
    alone = len(places) == 1 and places[0][0].is_dir()
    above = places[0][0].absolute() if alone else _above([path for path, _ in found])
    lines = Lines(names, content)
    for path, text in found:
        entry = Entry(str(text or path), path.absolute().relative_to(above).as_posix(), path)
        if text is not None:
            lines.read(text, entry, reading)
        reading.entries.append(entry)
    reading.faults += lines.question(source)
    reading.remarks += [] if source.is_file() else remark_on_splits(_label_folder(source))
    return reading


def _places(source: Path, images: Path | None, content: dict[str, Any]) -> list[tuple[Path, Path]]:
    """Folders of images with those of their labels, or lists of images."""
    if source.is_file():
        pictures = [images] if images else _split(source, content)
        return [(place, _swapped(place, "images", "labels")) for place in pictures]
    labels = _label_folder(source)
    return [(images or _swapped(labels, "labels", "images"), labels)]


def _in_folder(pictures: Path, labels: Path, source: Path, reading: Reading) -> list[tuple[Path, Path | None]]:
    """Images of a folder, each with its labels where it has some."""
    if not pictures.is_dir():
        raise UserError(f"{source}: there is no folder {pictures}: name that of the images with `images`.")
    if not labels.is_dir():
        raise UserError(f"{source}: there is no folder {labels}, where the labels of {pictures} are: put them there.")
    texts: dict[str, Path] = {}
    for path in files_below(labels, (".txt",)):
        if (first := texts.setdefault(_stem(path, labels), path)) != path:
            reading.faults.append(f"{path}: {first} is of the same image: keep one.")
    owners: dict[str, Path] = {}
    found = []
    for path in images_below(pictures):
        if (first := owners.setdefault(stem := _stem(path, pictures), path)) == path:
            found.append((path, texts.pop(stem, None)))
        else:
            reading.faults.append(f"{path}: {first} would have the same labels: rename one.")
    reading.faults += [
        f"{path}: there is no image for it in {pictures} of a kind that is read."
        for path in texts.values()
        if path.name not in NAMES
    ]
    return found


def _in_list(path: Path, source: Path, reading: Reading) -> list[tuple[Path, Path | None]]:
    """Images that a text file names, a line each, with their labels."""
    if path.suffix.lower() != ".txt":
        raise UserError(f"{source}: its split {path} is neither a folder of images nor a list of them (.txt).")
    files = ImageFiles(None, [path.parent, source.parent])
    found = []
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        if line.strip():
            with reading.at(f"{path}, line {number}"):
                image = files.find(line.strip())
                text = _swapped(image.parent, "images", "labels") / f"{image.stem}.txt"
                found.append((image, text if text.is_file() else None))
    return found


def _above(paths: Sequence[Path]) -> Path:
    """The lowest folder that holds some files."""
    return Path(os.path.commonpath([path.parent.absolute() for path in paths] or [Path("/")]))


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


def _split(source: Path, content: dict[str, Any]) -> list[Path]:
    """The folders and lists of the only split that a YAML file names."""
    splits = {name: content[name] for name in _SPLITS if content.get(name)}
    if len(splits) != 1:
        named = ", ".join(splits) or "no split"
        raise UserError(f"{source} names {named}: give the folder of the images that count with `images`.")
    (told,) = splits.values()
    places = told if isinstance(told, list) else [told]
    if not all(isinstance(place, str) for place in places):
        raise UserError(f"{source}: its split is no folder: give the folder of the images with `images`.")
    root = source.parent / str(content.get("path") or "")
    if not root.is_dir():  # as on the machine that the file was written for
        root = source.parent
    return [_place(root, place.replace("\\", "/")) for place in places]


def _place(root: Path, name: str) -> Path:
    """The folder or list of a name."""
    inside = root / name.removeprefix("../")  # Roboflow writes "../train/images" for what lies beside its file
    found = inside if inside.exists() and not (root / name).exists() else root / name
    return found / "images" if (found / "images").is_dir() else found


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    text = text_of(path)
    try:
        top = yaml.compose(text, Loader=yaml.SafeLoader)
        nodes = [top, *(value for _, value in top.value)] if isinstance(top, yaml.MappingNode) else []
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path} is not readable as YAML ({reason}).") from None
    for node in nodes:  # of a key that is there twice, YAML would keep the last and drop the first
        keys = [str(key.value) for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise UserError(f"{path}: {twice[0]!r} is there twice: keep one.")
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
    if str(content.get("nc", len(names))) not in ("None", str(len(names))):
        raise UserError(
            f'{path} has {counted(len(names), "name")}, but its "nc" is {content["nc"]}: correct one of them.'
        )
    return names
