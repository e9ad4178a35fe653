from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import load_dataset
from benchmarks.formats.category_mask import category_mask
from benchmarks.run.errors import UserError

VALUES = np.array([[0, 0, 1, 1], [2, 0, 0, 0], [2, 0, 255, 1]], dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images" / "deep").mkdir(parents=True)
    Image.new("RGB", (4, 3)).save(tmp_path / "images" / "1.jpg")
    Image.new("L", (4, 3)).save(tmp_path / "images" / "deep" / "2.png")
    (tmp_path / "masks").mkdir()
    return tmp_path


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def test_a_file_a_class(root: Path) -> None:
    """All but 0 counts, and each connected piece is an object."""
    save(root / "masks" / "heart" / "1.png", (VALUES == 1) * 255)
    save(root / "masks" / "lung" / "1.png", VALUES == 2)
    save(root / "masks" / "lung" / "2.png", np.zeros((3, 4)))
    data = load_dataset(root)
    assert (data.format, data.categories) == ("masks", ("heart", "lung"))
    first, second = data.images
    assert (first.name, first.path.name, second.path.name) == ("1", "1.jpg", "2.png")
    assert [(found.category, found.box) for found in first.objects] == [
        ("heart", (2, 0, 4, 1)), ("heart", (3, 2, 4, 3)), ("lung", (0, 1, 1, 3)),
    ]  # fmt: skip
    np.testing.assert_array_equal(category_mask(first, "heart", (3, 4), "shape"), VALUES == 1)
    assert second.labels == ()


@pytest.mark.parametrize("palette", [False, True])
def test_a_value_a_class(root: Path, palette: bool) -> None:
    """Values from 1 on have names, 255 was not judged; a palette's colours are nothing to us."""
    image = Image.fromarray(VALUES)
    if palette:
        image = image.convert("P")
        image.putdata(VALUES.ravel().tolist())
        image.putpalette(list(range(255, -1, -1)) * 3)
    image.save(root / "masks" / "1.png")
    (root / "masks" / "classes.txt").write_text("heart\nlung\n")
    data = load_dataset(root / "masks", images=root / "images")
    assert data.categories == ("heart", "lung")
    (image,) = data.images
    for value, name in enumerate(data.categories, start=1):
        np.testing.assert_array_equal(category_mask(image, name, (3, 4), "shape"), value == VALUES)


def test_one_value_needs_no_name(root: Path) -> None:
    Image.fromarray(VALUES == 1).save(root / "masks" / "1.png")  # of one bit
    save(root / "masks" / "2.png", (VALUES == 2) * 7)
    data = load_dataset(root)
    assert data.categories == ("object",)
    np.testing.assert_array_equal(category_mask(data.images[1], "object", (3, 4), "shape"), VALUES == 2)
    save(root / "masks" / "2.png", VALUES)
    with pytest.raises(UserError, match=r"it holds the values 1, 2, 255: name them in .*classes\.txt"):
        load_dataset(root)


def packed(values: np.ndarray, bits: int) -> bytes:
    """A grey PNG of few bits a pixel, which Pillow does not write: W3C's PNG specification, 7.2 and 11.2."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = [np.packbits((row[:, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)) for row in values]
    header = struct.pack(">IIBBBBB", values.shape[1], len(values), bits, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_keeps_its_values(root: Path, bits: int) -> None:
    values = np.where(VALUES == 255, 0, VALUES) % 2**bits
    (root / "masks" / "1.png").write_bytes(packed(values, bits))
    (root / "masks" / "classes.txt").write_text("heart\nlung\n")
    (image,) = load_dataset(root).images
    for value, name in enumerate(("heart", "lung"), start=1):
        np.testing.assert_array_equal(category_mask(image, name, (3, 4), "shape"), values == value)


def test_a_mask_that_is_nothing_but_255_is_refused(root: Path) -> None:
    save(root / "masks" / "1.png", (VALUES == 1) * 255)
    (root / "masks" / "classes.txt").write_text("heart\n")
    with pytest.raises(
        UserError, match=r"1\.png: its only value beside 0 is 255, .*: write the number of their class, 1"
    ):
        load_dataset(root)


def test_a_blank_class_is_refused(root: Path) -> None:
    save(root / "masks" / "1.png", VALUES == 1)
    (root / "masks" / "classes.txt").write_text("\nheart\n")
    with pytest.raises(UserError, match=r"classes\.txt, line 1: it is blank where a class is named"):
        load_dataset(root)


@pytest.mark.parametrize("first", ["background", "_background_", "__ignore__"])
def test_names_that_begin_with_the_value_0_are_refused(root: Path, first: str) -> None:
    """As other programs count them: each value would bear the name of the one before it."""
    save(root / "masks" / "1.png", VALUES == 1)
    (root / "masks" / "classes.txt").write_text(f"{first}\nheart\n")
    with pytest.raises(UserError, match=r"classes\.txt, line 1: .* would be the name of the value 1, .*: remove it"):
        load_dataset(root)


def test_a_palette_that_shows_0_as_white_is_refused(root: Path) -> None:
    """A person sees a white object on black where the values mean a hole."""
    mask = Image.new("P", (4, 3))
    mask.putdata([int(of != 1) for of in VALUES.ravel().tolist()])
    mask.putpalette([255, 255, 255, 0, 0, 0])
    mask.save(root / "masks" / "1.png")
    with pytest.raises(UserError, match=r"1\.png: its palette shows 0 as white .*: save it as grey"):
        load_dataset(root)
    mask.putpalette([0, 0, 0, 255, 255, 255])
    mask.save(root / "masks" / "1.png")
    (image,) = load_dataset(root).images
    np.testing.assert_array_equal(category_mask(image, "object", (3, 4), "shape"), VALUES != 1)


@pytest.mark.parametrize("mask", [VALUES == 1, (VALUES == 1).astype(np.uint8)])
def test_a_tiff_whose_values_mean_two_things_is_refused(root: Path, mask: np.ndarray) -> None:
    """Pillow shows the complement of what is stored where 0 is white."""
    Image.fromarray(mask).save(root / "masks" / "1.tif", tiffinfo={262: 0})
    with pytest.raises(UserError, match=r"1\.tif: it is a TIFF whose 0 is white .*: save it as PNG"):
        load_dataset(root)


def test_grey_of_16_bits_is_read_in_both_orders(root: Path) -> None:
    tifffile = pytest.importorskip("tifffile")  # of scikit-image
    (root / "masks" / "classes.txt").write_text("\n".join(map(str, range(1, 301))))
    for order in "<>":
        tifffile.imwrite(root / "masks" / "1.tif", (VALUES == 1).astype(np.uint16) * 300, byteorder=order)
        (image,) = load_dataset(root).images
        assert image.labels == ("300",)
        np.testing.assert_array_equal(category_mask(image, "300", (3, 4), "shape"), VALUES == 1)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (np.float32, "it holds real numbers where a mask has a whole number a pixel: save it as grey of 8"),
        (np.float64, "it is a TIFF of 64-bit real numbers, which is not read: save it as 16-bit grey"),
        (np.int64, "it is a TIFF of 64-bit signed whole numbers, which is not read: save it as 16-bit grey"),
    ],
)
def test_numbers_that_are_no_grey_are_named(root: Path, kind: type, sentence: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(root / "masks" / "1.tif", (VALUES == 1).astype(kind))
    with pytest.raises(UserError, match=rf"1\.tif: {sentence}"):
        load_dataset(root)


def test_pages_are_refused(root: Path) -> None:
    page = Image.fromarray((VALUES == 1).astype(np.uint8))
    page.save(root / "masks" / "1.tif", save_all=True, append_images=[page])
    with pytest.raises(UserError, match=r"1\.tif: it holds 2 pages where a mask is one picture"):
        load_dataset(root)


def test_damage_is_told_of(root: Path) -> None:
    """One bit of the pixels is another: their sum tells it, though they decode."""
    save(root / "masks" / "1.png", VALUES == 1)
    content = bytearray((root / "masks" / "1.png").read_bytes())
    content[content.index(b"IEND") - 5] ^= 1  # the last byte of the sum
    (root / "masks" / "1.png").write_bytes(content)
    with pytest.raises(UserError, match=r"1\.png: it cannot be read \(it is damaged or no image\)"):
        load_dataset(root)


def test_what_is_no_mask_of_a_class(root: Path) -> None:
    """Programs' own folders and files are none; a mask beside the folders of the classes is a fault."""
    save(root / "masks" / "heart" / "1.png", VALUES == 1)
    save(root / "masks" / ".ipynb_checkpoints" / "1.png", VALUES == 1)
    (root / "masks" / "heart" / "._1.png").write_bytes(b"")
    assert load_dataset(root).categories == ("heart",)
    save(root / "masks" / "2.png", VALUES == 1)
    with pytest.raises(UserError, match=r"masks.2\.png: it is in no folder of a class: move it into one"):
        load_dataset(root)


def test_masks_of_one_image_meet_however_accents_are_written(root: Path) -> None:
    Image.new("L", (4, 3)).save(root / "images" / "\u00e9.png")
    for name, letter in (("heart", "\u00e9"), ("lung", "e\u0301")):
        save(root / "masks" / name / f"{letter}.png", VALUES == 1)
    (image,) = load_dataset(root).images
    assert image.labels == ("heart", "lung")


def test_a_signed_mask_holds_the_numbers_that_were_written(root: Path) -> None:
    """-1 is what programs write where nothing is known; read as unsigned it would be 255, which is not judged."""
    tifffile = pytest.importorskip("tifffile")  # of scikit-image
    values = np.where(VALUES == 255, 0, VALUES).astype(np.int8)
    (root / "masks" / "classes.txt").write_text("heart\nlung\n")
    tifffile.imwrite(root / "masks" / "1.tif", values)
    (image,) = load_dataset(root).images
    np.testing.assert_array_equal(category_mask(image, "lung", (3, 4), "shape"), values == 2)
    values[2, 2] = -1
    tifffile.imwrite(root / "masks" / "1.tif", values)
    with pytest.raises(UserError, match=r"1\.tif: it holds the value -1, but classes\.txt names 1 to 2"):
        load_dataset(root)


def test_a_mask_that_is_left_out_is_told(root: Path) -> None:
    save(root / "masks" / "heart" / "1.png", VALUES == 1)
    save(root / "masks" / "heart" / "2.gif", VALUES == 1)
    data = load_dataset(root)
    assert [image.name for image in data.images] == ["1"]
    assert data.remarks == (
        f"one file is left out, by its name no image of a kind that is read: {root / 'masks/heart/2.gif'}.",
    )


@pytest.mark.parametrize("format_", ["TIFF", "PNG"])
def test_a_mask_that_its_data_turn_is_refused(root: Path, format_: str) -> None:
    """Pillow turns the pixels of a TIFF and of no PNG; nobody knows which of the two was meant."""
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray((VALUES == 1).astype(np.uint8)).save(root / "masks" / "1.tif", format_, exif=exif)
    with pytest.raises(UserError, match=r"1\.tif: it is to be turned by its EXIF data: save it upright"):
        load_dataset(root)


@pytest.mark.parametrize("place", ["masks/heart/1.png", "masks/1.png"])
def test_masks_that_may_mean_the_contrary_are_remarked(root: Path, place: str) -> None:
    """As some programs write them: 0 the object, 255 what is around it."""
    values = np.full((3, 4), 255)
    values[1, 1] = 0
    save(root / place, values)
    (remark,) = load_dataset(root).remarks
    assert remark.startswith("1 of 1 masks mark most of their image with all its corners: if 0 is the object in them,")
    for other in (255 - values, np.full((3, 4), 255), values * (np.arange(4) < 3)):  # an object, all, up to a corner
        save(root / place, other)
        assert load_dataset(root).remarks == ()


def test_most_masks_decide_whether_they_may_mean_the_contrary(root: Path) -> None:
    values = np.full((3, 4), 1)
    values[1, 1] = 0
    save(root / "masks" / "heart" / "1.png", values)
    save(root / "masks" / "heart" / "2.png", 1 - values)
    assert load_dataset(root).remarks == ()


def test_folders_of_splits_are_no_classes(root: Path) -> None:
    for split in ("train", "val2017"):
        save(root / "masks" / split / "1.png", np.ones((3, 4)))
    with pytest.raises(UserError, match="holds train, val2017, the names of splits, where folders of classes are"):
        load_dataset(root)
    assert load_dataset(root / "masks" / "val2017", images=root / "images").categories == ("object",)


def test_a_folder_without_a_mask_tells_what_it_holds_instead(root: Path) -> None:
    np.save(root / "masks" / "1.npy", np.ones((3, 4)))
    with pytest.raises(UserError, match=r"holds no masks \(one file is left out, .* read: .*1\.npy\): give a folder"):
        load_dataset(root)


def test_a_mask_bears_the_name_of_its_image(root: Path) -> None:
    save(root / "masks" / "1_mask.png", np.ones((3, 4)))
    with pytest.raises(UserError, match=r"the image '1_mask' is not in .*; a mask bears the name of its image"):
        load_dataset(root)
