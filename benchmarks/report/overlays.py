"""The picture of overlays: films with their annotations, and what each method makes of them."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.analysis.tallies import explaining
from benchmarks.classifier.network import normalise
from benchmarks.methods import Method
from benchmarks.metrics.frame import FRAME
from benchmarks.metrics.pointing_game import is_hit
from benchmarks.run.files import write_figure
from benchmarks.scoring.batch import explain_within_memory, seeded
from benchmarks.scoring.job import Job, annotation_mask

HIT, MISS, ANNOTATION = "#19d419", "#ff3030", "#3cc8ff"
MOST_COLUMNS = 12


def draw_overlays(
    job: Job,
    methods: list[Method],
    scores: pd.DataFrame,
    path: Path,
    *,
    rows: int = 5,
    protocol: str = "fair",
    tolerance: int = 15,
) -> None:
    """Draw annotated test films against methods, each map with its maximum marked as hit or miss.

    The films are evenly spaced among the annotated films of the test split, first and last
    included: a rule that knows nothing of the results. The points are those of the scores.

    Args:
        job: network and films.
        methods: one column each, without baselines, the first :data:`MOST_COLUMNS` of them, the paper's in front.
        scores: rows of ``scores.parquet``.
        path: PNG to write.
        rows: number of films.
        protocol: whose points are marked.
        tolerance: in pixels of the frame.
    """
    methods = sorted(methods, key=lambda method: "paper" not in method.sets)
    methods = [method for method in methods if method.family != "baseline"][:MOST_COLUMNS]
    chosen = np.unique(np.linspace(0, len(job.positives) - 1, rows).round().astype(int))
    positions = [job.positives[i] for i in chosen]
    records = [job.films.records[position] for position in positions]
    films = torch.stack([job.films[position][0] for position in positions])
    images = normalise(films.to(job.device))
    with torch.no_grad():
        probabilities = job.network(images).softmax(dim=1).cpu()
    targets = probabilities.argmax(dim=1).to(job.device)
    context = job.context()
    points = explaining(scores[scores["protocol"] == protocol]).set_index(["image", "method"])
    figure = Figure(figsize=(1.75 * (len(methods) + 1), 1.75 * len(positions) + 0.9), layout="constrained")
    axes = figure.subplots(len(positions), len(methods) + 1, squeeze=False)
    grey = films[:, 0].numpy()
    for i, record in enumerate(records):
        mask = annotation_mask(job, positions[i])
        for axis in axes[i]:
            _show_film(axis, grey[i], mask)
        axes[i, 0].set_ylabel(f"{record.name}\nP(object) = {probabilities[i, 1]:.2f}", fontsize=8, parse_math=False)
    axes[0, 0].set_title("film, annotation", fontsize=9)
    for j, method in enumerate(methods, start=1):
        with seeded(job.seed, method.name, 0, job.device):
            maps = explain_within_memory(method.prepare(context), images, targets).cpu().float()
        planes = F.interpolate(maps, size=(FRAME, FRAME), mode="bilinear", align_corners=False)[:, 0].numpy()
        axes[0, j].set_title(method.title, fontsize=9)
        for i, record in enumerate(records):
            _show_map(axes[i, j], planes[i])
            row = points.loc[(record.name, method.name)]
            if row["status"] != "non_finite":
                hit = bool(is_hit(float(row["distance"]), tolerance))
                _mark(axes[i, j], int(row["x"]), int(row["y"]), hit)
    figure.suptitle(
        f"Maximum of the map for the predicted class: green circle = hit (closer than {tolerance} px of {FRAME}), "
        f"red cross = miss; blue = annotation; protocol {protocol}",
        fontsize=9,
    )
    write_figure(path, figure, dpi=130)


def _show_film(axis: Axes, film: np.ndarray, mask: np.ndarray) -> None:
    axis.imshow(film, cmap="gray", vmin=0, vmax=255, extent=(-0.5, FRAME - 0.5, FRAME - 0.5, -0.5))
    axis.contour(np.pad(mask, 1), levels=[0.5], colors=[ANNOTATION], linewidths=0.9, extent=(-1, FRAME, -1, FRAME))
    axis.set(xticks=[], yticks=[], xlim=(-0.5, FRAME - 0.5), ylim=(FRAME - 0.5, -0.5))


def _show_map(axis: Axes, saliency: np.ndarray) -> None:
    """Lay a map over the film, the more opaque the larger; clipped at its 99.5th percentile for the eye only."""
    saliency = np.nan_to_num(saliency, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = saliency.min(), np.quantile(saliency, 0.995)
    if high - low <= 1e-6 * abs(high):  # a constant map, up to the rounding of the interpolation
        return
    unit = np.clip((saliency - low) / (high - low), 0, 1)
    colours = matplotlib.colormaps["inferno"](unit)
    colours[..., 3] = 0.8 * np.sqrt(unit)
    axis.imshow(colours, extent=(-0.5, FRAME - 0.5, FRAME - 0.5, -0.5), interpolation="bilinear")


def _mark(axis: Axes, x: int, y: int, hit: bool) -> None:
    marker, colour = ("o", HIT) if hit else ("x", MISS)
    for width, edge in ((3.0, "black"), (1.6, colour)):  # a dark rim, to be seen on white bone
        axis.plot(x, y, marker, ms=8, mfc="none", mec=edge, mew=width, clip_on=False)
