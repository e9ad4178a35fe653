"""Finds the image that an annotation names."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from benchmarks.films.decode import SUFFIXES
from benchmarks.run.errors import UserError

_OF_IMAGES = ("images", "JPEGImages")
"""Names of folders that hold images and nothing else, so that the folders below them are looked through."""
_DRIVE = re.compile(r"^([A-Za-z]:)?/+")
"""What a path on a machine begins with, on Windows and elsewhere."""
_ADDRESS = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://[^/?#]*([^?#]*)")
"""Of a file elsewhere: its path there lies between the machine and what is asked of it."""
_SPLIT = re.compile(r"(train|training|val|valid|validation|dev|test|testing)([-_]?\d+)?", re.IGNORECASE)
"""Names of folders that are parts of a set, not classes."""
_OF_SYSTEMS = ("__macosx", "thumbs.db", "desktop.ini")

_DIGEST = re.compile(r"[0-9a-fA-F]{30,}")
"""In the name of a file that is kept by its content, as caches of data sets do; one of 32 digits may lack two."""


class ImageFiles:
    """The images of some folders.

    Args:
        given: Folder that was named by the user, whose folders below are looked through too; or None.
        usual: Folders where images of a format are else, of which those count that are there.
        alias: Another name that an image below ``given`` goes by, from its path inside.

    Raises:
        UserError: The given folder is none.
    """

    def __init__(
        self, given: Path | None, usual: Sequence[Path], alias: Callable[[PurePosixPath], str] | None = None
    ) -> None:
        if given is not None and not given.is_dir():
            raise UserError(f"There is no folder {given}: `images` names the folder of the images.")
        self._folders = [folder for folder in (usual if given is None else [given]) if folder.is_dir()]
        self._through = [folder for folder in self._folders if folder == given or folder.name in _OF_IMAGES]
        self._alias = alias

    def find(self, name: str, inside: str = ".") -> Path:
        """The image of a name: a path inside a folder, or a file's name, with suffix or without.

        Names count in the folders themselves, and also below those that hold images alone. A path may begin further
        up, on another machine or in the web: the longest end of it counts that is the path of an image.

        Args:
            name: As the annotation has it.
            inside: Where the annotation lies among others, which is where its image lies before it may be elsewhere.

        Raises:
            ValueError: There is none, or several; a fragment that fits behind "row 7: ".
        """
        shown = repr(name[:200])
        parts = _parts(name)
        if not name.strip() or not parts or {":", "\0"} & set("".join(parts)):
            raise ValueError(f"the image's name {shown} is no path inside a folder")
        try:
            beside = [] if inside == "." else self._found(f"{inside}/{'/'.join(parts)}", False)
            found = beside or next(
                filter(None, (self._found("/".join(parts[k:]), k == 0) for k in range(len(parts)))), []
            )
        except OSError as error:
            raise ValueError(f"the image {shown} cannot be looked for ({error.strerror})") from None
        if len(found) > 1:
            raise ValueError(f"the image {shown} is there twice, as {found[0]} and {found[1]}: keep one")
        if not found:
            folders = " or ".join(dict.fromkeys(map(str, self._folders))) or "any folder that there is"
            raise ValueError(f"the image {shown} is not in {folders}: put it there, or name its folder with `images`")
        return found[0]

    def _found(self, path: str, whole: bool) -> list[Path]:
        """Images of a path; only a whole one may be a name of an image in any folder below."""
        for folder in self._folders:
            if (folder / path).is_file():
                return [folder / path]
        by_path, by_name = self._known
        return list((by_name if whole else by_path).get(_compared(path), ()))

    @cached_property
    def _known(self) -> tuple[dict[str, dict[Path, None]], dict[str, dict[Path, None]]]:
        """Images, each once, by their path, and by that or their name, all also without the suffix."""
        by_path: dict[str, dict[Path, None]] = {}
        by_name: dict[str, dict[Path, None]] = {}
        for folder in self._folders:
            below = folder in self._through
            for path in images_below(folder) if below else images_in(folder):
                inside = PurePosixPath(path.relative_to(folder).as_posix())
                paths, names = {str(inside), str(inside.with_suffix(""))}, {path.name, path.stem}
                if below and self._alias is not None:
                    names.add(self._alias(inside))
                for known, keys in ((by_path, paths), (by_name, paths | names)):
                    for key in keys:
                        known.setdefault(_compared(key), {})[path] = None
        return by_path, by_name


def _parts(name: str) -> tuple[str, ...]:
    """Parts of a path from anywhere; those before a ``..`` lie outside of what the path leads to."""
    address = _ADDRESS.match(name)
    parts = PurePosixPath(_DRIVE.sub("", unquote(address[1]) if address else name.replace("\\", "/"))).parts
    return parts[len(parts) - parts[::-1].index("..") :] if ".." in parts else parts


def composed(name: str) -> str:
    """A name as it is compared: macOS takes letters and their accents apart, which look the same."""
    return unicodedata.normalize("NFC", name)


def _compared(path: str) -> str:
    """A path as those of images are compared: cameras write their suffix in capitals, and other programs do not."""
    stem, suffix = os.path.splitext(composed(path))
    return stem + suffix.lower()


def which_file(path: Path) -> tuple[int, int]:
    """What is the same for all names of one file: links, and letters that a system takes for each other."""
    status = path.stat()
    return status.st_dev, status.st_ino


def which_image(path: Path) -> tuple[int, int]:
    """As ``which_file``, but for links to a file that is named by its content: images alike share it in caches."""
    if path.is_symlink() and _DIGEST.search(path.resolve().name):
        status = path.lstat()
        return status.st_dev, status.st_ino
    return which_file(path)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is a program's own, as ``._1.png``, ``__MACOSX`` and ``Thumbs.db`` are."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def folders_in(folder: Path) -> list[Path]:
    """Those in a folder itself, in the order of the alphabet; none that is hidden."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))


def splits_among(folders: Sequence[Path]) -> list[Path]:
    """Those that have the name of a split, as ``train`` and ``val2017``."""
    return [folder for folder in folders if _SPLIT.fullmatch(folder.name)]


def ask_for_one(source: Path, splits: Sequence[Path]) -> UserError:
    """The sentence that asks for one of some splits, where classes are expected."""
    return UserError(
        f"{source} holds {', '.join(folder.name for folder in splits)}, the names of splits, where folders of classes "
        f"are expected: give one of them, such as {splits[-1]}."
    )


def remark_on_splits(folder: Path) -> list[str]:
    """Say that several splits are read together, which is meant where a folder is given that holds them."""
    splits = splits_among(folders_in(folder))
    if len(splits) < 2:
        return []
    names = ", ".join(split.name for split in splits)
    return [f"{folder} holds {names}, the names of splits, all of which are read: give {splits[-1]} for that alone."]


def files_below(folder: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    """Files below a folder with one of some suffixes, in the order of the alphabet; none that is hidden.

    Links are followed, and one that leads nowhere is a file that cannot be read, not one that is not there.

    Raises:
        OSError: A folder cannot be looked into.
    """
    return (path for path in _all_below(folder) if path.suffix.lower() in suffixes)


def _all_below(folder: Path) -> list[Path]:
    found, seen = [], set()
    for above, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        if (place := which_file(Path(above))) in seen:  # a link to a folder that it is in
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        found += [Path(above, name) for name in names if not is_hidden(name)]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def images_below(folder: Path) -> Iterator[Path]:
    """Files below a folder that have the name of an image, in the order of the alphabet."""
    return files_below(folder, SUFFIXES)


def remark_on_others(folder: Path, own: str = "") -> list[str]:
    """Say which files below a folder are left out, as their names are none of an image; none of the hidden ones.

    Args:
        folder: Where all files should be images.
        own: Name of a file of the format's that may be there.
    """
    others = [path for path in _all_below(folder) if path.suffix.lower() not in SUFFIXES and path.name != own]
    if not others:
        return []
    if len(others) == 1:
        return [f"one file is left out, by its name no image of a kind that is read: {others[0]}."]
    return [f"{len(others)} files are left out, by their names no images of a kind that is read, such as {others[0]}."]


def images_in(folder: Path) -> list[Path]:
    """Those in a folder itself."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not is_hidden(path.name) and not path.is_dir()
    )
