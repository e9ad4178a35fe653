"""Decodes PNG, JPEG, TIFF and the like, of any depth and colour, to 8-bit grey or colour."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from benchmarks.films.grey import Film, check_content, check_size, to_bytes, to_unit
from benchmarks.run.errors import UserError

FORMATS = ("PNG", "JPEG", "TIFF", "JPEG2000", "BMP")
"""What is opened at all: nothing that starts another program (EPS) or that no film comes in."""

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of ITU-R 601, as Pillow's own conversion
# Tags of TIFF, and their values.
_PHOTOMETRIC, _WHITE_IS_ZERO, _PLANES, _ONE_A_COLOUR, _BITS = 262, 0, 284, 2, 258
_CIELAB, _SUBFILE, _THUMBNAIL = (8, 9, 10), 254, 1
_SAMPLES, _UNSIGNED, _SIGNED = 339, 1, 2
_NUMBERS = {
    _UNSIGNED: "whole numbers", _SIGNED: "signed whole numbers", 3: "real numbers", 4: "numbers of no stated kind"
}  # fmt: skip
_TURNS = dict(
    enumerate(
        (
            Image.Transpose.FLIP_LEFT_RIGHT,
            Image.Transpose.ROTATE_180,
            Image.Transpose.FLIP_TOP_BOTTOM,
            Image.Transpose.TRANSPOSE,
            Image.Transpose.ROTATE_270,
            Image.Transpose.TRANSVERSE,
            Image.Transpose.ROTATE_90,
        ),
        start=2,
    )
)
"""What brings a picture of each EXIF orientation upright."""
_NATIVE = "L" if sys.byteorder == "little" else "B"


def load_picture(stream: BinaryIO, at_least: int | None = None, upright: bool = True, colour: bool = False) -> Film:
    """Decode a picture.

    Args:
        stream: At the beginning of the file.
        at_least: Lets a JPEG be decoded at a half, quarter or eighth of its size as long as both sides keep this many
            pixels, which is several times faster on full-size films.
        upright: Turn a picture as its EXIF data say; without, a picture that is to be turned is refused, since
            nobody knows which way its annotation counts.
        colour: Keep the colours of a picture that has some.

    Raises:
        UserError: The rest of a sentence that begins with the film's name.
        Exception: Whatever Pillow says of a damaged file.
    """
    with opened(stream) as image:
        return _decoded(image, stream, at_least, upright, "RGB" if colour else "L")


@contextmanager
def opened(stream: BinaryIO, formats: tuple[str, ...] = FORMATS) -> Iterator[Image.Image]:
    """A picture of a size that fits into memory, and of right sums, not yet decoded.

    Args:
        stream: At the beginning of the file.
        formats: Names of Pillow's, of which it may be one.

    Raises:
        UserError: The rest of a sentence that begins with the film's name.
        Exception: Whatever Pillow says of a damaged file.
    """
    with _open(stream, formats) as image:
        deep = 2 if "16" in image.mode + rawmode_of(image) else 4 if image.mode in ("I", "F") else 1
        width, height = image.size
        check_size(width, height, deep * len(image.getbands()))  # Pillow warns of large pictures only
        if image.format == "PNG":  # Pillow decodes a damaged one to noise, but can check its sums
            image.verify()
    stream.seek(0)
    with _open(stream, formats) as image:
        yield image


def _open(stream: BinaryIO, formats: tuple[str, ...]) -> Image.Image:
    try:
        image = Image.open(stream, formats=formats)
        if image.mode == "LAB":  # which Pillow opens, but converts to nothing
            raise UnidentifiedImageError
    except UnidentifiedImageError:
        if kind := _kind_of_tiff(stream):
            raise UserError(f"is a TIFF of {kind}, which is not read: save it as 16-bit grey") from None
        raise
    if getattr(image, "tag_v2", {}).get(_SUBFILE, 0) & _THUMBNAIL:
        raise UserError("is a TIFF that begins with a small copy of its picture: save the picture alone")
    return image


def _kind_of_tiff(stream: BinaryIO) -> str:
    """What the pixels of a TIFF are that Pillow does not read; empty where it is none, or its header is damaged."""
    stream.seek(0)
    head = stream.read(8)
    try:
        tags = ImageFileDirectory_v2(head + stream.read(8 if head[2] == 43 else 0))  # of BigTIFF
        stream.seek(tags.next)
        tags.load(stream)
        bits, numbers = tags[_BITS], _NUMBERS.get(tags.get(_SAMPLES, (_UNSIGNED,))[0], "complex numbers")
        if tags.get(_PHOTOMETRIC) in _CIELAB:
            return "CIELAB colours"
    except Exception:  # Pillow reports damage by any type
        return ""
    channels = f"{len(bits)} channels of " if len(bits) > 1 else ""
    return f"{channels}{max(bits)}-bit {numbers}{', big-endian' if head[:1] == b'M' else ''}"


def picture_size(stream: BinaryIO, upright: bool) -> tuple[int, int]:
    """Width and height of an annotated picture as it is stored, from its header.

    Args:
        stream: At the beginning of the file.
        upright: Whether it is turned as its EXIF data say; without, a picture that is to be turned is refused.

    Raises:
        UserError: As ``load_picture``, as far as the header tells.
        Exception: Whatever Pillow says of a damaged file.
    """
    with _open(stream, FORMATS) as image:
        width, height = image.size
        check_size(width, height, 1)
        looked_up = image.format != "PNG" or "exif" in image.info  # Pillow looks behind the pixels, which takes long
        if looked_up and not upright:
            check_upright(image)
    return width, height


def check_upright(image: Image.Image) -> None:
    """Refuse a picture that is to be turned, of which nobody knows which way its annotation counts.

    Raises:
        UserError: The rest of a sentence that begins with the film's name.
    """
    if image.getexif().get(ExifTags.Base.Orientation, 1) in _TURNS:
        raise UserError("is to be turned by its EXIF data: save it upright, so that its annotation means one thing")


def _decoded(image: Image.Image, stream: BinaryIO, at_least: int | None, upright: bool, mode: str) -> Film:
    size, rawmode, notes = image.size, rawmode_of(image), []
    if (pages := getattr(image, "n_frames", 1)) > 1:
        notes.append(f"it is the first of {pages} pages")
    if not upright:
        check_upright(image)
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if at_least is not None:
        image.draft(mode, (at_least, at_least))
    if image.mode.startswith(("I", "F")) or _sample_format(image) == _SIGNED:
        pixels, note = _deep_grey(image)
    elif "16" in rawmode:
        pixels, note = _deep_colour(image, rawmode, stream, mode)
    else:
        _check_bits(image, stream)
        pixels, note = np.asarray(image.convert(mode)), ""
    why = ""
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        notes.append("its transparency was left out")
        why = " outside of its alpha channel, which is not read"
    check_content(pixels, why)
    if orientation in _TURNS:
        if ExifTags.Base.Orientation in image.getexif():  # of TIFF, Pillow turns the pixels itself
            pixels = np.asarray(Image.fromarray(pixels).transpose(_TURNS[orientation]))
        size = pixels.shape[1], pixels.shape[0]
        notes.append("it was turned as its EXIF data say")
    return Film(pixels, size, tuple(filter(None, [*notes, note])))


def rawmode_of(image: Image.Image) -> str:
    """How the file lays out a pixel, in Pillow's words; unknown once it is decoded.

    Raises:
        UserError: The rest of a sentence: in a way that Pillow reads wrongly.
    """
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PLANES) == _ONE_A_COLOUR and max(tags.get(_BITS, (8,))) > 8:
        raise UserError("has its colours in planes of more than 8 bits: save it as 16-bit grey")
    tiles: Any = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def white_is_zero(image: Image.Image) -> bool:
    """Whether a TIFF says that its smallest value is white; Pillow inverts those of 8 bits and fewer."""
    return bool(getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO)


def stored_numbers(image: Image.Image) -> npt.NDArray[Any]:
    """Grey values as the file means them: of 8 bits Pillow has unsigned numbers only, of 32 bits signed ones only."""
    values, bits, kind = np.asarray(image), getattr(image, "tag_v2", {}).get(_BITS), _sample_format(image)
    if image.mode == "I" and bits == (32,) and kind == _UNSIGNED:
        return values.view(np.uint32)
    return values.view(np.int8) if image.mode == "L" and kind == _SIGNED else values


def _sample_format(image: Image.Image) -> int:
    """Of a TIFF, what kind of numbers its values are."""
    return int(getattr(image, "tag_v2", {}).get(_SAMPLES, (_UNSIGNED,))[0])


def _deep_grey(image: Image.Image) -> tuple[npt.NDArray[np.uint8], str]:
    inverse = white_is_zero(image)
    unit, note = to_unit(stored_numbers(image))
    if inverse:  # Pillow inverts 8 bits only
        unit = 1 - unit
    return to_bytes(unit), note


def _deep_colour(image: Image.Image, rawmode: str, stream: BinaryIO, mode: str) -> tuple[npt.NDArray[np.uint8], str]:
    """Pixels of 16 bits a channel: Pillow keeps the upper byte of each, and finds the lower one in the other order."""
    kind, _, order = rawmode.partition(";16")
    order = _NATIVE if order == "N" else order
    if kind == "LA" and order == "B":  # four bytes a pixel: two of grey, two of alpha
        upper, lower = _reread(stream, "RGBA").transpose(2, 0, 1)[:2]
    elif kind in ("RGB", "RGBA") and order in ("L", "B"):
        lower = _reread(stream, f"{kind};16{'L' if order == 'B' else 'B'}")[..., :3]
        upper = np.asarray(image)[..., :3]
    else:
        raise UserError(f"has 16-bit colours of a kind that is not read ({rawmode}): save it as 16-bit grey")
    unit, note = to_unit(upper.astype(np.uint16) << 8 | lower)
    return to_bytes(unit if unit.ndim == 2 or mode == "RGB" else unit @ _LUMINANCE), note


def _check_bits(image: Image.Image, stream: BinaryIO) -> None:
    """Refuse deep colours of JPEG 2000: Pillow keeps their upper bytes, of which white may turn out as 0.

    Raises:
        UserError: The rest of a sentence.
    """
    if image.format != "JPEG2000" or len(image.getbands()) == 1:
        return
    stream.seek(0)
    _, start, size = stream.read(2**16).partition(b"\xff\x4f\xff\x51")  # of the pixels; the header of their size
    bits = (size[38] & 0x7F) + 1 if start and len(size) > 38 else 8
    if bits > 8:
        raise UserError(f"has colours of {bits} bits in JPEG 2000: save it as 16-bit grey")


def _reread(stream: BinaryIO, rawmode: str) -> npt.NDArray[np.uint8]:
    """The pixels of a file, by another layout of as many bytes."""
    stream.seek(0)
    with _open(stream, FORMATS) as image:
        assert isinstance(image, ImageFile)
        image.tile = [
            tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
            for tile in image.tile
        ]
        return np.asarray(image)
