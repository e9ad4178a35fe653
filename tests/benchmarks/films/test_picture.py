from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.films.decode import decode, read_film, stored_size
from benchmarks.run.errors import UserError

tifffile = pytest.importorskip("tifffile")  # of scikit-image

DEEP = np.add.outer(np.arange(60) * 40, np.arange(80) * 21).astype(np.uint16)  # up to 4019: 12 bits
PLAIN = (DEEP // 16).astype(np.int64)


def write_png(path: Path, samples: np.ndarray, colour_type: int) -> Path:
    """A PNG of 16 bits a sample, which Pillow does not write."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks))
    return path


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


OPAQUE = np.full_like(DEEP, 65535)
WAYS = {
    "12 bits of grey in 16": lambda path: Image.fromarray(DEEP).save(path, "PNG"),
    "16 bits of grey": lambda path: Image.fromarray(DEEP * 16).save(path, "PNG"),
    "16-bit colour": lambda path: write_png(path, np.dstack([DEEP * 16] * 3), 2),
    "12-bit colour in 16": lambda path: write_png(path, np.dstack([DEEP] * 3), 2),
    "16-bit grey, opaque": lambda path: write_png(path, np.dstack([DEEP * 16, OPAQUE]), 4),
    "16-bit colour, opaque": lambda path: write_png(path, np.dstack([DEEP * 16] * 3 + [OPAQUE]), 6),
    "white is zero": lambda path: tifffile.imwrite(path, 65535 - DEEP * 16, photometric="miniswhite"),
    "white is zero, 8 bits": lambda path: tifffile.imwrite(
        path, 255 - PLAIN.astype(np.uint8), photometric="miniswhite"
    ),
    "TIFF": lambda path: tifffile.imwrite(path, DEEP * 16, photometric="minisblack"),
    "TIFF colour": lambda path: tifffile.imwrite(path, np.dstack([DEEP * 16] * 3), photometric="rgb"),
    "TIFF colour, compressed": lambda path: tifffile.imwrite(
        path, np.dstack([DEEP * 16] * 3), photometric="rgb", compression="zlib"
    ),
    "TIFF colour, other order": lambda path: tifffile.imwrite(
        path, np.dstack([DEEP * 16] * 3), photometric="rgb", byteorder=">"
    ),
    "32-bit numbers": lambda path: tifffile.imwrite(path, DEEP.astype(np.uint32)),
    "shares": lambda path: tifffile.imwrite(path, (DEEP / 4095).astype(np.float32)),
    "real numbers": lambda path: tifffile.imwrite(path, DEEP.astype(np.float32)),
    "JPEG 2000": lambda path: Image.fromarray(PLAIN.astype(np.uint8)).save(path, "JPEG2000"),
    "BMP": lambda path: Image.fromarray(PLAIN.astype(np.uint8)).save(path, "BMP"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_film_is_the_same_in_every_container(tmp_path: Path, way: str) -> None:
    WAYS[way](tmp_path / "film")

    assert np.abs(read_film(tmp_path / "film").grey.astype(int) - PLAIN).max() <= 1  # Pillow rounds colours


def test_signed_tiff_of_8_bits_is_read_as_that_of_16(tmp_path: Path) -> None:
    """By tifffile, which knows both; where no value is negative, 8 bits are as they are."""
    values = np.arange(-100, 100).reshape(10, 20)
    films = []
    for kind in (np.int8, np.int16):
        tifffile.imwrite(tmp_path / "a.tif", values.astype(kind))
        films.append(read_film(tmp_path / "a.tif"))
    assert (films[0].grey == films[1].grey).all()
    assert films[0].notes == films[1].notes == ("its values from -100 to 99 were stretched over the grey scale",)
    tifffile.imwrite(tmp_path / "a.tif", np.arange(100, dtype=np.int8).reshape(5, 20))
    assert (read_film(tmp_path / "a.tif").grey.ravel() == np.arange(100)).all()


@pytest.mark.parametrize("kind", [1, 2])  # unsigned and signed, by TIFF's SampleFormat
def test_tiff_of_32_bits(tmp_path: Path, kind: int) -> None:
    values = (np.arange(256, dtype="<u4") << 24).reshape(16, 16)
    tags = {256: 16, 257: 16, 258: 32, 259: 1, 262: 1, 273: 8, 277: 1, 278: 16, 279: 1024, 339: kind}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    ifd = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    path = tmp_path / "deep.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + 1024) + values.tobytes() + ifd)
    film = read_film(path)
    if kind == 1:
        assert (film.grey.ravel() == np.arange(256)).all()
    else:
        assert film.notes[0].startswith("its values from -2.14748e+09 to")


@pytest.mark.parametrize(
    ("values", "ways", "kind"),
    [
        (DEEP.astype(np.float64), {}, "64-bit real numbers"),
        (DEEP.astype(np.float16), {}, "16-bit real numbers"),
        (DEEP.astype(np.int64), {"bigtiff": True}, "64-bit signed whole numbers"),
        (DEEP.astype(np.uint32), {"byteorder": ">"}, "32-bit whole numbers, big-endian"),
        (
            np.dstack([DEEP, DEEP]),
            {"photometric": "minisblack", "extrasamples": [2]},
            "2 channels of 16-bit whole numbers",
        ),
        (np.zeros((4, 4, 3), np.uint8), {"photometric": "cielab"}, "CIELAB colours"),
        (np.zeros((4, 4, 3), np.uint8), {"photometric": "icclab"}, "CIELAB colours"),
        (np.zeros((4, 4, 3), np.uint16), {"photometric": "cielab"}, "CIELAB colours"),
    ],
)
def test_a_tiff_of_numbers_that_are_not_read_says_which(
    tmp_path: Path, values: np.ndarray, ways: dict[str, object], kind: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values, **ways)
    for read in (read_film, stored_size):
        with pytest.raises(UserError, match=rf"a\.tif is a TIFF of {kind}, which is not read: save it as 16-bit grey"):
            read(tmp_path / "a.tif")


def test_a_small_copy_is_not_taken_for_the_film(tmp_path: Path) -> None:
    """Where the full picture is the first page, small copies behind it are no harm."""
    for name, first, second in (("thumbnail", 1, 0), ("pyramid", 0, 1)):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as writer:
            for reduced in (first, second):
                writer.write(DEEP[::4, ::4] if reduced else DEEP, subfiletype=reduced, photometric="minisblack")
    assert stored_size(tmp_path / "pyramid.tif") == DEEP.shape[::-1]
    assert (read_film(tmp_path / "pyramid.tif").grey == PLAIN).all()
    for read in (read_film, stored_size):
        with pytest.raises(UserError, match=r"begins with a small copy of its picture: save the picture alone"):
            read(tmp_path / "thumbnail.tif")


def test_a_tiff_without_a_header_is_no_picture(tmp_path: Path) -> None:
    for content in (b"II*\0", b"II*\0\xff\xff\0\0", b"II*\0\10\0\0\0\1\0\2\1\3\0"):
        (tmp_path / "a.tif").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.tif is (neither DICOM nor PNG|truncated or damaged)"):
            read_film(tmp_path / "a.tif")


def test_rounding_of_floats_adds_no_bit(tmp_path: Path) -> None:
    values = np.arange(256, dtype=np.float32).reshape(16, 16)
    values[-1, -1] += 2e-5
    Image.fromarray(values).save(tmp_path / "float.tif")
    assert (read_film(tmp_path / "float.tif").grey.ravel() == np.arange(256)).all()


def test_what_was_decided_is_said(tmp_path: Path) -> None:
    WAYS["12-bit colour in 16"](tmp_path / "a")
    assert read_film(tmp_path / "a").notes == ("it was read as 12 bits deep, which hold its largest value",)
    WAYS["16-bit grey, opaque"](tmp_path / "b")
    assert read_film(tmp_path / "b").notes == ("its transparency was left out",)
    tifffile.imwrite(tmp_path / "c", np.stack([PLAIN.astype(np.uint8)] * 2), photometric="minisblack")
    assert read_film(tmp_path / "c").notes == ("it is the first of 2 pages",)
    tifffile.imwrite(tmp_path / "d", DEEP.astype(np.int16) - 100)
    assert read_film(tmp_path / "d").notes == ("its values from -100 to 3919 were stretched over the grey scale",)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_film_is_upright(tmp_path: Path, orientation: int, format_: str) -> None:
    """What each number means for the first row and column, by the table of the EXIF standard (2.32, 4.6.4)."""
    upright = PLAIN.astype(np.uint8)
    stored = {
        2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: upright.T[::-1], 7: upright.T[::-1, ::-1], 8: upright.T[:, ::-1],
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a", format_, exif=exif, quality=100)

    film = read_film(tmp_path / "a")

    assert np.abs(film.grey.astype(int) - upright).max() <= 2
    assert (film.size, film.notes) == ((80, 60), ("it was turned as its EXIF data say",))
    for read in (decode, stored_size):
        with pytest.raises(UserError, match="is to be turned by its EXIF data: save it upright"):
            read(tmp_path / "a")
    assert np.array_equal(decode(tmp_path / "a", placed=False)[0], film.grey)
    assert sorted(stored_size(tmp_path / "a", placed=False)) == [60, 80]


def test_alpha_alone_is_no_film(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([np.zeros_like(PLAIN), PLAIN]).astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png shows one grey value everywhere outside of its alpha channel"):
        read_film(tmp_path / "a.png")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    film = DEEP.astype(np.float32)
    film[3, 4] = value
    Image.fromarray(film).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif has pixels that are no numbers"):
        read_film(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["white.png", "white.jpg", "deep.png", "float.tif"])
def test_one_grey_value_is_no_film(tmp_path: Path, name: str) -> None:
    dtype = {"deep.png": np.uint16, "float.tif": np.float32}.get(name, np.uint8)
    Image.fromarray(np.full((40, 40), 255, dtype)).save(tmp_path / name)
    with pytest.raises(UserError, match=f"{name} shows one grey value everywhere, so it is no film"):
        read_film(tmp_path / name)


def test_a_damaged_png_is_not_noise(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80), np.uint8)).save(path, compress_level=0)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.png is truncated or damaged"):
        read_film(path)


@pytest.mark.parametrize("format_", ["EPS", "GIF", "WEBP", "PPM"])
def test_other_formats_are_not_opened(tmp_path: Path, format_: str) -> None:
    """EPS would start Ghostscript."""
    Image.fromarray(PLAIN.astype(np.uint8)).save(tmp_path / "a.png", format_)
    with pytest.raises(UserError, match=r"a\.png is neither DICOM nor PNG, JPEG, TIFF, JPEG2000 or BMP"):
        read_film(tmp_path / "a.png")


def test_a_large_picture_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 20000, 5000, 16, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(
        UserError, match=r"a\.png has 20000 x 5000 pixels of 2 bytes, more than the 50 million of any film"
    ):
        read_film(tmp_path / "a.png")


def test_colour_planes_of_16_bits_are_refused(tmp_path: Path) -> None:
    """Pillow reads them as noise."""
    tifffile.imwrite(tmp_path / "a.tif", np.stack([DEEP] * 3), photometric="rgb", planarconfig="separate")
    with pytest.raises(UserError, match=r"a\.tif has its colours in planes of more than 8 bits"):
        read_film(tmp_path / "a.tif")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match=r"pipe\.png is no regular file"):
        read_film(tmp_path / "pipe.png")
    with pytest.raises(UserError, match=r"is a folder: name its films, such as .*test_what_is_no_file.*\*\.png\."):
        read_film(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(UserError, match=r"empty\.png is empty"):
        read_film(tmp_path / "empty.png")
    with pytest.raises(UserError, match=r"cannot be read .File name too long"):
        read_film(tmp_path / ("n" * 300))


def test_names_in_messages_steer_no_terminal(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_film(tmp_path / "a\x1b[2Jb\r\n\u202e\udce9.png")
    assert str(caught.value).endswith(r"a\x1b[2Jb\r\n\u202e\udce9.png is missing.")


COLOURED = np.dstack([DEEP, DEEP // 2, DEEP[::-1]])


@pytest.mark.parametrize(
    "save",
    [
        lambda path: Image.fromarray((COLOURED // 16).astype(np.uint8)).save(path, "PNG"),
        lambda path: write_png(path, COLOURED * 16, 2),
        lambda path: Image.fromarray((COLOURED // 16).astype(np.uint8)).convert("RGBA").save(path, "PNG"),
        lambda path: Image.fromarray((COLOURED // 16).astype(np.uint8)).save(path, "TIFF"),
    ],
    ids=["8 bits", "16 bits", "with alpha", "TIFF"],
)
def test_colours_are_kept_where_they_are_asked_for(save, tmp_path):
    save(tmp_path / "a")
    pixels, size = decode(tmp_path / "a", colour=True)
    assert (pixels.shape, size) == ((60, 80, 3), (80, 60))
    np.testing.assert_allclose(pixels.astype(int), COLOURED // 16, atol=1)
    assert decode(tmp_path / "a")[0].ndim == 2


def test_a_grey_picture_has_three_equal_channels_then(tmp_path):
    Image.fromarray(PLAIN.astype(np.uint8)).save(tmp_path / "a.png")
    pixels, _ = decode(tmp_path / "a.png", colour=True)
    assert (pixels == PLAIN[..., None]).all()


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_deep_colours_of_jpeg_2000_are_refused(tmp_path: Path, bits: int) -> None:
    """Pillow keeps their upper bytes: 4 bits are left of 12 in 16, and 65535 may become 0."""
    cv2 = pytest.importorskip("cv2")
    deep = np.uint8 if bits == 8 else np.uint16
    cv2.imwrite(
        str(tmp_path / "a.jp2"), np.dstack([np.linspace(0, 2**bits - 1, 5120).reshape(64, 80).astype(deep)] * 3)
    )
    if bits == 8:
        assert read_film(tmp_path / "a.jp2").grey.max() == 255
    else:
        with pytest.raises(UserError, match="has colours of 16 bits in JPEG 2000: save it as 16-bit grey"):
            read_film(tmp_path / "a.jp2")
