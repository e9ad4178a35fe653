"""From stored values of any depth to the 8-bit grey of a film, and what is said about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.run.errors import UserError

MOST_PIXELS = 50_000_000
"""Largest film; the longest stitched radiographs have 30 million pixels."""
MOST_BYTES = 3 * MOST_PIXELS
"""Of its stored values: colours and deep films take several times as much while they are decoded."""


@dataclass(frozen=True)
class Film:
    """A film as it was read.

    Attributes:
        pixels: uint8, grey (height, width), dense tissue bright; or colour (height, width, 3).
        size: (width, height) as stored, to which annotations refer.
        notes: What had to be decided while reading it, a clause each.
        uid: SOPInstanceUID of a DICOM film, else empty.
        is_dicom: Whether it is DICOM.
    """

    pixels: npt.NDArray[np.uint8]
    size: tuple[int, int]
    notes: tuple[str, ...] = ()
    uid: str = ""
    is_dicom: bool = False

    @property
    def grey(self) -> npt.NDArray[np.uint8]:
        """A film that was read as grey, uint8 (height, width)."""
        return self.pixels


def check_size(width: int, height: int, bytes_a_pixel: int) -> None:
    """Refuse what would take gigabytes, before it is decoded.

    Raises:
        UserError: There are no pixels, or more than ``MOST_PIXELS`` or ``MOST_BYTES``.
    """
    if width < 1 or height < 1:
        raise UserError(f"has {width} x {height} pixels")
    most = min(MOST_PIXELS, MOST_BYTES // bytes_a_pixel)
    if width * height > most:
        depth = f" of {bytes_a_pixel} bytes" if bytes_a_pixel > 1 else ""
        raise UserError(f"has {width} x {height} pixels{depth}, more than the {most // 10**6} million of any film")


def check_content(grey: npt.NDArray[np.uint8], why: str = "") -> None:
    """Refuse a film on which nothing can be seen.

    Raises:
        UserError: All pixels have one value.
    """
    if grey.min() == grey.max():
        raise UserError(f"shows one grey value everywhere{why}, so it is no film")


def at_size(grey: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """A film as a classifier is trained on it, uint8 ``(size, size)``: its aspect is not kept."""
    return np.asarray(Image.fromarray(grey).resize((size, size), Image.Resampling.LANCZOS))


def depth_of(largest: float) -> int:
    """Bits that hold a value, 8 at least.

    Example:
        >>> depth_of(255.4), depth_of(4095), depth_of(4096)
        (8, 12, 13)
    """
    return max(8, math.floor(largest).bit_length())


def to_unit(
    values: npt.NDArray[Any], stored_bits: int | None = None, real: npt.NDArray[np.bool_] | None = None
) -> tuple[npt.NDArray[np.floating], str]:
    """Scale stored values by the depth that they have, as a viewer does that knows no window.

    An 8-bit copy of a deep film gives the same result, which stretching from the film's own range would not. Values
    below zero have no depth: those are stretched from their own range.

    Args:
        values: Any shape and number type.
        stored_bits: The depth that the file states. It is believed unless two bits and more are never used.
        real: Where values count; all where None.

    Returns:
        Floats from 0 to 1, and what there is to say about it, which may be nothing.

    Raises:
        UserError: A value is not finite.
    """
    counted = values if real is None or not real.any() else values[real]
    low, high = float(counted.min()), float(counted.max())
    if not math.isfinite(low) or not math.isfinite(high):
        raise UserError("has pixels that are no numbers (NaN or infinity)")
    if low >= 0 and high <= 1 and values.dtype.kind == "f":
        return _clipped(values, 0, 1), "its values were read as shares of white"
    needed = depth_of(high)
    if low < 0 or needed > 32:
        return stretched(values, low, high)
    depth = needed if stored_bits is None or needed <= stored_bits - 2 else stored_bits
    bits = stored_bits or 8 * values.dtype.itemsize
    note = f"it was read as {depth} bits deep, which hold its largest value" if depth < bits else ""
    return _clipped(values, 0, 2**depth - 1), note


def stretched(values: npt.NDArray[Any], low: float, high: float) -> tuple[npt.NDArray[np.floating], str]:
    """Shares of the way from a lowest to a highest value, and the note that says so."""
    note = f"its values from {low:g} to {high:g} were stretched over the grey scale"
    return _clipped(values, low, max(high - low, 1e-12)), note


def _clipped(values: npt.NDArray[Any], low: float, width: float) -> npt.NDArray[np.floating]:
    unit = values.astype(np.float64 if values.dtype.itemsize > 4 else np.float32)
    unit -= low
    unit /= width
    return np.clip(unit, 0, 1, out=unit)


def to_bytes(unit: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Grey from 0 to 1 in 256 equal steps, so that a deep film is its upper byte, as where others made 8 bits of it."""
    grey: npt.NDArray[np.uint8] = np.minimum(unit * 256, 255).astype(np.uint8)
    return grey
