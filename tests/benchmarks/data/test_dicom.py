from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from dicom_file import write_dicom
from PIL import Image

from benchmarks.data.dicom import is_dicom, load_dicom, window
from benchmarks.run.errors import UserError

pydicom = pytest.importorskip("pydicom")


RAMP = np.linspace(0, 4095, 64 * 48).astype(np.uint16).reshape(48, 64)


def test_without_a_window_the_range_of_the_film_is_shown(tmp_path: Path) -> None:
    film = load_dicom(write_dicom(tmp_path / "a.dcm", RAMP, BitsStored=12))

    assert film.dtype == np.uint8
    np.testing.assert_array_equal(film, np.round(RAMP / 4095 * 255))


def test_monochrome1_is_inverted_once(tmp_path: Path) -> None:
    plain = load_dicom(write_dicom(tmp_path / "a.dcm", RAMP))
    inverse = load_dicom(write_dicom(tmp_path / "b.dcm", RAMP, "MONOCHROME1"))
    both = load_dicom(write_dicom(tmp_path / "c.dcm", RAMP, "MONOCHROME1", PresentationLUTShape="INVERSE"))

    assert np.abs(255 - plain.astype(int) - inverse).max() <= 1  # rounding of the halves
    np.testing.assert_array_equal(both, inverse)


def test_rescale_comes_before_the_window(tmp_path: Path) -> None:
    pixels = np.array([[0, 100], [150, 200]], dtype=np.int16)
    tags = {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": [200, 50], "WindowWidth": [201, 10]}

    film = load_dicom(write_dicom(tmp_path / "a.dcm", pixels, **tags))

    # Rescaled: -100, 100, 200, 300. The window 200/201 goes from 99.5 to 299.5 (PS3.3, C.11.2.1.2.1).
    expected = [[0, 0.5 / 200], [100.5 / 200, 1]]
    np.testing.assert_array_equal(film, np.round(np.array(expected) * 255))


def test_signed_values_and_padding(tmp_path: Path) -> None:
    pixels = np.array([[-2000, -100], [0, 100]], dtype=np.int16)

    film = load_dicom(write_dicom(tmp_path / "a.dcm", pixels, PixelPaddingValue=-2000))

    np.testing.assert_array_equal(film, [[0, 0], [128, 255]])


def test_padding_is_black_on_monochrome1_too(tmp_path: Path) -> None:
    pixels = np.array([[0, 0], [100, 300]], dtype=np.uint16)

    film = load_dicom(write_dicom(tmp_path / "a.dcm", pixels, "MONOCHROME1", PixelPaddingValue=0))

    np.testing.assert_array_equal(film, [[0, 0], [255, 0]])


def test_lookup_table_of_values_of_interest(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4, 10, 8])
    table.add_new("LUTData", "US", [0, 255, 51, 102])
    pixels = np.array([[5, 10], [11, 12]], dtype=np.uint16)

    film = load_dicom(write_dicom(tmp_path / "a.dcm", pixels, VOILUTSequence=[table]))

    np.testing.assert_array_equal(film, [[0, 0], [255, 51]])


@pytest.mark.parametrize(
    ("function", "values", "expected"),
    [
        ("LINEAR", [2047, 2048], [2047 / 4095, 2048 / 4095]),  # the example of the standard: c=2048, w=4096
        ("LINEAR_EXACT", [0, 1024, 2048, 4096], [0, 0.25, 0.5, 1]),
        ("SIGMOID", [2048, 3072], [0.5, 1 / (1 + np.exp(-1))]),
    ],
)
def test_window_functions(function: str, values: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(window(values, 2048, 4096, function), expected, atol=1e-12)


def test_window_that_is_none() -> None:
    with pytest.raises(ValueError, match="width 0 is none"):
        window([1.0], 10, 0)


def test_colour_capture(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[..., 1] = 200

    film = load_dicom(write_dicom(tmp_path / "a.dcm", pixels, "RGB"))

    np.testing.assert_array_equal(film, np.asarray(Image.fromarray(pixels).convert("L")))


@pytest.mark.parametrize("suffix", ["JPEGBaseline8Bit", "JPEG2000Lossless"])
def test_compressed_films(tmp_path: Path, suffix: str) -> None:
    """Pillow, which the benchmark needs anyway, reads these two."""
    smooth = np.round(RAMP / 4095 * 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(smooth).save(stream, "JPEG" if suffix.startswith("JPEGB") else "JPEG2000", quality=95)

    film = load_dicom(compressed(tmp_path / "a.dcm", smooth, suffix, stream.getvalue()))

    assert np.abs(film.astype(int) - smooth).max() <= 3


@pytest.mark.skipif(importlib.util.find_spec("pylibjpeg") is not None, reason="the codec is installed")
def test_missing_codec_is_one_sentence(tmp_path: Path) -> None:
    path = compressed(tmp_path / "a.dcm", RAMP, "JPEGLosslessSV1", b"\xff\xd8 ...")

    with pytest.raises(UserError) as caught:
        load_dicom(path)

    assert str(caught.value).startswith(f"{path} is compressed (JPEG Lossless")
    assert str(caught.value).endswith("needs a codec: run `pip install pylibjpeg[all]`.")
    assert "\n" not in str(caught.value)


def compressed(path: Path, pixels: np.ndarray, syntax: str, data: bytes) -> Path:
    dataset = pydicom.dcmread(write_dicom(path, pixels))
    dataset.PixelData = pydicom.encaps.encapsulate([data])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    dataset.save_as(path)
    return path


def test_recognised_by_content(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "film.png")

    assert is_dicom(write_dicom(tmp_path / "no-suffix", RAMP))
    assert not is_dicom(tmp_path / "film.png")
    assert not is_dicom(tmp_path / "absent.png")


def test_errors_name_the_film(tmp_path: Path) -> None:
    (tmp_path / "text.dcm").write_text("no film")
    with pytest.raises(UserError, match=r"text\.dcm cannot be decoded as DICOM"):
        load_dicom(tmp_path / "text.dcm")
    with pytest.raises(UserError, match=r"absent\.dcm is missing"):
        load_dicom(tmp_path / "absent.dcm")
    whole = write_dicom(tmp_path / "cut.dcm", RAMP)
    whole.write_bytes(whole.read_bytes()[:-500])
    with pytest.raises(UserError, match=r"cut\.dcm cannot be decoded as DICOM"):
        load_dicom(whole)
    with pytest.raises(UserError, match=r"cine\.dcm holds 2 frames"):
        load_dicom(write_dicom(tmp_path / "cine.dcm", RAMP, NumberOfFrames=2))
    with pytest.raises(UserError, match="window of width 0"):
        load_dicom(write_dicom(tmp_path / "window.dcm", RAMP, WindowCenter=5, WindowWidth=0))
    with pytest.raises(UserError, match="is not that of a film"):
        load_dicom(write_dicom(tmp_path / "hsv.dcm", RAMP, "HSV"))
    report = pydicom.dcmread(write_dicom(tmp_path / "report.dcm", RAMP))
    del report.PixelData
    report.save_as(tmp_path / "report.dcm")
    with pytest.raises(UserError, match=r"report\.dcm holds no picture"):
        load_dicom(tmp_path / "report.dcm")
