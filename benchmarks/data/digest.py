"""What identifies a data set wherever it lies."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmarks.data.object_cxr import read_split
from benchmarks.run.directory import SPLITS


def annotation_digest(root: Path, limit: int | None) -> str:
    """Digest of the names, file sizes and annotations of all splits, which identifies a data set wherever it lies."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for record in read_split(root, split, limit):
            digest.update(repr((split, record.name, record.shapes, record.path.stat().st_size)).encode())
    return digest.hexdigest()
