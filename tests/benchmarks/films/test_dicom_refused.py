from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from dicom_file import RAMP, table, write_dicom

from benchmarks.films.decode import read_film
from benchmarks.run.errors import UserError

pydicom = pytest.importorskip("pydicom")


def grey(path: Path) -> np.ndarray:
    return read_film(path).grey


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ({"NumberOfFrames": 2}, "holds 2 frames"),
        ({"WindowCenter": 90000, "WindowWidth": 100}, "window .centre 90000, width 100. that leaves one grey value"),
        ({"RescaleSlope": 0, "RescaleIntercept": 5}, "has a RescaleSlope of 0"),
        ({"RescaleSlope": "nan"}, "has a RescaleSlope of nan, which is no number: export it again"),
        ({"RescaleIntercept": "-inf"}, "has a RescaleIntercept of -inf, which is no number"),
        ({"PixelRepresentation": None}, "does not tell what its pixels are .no PixelRepresentation.: export it again"),
        ({"Columns": None}, "does not tell what its pixels are .no Columns."),
        ({"SamplesPerPixel": 3}, "does not tell what its pixels are .no PlanarConfiguration."),
        ({"Modality": "CT"}, "has the modality CT, which is no radiograph"),
        ({"VOILUTSequence": [table(4, 0, 8, b"\7\7\7\7")]}, "lookup table that leaves one grey value"),
        ({"VOILUTSequence": [table(400, 0, 8, b"\1\2\3\4")]}, "has 4 entries where 400 are announced"),
        ({"Rows": 60000, "Columns": 60000}, "has 60000 x 60000 pixels of 2 bytes, more than the 50 million"),
        (
            {"Rows": 6000, "Columns": 6000, "SamplesPerPixel": 3, "PlanarConfiguration": 0},
            "6000 pixels of 6 bytes, more than the 25 million",
        ),
        ({"Rows": 0}, "has 64 x 0 pixels"),
        ({"PhotometricInterpretation": "HSV"}, "photometric interpretation HSV is not that of a film"),
        ({"FloatPixelData": bytes(4 * RAMP.size)}, "has pixels of real numbers .FloatPixelData., as no radiograph"),
        ({"DoubleFloatPixelData": bytes(8 * RAMP.size)}, "has pixels of real numbers .DoubleFloatPixelData."),
        ({"PhotometricInterpretation": ""}, "does not say whether large values are bright"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
def test_what_is_no_film_is_said(tmp_path: Path, tags: dict, sentence: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    dataset = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(dataset, name, value)
    if any("Float" in name for name in tags):
        del dataset.PixelData
    dataset.save_as(path)

    with pytest.raises(UserError, match=rf"a\.dcm .*{sentence}"):
        grey(path)


def test_a_deflated_file_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    expected = RAMP // 16
    np.testing.assert_array_equal(grey(path), expected)
    content = path.read_bytes()
    begin = 144 + int.from_bytes(content[140:144], "little")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = b"".join(deflate.compress(bytes(2**24)) for _ in range(33)) + deflate.flush()
    path.write_bytes(content[:begin] + zeros)

    with pytest.raises(UserError, match="inflates to more than 512 MB"):
        grey(path)


def test_compressed_pixels_that_end_early_are_told_of(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    dataset = pydicom.dcmread(write_dicom(path, RAMP, BitsStored=12))
    dataset.compress(pydicom.uid.RLELossless)
    dataset.save_as(path)
    np.testing.assert_array_equal(grey(path), RAMP // 16)
    content = path.read_bytes()
    for lost in (20, len(dataset.PixelData) // 2):
        path.write_bytes(content[:-lost])
        with pytest.raises(UserError, match=r"a\.dcm is truncated: its pixel data end early, so copy or export it"):
            grey(path)


def test_errors_name_the_film(tmp_path: Path) -> None:
    (tmp_path / "text.dcm").write_text("no film")
    with pytest.raises(UserError, match=r"text\.dcm is neither DICOM nor PNG"):
        grey(tmp_path / "text.dcm")
    with pytest.raises(UserError, match=r"absent\.dcm is missing"):
        grey(tmp_path / "absent.dcm")
    whole = write_dicom(tmp_path / "cut.dcm", RAMP)
    whole.write_bytes(whole.read_bytes()[:-500])
    with pytest.raises(UserError, match=r"cut\.dcm is truncated or damaged: it cannot be decoded as a DICOM file"):
        grey(whole)
    report = pydicom.dcmread(write_dicom(tmp_path / "report.dcm", RAMP))
    del report.PixelData, report.Rows, report.Columns
    report.save_as(tmp_path / "report.dcm")
    with pytest.raises(UserError, match=r"report\.dcm holds no picture"):
        grey(tmp_path / "report.dcm")


def test_a_file_that_ends_before_its_pixels(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\xe0\x7f\x10\x00")])  # the tag of the pixel data
    with pytest.raises(UserError, match=r"a\.dcm is cut off before the 64 x 48 pixels that its header tells of: copy"):
        grey(path)
