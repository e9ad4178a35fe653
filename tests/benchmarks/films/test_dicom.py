from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from dicom_file import RAMP, table, write_dicom
from PIL import Image

from benchmarks.films.decode import read_film
from benchmarks.films.dicom import is_dicom
from benchmarks.films.dicom_grey import window
from benchmarks.run.errors import UserError

pydicom = pytest.importorskip("pydicom")


def grey(path: Path) -> np.ndarray:
    return read_film(path).grey


def test_without_a_window_the_range_of_the_film_is_shown(tmp_path: Path) -> None:
    film = grey(write_dicom(tmp_path / "a.dcm", RAMP, BitsStored=12))

    assert film.dtype == np.uint8
    np.testing.assert_array_equal(film, RAMP // 16)


def test_monochrome1_is_inverted_once(tmp_path: Path) -> None:
    plain = grey(write_dicom(tmp_path / "a.dcm", RAMP))
    inverse = grey(write_dicom(tmp_path / "b.dcm", RAMP, "MONOCHROME1"))
    both = grey(write_dicom(tmp_path / "c.dcm", RAMP, "MONOCHROME1", PresentationLUTShape="INVERSE"))

    assert np.abs(255 - plain.astype(int) - inverse).max() <= 1  # rounding of the halves
    np.testing.assert_array_equal(both, inverse)


def test_rescale_comes_before_the_window(tmp_path: Path) -> None:
    pixels = np.array([[0, 100], [150, 200]], dtype=np.int16)
    tags = {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": [200, 50], "WindowWidth": [201, 10]}

    film = grey(write_dicom(tmp_path / "a.dcm", pixels, **tags))

    # Rescaled: -100, 100, 200, 300. The window 200/201 goes from 99.5 to 299.5 (PS3.3, C.11.2.1.2.1).
    expected = [[0, 0.5 / 200], [100.5 / 200, 1]]
    np.testing.assert_array_equal(film, np.floor(np.array(expected) * 256).clip(0, 255))


def test_signed_values_and_padding(tmp_path: Path) -> None:
    pixels = np.array([[-2000, -100], [0, 100]], dtype=np.int16)

    film = grey(write_dicom(tmp_path / "a.dcm", pixels, PixelPaddingValue=-2000))

    np.testing.assert_array_equal(film, [[0, 0], [128, 255]])


@pytest.mark.parametrize("groups", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_an_enhanced_film_has_its_window_in_groups(tmp_path: Path, groups: str) -> None:
    """With one frame it shows what the same film shows that has the tags at the top."""
    tags = {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": [1500, 50], "WindowWidth": [3001, 10]}
    expected = grey(write_dicom(tmp_path / "a.dcm", RAMP, BitsStored=12, **tags))
    assert not np.array_equal(expected, RAMP // 16)
    window, rescale, group = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    for name, value in tags.items():
        setattr(window if "Window" in name else rescale, name, value)
    group.FrameVOILUTSequence, group.PixelValueTransformationSequence = [window], [rescale]
    both = {"SharedFunctionalGroupsSequence": [pydicom.Dataset()], groups: [group], "NumberOfFrames": 1}
    np.testing.assert_array_equal(grey(write_dicom(tmp_path / "b.dcm", RAMP, BitsStored=12, **both)), expected)


@pytest.mark.parametrize(("kind", "padding"), [(np.int16, 63536), (np.uint16, -2000)])
def test_padding_may_be_written_with_the_other_sign(tmp_path: Path, kind: type, padding: int) -> None:
    """-2000 and 63536 are the same 16 bits; as values they would set the range of the film."""
    pixels = np.array([[padding, 0], [50, 100]]).astype(kind)
    path = write_dicom(tmp_path / "a.dcm", pixels)
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "US" if padding > 0 else "SS", padding)
    dataset.save_as(path)

    np.testing.assert_array_equal(grey(path), [[0, 0], [50, 100]])  # that 8 bits hold


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize(
    "film", [RAMP, RAMP // 2, RAMP // 2 + 2048, RAMP // 4], ids=["all", "dark", "bright", "10 bits"]
)
def test_signed_values_with_a_rescale_show_the_film_of_the_unsigned_file(
    tmp_path: Path, film: np.ndarray, bits: int
) -> None:
    plain = read_film(write_dicom(tmp_path / "plain.dcm", film, BitsStored=bits))
    tags = {"BitsStored": bits, "RescaleSlope": 0.5, "RescaleIntercept": 1024}
    signed = read_film(write_dicom(tmp_path / "signed.dcm", film.astype(np.int16) - 2048, **tags))

    np.testing.assert_array_equal(signed.grey, plain.grey)
    assert signed.notes == plain.notes


@pytest.mark.parametrize("tags", [{}, {"RescaleSlope": 1, "RescaleIntercept": -1000}])
def test_signed_values_whose_rescale_has_no_zero_are_shown_by_their_depth(tmp_path: Path, tags: dict) -> None:
    """12 bits from -2048 to 2047, half of which are used."""
    pixels = (RAMP // 2).astype(np.int16) - 1500

    film = read_film(write_dicom(tmp_path / "a.dcm", pixels, BitsStored=12, **tags))

    np.testing.assert_array_equal(film.grey, (RAMP // 2 + 548) // 16)
    assert film.notes == ()


def test_a_note_on_a_rescaled_film_cites_what_its_values_mean(tmp_path: Path) -> None:
    pixels = np.array([[-200, -100], [0, 200]], dtype=np.int16)

    film = read_film(write_dicom(tmp_path / "a.dcm", pixels, RescaleSlope=-2, RescaleIntercept=-500))

    np.testing.assert_array_equal(film.grey, [[255, 192], [128, 0]])
    assert film.notes == ("its values from -900 to -100 were stretched over the grey scale",)


def test_padding_is_black_on_monochrome1_too(tmp_path: Path) -> None:
    pixels = np.array([[0, 0], [100, 300]], dtype=np.uint16)

    film = grey(write_dicom(tmp_path / "a.dcm", pixels, "MONOCHROME1", PixelPaddingValue=0))

    # 9 bits hold the largest value: 511 is black.
    np.testing.assert_array_equal(film, [[0, 0], [205, 105]])


def test_lookup_table_of_values_of_interest(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4, 10, 8])
    table.add_new("LUTData", "US", [0, 255, 51, 102])
    pixels = np.array([[5, 10], [11, 12]], dtype=np.uint16)

    film = read_film(write_dicom(tmp_path / "a.dcm", pixels, VOILUTSequence=[table], WindowCenter=5, WindowWidth=0))

    np.testing.assert_array_equal(film.grey, [[0, 0], [255, 51]])
    assert film.notes == ()  # the window counts for nothing beside a table


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


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"WindowWidth": 0}, "a window of width 0 is none"),
        ({"WindowWidth": -400}, "a window of width -400 is none"),
        ({"WindowWidth": 0.5}, "a window of width 0.5 is none"),
        ({"WindowWidth": "inf"}, "a window of width inf is none"),
        ({"WindowWidth": 400, "WindowCenter": "nan"}, "a window around nan is none"),
        ({"WindowWidth": 400, "VOILUTFunction": "LOG"}, "the VOI LUT function 'LOG' is unknown"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
def test_a_window_that_is_none_is_left_out(tmp_path: Path, tags: dict[str, object], reason: str) -> None:
    """The film is shown by its 12 bits, as if it had no window."""
    film = read_film(write_dicom(tmp_path / "a.dcm", RAMP, BitsStored=12, **{"WindowCenter": 5, **tags}))
    np.testing.assert_array_equal(film.grey, RAMP // 16)
    assert film.notes == (f"its window was left out, since {reason}",)


def test_colour_capture(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[:2, :, 1] = 200

    film = grey(write_dicom(tmp_path / "a.dcm", pixels, "RGB"))

    np.testing.assert_array_equal(film, np.asarray(Image.fromarray(pixels).convert("L")))


@pytest.mark.parametrize("suffix", ["JPEGBaseline8Bit", "JPEG2000Lossless"])
def test_compressed_films(tmp_path: Path, suffix: str) -> None:
    """Pillow, which the benchmark needs anyway, reads these two."""
    smooth = (RAMP // 16).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(smooth).save(stream, "JPEG" if suffix.startswith("JPEGB") else "JPEG2000", quality=95)

    film = grey(compressed(tmp_path / "a.dcm", smooth, suffix, stream.getvalue()))

    assert np.abs(film.astype(int) - smooth).max() <= 3


@pytest.mark.skipif(importlib.util.find_spec("pylibjpeg") is not None, reason="the codec is installed")
def test_missing_codec_is_one_sentence(tmp_path: Path) -> None:
    path = compressed(tmp_path / "a.dcm", RAMP, "JPEGLosslessSV1", b"\xff\xd8 ...")

    with pytest.raises(UserError) as caught:
        grey(path)

    assert str(caught.value).startswith(f"The film {path} is compressed (JPEG Lossless")
    assert str(caught.value).endswith("needs a codec: run `pip install pylibjpeg[all]`.")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("pylibjpeg") is not None, reason="the codec is installed")
def test_missing_codec_of_12_bits(tmp_path: Path) -> None:
    """Pillow has JPEG, but not at this depth."""
    stream = io.BytesIO()
    Image.fromarray(np.zeros((48, 64), dtype=np.uint8)).save(stream, "JPEG")
    frame = bytearray(stream.getvalue())
    frame[frame.index(b"\xff\xc0") : frame.index(b"\xff\xc0") + 5] = b"\xff\xc1\x00\x0b\x0c"  # SOF1, 12 bits
    path = compressed(tmp_path / "a.dcm", RAMP, "JPEGExtended12Bit", bytes(frame), BitsStored=12)

    with pytest.raises(UserError, match=r"in 12 bits, which needs another codec: run `pip install pylibjpeg\[all\]`\."):
        grey(path)


def compressed(path: Path, pixels: np.ndarray, syntax: str, data: bytes, **tags: int) -> Path:
    dataset = pydicom.dcmread(write_dicom(path, pixels, **tags))
    dataset.PixelData = pydicom.encaps.encapsulate([data])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    dataset.save_as(path)
    return path


def test_recognised_by_content(tmp_path: Path) -> None:
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / "film.png")
    whole = write_dicom(tmp_path / "no-suffix", RAMP).read_bytes()

    assert is_dicom(whole[:132])
    assert is_dicom(whole[132:][:132])
    assert not is_dicom((tmp_path / "film.png").read_bytes()[:132])


def test_without_preamble(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    expected = grey(path)

    path.write_bytes(path.read_bytes()[132:])

    np.testing.assert_array_equal(grey(path), expected)


@pytest.mark.parametrize("implicit", [True, False])
def test_without_file_meta_information(tmp_path: Path, implicit: bool) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, Modality="CR", InstanceCreationDate="20200101")
    expected = grey(path)
    dataset = pydicom.dcmread(path)
    del dataset.file_meta
    dataset.preamble = None
    dataset.save_as(path, implicit_vr=implicit, little_endian=True, enforce_file_format=False)

    np.testing.assert_array_equal(grey(path), expected)


IDENTITY = np.arange(4096)


@pytest.mark.parametrize(
    "voi",
    [
        pytest.param((4096, 0, 16, IDENTITY.astype("<u2").tobytes()), id="says 16 bits, holds 12"),
        pytest.param((4096, 0, 16, (IDENTITY * 16).astype("<u2").tobytes()), id="16 bits"),
        pytest.param((4096, 0, 8, (IDENTITY // 16).astype("<u2").tobytes()), id="8 bits, a word each"),
        pytest.param((4096, 0, 8, (IDENTITY // 16).astype("u1").tobytes()), id="8 bits, a byte each"),
        pytest.param((4096, 0, 16, (IDENTITY // 16).astype("u1").tobytes()), id="8 bits, said to be 16"),
        pytest.param((4096, 0, 12, IDENTITY.tolist()), id="numbers"),
    ],
)
@pytest.mark.parametrize("interpretation", ["MONOCHROME2", "MONOCHROME1"])
def test_tables_of_every_depth_show_the_same_film(tmp_path: Path, voi: tuple, interpretation: str) -> None:
    pixels = RAMP if interpretation == "MONOCHROME2" else 4095 - RAMP

    film = grey(write_dicom(tmp_path / "a.dcm", pixels, interpretation, BitsStored=12, VOILUTSequence=[table(*voi)]))

    assert np.abs(film.astype(int) - RAMP // 16).max() <= 1


def test_a_table_begins_at_its_first_value(tmp_path: Path) -> None:
    """Stored 0 to 4095 is -1000 to 3095 after the rescale, and the table is about 0 to 255."""
    voi = table(256, 0, 8, np.arange(256).astype("<u2").tobytes())
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1000, "VOILUTSequence": [voi]}

    film = grey(write_dicom(tmp_path / "a.dcm", RAMP, BitsStored=12, **tags))

    np.testing.assert_array_equal(film, np.clip(RAMP.astype(int) - 1000, 0, 255))


def test_a_table_may_begin_below_zero(tmp_path: Path) -> None:
    """PS3.3 C.11.2.1.1 lets the first value be negative; files write it as an unsigned number as well."""
    pixels = np.arange(-128, 128, dtype=np.int16).reshape(16, 16)
    data = np.arange(256).astype("<u2").tobytes()

    for first, name in ((-128, "a.dcm"), (65536 - 128, "b.dcm")):
        film = grey(write_dicom(tmp_path / name, pixels, VOILUTSequence=[table(256, first, 8, data)]))
        np.testing.assert_array_equal(film, np.arange(256).reshape(16, 16))


def test_modality_table(tmp_path: Path) -> None:
    modality = table(4096, 0, 16, IDENTITY[::-1].astype("<u2").tobytes())

    film = grey(write_dicom(tmp_path / "a.dcm", RAMP, BitsStored=12, ModalityLUTSequence=[modality]))

    assert np.abs(255 - film.astype(int) - RAMP // 16).max() <= 1


def test_depth_without_a_window(tmp_path: Path) -> None:
    """A film that leaves a part of its depth empty is not stretched; bits that are never used are not counted."""
    half = RAMP // 2
    np.testing.assert_array_equal(grey(write_dicom(tmp_path / "a.dcm", half, BitsStored=12)), half // 16)
    film = read_film(write_dicom(tmp_path / "b.dcm", RAMP, BitsStored=16))
    np.testing.assert_array_equal(film.grey, RAMP // 16)
    assert film.notes == ("it was read as 12 bits deep, which hold its largest value",)


@pytest.mark.parametrize("signed", [False, True])
def test_bits_below_the_stored_ones(tmp_path: Path, signed: bool) -> None:
    values = np.arange(-2048, 2048) if signed else np.arange(4096)
    stored = ((values << 4) | 5).astype(np.int16 if signed else np.uint16).reshape(64, 64)
    tags = {"WindowCenter": 0 if signed else 2048, "WindowWidth": 4096}
    path = write_dicom(tmp_path / "a.dcm", stored, BitsStored=12, HighBit=15, **tags)
    expected = (np.arange(4096) // 16).reshape(64, 64)
    assert np.abs(read_film(path).grey.astype(int) - expected).max() <= 1


def test_colour_of_12_bits(tmp_path: Path) -> None:
    film = grey(write_dicom(tmp_path / "a.dcm", np.dstack([RAMP] * 3), "RGB", BitsStored=12))

    assert np.abs(film.astype(int) - RAMP // 16).max() <= 1


def test_negative_slope_inverts(tmp_path: Path) -> None:
    film = grey(write_dicom(tmp_path / "a.dcm", RAMP, BitsStored=12, RescaleSlope=-1, RescaleIntercept=4095))

    np.testing.assert_array_equal(film, 255 - RAMP // 16)


def test_empty_tags_are_as_good_as_none(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, BitsStored=12)
    expected = grey(path)
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "US", None)
    dataset.add_new("VOILUTSequence", "SQ", [])
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.NumberOfFrames = "", "0", None
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction, dataset.Modality = "", None, "", ""
    dataset.save_as(path)

    np.testing.assert_array_equal(grey(path), expected)
