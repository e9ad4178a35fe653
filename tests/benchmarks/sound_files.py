"""A small sound set of each format whose annotations are text, to be spoilt."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

COCO = """{"images": [{"id": 1, "file_name": "a.png", "width": 20, "height": 10}, {"id": 2, "file_name": "b.png"}],
 "annotations": [
  {"id": 5, "image_id": 1, "category_id": 3, "bbox": [1, 2, 4, 5], "iscrowd": 0},
  {"id": 6, "image_id": 1, "category_id": 3, "segmentation": [[1, 1, 5, 1, 5, 5]]},
  {"id": 7, "image_id": 2, "category_id": 3, "segmentation": {"size": [10, 20], "counts": [50, 50, 100]}}],
 "categories": [{"id": 3, "name": "cat"}]}"""
VOC = """<annotation><filename>a.png</filename><size><width>20</width><height>10</height></size>
<object><name>cat</name><difficult>0</difficult>
<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>5</xmax><ymax>7</ymax></bndbox></object></annotation>"""
CONTOURS = '{"a": {"img_size": [10, 20], "Edema": [[[1, 1], [5, 1], [5, 5]]]}, "b": {"img_size": [10, 20]}}'
RUNS = '{"a": {"Edema": {"size": [10, 20], "counts": [50, 50, 100]}}}'
NIH = "Image Index,Finding Label,Bbox [x,y,w,h],,,\nbig.png,Mass,1,2,3,4,,,\n"
VINDR = "image_id,class_name,x_min,y_min,x_max,y_max\na,Nodule,1,2,5,6\nb,No finding,,,,\n"
RSNA = "patientId,x,y,width,height,Target\nbig,1,2,3,4,1\n"
FILES = {
    "coco": {"set.json": COCO},
    "voc": {"Annotations/a.xml": VOC},
    "yolo": {"data.yaml": "train: images\nnames: [cat, dog]\n", "labels/a.txt": "0 0.5 0.5 0.2 0.2\n"},
    "contours": {"set.json": CONTOURS},
    "runs": {"set.json": RUNS},
    "nih": {"set.csv": NIH},
    "vindr": {"set.csv": VINDR},
    "rsna": {"set.csv": RSNA},
    "object-cxr": {"test.csv": "image_name,annotation\na.png,0 1 1 5 5\nb.png,\n"},
}
SOURCES = {"voc": "Annotations", "yolo": "data.yaml", "object-cxr": "test.csv"}


def write_sound(root: Path, format: str) -> Path:
    """Write a set: images a and b of 20 x 10 pixels, for two formats one of 1024 x 1024, and the files of a format.

    Returns:
        What to read.
    """
    (root / "images").mkdir()
    for name in ("a", "b"):
        Image.linear_gradient("L").resize((20, 10)).save(root / "images" / f"{name}.png")
    if format in ("nih", "rsna"):
        Image.linear_gradient("L").resize((1024, 1024)).save(root / "images" / "big.png")
    for name, text in FILES[format].items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root / SOURCES.get(format, next(iter(FILES[format])))
