"""Reads a film, whatever its container, and says in one sentence why not."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt

from benchmarks.films.dicom import dicom_size, is_dicom, load_dicom
from benchmarks.films.grey import Film
from benchmarks.films.picture import FORMATS, load_picture, picture_size
from benchmarks.run.errors import UserError

T = TypeVar("T")

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".jp2", ".j2k", ".bmp", ".dcm", ".dicom", ".dic"
)  # fmt: skip
"""Of the names of films and images, where a folder is all that tells of them; what a file is, its content says."""


def read_film(path: Path | str) -> Film:
    """Decode a film to 8-bit grey, upright, as a viewer shows it.

    Args:
        path: DICOM, PNG, JPEG, TIFF, JPEG 2000 or BMP, of any depth, grey or colour.

    Raises:
        UserError: The file is missing, damaged, no film, or one that nothing can be seen on.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> with TemporaryDirectory() as folder:
        ...     Image.fromarray(np.array([[0, 4095]], dtype=np.uint16)).save(Path(folder) / "a.png")
        ...     film = read_film(Path(folder) / "a.png")
        >>> film.grey.tolist(), film.notes
        ([[0, 255]], ('it was read as 12 bits deep, which hold its largest value',))
    """
    with warnings_hidden():
        return _read(Path(path), load_dicom, load_picture)


def decode(
    path: Path, at_least: int | None = None, *, colour: bool = False, placed: bool = True
) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """Pixels and size of an annotated film, as of :func:`read_annotated`."""
    film = read_annotated(path, at_least, colour=colour, placed=placed)
    return film.pixels, film.size


def read_annotated(path: Path, at_least: int | None = None, *, colour: bool = False, placed: bool = True) -> Film:
    """Decode an annotated film to 8-bit grey, with the (width, height) of the stored film, to which annotations refer.

    With ``colour`` the pixels are (height, width, 3); a grey film has three equal channels then. Without ``placed``
    nothing is annotated by its place, so a film that its EXIF data turn is turned.

    ``at_least`` lets a JPEG be decoded at a half, quarter or eighth of its size as long as both sides keep this many
    pixels, which is several times faster on full-size films. Threads may decode at once; whoever starts them hides
    their warnings.

    Raises:
        UserError: As :func:`read_film`; or the film's EXIF data turn it, so that it is unclear what annotations mean.
    """
    film = _read(path, load_dicom, lambda stream: load_picture(stream, at_least, upright=not placed, colour=colour))
    if colour and film.pixels.ndim == 2:
        return replace(film, pixels=np.repeat(film.pixels[..., None], 3, axis=2))
    return film


def stored_size(path: Path, *, placed: bool = True) -> tuple[int, int]:
    """(width, height) of an annotated film as it is stored, from its header alone.

    Without ``placed`` nothing is annotated by its place, so it may be one that its EXIF data turn.

    Raises:
        UserError: As :func:`decode`, as far as the header tells.
    """
    return _read(path, dicom_size, lambda stream: picture_size(stream, upright=not placed))


@contextmanager
def warnings_hidden() -> Iterator[None]:
    """Hide that files break their standard in harmless ways; for all threads, so never to be entered by several."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read(path: Path, dicom: Callable[[BinaryIO], T], picture: Callable[[BinaryIO], T]) -> T:
    kind = "picture"
    try:
        with _open_regular(path) as stream:
            head = stream.read(132)
            stream.seek(0)
            if not head:
                raise UserError("is empty")
            if is_dicom(head):
                kind = "DICOM file"
                return dicom(stream)
            return picture(stream)
    except UserError as error:
        reason = str(error)
    except FileNotFoundError:
        reason = "is missing"
    except Exception as error:  # Pillow and pydicom report damage by any type, depending on where they meet it
        reason = _reason(error, kind)
    raise UserError(f"The film {path} {reason}.")


def _open_regular(path: Path) -> BinaryIO:
    """Open a file that can be read to its end: opening a pipe would wait for ever."""
    # Asked before and after: O_NONBLOCK keeps the opening itself from waiting.
    if path.is_dir():
        raise UserError(f"is a folder: name its films, such as {path / '*.png'}")
    # Opened by its path, since pydicom expects a stream's name to be text.
    stream = open(path, "rb", opener=_open_at_once)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise UserError("is no regular file")
    return stream


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _reason(error: Exception, kind: str) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        kinds = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        return f"is neither DICOM nor {kinds} of a kind that can be read: save it as PNG, or fetch it again"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return f"cannot be read ({error.strerror})"
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    text = " ".join(str(error).split()).rpartition("all available plugins: ")[2] or type(error).__name__
    return f"is truncated or damaged: it cannot be decoded as a {kind} ({text.partition('. ')[0].rstrip('.')[:200]})"
