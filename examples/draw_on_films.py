"""Draw foreign objects on real chest films: three sets to try a recipe on, none of them made by the benchmark itself.

.. code-block:: console

    $ python examples/draw_on_films.py real films --films NIH --annotations OBJECT_CXR --seed 9181

``NIH`` holds ``index.csv`` (``image_name``, ``patient_id``) and the folder ``images``: square frontal films, say of
ChestX-ray14. ``OBJECT_CXR`` holds ``train.csv`` and ``dev.csv`` of Object-CXR, whose boxes give the objects of ``real``
and ``faint`` their sizes. Half of the films stay clean, and no patient is in two splits. Nothing here is shared with
the films that ``benchmarks`` draws, nor with the objects that it draws on training films.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FINER = 4
"""Objects are drawn so many times larger, and shrunk."""
KINDS = ("button", "clasp", "pin", "zip", "necklace", "wire", "letter")
CONTRASTS = {"easy": (60, 130), "real": (30, 110), "faint": (18, 50)}
"""Grey values that an object of a set adds to a dark film; to a bright one it adds less."""
ANNOTATED = 2600
"""Side of the films of Object-CXR in pixels, about."""

Box = tuple[int, int, int, int]
Sizes = Sequence[Sequence[tuple[float, float]]]


def annotated_sizes(folder: Path) -> Sizes:
    """Width and height of the objects of each annotated film, as shares of its side."""
    films = []
    for split in ("train", "dev"):
        with (folder / f"{split}.csv").open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if row["annotation"]]
        for row in rows:
            boxes = [list(map(float, shape.split()[1:5])) for shape in row["annotation"].split(";")]
            films.append([(abs(x2 - x1) / ANNOTATED, abs(y2 - y1) / ANNOTATED) for x1, y1, x2, y2 in boxes])
    return films


def object_mask(
    kind: str, rng: random.Random, centre: tuple[float, float], size: tuple[float, float], side: int
) -> np.ndarray:
    """How much of each pixel of a film an object covers, float ``(side, side)``."""
    layer = Image.new("L", (side * FINER, side * FINER), 0)
    pen = ImageDraw.Draw(layer)
    thickness = rng.uniform(1, 3)
    (x0, y0), (width, height) = centre, size

    def at(x: float, y: float) -> tuple[float, float]:
        """A place in the object's box, whose sides are at -1 and 1."""
        return (x0 + x * width / 2, y0 + y * height / 2)

    def line(points: Sequence[tuple[float, float]], thick: float) -> None:
        scaled = [(x * FINER, y * FINER) for x, y in points]
        pen.line(scaled, fill=255, width=max(1, round(thick * FINER)), joint="curve")

    def disc(x: float, y: float, radius: float, fill: int = 255, rim: int | None = None, thick: int = 1) -> None:
        box = [(x - radius) * FINER, (y - radius) * FINER, (x + radius) * FINER, (y + radius) * FINER]
        pen.ellipse(box, fill=fill, outline=rim, width=thick)

    if kind == "button":
        radius = min(width, height) / 2
        disc(x0, y0, radius, 200 if rng.random() < 0.5 else 90, 255, round(thickness * FINER))
        for hole in range(rng.choice([2, 4])):
            angle = hole * math.pi / 2
            disc(x0 + radius * 0.3 * math.cos(angle), y0 + radius * 0.3 * math.sin(angle), radius * 0.12, 0)
    elif kind == "clasp":
        corners = [value * FINER for value in (*at(-1, -1), *at(0.1, 1))]
        pen.rectangle(corners, outline=255, width=round(thickness * FINER))
        line([at(0.1, 0), at(1, 0), at(1, -0.8), at(0.5, -0.8)], thickness)
    elif kind == "pin":
        line([at(-1, 1), at(1, -1)], thickness * 0.7)
        disc(*at(1, -1), thickness * 1.2)
    elif kind == "zip":
        teeth = max(6, int(height / 4))
        line([at(0, -1), at(0, 1)], thickness * 0.5)
        for tooth in range(teeth):
            y = -1 + 2 * tooth / (teeth - 1)
            line([at(-0.6 if tooth % 2 else 0, y), at(0 if tooth % 2 else 0.6, y)], thickness)
    elif kind == "necklace":
        angles = [math.pi * number / 40 for number in range(41)]
        points = [at(math.cos(angle), -1 + 2 * math.sin(angle)) for angle in angles]
        if rng.random() < 0.5:
            line(points, thickness * 0.6)
        else:
            for x, y in points[::2]:
                disc(x, y, thickness * 0.8)
    elif kind == "wire":
        phase, waves = rng.uniform(0, 6.28), rng.uniform(0.5, 2)
        shares = [number / 60 for number in range(61)]
        line([at(-1 + 2 * share, math.sin(phase + waves * 6.28 * share)) for share in shares], thickness * 0.7)
    else:
        side_of_letter, letter = min(width, height), rng.choice("LRAPHXEF")
        font = ImageFont.load_default(size=max(8, int(side_of_letter * FINER)))
        corner = ((x0 - side_of_letter / 2) * FINER, (y0 - side_of_letter / 2) * FINER)
        pen.text(corner, letter, fill=255, font=font)
    return np.asarray(layer.resize((side, side), Image.Resampling.LANCZOS), float) / 255


def draw_objects(rng: random.Random, film: np.ndarray, name: str, sizes: Sizes) -> tuple[np.ndarray, list[Box]]:
    """A film with objects, and their boxes; sometimes up to a tenth too large, as people mark them."""
    side, drawn, boxes = film.shape[0], film.astype(float), []
    count = rng.choice([1, 1, 2, 3]) if name == "easy" else min(len(rng.choice(sizes)), 5)
    for _ in range(count):
        for _ in range(20):  # tries: an object may lie outside
            kind = rng.choice(KINDS)
            if name == "easy":
                width = rng.uniform(0.08, 0.3) * side
                height = width * rng.uniform(0.7, 1.4)
            else:
                shares = rng.choice(rng.choice(sizes))
                width, height = (min(max(share, 0.02) * side * 0.8, 0.6 * side) for share in shares)
            if name == "faint":
                width, height = width * 0.8, height * 0.8
            centre = (rng.uniform(0.18, 0.82) * side, rng.uniform(0.15, 0.8) * side)
            mask = object_mask(kind, rng, centre, (width, height), side)
            if name == "faint":
                blurred = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))
                mask = np.asarray(blurred, float) / 255
            rows, columns = np.where(mask > 0.15)
            if len(rows) < 6:
                continue
            contrasts = {of: rng.uniform(*between) for of, between in CONTRASTS.items()}
            drawn = drawn + mask * contrasts[name] * (1 - drawn / 400)
            left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            margin = rng.uniform(0, 0.1) * max(right - left, bottom - top)
            near, far = (
                (max(0, int(edge - margin)) for edge in (left, top)),
                (min(side, int(edge + margin)) for edge in (right, bottom)),
            )
            boxes.append((*near, *far))
            break
    return np.clip(drawn, 0, 255).astype(np.uint8), boxes


def films_by_split(folder: Path, rng: random.Random, counts: Sequence[int]) -> list[list[Path]]:
    """Films of each split, in shares as of the counts, patients apart."""
    with (folder / "index.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    of_patient: dict[str, list[Path]] = {}
    for row in rows:
        of_patient.setdefault(row["patient_id"], []).append(folder / "images" / row["image_name"])
    patients = sorted(of_patient)
    rng.shuffle(patients)
    films = [(patient, path) for patient in patients for path in of_patient[patient]]
    cuts = [int(len(films) * sum(counts[:number]) / sum(counts)) for number in range(len(counts) + 1)]
    for number in range(1, len(counts)):
        while cuts[number] < len(films) and films[cuts[number]][0] == films[cuts[number] - 1][0]:
            cuts[number] += 1
    return [[path for _, path in films[first:last]] for first, last in itertools.pairwise(cuts)]


def write_set(
    name_of_set: str,
    out: Path,
    splits: Sequence[Sequence[Path]],
    sizes: Sizes,
    rng: random.Random,
    counts: Sequence[int],
) -> None:
    """Write a set in Object-CXR layout."""
    for split, count, films in zip(("train", "dev", "test"), counts, splits, strict=True):
        (out / split).mkdir(parents=True)
        rows = []
        for number in range(count):
            times, place = divmod(number // 2, len(films))  # each film is clean once and has objects once
            film = np.asarray(Image.open(films[place]).convert("L"))
            film = film[:, ::-1] if times % 2 else film
            boxes: list[Box] = []
            if number % 2:
                film, boxes = draw_objects(rng, film, name_of_set, sizes)
            name = f"{split}{number:05}.png"
            Image.fromarray(film).save(out / split / name)
            rows.append([name, ";".join("0 {} {} {} {}".format(*box) for box in boxes)])
        rng.shuffle(rows)
        with (out / f"{split}.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([["image_name", "annotation"], *rows])


def main() -> None:
    """Write a set."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "set", choices=CONTRASTS, help="large and strong, sized and strong as annotated ones are, or faint"
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--films", type=Path, required=True, metavar="DIR", help="with index.csv and images/")
    parser.add_argument("--annotations", type=Path, required=True, metavar="DIR", help="with tables of Object-CXR")
    parser.add_argument(
        "--counts", type=int, nargs=3, default=[1000, 200, 400], metavar="N", help="train, dev and test"
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    try:
        sizes = annotated_sizes(given.annotations)
        splits = films_by_split(given.films, rng, given.counts)
        if not all(splits):
            parser.error(f"{given.films} has too few patients for three splits.")
        write_set(given.set, given.out, splits, sizes, rng, given.counts)
    except FileNotFoundError as error:
        parser.error(f"{error.filename} is missing: --help says what the folders hold.")
    except FileExistsError as error:
        parser.error(f"{error.filename} is there already: choose another folder.")


if __name__ == "__main__":
    main()
