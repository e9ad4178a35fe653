"""Files of chance: whatever they hold, there is a film or a sentence, in time and within memory.

Not part of the ordinary suite, as it takes an hour::

    python -m pytest -m fuzz -s tests/benchmarks/fuzz

``FUZZ=0.01`` tries a hundredth of the cases. A failure names its case, by which it can be made again.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from cases_of_chance import try_all
from mutations import mutated, mutated_text
from PIL import Image
from sound_files import FILES, write_sound

from benchmarks.data.annotations import format_annotation, parse_annotation, rasterize
from benchmarks.data.object_cxr import read_split
from benchmarks.films.decode import read_film
from benchmarks.formats.category_mask import category_mask
from benchmarks.formats.load import load_dataset

pytestmark = pytest.mark.fuzz

CELLS = (
    "", "0 10 20 110 220", "1 1208 744 1330 878", "2 900 400 980 420 960 510", "0 310 1190 522 1340;2 9 4 98 42 96 51",
    "0 -3.5 1e2 522 1340;1 1 1 3 3;2 1 1 5 1 3 4 2 2",
)  # fmt: skip


def test_cells() -> None:
    def attempt(generator: np.random.Generator) -> str:
        try:
            shapes = parse_annotation(mutated_text(CELLS[int(generator.integers(len(CELLS)))], generator))
        except ValueError:
            return "refused"
        assert parse_annotation(format_annotation(shapes)) == shapes
        for truth in ("box", "shape"):
            assert rasterize(shapes, 2000, 1500, 100, truth).any() == bool(shapes)
        return "read"

    try_all("cells", 20000, attempt)


def test_tables(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    for number in range(3):
        (tmp_path / "test" / f"{number}.png").touch()
    rows = "image_name,annotation\n0.png,\n1.png,0 10 20 110 220\n2.png,1 1 1 9 9;2 9 4 98 42 96 51\n"
    kinds = "image_name,kinds\n1.png,button\n2.png,zip;necklace\n"

    def attempt(generator: np.random.Generator) -> str:
        text = mutated_text(rows, generator).encode("utf-8", "surrogatepass")
        content = mutated(text, generator, 3) if generator.random() < 0.5 else text
        (tmp_path / "test.csv").write_bytes(content)
        (tmp_path / "test_kinds.csv").write_text(
            mutated_text(kinds, generator, 2) if generator.random() < 0.5 else kinds
        )
        return "read" if read_split(tmp_path, "test") else "empty"

    try_all("tables", 3000, attempt)


@pytest.mark.parametrize("format", FILES)
def test_annotations(tmp_path: Path, format: str) -> None:
    source = write_sound(tmp_path, format)

    def attempt(generator: np.random.Generator) -> str:
        for name, text in FILES[format].items():
            changed = mutated_text(text, generator).encode("utf-8", "surrogatepass")
            (tmp_path / name).write_bytes(mutated(changed, generator, 3) if generator.random() < 0.5 else changed)
        data = load_dataset(source)
        for image in data.images:
            assert all(category_mask(image, found.category, (9, 9)).any() for found in image.objects)
        return "read"

    try_all(f"{format} annotations", 3000, attempt)


def film() -> np.ndarray:
    return np.add.outer(np.arange(40) * 60, np.arange(48) * 30).astype(np.uint16)


def pictures() -> list[bytes]:
    """One of each kind that is read."""
    import tifffile

    deep = film()
    grey = (deep // 16).astype(np.uint8)
    colour = np.dstack([grey, grey[::-1], grey])
    made = []
    for array, formats in (
        (grey, ("PNG", "JPEG", "TIFF", "JPEG2000", "BMP")),
        (colour, ("PNG", "JPEG", "TIFF", "JPEG2000", "BMP")),
        (deep, ("PNG", "TIFF", "JPEG2000")),
        (deep.astype(np.float32), ("TIFF",)),
        (np.dstack([grey, grey]), ("PNG", "TIFF")),
    ):
        for format_ in formats:
            stream = io.BytesIO()
            Image.fromarray(array).save(stream, format_)
            made.append(stream.getvalue())
    for options in (
        {"compression": "raw"},
        {"compression": "tiff_lzw"},
        {"compression": "tiff_adobe_deflate"},
        {"compression": "jpeg"},
    ):
        stream = io.BytesIO()
        Image.fromarray(grey).save(stream, "TIFF", **options)
        made.append(stream.getvalue())
    for array, options in (
        (np.dstack([deep] * 3), {"photometric": "rgb"}),
        (deep, {"photometric": "miniswhite"}),
        (np.stack([grey, grey]), {"photometric": "minisblack"}),
    ):
        stream = io.BytesIO()
        tifffile.imwrite(stream, array, **options)
        made.append(stream.getvalue())
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(grey).save(stream, "JPEG", exif=exif)
    return [*made, stream.getvalue()]


def repaired(png: bytes) -> bytes:
    """A damaged PNG whose checksums are right, so that what lies behind them is tried."""
    content, at = bytearray(png), 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        end = at + 8 + length
        if end + 4 > len(content):
            break
        struct.pack_into(">I", content, end, zlib.crc32(content[at + 4 : end]))
        at = end + 4
    return bytes(content)


def test_pictures(tmp_path: Path) -> None:
    whole = pictures()

    def attempt(generator: np.random.Generator) -> str:
        content = mutated(whole[int(generator.integers(len(whole)))], generator)
        (tmp_path / "film").write_bytes(repaired(content) if generator.random() < 0.7 else content)
        grey = read_film(tmp_path / "film").grey
        assert grey.dtype == np.uint8
        assert grey.ndim == 2
        return "read"

    try_all("pictures", 5000, attempt)


def dicom_files() -> list[bytes]:
    """Encodings, compressions and ways to grey, combined."""
    import pydicom
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4096, 0, 16])
    table.add_new("LUTData", "OW", np.arange(4096).astype("<u2").tobytes())
    deep, made = film(), []
    grey = (deep // 16).astype(np.uint8)
    ways = (
        {},
        {"WindowCenter": [2000, 100], "WindowWidth": [3000, 10]},
        {"WindowCenter": 2000, "WindowWidth": 3000, "VOILUTFunction": "SIGMOID"},
        {"VOILUTSequence": [table]},
        {"ModalityLUTSequence": [table]},
        {"RescaleSlope": "2", "RescaleIntercept": "-1000", "PixelPaddingValue": 0},
    )
    syntaxes = ("ImplicitVRLittleEndian", "ExplicitVRLittleEndian", "DeflatedExplicitVRLittleEndian", "RLELossless")
    compressed = ("JPEGBaseline8Bit", "JPEG2000Lossless")
    for tags, syntax in [*itertools.product(ways, syntaxes), *itertools.product(ways[:2], compressed)]:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset = FileDataset("film", {}, file_meta=meta, preamble=bytes(128))
        stored = grey if syntax in compressed else deep
        dataset.Modality, dataset.SOPInstanceUID, dataset.NumberOfFrames = "DX", "1.2.3", 1
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *stored.shape, 1
        dataset.PhotometricInterpretation = "MONOCHROME1" if len(made) % 2 else "MONOCHROME2"
        dataset.BitsAllocated = 8 * stored.dtype.itemsize
        dataset.BitsStored = min(dataset.BitsAllocated, 12)
        dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
        for name, value in tags.items():
            setattr(dataset, name, value)
        dataset.PixelData = stored.tobytes()
        if syntax in compressed:
            stream = io.BytesIO()
            Image.fromarray(stored).save(stream, "JPEG" if syntax == compressed[0] else "JPEG2000")
            dataset.PixelData = encapsulate([stream.getvalue()])
            dataset["PixelData"].is_undefined_length = True
        elif syntax == "RLELossless":
            dataset.compress(pydicom.uid.RLELossless)
        meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
        stream = io.BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
        made.append(stream.getvalue())
    return [*made, made[1][132:]]


def test_dicom(tmp_path: Path) -> None:
    whole = dicom_files()

    def attempt(generator: np.random.Generator) -> str:
        content = whole[int(generator.integers(len(whole)))]
        # The preamble means nothing: damage is to lie behind it.
        head = 132 if content[128:132] == b"DICM" else 0
        (tmp_path / "film").write_bytes(content[:head] + mutated(content[head:], generator))
        return "read" if read_film(tmp_path / "film").grey.ndim == 2 else "odd"

    try_all("dicom", 5000, attempt)


TAGS = (
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
    "NumberOfFrames", "PhotometricInterpretation", "PlanarConfiguration", "WindowCenter", "WindowWidth",
    "VOILUTFunction", "RescaleSlope", "RescaleIntercept", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "PresentationLUTShape", "Modality", "SOPInstanceUID", "PixelData",
)  # fmt: skip
VALUES = {
    "US": (0, 1, 2, 3, 7, 8, 12, 15, 16, 32, 64, 65535, None, [1, 2]),
    "DS": ("0", "-1", "1e300", "nan", "inf", "", "1e-300", ["1", "2"], "5", None),
    "IS": ("0", "2", "-1", "", None, "99999999999"),
    "CS": (
        "",
        "LINEAR",
        "SIGMOID",
        "MONOCHROME1",
        "RGB",
        "YBR_FULL",
        "PALETTE COLOR",
        "INVERSE",
        "CT",
        "\x1b[2J",
        None,
    ),
    "UI": ("", "1.2", "x" * 100, None),
    "OW": (b"", b"\0", bytes(10**6), None),
}


@pytest.mark.filterwarnings("ignore")  # of what is made here
def test_dicom_tags(tmp_path: Path) -> None:
    """Values that no writer should leave, where bytes of chance seldom make any."""
    import pydicom
    from pydicom import config
    from pydicom.datadict import dictionary_VR

    whole = dicom_files()
    config.settings.writing_validation_mode = config.IGNORE

    def attempt(generator: np.random.Generator) -> str:
        dataset = pydicom.dcmread(io.BytesIO(whole[int(generator.integers(len(whole)))]), force=True)
        for _ in range(int(generator.integers(1, 4))):
            name = TAGS[int(generator.integers(len(TAGS)))]
            vr = {"US or SS": "US", "OB or OW": "OW"}.get(dictionary_VR(name), dictionary_VR(name))
            values = VALUES[vr]
            if generator.random() < 0.2 and name in dataset:
                delattr(dataset, name)
            else:
                dataset.add_new(name, vr, values[int(generator.integers(len(values)))])
        try:
            dataset.save_as(tmp_path / "film")
        except Exception:  # a value that pydicom cannot even write
            return "not made"
        return "read" if read_film(tmp_path / "film").grey.ndim == 2 else "odd"

    try:
        try_all("dicom tags", 2000, attempt)
    finally:
        config.settings.writing_validation_mode = None
