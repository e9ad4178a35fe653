"""A DICOM file made from an array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

RAMP = np.linspace(0, 4095, 64 * 48).astype(np.uint16).reshape(48, 64)


def write_dicom(path: Path, pixels: np.ndarray, interpretation: str = "MONOCHROME2", **tags: Any) -> Path:
    """Write a computed radiograph; the number of stored bits is that of the dtype unless given."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = interpretation
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored = tags.pop("BitsStored", dataset.BitsAllocated)
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def table(entries: int, first: int, bits: int, data: bytes | list[int]) -> Any:
    """The item of a lookup table, from the value ``first`` on."""
    from pydicom import Dataset

    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [entries, first, bits])
    item.add_new("LUTData", "OW" if isinstance(data, bytes) else "US", data)
    return item
