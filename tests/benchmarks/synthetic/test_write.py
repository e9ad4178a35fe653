from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.data.annotations import rasterize
from benchmarks.data.object_cxr import read_split
from benchmarks.films.decode import read_film
from benchmarks.synthetic.body_frame import Frame
from benchmarks.synthetic.distractors import RATES, draw_distractors
from benchmarks.synthetic.objects import OBJECTS
from benchmarks.synthetic.placing import draw_objects
from benchmarks.synthetic.strokes import Stroke, bounds, draw, ellipse, to_attenuation, to_grey
from benchmarks.synthetic.write import draw_film, write_synthetic

ROOT = Path(__file__).parents[3]
SIZE = 96


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    write_synthetic(folder, counts={"train": 10, "dev": 4, "test": 6}, size=SIZE, seed=3, processes=1)
    return folder


def test_the_reader_reads_what_the_writer_wrote(root: Path) -> None:
    names = []
    for split, count in {"train": 10, "dev": 4, "test": 6}.items():
        records = read_split(root, split)
        assert len(records) == count
        assert sum(record.label for record in records) == count // 2
        labels = [record.label for record in records]
        assert labels != sorted(labels), "the classes are not shuffled"
        assert labels != sorted(labels, reverse=True), "the classes are not shuffled"
        for record in records:
            film = read_film(record.path).grey
            assert max(film.shape) == SIZE
            for shape in record.shapes:
                assert rasterize([shape], film.shape[1], film.shape[0]).any()
        names += [record.name for record in records]
    assert names == [f"{number:05}.jpg" for number in range(1, 21)]
    with (root / "train.csv").open() as stream:
        assert next(csv.reader(stream)) == ["image_name", "annotation"]


def test_the_same_seed_writes_the_same_bytes_whatever_the_processes(root: Path, tmp_path: Path) -> None:
    write_synthetic(tmp_path, counts={"train": 10}, size=SIZE, seed=3, processes=2)
    assert (tmp_path / "train.csv").read_bytes() == (root / "train.csv").read_bytes()
    for path in sorted((tmp_path / "train").iterdir()):
        assert path.read_bytes() == (root / "train" / path.name).read_bytes()


def test_films_depend_on_seed_and_number_alone() -> None:
    film, shapes, _ = draw_film(1, 5, True, SIZE)
    draw_film(1, 6, True, SIZE)
    again, shapes_again, _ = draw_film(1, 5, True, SIZE)
    assert (film == again).all()
    assert shapes == shapes_again
    for seed, number in ((2, 5), (1, 6)):
        other, _, _ = draw_film(seed, number, True, SIZE)
        assert other.shape != film.shape or (other != film).any()


BLUR = round(0.015 * SIZE)


def test_nothing_but_the_objects_tells_the_classes_apart() -> None:
    for number in range(6):
        clean, none, devices = draw_film(0, number, False, SIZE)
        film, shapes, devices_too = draw_film(0, number, True, SIZE)
        assert none == ()
        assert shapes
        assert devices == devices_too
        mask = np.zeros(clean.shape, dtype=bool)
        for shape in shapes:
            x1, y1, x2, y2 = (round(v) for v in shape.box)
            # Annotations are drawn about an object's outline; the imaging system blurs it by a few pixels more.
            mask[max(y1 - BLUR, 0) : y2 + BLUR + 1, max(x1 - BLUR, 0) : x2 + BLUR + 1] = True
        changed = np.abs(film - clean) > 0.02
        assert changed.any()
        assert not (changed & ~mask).any(), "an object reaches out of its annotation"


def test_distractors_fall_at_their_rates() -> None:
    """That the class plays no part in them is shown by the test above."""
    blank, frame = np.full((32, 32), 0.4, dtype=np.float32), Frame(32, 32)
    films = [draw_distractors(np.random.default_rng([4, number]), blank, frame) for number in range(600)]
    for name, rate in RATES.items():
        found = np.mean([name in drawn for _, drawn in films])
        assert abs(found - rate) < 4 * np.sqrt(rate * (1 - rate) / len(films))
    assert all((film != blank).any() for film, drawn in films if drawn)


def test_a_film_that_has_its_own_marker_gets_none() -> None:
    blank, frame = np.full((64, 64), 0.4, dtype=np.float32), Frame(64, 64)
    for number in range(20):
        film, drawn = draw_distractors(np.random.default_rng(number), blank, frame, marker=False)
        if drawn == ("marker",):
            np.testing.assert_allclose(film, blank, atol=1e-5)


def test_sizes_counts_and_shapes_are_like_the_real_annotations() -> None:
    """The tables of docs/howto/reproduce.md, measured on 9238 real objects."""
    facts = (ROOT / "docs" / "howto" / "reproduce.md").read_text(encoding="utf-8")
    real_sizes, real_aspects, real_counts = (
        [float(cell) for cell in re.search(rf"^\| {start}[^|]*\|(.*)\|$", facts, re.MULTILINE)[1].split("|")]
        for start in ("square root", "width / height", "% of the films")
    )
    rng = np.random.default_rng(0)
    width = 448
    grey = np.full((width, width), 0.4, dtype=np.float32)
    lungs = np.zeros((width, width), dtype=bool)
    lungs[60:340, 60:390] = True
    films = [draw_objects(rng, grey, lungs, np.ones_like(lungs))[1] for _ in range(250)]
    boxes = np.array([shape.box for shapes in films for shape in shapes])
    sides = boxes[:, 2:] - boxes[:, :2]
    sizes = np.percentile(np.sqrt(sides.prod(1)) / width, [5, 25, 50, 75, 95])
    for found, real in zip(sizes, real_sizes, strict=True):
        assert 0.65 * real / 100 < found < 1.5 * real / 100, sizes
    aspects = np.percentile(sides[:, 0] / sides[:, 1], [5, 50, 95])
    for found, real in zip(aspects, real_aspects[::2], strict=True):
        assert 0.6 * real < found < 1.7 * real, aspects
    counts = np.bincount([len(shapes) for shapes in films], minlength=6) / len(films)
    assert counts[0] == 0
    for found, real in zip(counts[1:5], real_counts[:4], strict=True):
        assert abs(found - real / 100) < 0.12, counts
    assert {shape.kind for shapes in films for shape in shapes} == {"rectangle", "ellipse", "polygon"}


@pytest.mark.parametrize("name", list(OBJECTS))
def test_every_kind_is_drawn_and_shows(name: str) -> None:
    for seed in range(5):
        sketch = OBJECTS[name].sketch(np.random.default_rng(seed), 448, 2.0)
        x1, y1, x2, y2 = bounds(sketch)
        moved = [stroke.moved(0.3, 300, 300) for stroke in sketch]
        assert 2 < max(x2 - x1, y2 - y1) < 230
        layer = draw(np.zeros((600, 600), np.float32), moved)
        assert layer.max() > 0.03


@pytest.mark.parametrize("name", ["clasp", "hooks", "pin", "underwire", "wire"])
def test_what_is_made_of_wire_stays_thin_however_large(name: str) -> None:
    for seed in range(5):
        small, large = (OBJECTS[name].sketch(np.random.default_rng(seed), unit, 2.0) for unit in (200, 600))
        widths, larger = ([stroke.width for stroke in sketch if stroke.width] for sketch in (small, large))
        assert widths == larger
        assert max(widths) <= 4
        assert np.ptp(bounds(large)[::2]) > 2.5 * np.ptp(bounds(small)[::2]) - 8


def test_lines_and_contrast_are_like_those_of_drawn_films() -> None:
    """Lines of 1 to 3 pixels on films of 512, and objects that are no brighter than what covers them."""
    size, brightest, means = 256, [], []
    for number in range(40):
        clean, film = (draw_film(9, number, positive, size)[0] for positive in (False, True))
        rise = film - clean
        means.append(rise[rise > 0.02].mean())
        brightest.append(rise.flat[film.argmax()] > 0.02)
    assert 0.05 < np.percentile(means, 10) < 0.15
    assert 0.1 < np.median(means) < 0.3
    assert np.mean(brightest) < 0.2, "the brightest pixel gives the object away"


def test_attenuation_and_grey_are_inverse() -> None:
    grey = np.linspace(0, 1, 50, dtype=np.float32)
    np.testing.assert_allclose(to_grey(to_attenuation(grey)), grey, atol=1e-5)


def test_a_thin_wire_keeps_its_weight_and_what_is_off_the_film_is_cut() -> None:
    for width in (0.2, 1.0, 3.0):
        layer = draw(np.zeros((60, 60), np.float32), [Stroke(np.array([(-20.0, 30.0), (80.0, 30.0)]), 0.5, width)])
        np.testing.assert_allclose(layer[:, 30].sum(), 0.5 * width, rtol=0.35)
    away = draw(np.zeros((60, 60), np.float32), [Stroke(ellipse(3, 3, 200, 200), 1.0)])
    assert not away.any()
