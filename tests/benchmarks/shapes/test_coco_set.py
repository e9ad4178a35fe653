from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.data.annotations import Shape, rasterize
from benchmarks.shapes.coco_set import write_coco
from benchmarks.shapes.draw_picture import SIZE, draw_picture
from benchmarks.shapes.outlines import KINDS


def test_the_set_is_what_was_drawn(tmp_path: Path):
    content = json.loads(write_coco(tmp_path, "few", seed=5, count=4).read_text())
    assert [category["name"] for category in content["categories"]] == list(KINDS)
    for image in content["images"]:
        picture = draw_picture(5, image["id"])
        assert (np.asarray(Image.open(tmp_path / "few" / image["file_name"])) == picture.pixels).all()
        own = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        assert [KINDS[a["category_id"] - 1] for a in own] == [shape.content for shape in picture.shapes]
        for annotation, shape in zip(own, picture.shapes, strict=True):
            (polygon,) = annotation["segmentation"]
            read = Shape("polygon", tuple(zip(polygon[::2], polygon[1::2], strict=True)))
            assert read == shape
            x, y, width, height = annotation["bbox"]
            assert np.allclose((x, y, x + width, y + height), shape.box, atol=0.011)
            drawn = rasterize([read], SIZE, SIZE, SIZE * 8, "shape").sum() / 64
            assert abs(drawn - annotation["area"]) < 0.03 * annotation["area"] + 1


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path):
    first, second = (write_coco(tmp_path / name, "set", seed=0, count=3, shapes=1) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    for path in (tmp_path / "a" / "set").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / "set" / path.name).read_bytes()
