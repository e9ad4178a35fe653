"""The picture of overlays: films with their annotations, and what each method makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from benchmarks.analysis.tallies import seconds_per_image
from benchmarks.methods import Method
from benchmarks.metrics.frame import FRAME
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL, MAIN_TOLERANCE, is_hit
from benchmarks.report.drawn_maps import DrawnMaps
from benchmarks.report.gallery import OUTLIERS, affordable, mask_outlines
from benchmarks.report.results import Results
from benchmarks.report.subject import Subject
from benchmarks.run.files import write_figure
from benchmarks.scoring.job import Job, annotation_mask, evenly_spaced
from normgrad_attr.functional import is_constant
from normgrad_attr.visualize import heat

HIT, MISS, ANNOTATION = "#19d419", "#ff3030", "#3cc8ff"
MOST_ROWS, MOST_COLUMNS = 5, 12
PANEL = 240
"""Side of a drawn map in pixels, about that of its panel."""


def draw_overlays(job: Job, methods: list[Method], results: Results, subject: Subject, path: Path, kept: Path) -> None:
    """Draw annotated test films against methods, each map with its maximum marked as hit or miss.

    The films, at most :data:`MOST_ROWS`, are evenly spaced among the annotated films of the test split, first and last
    included: a rule that knows nothing of the results. Maps and points are those of the scores, by the main protocol.

    Args:
        job: network and films.
        methods: one column each, without baselines and those that would take too long (see
            :func:`benchmarks.report.gallery.affordable`), the first :data:`MOST_COLUMNS`, the paper's in front.
        results: scores and verdicts.
        subject: what they are about.
        path: PNG to write.
        kept: folder for the pictures of maps, see :class:`benchmarks.report.drawn_maps.DrawnMaps`.
    """
    positions = evenly_spaced(job.positives, MOST_ROWS)
    seconds = seconds_per_image(results.scores)
    methods = sorted(methods, key=lambda method: "paper" not in method.sets)
    methods = [method for method in methods if method.family != "baseline"]
    quick = [m for m in methods if len(affordable(job, m, positions, seconds[m.name])) == len(positions)]
    maps = DrawnMaps(job, results.verdicts, kept, coloured)
    pictures = {method: maps.of(method, positions) for method in quick[:MOST_COLUMNS]}
    drawn = {method: found for method, found in pictures.items() if found is not None}
    records = [job.films.records[position] for position in positions]
    shares = results.verdicts.set_index("image")["label_probability"]
    known = "P(object) = " if subject.unit == "film" else "P = "
    # Of these films alone: an index of all would be as large as the table.
    points = results.scores[results.scores["image"].isin([record.name for record in records])]
    points = points[points["protocol"] == MAIN_PROTOCOL].set_index(["image", "method"])
    figure = Figure(figsize=(1.75 * (len(drawn) + 1), 1.75 * len(positions) + 0.9), layout="constrained")
    axes = figure.subplots(len(positions), len(drawn) + 1, squeeze=False)
    for i, record in enumerate(records):
        film = np.asarray(Image.fromarray(job.films.picture(positions[i], 2 * PANEL)).resize((2 * PANEL, 2 * PANEL)))
        outlines = mask_outlines(annotation_mask(job, positions[i]))  # axis.contour would keep three frames
        for axis in axes[i]:
            _show_film(axis, film, outlines)
        text = f"{record.name}\n{known}{shares[record.name]:.2f}"
        axes[i, 0].set_ylabel(text, fontsize=8, parse_math=False)
    axes[0, 0].set_title(f"{subject.unit}, annotation", fontsize=9)
    for j, (method, colours) in enumerate(drawn.items(), start=1):
        axes[0, j].set_title(method.title, fontsize=9)
        for i, record in enumerate(records):
            axes[i, j].imshow(colours[i], extent=(-0.5, FRAME - 0.5, FRAME - 0.5, -0.5), interpolation="bilinear")
            row = points.loc[(record.name, method.name)]
            if row["status"] != "non_finite":
                hit = bool(is_hit(float(row["distance"]), MAIN_TOLERANCE))
                _mark(axes[i, j], int(row["x"]), int(row["y"]), hit)
    figure.suptitle(
        f"Maximum of the map for the class that is explained: green circle = hit (closer than {MAIN_TOLERANCE} px of "
        f"{FRAME}), red cross = miss; blue = annotation; protocol {MAIN_PROTOCOL}",
        fontsize=9,
    )
    write_figure(path, figure, dpi=130)


def _show_film(axis: Axes, film: np.ndarray, outlines: list[np.ndarray]) -> None:
    axis.imshow(film, cmap="gray", vmin=0, vmax=255, extent=(-0.5, FRAME - 0.5, FRAME - 0.5, -0.5))
    for outline in outlines:
        axis.plot(*outline.T, color=ANNOTATION, lw=0.9)
    axis.set(xticks=[], yticks=[], xlim=(-0.5, FRAME - 0.5), ylim=(FRAME - 0.5, -0.5))


def coloured(maps: Tensor) -> npt.NDArray[np.uint8]:
    """Maps as they are laid over films, the more opaque the larger; a constant one is not seen.

    Args:
        maps: Float (N, 1, h, w).

    Returns:
        uint8 (N, side, side, 4), at the size of a panel: figures keep what they draw, and frames of all maps would
        take a gigabyte.
    """
    planes = F.interpolate(maps, size=(PANEL, PANEL), mode="bilinear", align_corners=False, antialias=True)
    planes[is_constant(maps)] = 0
    return np.stack([heat(plane, alpha=0.8, outliers=OUTLIERS, fade=True).numpy() for plane in planes[:, 0]])


def _mark(axis: Axes, x: int, y: int, hit: bool) -> None:
    marker, colour = ("o", HIT) if hit else ("x", MISS)
    for width, edge in ((3.0, "black"), (1.6, colour)):  # a dark rim, to be seen on white bone
        axis.plot(x, y, marker, ms=8, mfc="none", mec=edge, mew=width, clip_on=False)
