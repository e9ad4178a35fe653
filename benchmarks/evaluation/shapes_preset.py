"""The preset ``shapes``: network, pictures and settings that need neither files nor a connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.formats.load import load_dataset
from benchmarks.models import open_model
from benchmarks.shapes.draw_picture import SIZE
from benchmarks.shapes.outlines import KINDS
from benchmarks.shapes.trained_network import test_pictures, trained_network


def shapes_preset() -> dict[str, Any]:
    """Arguments of ``benchmarks.evaluate`` for the network of shapes and pictures that it has not seen.

    What is not there yet is made first, in a minute or two, and kept in the user's cache.

    Returns:
        ``model``, ``data``, ``grid`` and ``out``.

    Raises:
        UserError: The cache cannot be written.
    """
    model = open_model(trained_network(), classes=KINDS, outputs="sigmoid", name="shapes", size=(SIZE, SIZE))
    path = test_pictures()
    data = load_dataset(path, path.with_suffix(""))
    return {"model": model, "data": data, "grid": 2, "out": Path("runs/shapes")}
