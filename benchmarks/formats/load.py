"""Reads annotated images of any format that is known here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.formats.labelled import LabelledSet


def load_dataset(
    path: Path | str,
    images: Path | str | None = None,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> LabelledSet:
    """Read annotated images.

    Args:
        path: File or folder of the annotations.
        images: Folder of the images; where None, what the format says, or beside the annotations.
        format: Name of the format; recognised from the content where None.
        columns: Of boxes in a CSV, the table's name of each of ``image``, ``category`` and either ``x1``, ``y1``,
            ``x2``, ``y2`` or ``x``, ``y``, ``width``, ``height``.

    Raises:
        UserError: The format is not recognised, or what is there is none of it.
        FaultyTableError: What is wrong with the annotations or images: all of it.
    """
    raise NotImplementedError
