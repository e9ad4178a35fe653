"""Decodes DICOM radiographs to the 8-bit grey picture that a viewer would show: dense tissue bright."""

from __future__ import annotations

import re
import zlib
from typing import Any, BinaryIO

from benchmarks.films.dicom_grey import grey_of_colour, grey_of_monochrome
from benchmarks.films.grey import Film, check_content, check_size
from benchmarks.run.errors import UserError

RADIOGRAPHS = {"", "CR", "DX", "DR", "RG", "RF", "XA", "MG", "PX", "IO", "OT", "SC"}
"""Modalities of plain X-ray pictures, and those that say nothing: a capture, or empty."""

MOST_BYTES = 2**29
"""Largest data set that a deflated file may hold."""

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_OF_PIXELS = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
"""What every film tells of its pixels."""
_CODECS = "run `pip install pylibjpeg[all]`"
_START = re.compile(
    rb"[\x02\x08]\x00[\x00-\xff]\x00(?:[A-Z]{2}|[\x00-\xff]{2}\x00\x00)|\x00[\x02\x08]\x00[\x00-\xff][A-Z]{2}"
)
"""First element of a data set of group 2 or 8, in any of the three encodings."""


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins so (132 bytes) is DICOM, with or without the preamble that it should have."""
    return head[128:132] == b"DICM" or _START.match(head) is not None


def load_dicom(stream: BinaryIO) -> Film:
    """Decode a single-frame DICOM film, see ``grey_of_monochrome``.

    Args:
        stream: At the beginning of the file.

    Raises:
        UserError: The rest of a sentence that begins with the film's name: no radiograph, several frames, too large,
            nothing to see, or a compression that needs a package which is not installed.
        Exception: Whatever pydicom says of a damaged file.
    """
    dataset = _dataset(stream)
    if real := [name for name in ("FloatPixelData", "DoubleFloatPixelData") if name in dataset]:
        raise UserError(f"has pixels of real numbers ({real[0]}), as no radiograph has: export it with whole numbers")
    if "PixelData" not in dataset:
        if stream.read(1):  # pydicom goes back to where an element begins that has no end
            raise UserError("is truncated: its pixel data end early, so copy or export it again")
        if dataset.get("Rows") and dataset.get("Columns"):
            size = f"{dataset.Columns} x {dataset.Rows}"
            raise UserError(f"is cut off before the {size} pixels that its header tells of: copy or export it again")
        raise UserError("holds no picture: give a DICOM file with a radiograph")
    _check(dataset)
    _take_from_groups(dataset)
    stored = _decompressed(dataset)
    monochrome = dataset.PhotometricInterpretation.startswith("MONOCHROME")
    grey, note = (grey_of_monochrome if monochrome else grey_of_colour)(stored, dataset)
    check_content(grey)
    height, width = grey.shape
    uid = str(dataset.get("SOPInstanceUID") or "")
    return Film(grey, (width, height), (note,) if note else (), uid, is_dicom=True)


def dicom_size(stream: BinaryIO) -> tuple[int, int]:
    """Width and height of a DICOM film, from its header.

    Args:
        stream: At the beginning of the file.

    Raises:
        UserError: As ``load_dicom``, as far as the header tells.
        Exception: Whatever pydicom says of a damaged file.
    """
    dataset = _dataset(stream, stop_before_pixels=True)
    _check(dataset)
    return int(dataset.Columns), int(dataset.Rows)


def _dataset(stream: BinaryIO, **options: Any) -> Any:
    try:
        import pydicom
    except ImportError:
        raise UserError("is DICOM, which needs pydicom: run `pip install pydicom`") from None

    _check_inflated(stream)
    return pydicom.dcmread(stream, force=True, **options)


def _check_inflated(stream: BinaryIO) -> None:
    """Refuse a small file that would inflate to gigabytes."""
    head = stream.read(4096)
    if _DEFLATED in head and head[128:140] == b"DICM\x02\x00\x00\x00UL\x04\x00":
        stream.seek(144 + int.from_bytes(head[140:144], "little"))  # behind the group of the file's meta information
        inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        chunk = stream.read(2**16)
        while chunk and size <= MOST_BYTES:
            size += len(inflate.decompress(chunk, 2**22))
            chunk = inflate.unconsumed_tail or stream.read(2**16)
        if size > MOST_BYTES:
            raise UserError(f"inflates to more than {MOST_BYTES // 2**20} MB, which no film does")
    stream.seek(0)


def _check(dataset: Any) -> None:
    modality = str(dataset.get("Modality") or "").strip().upper()
    if modality not in RADIOGRAPHS:
        raise UserError(f"has the modality {modality}, which is no radiograph: give a plain X-ray film")
    if (frames := int(dataset.get("NumberOfFrames") or 1)) != 1:
        raise UserError(f"holds {frames} frames: give a single radiograph")
    if not dataset.get("PhotometricInterpretation"):
        raise UserError("does not say whether large values are bright (no PhotometricInterpretation)")
    needed = _OF_PIXELS if dataset.get("SamplesPerPixel") == 1 else (*_OF_PIXELS, "PlanarConfiguration")
    if lacking := [name for name in needed if dataset.get(name) is None]:
        raise UserError(f"does not tell what its pixels are (no {lacking[0]}): export it again")
    bytes_a_pixel = int(dataset.get("SamplesPerPixel") or 1) * max(int(dataset.get("BitsAllocated") or 8) // 8, 1)
    check_size(int(dataset.get("Columns") or 0), int(dataset.get("Rows") or 0), bytes_a_pixel)


def _take_from_groups(dataset: Any) -> None:
    """Put rescale and window of an enhanced film's one frame where those of others are (PS3.3, C.7.6.16)."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(dataset.get(groups) or ())[:1]:
            for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                for item in list(group.get(macro) or ())[:1]:
                    dataset.update(item)


def _unused_below(dataset: Any) -> int:
    """Number of bits below the stored ones, which old devices left for other things."""
    stored, high, allocated = (dataset.get(name) for name in ("BitsStored", "HighBit", "BitsAllocated"))
    if stored is None or high is None or allocated is None or high >= allocated:
        return 0
    return max(int(high) + 1 - int(stored), 0)


def _decompressed(dataset: Any) -> Any:
    """Stored values, or what is missing before pydicom lists all packages that it looked for."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    meta = getattr(dataset, "file_meta", None)
    syntax = None if meta is None else meta.get("TransferSyntaxUID")
    if not syntax:  # as the data set itself is encoded
        implicit, little = dataset.original_encoding
        dataset.file_meta = FileMetaDataset() if meta is None else meta
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = syntax
    if syntax.is_encapsulated and not get_decoder(syntax).is_available:
        raise UserError(f"is compressed ({syntax.name}), which needs a codec: {_CODECS}")
    stored, unused = dataset.get("BitsStored"), 0 if syntax.is_encapsulated else _unused_below(dataset)
    try:
        if unused:  # pydicom takes the lowest bits whatever HighBit says
            dataset.BitsStored = stored + unused
            return dataset.pixel_array >> unused
        return dataset.pixel_array
    except RuntimeError as error:
        if "does not support" in str(error):  # a codec is there, but not for so many bits
            bits = dataset.get("BitsStored")
            raise UserError(
                f"is compressed ({syntax.name}) in {bits} bits, which needs another codec: {_CODECS}"
            ) from None
        raise
    finally:
        if unused:
            dataset.BitsStored = stored
