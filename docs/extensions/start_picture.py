"""The picture on the start page: what the small network of the gallery sees where."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt

import shapes
from normgrad_attr import CombinedNormGrad


def draw(path: Path, *, trained: bool = True) -> None:
    """Draw pictures with two shapes each, and the combined map of the score of either.

    Args:
        path: PNG to write.
        trained: Train the network; without, the maps mean nothing, but the page can be laid out.
    """
    model = shapes.trained_network() if trained else shapes.build_network().eval()
    pictures, labels, _ = shapes.draw(4, seed=11, shapes=2)
    method = CombinedNormGrad(model, ["stage1", "stage2", "stage3", "stage4"], aggregate="positive_norm")
    figure, axes = plt.subplots(2, 6, figsize=(9.6, 3.4), layout="constrained")
    for i, picture in enumerate(pictures):
        kinds = labels[i].nonzero().flatten().tolist()
        row, column = i // 2, 3 * (i % 2)
        shapes.show(axes[row, column], picture)
        for offset, kind in enumerate(kinds, start=1):
            saliency = method.attribute(picture[None], target=kind)[0]
            shapes.show(axes[row, column + offset], picture, saliency, title=f"where is the {shapes.KINDS[kind]}?")
    figure.savefig(path, dpi=110)
    plt.close(figure)
