"""Writes pictures of shapes as PNG files and a COCO file with their outlines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.data.annotations import Shape
from benchmarks.run.files import make_folder, write_json
from benchmarks.shapes.draw_picture import SIZE, draw_picture
from benchmarks.shapes.outlines import KINDS


def write_coco(folder: Path, name: str, *, seed: int, count: int, shapes: int | None = None) -> Path:
    """Write ``folder/name/00000.png`` and so on, and then ``folder/name.json`` about them.

    The JSON comes last, so that a set that has one is complete.

    Args:
        folder: Where; created when missing.
        name: Of the set.
        seed: The same seed writes the same bytes.
        count: Number of pictures.
        shapes: In each picture, as in :func:`~benchmarks.shapes.draw_picture.draw_picture`.

    Returns:
        The JSON: ``images``, ``annotations`` (polygon, box, area) and ``categories``, numbered from 1 in the order of
        :data:`~benchmarks.shapes.outlines.KINDS`.

    Raises:
        UserError: The folder cannot be written.

    Example:
        >>> import json, tempfile
        >>> path = write_coco(Path(tempfile.mkdtemp()), "few", seed=0, count=2, shapes=3)
        >>> content = json.loads(path.read_text())
        >>> content["images"][1]["file_name"], len(content["annotations"])
        ('00001.png', 6)
    """
    make_folder(folder / name)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        picture = draw_picture(seed, number, shapes)
        file = f"{number:05}.png"
        Image.fromarray(picture.pixels).save(folder / name / file)
        images.append({"id": number, "file_name": file, "width": SIZE, "height": SIZE})
        for shape in picture.shapes:
            annotations.append({"id": len(annotations) + 1, "image_id": number, **_annotation(shape)})
    categories = [{"id": KINDS.index(kind) + 1, "name": kind} for kind in KINDS]
    path = folder / f"{name}.json"
    write_json(path, {"images": images, "annotations": annotations, "categories": categories})
    return path


def _annotation(shape: Shape) -> dict[str, Any]:
    left, top, right, bottom = shape.box
    x, y = np.array(shape.points).T
    area = abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
    return {
        "category_id": KINDS.index(shape.content) + 1,
        "segmentation": [[value for point in shape.points for value in point]],
        "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
        "area": round(area, 2),
        "iscrowd": 0,
    }
