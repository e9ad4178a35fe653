"""Films and annotations in the Object-CXR layout: read, drawn synthetically, shown."""

from __future__ import annotations

from benchmarks.data.annotations import Shape, format_annotation, parse_annotation, rasterize
from benchmarks.data.object_cxr import FilmDataset, Record, load_film, read_split

__all__ = [
    "FilmDataset",
    "Record",
    "Shape",
    "format_annotation",
    "load_film",
    "parse_annotation",
    "rasterize",
    "read_split",
]
