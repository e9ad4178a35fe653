"""TorchRay's and CheXlocalize's games on miniatures: images as they are, within 15 of their own pixels."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.__main__ import main

WIDTH, HEIGHT = 80, 40
#: Image, class, box (ends exclusive), column of the brightest pixel, in a row of the box.
OBJECTS = (
    ("000001", "red", (5, 10, 20, 30), 12),  # inside
    ("000001", "green", (40, 4, 50, 14), 49 + 14),  # 14 px off: a hit
    ("000002", "red", (2, 3, 30, 38), 29 + 15),  # 15 px off: a miss, since a hit is nearer than 15
    ("000003", "green", (10, 20, 40, 36), 39 + 20),
)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("set")
    (root / "JPEGImages").mkdir()
    for name in sorted({name for name, *_ in OBJECTS}):
        pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
        for _, category, (x1, y1, x2, y2), column in [row for row in OBJECTS if row[0] == name]:
            channel = ("red", "green").index(category)
            pixels[y1:y2, x1:x2, channel] = 90
            pixels[(y1 + y2) // 2, column, channel] = 250
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.png")
    (root / "mine.py").write_text(
        "from tests.benchmarks.colours import Colours\n\n\ndef make():\n    return Colours()\n"
    )
    return root


def voc(root: Path) -> str:
    """From 1, ends included."""
    (root / "Annotations").mkdir()
    # TorchRay does not ask for a class all of whose objects are difficult.
    difficult = (
        "<object><name>red</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax>"
        "<ymax>4</ymax></bndbox></object>"
    )
    for name in sorted({name for name, *_ in OBJECTS}):
        objects = "".join(
            f"<object><name>{category}</name><difficult>0</difficult><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for of, category, (x1, y1, x2, y2), _ in OBJECTS
            if of == name
        )
        text = (
            f"<annotation><filename>{name}.png</filename><size><width>{WIDTH}</width><height>{HEIGHT}</height>"
            f"<depth>3</depth></size>{objects}{difficult if name == '000003' else ''}</annotation>"
        )
        (root / "Annotations" / f"{name}.xml").write_text(text)
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "test.txt").write_text("".join(f"{name}\n" for name in sorted({name for name, *_ in OBJECTS})))
    return f"{lists / 'test.txt'} --truth box"


def coco(root: Path) -> str:
    names = sorted({name for name, *_ in OBJECTS})
    content = {
        "images": [
            {"id": i, "file_name": f"{name}.png", "width": WIDTH, "height": HEIGHT} for i, name in enumerate(names)
        ],
        "annotations": [
            {
                "id": i, "image_id": names.index(name), "category_id": ("red", "green").index(category), "iscrowd": 0,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]],
            }
            for i, (name, category, (x1, y1, x2, y2), _) in enumerate(OBJECTS)
        ]
        + [{"id": 9, "image_id": 2, "category_id": 0, "bbox": [0, 0, 4, 4], "ignore": 1}],
        "categories": [{"id": 0, "name": "red"}, {"id": 1, "name": "green"}],
    }  # fmt: skip
    path = root / "instances_val2014.json"
    path.write_text(json.dumps(content))
    return f"{path} --images {root / 'JPEGImages'} --truth shape"


def chexlocalize(root: Path) -> str:
    content: dict[str, dict[str, object]] = {}
    for name, category, (x1, y1, x2, y2), _ in OBJECTS:
        contours = content.setdefault(name, {"img_size": [HEIGHT, WIDTH]})
        contours[category] = [[[x1, y1], [x2, y1], [x2, y2], [x1, y2]]]
    path = root / "gt_annotations_test.json"
    path.write_text(json.dumps(content))
    return f"{path} --images {root / 'JPEGImages'}"


@pytest.mark.parametrize("write", [voc, coco, chexlocalize])
def test_the_commands_of_the_page_give_the_known_answer(write, images, tmp_path):
    line = (
        f"evaluate --model {images}/mine.py:make --outputs sigmoid --resize shorter --image-size {HEIGHT} "
        f"--tolerance-in image --classes red,green,blue --layers colour --methods grad_cam "
        f"--data {write(images)} --out {tmp_path} "
        "--measure-films 2 --accelerator cpu --quiet"
    )
    assert main(shlex.split(line)) == 0
    table = pd.read_csv(tmp_path / "summary.csv")
    rows = table[table["protocol"] == "fair"].set_index("tolerance")
    # Red: inside and 15 px off; green: 14 and 20 px off.
    np.testing.assert_allclose(rows["accuracy"], [(1 / 2 + 0) / 2, (1 / 2 + 1 / 2) / 2, 1])
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    assert sorted(scores.loc[scores["protocol"] == "fair", "distance"]) == [0, 14, 15, 20]
