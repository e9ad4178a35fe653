from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.data.dataset import FilmDataset
from benchmarks.data.object_cxr import FaultyTableError, read_split
from benchmarks.films.decode import read_film
from benchmarks.run.errors import UserError

GRADIENT = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)


def write_set(root: Path, rows: str, films: dict[str, np.ndarray], folder: str = "test", header: str = "image_name"):
    (root / folder).mkdir(parents=True)
    (root / "test.csv").write_text(f"{header},annotation\n{rows}")
    for name, film in films.items():
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(film).save(root / folder / name)
    return root


@pytest.mark.parametrize("header", ["image_name", "image_path"])
@pytest.mark.parametrize("layout", ["plain", "paper"])
def test_both_layouts_and_headers(tmp_path: Path, layout: str, header: str) -> None:
    rows = "a.png,\nb.png,0 1 2 3.5 -4;2 0 0 5 0 5 5\n"
    inside, folder = (tmp_path, "test") if layout == "plain" else (tmp_path / "object-CXR_test", "images")
    write_set(inside, rows, {"a.png": GRADIENT, "b.png": GRADIENT}, folder, header)
    first, second = read_split(tmp_path, "test")
    assert (first.name, first.label, first.row, first.shapes) == ("a.png", 0, 2, ())
    assert (second.name, second.label, second.row, len(second.shapes)) == ("b.png", 1, 3, 2)
    assert second.path == inside / folder / "b.png"


def test_image_path_may_count_from_the_table(tmp_path: Path) -> None:
    write_set(tmp_path, "test/a.png,\n", {"a.png": GRADIENT}, header="image_path")
    assert read_split(tmp_path, "test")[0].path == tmp_path / "test" / "a.png"


@pytest.mark.parametrize(("told", "there"), [("René.png", "Rene\u0301.png"), ("Rene\u0301.png", "René.png")])
def test_accents_may_be_letters_of_their_own(tmp_path: Path, told: str, there: str) -> None:
    write_set(tmp_path, f"{told},\n", {there: GRADIENT})
    assert read_split(tmp_path, "test")[0].path == tmp_path / "test" / there


def test_byte_order_mark_blank_lines_and_quotes(tmp_path: Path) -> None:
    write_set(tmp_path, "", {"a.png": GRADIENT})
    (tmp_path / "test.csv").write_bytes(b'\xef\xbb\xbfimage_name,annotation\r\n\r\n"a.png","0 1 2 3 4"\r\n')
    assert read_split(tmp_path, "test")[0].row == 3


def test_limit_takes_the_first_half_of_each_class(tmp_path: Path) -> None:
    rows = "".join(f"{i}.png,{'0 1 1 2 2' if i >= 6 else ''}\n" for i in range(10))
    write_set(tmp_path, rows, {f"{i}.png": GRADIENT for i in range(10)})
    assert [r.name for r in read_split(tmp_path, "test", limit=4)] == ["0.png", "1.png", "6.png", "7.png"]
    assert len(read_split(tmp_path, "test", limit=1000)) == 10


@pytest.mark.parametrize(
    ("rows", "fragment"),
    [
        ("a.png,\na.png,5 1 2 3 4\n", "row 3: .*type '5'"),
        ("a.png,0 1 2 3\n", "row 2: .*odd number"),
        ("a.png\n", "row 2: 1 cell"),
        ("a.png,\nnone.png,\n", "row 3: .*none.png is missing"),
        ("a.png,\na.png,0 1 1 2 2\n", "row 3: a.png has objects on one row and none on another .row 2.: keep one"),
        ("a.png,0 1 1 1e307 9\n", "row 2: .*a coordinate beyond any film"),
        ("a.png,0 1 1 1_0 9\n", "row 2: .*not a number"),
        ("n" * 300 + ".png,\n", "row 2: .*cannot be found .File name too long"),
        ("../a.png,\n", "row 2: .*not a path inside"),
        ("sub/../../a.png,\n", "row 2: .*not a path inside"),
        ("..\\a.png,\n", "row 2: .*not a path inside"),
        ("/etc/passwd,\n", "row 2: .*not a path inside"),
        ("C:\\a.png,\n", "row 2: .*not a path inside"),
        (",0 1 1 2 2\n", "row 2: .*not a path inside"),
        ("", "lists no films"),
        ('"a.png,\n', "not readable as CSV"),
    ],
)
def test_bad_rows_are_one_sentence_with_file_and_row(tmp_path: Path, rows: str, fragment: str) -> None:
    write_set(tmp_path, rows, {"a.png": GRADIENT})
    Image.fromarray(GRADIENT).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=fragment) as caught:
        read_split(tmp_path, "test")
    assert "test.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("twice", ["image_name", "annotation"])
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, twice: str) -> None:
    """Of two annotations only the first would count, and a film of the second be clean."""
    header = "image_name,annotation" if twice == "annotation" else "image_name,image_name"
    write_set(tmp_path, "a.png,,0 1 1 5 5\n", {"a.png": GRADIENT}, header=header)
    with pytest.raises(UserError, match=rf"test\.csv, row 1: the column '{twice}' is there twice: give each its own"):
        read_split(tmp_path, "test")


def test_other_headers_and_missing_pieces(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither test\.csv nor object-CXR_test"):
        read_split(tmp_path, "test")
    (tmp_path / "test.csv").write_text("file,annotation\n")
    with pytest.raises(UserError, match="no folder test/ or images/"):
        read_split(tmp_path, "test")
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match="row 1: the header"):
        read_split(tmp_path, "test")


@pytest.mark.parametrize(
    ("table", "encoding", "cure"),
    [
        ("image_name,annotation\nr\xe9.png,\n", "latin-1", "row 2: not in UTF-8, but perhaps in Latin-1"),
        ("image_name,annotation\na.png,\n", "utf-16", "test.csv is in UTF-16"),
        ("image_name,annotation\na.png,\n", "utf-16-le", "test.csv is in UTF-16"),
        ("PK\x03\x04", "latin-1", "test.csv is a spreadsheet's own file"),
        ("image_name;annotation\na.png;\n", "utf-8", "test.csv has its columns separated by semicolons"),
        ("image_name\tannotation\na.png\t\n", "utf-8", "test.csv has its columns separated by tabs"),
    ],
)
def test_tables_of_other_programs_are_told_how_to_save_them(
    tmp_path: Path, table: str, encoding: str, cure: str
) -> None:
    write_set(tmp_path, "", {"a.png": GRADIENT})
    (tmp_path / "test.csv").write_bytes(table.encode(encoding))
    with pytest.raises(UserError, match=f"{cure}.*: save it as CSV in UTF-8 with commas"):
        read_split(tmp_path, "test")


def test_all_faults_are_told(tmp_path: Path) -> None:
    write_set(tmp_path, "a.png,\nb.png,\nc.png,7\na.png,0 1\n", {"a.png": GRADIENT})
    with pytest.raises(FaultyTableError, match=r"row 3: .*b\.png is missing\. .3 faults in all") as caught:
        read_split(tmp_path, "test")
    assert [fault.partition("row ")[2][0] for fault in caught.value.faults] == ["3", "4", "5"]


def test_one_row_an_object_is_joined(tmp_path: Path) -> None:
    rows = "a.png,0 1 1 2 2\nb.png,\n , \na.png,1 3 3 4 4\nb.png,\n"
    write_set(tmp_path, rows, {"a.png": GRADIENT, "b.png": GRADIENT})
    (tmp_path / "test_kinds.csv").write_text("image_name,kinds\na.png,button\na.png,coin\n")
    first, second = read_split(tmp_path, "test")
    assert [(shape.kind, shape.content) for shape in first.shapes] == [("rectangle", "button"), ("ellipse", "coin")]
    assert (first.row, first.rows, second.rows, second.label) == (2, 2, 2, 0)


def test_an_outline_may_be_longer_than_the_cells_of_other_tables(tmp_path: Path) -> None:
    outline = " ".join(f"{i % 50}.25 {i % 40}.75" for i in range(16000))
    write_set(tmp_path, f"a.png,2 {outline}\n", {"a.png": GRADIENT})
    assert len(read_split(tmp_path, "test")[0].shapes[0].points) == 16000


def test_train_and_dev_alone_name_the_way_to_a_test_split(tmp_path: Path) -> None:
    (tmp_path / "dev.csv").touch()
    with pytest.raises(UserError, match=r"holds no test\.csv: make a test split .* `python -m benchmarks split"):
        read_split(tmp_path, "test")


@pytest.mark.parametrize("name", ["grey.png", "colour.png", "grey.jpg", "colour.jpg", "alpha.png", "bits.png"])
def test_every_depth_and_colour_decodes_to_the_same_film(tmp_path: Path, name: str) -> None:
    film = Image.fromarray(GRADIENT)
    if name.startswith("colour"):
        film = film.convert("RGB")
    elif name.startswith("alpha"):
        film = film.convert("LA")
    elif name.startswith("bits"):
        film = Image.fromarray((GRADIENT > 50).astype(np.uint8) * 255).convert("1")
    film.save(tmp_path / name, **({"quality": 100, "subsampling": 0} if name.endswith("jpg") else {}))
    decoded = read_film(tmp_path / name).grey
    assert decoded.dtype == np.uint8
    expected = (GRADIENT > 50) * 255 if name.startswith("bits") else GRADIENT
    assert decoded.shape == (40, 60)
    assert np.abs(decoded.astype(int) - expected).max() <= (2 if name.endswith("jpg") else 0)


@pytest.mark.parametrize("top", [65535, 4095])
def test_sixteen_bits_are_stretched_from_their_own_range(tmp_path: Path, top: int) -> None:
    ramp = np.tile(np.linspace(0, top, 256).round().astype(np.uint16), (4, 1))
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    assert (read_film(tmp_path / "deep.png").grey == np.arange(256)).all()


def test_dataset_items_sizes_and_values(tmp_path: Path) -> None:
    films = {"a.png": GRADIENT, "b.png": 255 - GRADIENT[:30, :10]}
    records = read_split(write_set(tmp_path, "a.png,\nb.png,0 1 1 2 2\n", films), "test")
    dataset = FilmDataset(records, 16, tmp_path / "cache")
    assert len(dataset) == 2
    assert list(dataset.original_sizes) == [(60, 40), (10, 30)]
    film, label, index = dataset[1]
    assert film.shape == (1, 16, 16)
    assert film.min() > 200
    assert (label, index) == (1, 1)
    expected = np.asarray(Image.fromarray(GRADIENT).resize((16, 16), Image.Resampling.LANCZOS))
    assert (dataset[0][0][0].numpy() == expected).all()


def test_dataset_comes_from_the_cache_until_a_film_changes(tmp_path: Path) -> None:
    root = write_set(tmp_path, "a.png,\n", {"a.png": GRADIENT})
    records = read_split(root, "test")
    FilmDataset(records, 16, tmp_path / "cache")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    dataset = FilmDataset(records, 16, tmp_path / "cache")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == before
    Image.fromarray(255 - GRADIENT).save(root / "test" / "a.png")
    os.utime(root / "test" / "a.png", ns=(1, 1))
    changed = FilmDataset(records, 16, tmp_path / "cache")
    assert (changed[0][0] != dataset[0][0]).any()
    assert (FilmDataset(records, 24, tmp_path / "cache")[0][0].shape) == (1, 24, 24)


def test_large_jpeg_keeps_its_original_size_and_look(tmp_path: Path) -> None:
    film = np.asarray(Image.fromarray(GRADIENT).resize((1200, 900), Image.Resampling.BICUBIC))
    (tmp_path / "test").mkdir()
    (tmp_path / "test.csv").write_text("image_name,annotation\na.jpg,\n")
    Image.fromarray(film).save(tmp_path / "test" / "a.jpg", quality=98)
    dataset = FilmDataset(read_split(tmp_path, "test"), 64, tmp_path / "cache")
    assert list(dataset.original_sizes) == [(1200, 900)]
    expected = np.asarray(Image.fromarray(film).resize((64, 64), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(dataset[0][0][0].numpy() - expected).max() <= 3


def test_a_pickled_dataset_opens_its_own_map(tmp_path: Path) -> None:
    dataset = FilmDataset(
        read_split(write_set(tmp_path, "a.png,\n", {"a.png": GRADIENT}), "test"), 256, tmp_path / "cache"
    )
    film = dataset[0][0]
    data = pickle.dumps(dataset)
    assert len(data) < film.numel() / 4
    assert (pickle.loads(data)[0][0] == film).all()  # noqa: S301 - our own bytes


@pytest.mark.parametrize("damage", ["truncated.jpg", "truncated.png", "text.png", "empty.jpg"])
def test_damaged_films_are_named_with_their_row_and_leave_no_cache(tmp_path: Path, damage: str) -> None:
    root = write_set(tmp_path, f"a.png,\n{damage},\n", {"a.png": GRADIENT})
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
    path = root / "test" / damage
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes({"truncated": data[: len(data) // 2], "text": b"no film", "empty": b""}[path.stem])
    with pytest.raises(UserError, match=rf"row 3: .*{damage} is ") as caught:
        FilmDataset(read_split(root, "test"), 16, tmp_path / "cache")
    assert "test.csv" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_film_that_vanished_after_reading_is_named(tmp_path: Path) -> None:
    root = write_set(tmp_path, "a.png,\n", {"a.png": GRADIENT})
    records = read_split(root, "test")
    (root / "test" / "a.png").unlink()
    with pytest.raises(UserError, match=r"row 2: the film .*a\.png is missing"):
        FilmDataset(records, 16, tmp_path / "cache")
    with pytest.raises(UserError, match="missing"):
        read_film(records[0].path)
