"""The pictures of the start page and of "Understand NormGrad": what the small network of the gallery sees where."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from captum.attr import LayerGradCam
from torch import nn

import shapes
from benchmarks.shapes.shapes_network import build_shapes_network
from normgrad_attr import CombinedNormGrad, NormGrad

STAGES = ["stage1", "stage2", "stage3", "stage4"]


def network(*, trained: bool) -> nn.Sequential:
    """The gallery's network; untrained its maps mean nothing, but a page can be laid out in no time."""
    return shapes.trained_network() if trained else build_shapes_network().eval()


def draw_start(path: Path, *, trained: bool = True) -> None:
    """Draw pictures with one shape each, and the maps of the class that the network names, as PNG."""
    model = network(trained=trained)
    pictures, _, _ = shapes.draw(4, seed=11, shapes=1)
    named = model(pictures).argmax(1)
    single = NormGrad(model, STAGES[-1]).attribute(pictures, target=named)
    combined = CombinedNormGrad(model, STAGES).attribute(pictures, target=named)
    figure, axes = plt.subplots(2, 6, figsize=(9.6, 3.5), layout="constrained")
    for i, picture in enumerate(pictures):
        left, middle, right = axes[i // 2, 3 * (i % 2) : 3 * (i % 2) + 3]
        shapes.show(left, picture, title=f"it says: {shapes.KINDS[named[i]]}")
        shapes.show(middle, picture, single[i], title="the last layer")
        shapes.show(right, picture, combined[i], title="four layers")
    figure.savefig(path, dpi=160)
    plt.close(figure)


def draw_grid(path: Path, *, trained: bool = True) -> None:
    """Draw gradient, Grad-CAM, linear approximation and both NormGrads at four depths, as PNG."""
    model = network(trained=trained)
    pictures, labels, _ = shapes.draw(1, seed=11, shapes=1)
    target = int(labels[0].argmax())
    cells = NormGrad(model, STAGES).attribute_grid(pictures, target=target)
    columns = {
        "gradient\nbias, norm": (cells["bias", "norm"], False),
        "Grad-CAM": ([LayerGradCam(model, model.get_submodule(s)).attribute(pictures, target) for s in STAGES], True),
        "linear approximation\nscaling, sum": (cells["scaling", "sum"], True),
        "NormGrad\nconv1x1, norm": (cells["conv1x1", "norm"], False),
        "selective NormGrad\npositive_norm": (cells["conv1x1", "positive_norm"], False),
    }
    figure, axes = plt.subplots(len(STAGES), 1 + len(columns), figsize=(9.6, 6.7), layout="constrained")
    for row, stage in enumerate(STAGES):
        title = f"where is the\n{shapes.KINDS[target]}?" if row == 0 else ""
        shapes.show(axes[row, 0], pictures[0], title=title)
        side = cells["bias", "norm"][row].shape[-1]
        shapes.label_row(axes[row, 0], f"{stage}\n{side} x {side}")
        for column, (name, (maps, signed)) in enumerate(columns.items(), start=1):
            title = name if row == 0 else ""
            shapes.show(axes[row, column], pictures[0], maps[row][0].detach(), title=title, signed=signed)
    figure.savefig(path, dpi=160)
    plt.close(figure)
