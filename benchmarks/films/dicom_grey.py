"""From a DICOM data set's stored values to grey: the chain of the standard (PS3.3, C.11).

pydicom applies lookup tables with indices of the table's own type, which wrap when 8-bit entries stand for more than
256 values, and reads entries of eight bits as words. So tables are looked up here, and palettes left to pydicom.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.films.grey import depth_of, stretched, to_bytes, to_unit
from benchmarks.run.errors import UserError

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of ITU-R 601


def grey_of_monochrome(stored: npt.NDArray[Any], dataset: Any) -> tuple[npt.NDArray[np.uint8], str]:
    """Grey of a monochrome film: modality rescale or table, window or table, then inversion for MONOCHROME1.

    The first of several windows or tables is taken, a table before a window; without either, or with a window that is
    none, the film's depth.

    Args:
        stored: Stored values, any integer type.
        dataset: With the tags that say what they mean.

    Returns:
        uint8, the same shape, and what there is to say about it.

    Raises:
        UserError: The rest of a sentence: tags that leave nothing to see.
        ValueError: Tags that make no sense.
    """
    real = _real(stored, dataset)
    values, white = _rescaled(stored, dataset)
    note = fault = ""
    centre, width = first(dataset.get("WindowCenter")), first(dataset.get("WindowWidth"))
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if centre is not None and width is not None and not dataset.get("VOILUTSequence"):
        fault = _fault_of_window(centre, width, function)
    if dataset.get("VOILUTSequence"):
        # White is the table's largest entry: many hold fewer bits than they announce.
        entries, white = look_up(values, dataset.VOILUTSequence[0], dataset)
        unit: npt.NDArray[np.floating] = entries / np.float32(white)
    elif centre is not None and width is not None and not fault:
        unit = window(values, centre, width, function)
        if np.ptp(unit[real]) < 1 / 255 and np.ptp(values[real]) > 0:
            raise UserError(f"has a window (centre {centre:g}, width {width:g}) that leaves one grey value of it")
    elif dataset.get("ModalityLUTSequence"):
        unit = values / np.float32(white)
    else:
        unit, note = _by_depth(stored, values, dataset, real)
    # DX requires INVERSE together with MONOCHROME1; either means that large values are dark.
    if dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        unit = 1 - unit
    unit[~real] = 0
    left_out = f"its window was left out, since {fault}" if fault else ""
    return to_bytes(unit), ", and ".join(filter(None, (left_out, note)))


def _real(stored: npt.NDArray[Any], dataset: Any) -> npt.NDArray[np.bool_]:
    """Where the detector was: what lies outside of it must not set the range."""
    padding = first(dataset.get("PixelPaddingValue"))
    if padding is None:
        return np.ones(stored.shape, dtype=bool)
    limit = first(dataset.get("PixelPaddingRangeLimit"))
    ends = np.array([padding, padding if limit is None else limit], dtype=np.int64)
    if stored.dtype.itemsize == 2:  # a signed number may be written as unsigned, and the reverse
        ends = ends.astype(stored.dtype)
    real: npt.NDArray[np.bool_] = (stored < ends.min()) | (stored > ends.max())
    return real if real.any() else ~real


def _rescaled(stored: npt.NDArray[Any], dataset: Any) -> tuple[npt.NDArray[Any], int]:
    """Values of the modality, and the largest of them in a table."""
    if dataset.get("ModalityLUTSequence"):
        return look_up(stored, dataset.ModalityLUTSequence[0], dataset)
    slope, intercept = _rescale(dataset)
    if slope == 1 and intercept == 0:
        return stored, 0
    return _floats(stored) * slope + intercept, 0


def _rescale(dataset: Any) -> tuple[float, float]:
    slope, intercept = first(dataset.get("RescaleSlope")), first(dataset.get("RescaleIntercept"))
    if slope == 0:
        raise UserError("has a RescaleSlope of 0, which leaves one grey value of it")
    for name, value in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
        if value is not None and not math.isfinite(value):
            raise UserError(f"has a {name} of {value:g}, which is no number: export it again")
    return 1.0 if slope is None else slope, intercept or 0.0


def _by_depth(
    stored: npt.NDArray[Any], values: npt.NDArray[Any], dataset: Any, real: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.floating], str]:
    """Shares of what the depth can hold, which a rescale does not change but for its sign.

    Signed values are those of an unsigned film with another zero: that of the rescale where all of them fit into the
    depth so, else the least value of the depth, unless two bits and more are never used.
    """
    bits, (slope, intercept) = int(dataset.BitsStored), _rescale(dataset)
    if stored.dtype.kind == "i":
        wide = stored.astype(np.int32 if stored.dtype.itemsize <= 2 else np.int64)
        turned, zero = (wide if slope > 0 else -wide), np.rint(intercept / abs(slope))
        low, high = int(turned[real].min()), int(turned[real].max())
        if low + zero >= 0 and high + zero < 2**bits:
            return to_unit(turned + int(zero), bits, real)
        if depth_of(2 * max(-low - 1, high) + 1) <= bits - 2:
            return stretched(values, float(values[real].min()), float(values[real].max()))
        stored = wide + 2 ** (bits - 1)
    unit, note = to_unit(stored, bits, real)
    return unit if slope > 0 else 1 - unit, note


def _floats(values: npt.NDArray[Any]) -> npt.NDArray[np.floating]:
    """Real numbers that hold every value; large films of 16 bits take half of the memory."""
    return values.astype(np.float32 if values.dtype.itemsize <= 2 or values.dtype == np.float32 else np.float64)


def read_table(item: Any, dataset: Any) -> npt.NDArray[np.uint16]:
    """Entries of a lookup table (PS3.3, C.11.1.1 and C.11.2.1.1).

    Args:
        item: With LUTDescriptor and LUTData.
        dataset: That the item is of; its byte order counts.

    Raises:
        ValueError: There are fewer entries than the descriptor says.
    """
    count = int(item.LUTDescriptor[0]) % 2**16 or 2**16  # 0 stands for 65536; a signed reading makes it negative
    data = item.LUTData
    if isinstance(data, bytes):
        # Entries of 8 bits come as a byte each or as a word each, whatever the descriptor says.
        words = "<u2" if dataset.original_encoding[1] is not False else ">u2"
        packed = len(data) < 2 * count
        table = np.frombuffer(data[: (1 if packed else 2) * count], np.uint8 if packed else words)
    else:
        table = np.atleast_1d(np.asarray(data, dtype=np.int64))[:count] % 2**16
    if len(table) < count:
        raise ValueError(f"a lookup table has {len(table)} entries where {count} are announced")
    return table.astype(np.uint16)


def look_up(values: npt.NDArray[Any], item: Any, dataset: Any) -> tuple[npt.NDArray[np.uint16], int]:
    """Look values up in a table: those before the first one mapped get the first entry, those behind the last the last.

    Args:
        values: Any shape; rounded.
        item: With LUTDescriptor and LUTData.
        dataset: That the item is of.

    Returns:
        Entries, and the largest entry of the whole table.

    Raises:
        UserError: All entries are the same.
        ValueError: There are fewer entries than the descriptor says.
    """
    table, begin = read_table(item, dataset), int(item.LUTDescriptor[1])
    if table.min() == table.max():
        raise UserError("has a lookup table that leaves one grey value of it")
    if begin >= 2**15 and float(values.min()) < 0:  # a negative number that was read as unsigned
        begin -= 2**16
    index = np.clip(np.rint(_floats(values)) - begin, 0, len(table) - 1).astype(np.uint16)
    return table[index], int(table.max())


def window(values: npt.ArrayLike, centre: float, width: float, function: str = "LINEAR") -> npt.NDArray[np.floating]:
    """Apply a window (PS3.3, C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: After the modality rescale, any shape.
        centre: WindowCenter.
        width: WindowWidth, at least 1 for ``LINEAR`` and above 0 otherwise.
        function: ``"LINEAR"``, ``"LINEAR_EXACT"`` or ``"SIGMOID"``.

    Returns:
        Floats from 0 to 1, same shape.

    Raises:
        ValueError: The width makes no window, or the function is unknown.
    """
    values = _floats(np.asarray(values))
    if fault := _fault_of_window(centre, width, function):
        raise ValueError(fault)
    if function == "LINEAR":
        # A window of width 1 is a threshold.
        unit = (values - (centre - 0.5)) / max(width - 1, 1e-12) + 0.5
    elif function == "LINEAR_EXACT":
        unit = (values - centre) / width + 0.5
    else:
        unit = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -80, 80)))
    clipped: npt.NDArray[np.floating] = np.clip(unit, 0, 1)
    return clipped


def _fault_of_window(centre: float, width: float, function: str) -> str:
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        return f"the VOI LUT function {function!r} is unknown"
    if not math.isfinite(centre):
        return f"a window around {centre:g} is none"
    if not math.isfinite(width) or (width < 1 if function == "LINEAR" else width <= 0):
        return f"a window of width {width:g} is none"
    return ""


def grey_of_colour(stored: npt.NDArray[Any], dataset: Any) -> tuple[npt.NDArray[np.uint8], str]:
    """Grey of a colour picture, such as a secondary capture.

    Args:
        stored: RGB, any unsigned type; ``pixel_array`` has turned YBR into it already.
        dataset: With BitsStored, or a palette.

    Raises:
        ValueError: The colours are of a kind that films are not in.
    """
    from pydicom.pixels.processing import apply_color_lut

    bits: int | None = int(dataset.BitsStored)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored, bits = apply_color_lut(stored, dataset), None
    if stored.ndim != 3 or stored.shape[-1] != 3:
        raise ValueError(f"the photometric interpretation {dataset.PhotometricInterpretation} is not that of a film")
    unit, note = to_unit(stored, bits)
    return to_bytes(unit @ _LUMINANCE), note


def first(value: Any) -> float | None:
    """A number, or the first of several; None where there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return float(value)
    return first(value[0]) if len(value) else None
