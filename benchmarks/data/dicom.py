"""Decodes DICOM radiographs to the 8-bit grey picture that a viewer would show: dense tissue bright."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.run.errors import UserError

_SUFFIXES = {".dcm", ".dicom"}


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM: by its marker behind the preamble, or by its name when it has none."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM" or path.suffix.lower() in _SUFFIXES
    except OSError:
        return False


def load_dicom(path: Path | str) -> npt.NDArray[np.uint8]:
    """Decode a single-frame DICOM film.

    The chain of the standard (PS3.3, C.11): stored values, modality rescale or LUT, window or VOI LUT (the
    first of several; the whole range of values when there is none), then inversion for MONOCHROME1.

    Args:
        path: Of the file.

    Returns:
        uint8 array (height, width), as MONOCHROME2 at 8 bits.

    Raises:
        UserError: Missing, truncated, no DICOM, no film in it, several frames, or a compression that
            needs a package which is not installed.
    """
    path = Path(path)
    try:
        import pydicom
    except ImportError:
        raise UserError(f"{path} is DICOM, which needs pydicom: run `pip install pydicom`.") from None

    # Files from practice break the standard in many harmless ways that pydicom warns of.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path)
            _check(dataset, path)
            _check_codec(dataset, path)
            stored = dataset.pixel_array
            if dataset.PhotometricInterpretation.startswith("MONOCHROME"):
                return np.round(_to_unit(stored, dataset) * 255).astype(np.uint8)
            return _colour_to_grey(stored, dataset)
        except FileNotFoundError:
            raise UserError(f"The film {path} is missing.") from None
        except UserError:
            raise
        # pydicom reports broken files by many types, depending on where they break.
        except Exception as error:
            raise UserError(f"The film {path} cannot be decoded as DICOM ({_first_sentence(error)}).") from None


def _check(dataset: Any, path: Path) -> None:
    if "PixelData" not in dataset:
        raise UserError(f"{path} holds no picture: give a DICOM file with a radiograph.")
    if int(dataset.get("NumberOfFrames", 1) or 1) != 1:
        raise UserError(f"{path} holds {dataset.NumberOfFrames} frames: give a single radiograph.")
    if "PhotometricInterpretation" not in dataset:
        raise UserError(f"{path} does not say whether large values are bright (no PhotometricInterpretation).")


def _check_codec(dataset: Any, path: Path) -> None:
    """Say what is missing before pydicom lists all packages that it looked for."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and not get_decoder(syntax).is_available:
        raise UserError(f"{path} is compressed ({syntax.name}), which needs a codec: run `pip install pylibjpeg[all]`.")


def _to_unit(stored: npt.NDArray[Any], dataset: Any) -> npt.NDArray[np.float64]:
    """Grey from 0 to 1 of a monochrome film."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi

    real = np.ones(stored.shape, dtype=bool)
    if "PixelPaddingValue" in dataset:  # what lies outside of the detector must not set the range
        ends = [int(dataset.PixelPaddingValue), int(dataset.get("PixelPaddingRangeLimit", dataset.PixelPaddingValue))]
        real = (stored < min(ends)) | (stored > max(ends))
        if not real.any():
            real[:] = True
    # Stored values keep their integer type for the VOI LUT when nothing rescales them.
    values = apply_modality_lut(stored, dataset)
    centre, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if dataset.get("VOILUTSequence"):
        table = dataset.VOILUTSequence[0]
        unit = apply_voi(values, dataset) / float(2 ** int(table.LUTDescriptor[2]) - 1)
    elif centre is not None and width is not None:
        unit = window(values, centre, width, str(dataset.get("VOILUTFunction") or "LINEAR"))
    else:
        low, high = float(values[real].min()), float(values[real].max())
        unit = (values - low) / max(high - low, 1e-12)
    unit = np.clip(np.asarray(unit, dtype=np.float64), 0, 1)
    # DX requires INVERSE together with MONOCHROME1; either means that large values are dark.
    if dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        unit = 1 - unit
    unit[~real] = 0
    return unit


def window(values: npt.ArrayLike, centre: float, width: float, function: str = "LINEAR") -> npt.NDArray[np.float64]:
    """Apply a window (PS3.3, C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: After the modality rescale, any shape.
        centre: WindowCenter.
        width: WindowWidth, at least 1 for ``LINEAR`` and above 0 otherwise.
        function: ``"LINEAR"``, ``"LINEAR_EXACT"`` or ``"SIGMOID"``.

    Returns:
        float64 from 0 to 1, same shape.

    Raises:
        ValueError: The width makes no window, or the function is unknown.
    """
    values = np.asarray(values, dtype=np.float64)
    if width < 1 if function == "LINEAR" else width <= 0:
        raise ValueError(f"a window of width {width:g} is none")
    if function == "LINEAR":
        # A window of width 1 is a threshold.
        return np.clip((values - (centre - 0.5)) / max(width - 1, 1e-12) + 0.5, 0, 1)
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    raise ValueError(f"the VOI LUT function {function!r} is unknown")


def _colour_to_grey(stored: npt.NDArray[Any], dataset: Any) -> npt.NDArray[np.uint8]:
    """Grey of a secondary capture."""
    from pydicom.pixels.processing import apply_color_lut

    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    if stored.ndim != 3 or stored.shape[-1] != 3:
        raise ValueError(f"the photometric interpretation {dataset.PhotometricInterpretation} is not that of a film")
    if stored.dtype.itemsize > 1:
        stored = stored >> 8
    # pixel_array has turned YBR into RGB already.
    return np.asarray(Image.fromarray(stored.astype(np.uint8)).convert("L"))


def _first(value: Any) -> float | None:
    """A number, or the first of several."""
    if value is None or value == "":
        return None
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return float(value)
    return float(value[0]) if len(value) else None


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.partition(". ")[0].rstrip(".")[:200]
