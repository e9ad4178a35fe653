"""Ten images with rectangles of whole pixels, and their annotation in every format that can hold them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]
SIZES = [(40, 30), (61, 47), (33, 33), (50, 80), (97, 31), (64, 48), (30, 71), (45, 45), (88, 60), (53, 37)]
BOXES: list[list[Box]] = [
    [(3, 4, 17, 12)],
    [(0, 0, 9, 8), (30, 20, 61, 47)],
    [],
    [(10, 10, 11, 70)],
    [(5, 2, 90, 7), (5, 9, 20, 31), (60, 15, 75, 16)],
    [(31, 23, 33, 25)],
    [(7, 1, 29, 70)],
    [],
    [(20, 30, 41, 52), (50, 1, 87, 29)],
    [(52, 36, 53, 37)],
]
"""Left, top, right and bottom, ends exclusive. Those of one image do not touch, as masks would not tell them apart."""
NAMES = [f"{number:02d}" for number in range(10)]
CATEGORY = "foreign object"


def write_ten(root: Path) -> dict[str, tuple[Path, Path | None]]:
    """Write images and annotations.

    Returns:
        What to read, with the folder of the images, by the name of the format.
    """
    generator = np.random.default_rng(0)
    images = root / "images"
    images.mkdir(parents=True)
    for name, (width, height) in zip(NAMES, SIZES, strict=True):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{name}.png")
    writers = {
        "object-cxr": object_cxr,
        "coco": coco,
        "voc": voc,
        "yolo": yolo,
        "masks": masks,
        "chexlocalize": chexlocalize,
        "csv": table,
    }
    return {name: (write(root), None if name == "object-cxr" else images) for name, write in writers.items()}


def object_cxr(root: Path) -> Path:
    lines = ["image_name,annotation"]
    for name, boxes in zip(NAMES, BOXES, strict=True):
        lines.append(f"{name}.png," + ";".join(f"0 {x1} {y1} {x2} {y2}" for x1, y1, x2, y2 in boxes))
    return written(root / "test.csv", "\n".join(lines))


def coco(root: Path) -> Path:
    images = [
        {"id": number, "file_name": f"{name}.png", "width": width, "height": height}
        for number, (name, (width, height)) in enumerate(zip(NAMES, SIZES, strict=True))
    ]
    annotations = [
        {"image_id": number, "category_id": 7, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
        for number, boxes in enumerate(BOXES)
        for x1, y1, x2, y2 in boxes
    ]
    for number, annotation in enumerate(annotations):
        annotation["id"] = number
    categories = [{"id": 7, "name": CATEGORY}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return written(root / "instances.json", json.dumps(content))


def voc(root: Path) -> Path:
    for name, (width, height), boxes in zip(NAMES, SIZES, BOXES, strict=True):
        objects = "".join(
            f"<object><name>{CATEGORY}</name><difficult>0</difficult><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for x1, y1, x2, y2 in boxes
        )
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{name}.png</filename>{size}{objects}</annotation>"
        written(root / "Annotations" / f"{name}.xml", text)
    return root / "Annotations"


def yolo(root: Path) -> Path:
    for name, (width, height), boxes in zip(NAMES, SIZES, BOXES, strict=True):
        lines = []
        for x1, y1, x2, y2 in boxes:
            shares = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
            lines.append(" ".join(["0", *(f"{share:.6f}" for share in shares)]))
        written(root / "yolo" / "labels" / f"{name}.txt", "\n".join(lines))
    written(root / "yolo" / "classes.txt", CATEGORY)
    return root / "yolo"


def masks(root: Path) -> Path:
    for name, (width, height), boxes in zip(NAMES, SIZES, BOXES, strict=True):
        path = root / "by_class" / CATEGORY / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((drawn(boxes, width, height) * 255).astype(np.uint8)).save(path)
    return root / "by_class"


def chexlocalize(root: Path) -> Path:
    content = {}
    for name, (width, height), boxes in zip(NAMES, SIZES, BOXES, strict=True):
        content[name] = {"img_size": [height, width]}
        if boxes:
            content[name][CATEGORY] = [[[x1, y1], [x2, y1], [x2, y2], [x1, y2]] for x1, y1, x2, y2 in boxes]
    return written(root / "gt_annotations.json", json.dumps(content))


def table(root: Path) -> Path:
    rows = ["image,category,x1,y1,x2,y2"]
    for name, boxes in zip(NAMES, BOXES, strict=True):
        rows += [f"{name}.png,{CATEGORY},{x1},{y1},{x2},{y2}" for x1, y1, x2, y2 in boxes] or [f"{name}.png,,,,,"]
    return written(root / "boxes.csv", "\n".join(rows))


def drawn(boxes: list[Box], width: int, height: int) -> np.ndarray:
    """The truth: pixels of some boxes."""
    mask = np.zeros((height, width), dtype=bool)
    for x1, y1, x2, y2 in boxes:
        mask[y1:y2, x1:x2] = True
    return mask


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
