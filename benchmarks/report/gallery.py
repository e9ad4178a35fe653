"""Films and maps for the gallery of the HTML report: which are shown, and how they fit into one page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.nn.functional as F
from contourpy import contour_generator
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from benchmarks.analysis.tallies import seconds_per_image
from benchmarks.data.annotations import Shape
from benchmarks.formats.run_lengths import RunLengths
from benchmarks.methods import Method
from benchmarks.metrics.frame import FRAME
from benchmarks.metrics.pointing_game import PROTOCOLS
from benchmarks.report.drawn_maps import DrawnMaps
from benchmarks.report.results import Results
from benchmarks.scoring.job import Job, evenly_spaced
from benchmarks.scoring.scored_maps import scored_cost
from normgrad_attr.functional import is_constant
from normgrad_attr.visualize import heat

FILMS = 24
"""Most films in a gallery."""
METHODS_WITH_MAPS = 24
"""Most methods with maps in a gallery; with the sizes below this bounds the page, whatever films and maps look like."""
MAP_SIDE = 64
"""Side of a stored map: the eye needs no more under a film of a few hundred pixels."""
FILM_SIDE = 480
"""Longer side of a film in the page."""
MOST_POINTS = 120
"""Points of an outline that is drawn around run lengths, about."""
OUTLIERS = 0.005
"""Part of a map's values that is cut off at the top for the eye."""
SECONDS = 20.0
"""Time that the maps of one method may take; a slow method is drawn on the worst films only."""


def choose_films(hits: pd.DataFrame, most: int = FILMS) -> list[str]:
    """Choose films by a rule: the worst, those that divide the methods, and some of the rest.

    Args:
        hits: Bool, films x methods, without baselines.
        most: Number of films; a third is of each sort.

    Returns:
        Names, the films that the fewest methods hit first.
    """
    share = hits.mean(axis=1).sort_values(kind="stable")
    if len(share) <= most:
        return list(share.index)
    worst = list(share.index[: most // 3])
    rest = share.drop(worst)
    divided = list((rest - 0.5).abs().sort_values(kind="stable").index[: most // 3])
    rest = rest.drop(divided)
    chosen = {*worst, *divided, *evenly_spaced(list(rest.index), most - len(worst) - len(divided))}
    return [name for name in share.index if name in chosen]


def choose_methods(families: dict[str, str], most: int = METHODS_WITH_MAPS) -> set[str]:
    """Choose methods by a rule that is fair to families of any size: the best of each, then the second of each ...

    Args:
        families: Family by method, the best method first.
        most: Number of methods.

    Returns:
        Names.
    """
    place: dict[str, int] = {}
    turns = []
    for name, family in families.items():
        place[family] = place.get(family, 0) + 1
        turns.append((place[family], name))
    return {name for _, name in sorted(turns, key=lambda turn: turn[0])[:most]}


def gallery_maps(
    job: Job, methods: Sequence[Method], positions: Sequence[int], results: Results, folder: Path, *, show: bool = False
) -> dict[str, npt.NDArray[np.uint8]]:
    """Make small pictures of the maps that were scored, see :class:`benchmarks.report.drawn_maps.DrawnMaps`.

    Args:
        job: Network and films.
        methods: Whose maps.
        positions: Films, the most important first.
        results: Scores and verdicts. A method gets :data:`SECONDS` in all, by the time that scoring took.
        folder: Where they are kept.
        show: Draw a progress bar.

    Returns:
        By method, as of :func:`shrink`, for the first of the films, as many as the time allows.
    """
    seconds = seconds_per_image(results.scores)
    drawn = DrawnMaps(job, results.verdicts, folder, shrink)
    result, missing = {}, []
    for method in track(methods, "Drawing maps", console=Console(stderr=True), transient=True, disable=not show):
        first = affordable(job, method, positions, float(seconds.get(method.name, 0.0)))
        maps = drawn.of(method, first) if first else None
        result[method.name] = np.zeros((0, MAP_SIDE, MAP_SIDE), dtype=np.uint8) if maps is None else maps
        missing += [method.name] if first and maps is None else []
    if missing:
        print(f"Maps of {', '.join(missing)} were not kept, and the page does without; the network would draw them.")
    return result


def affordable(job: Job, method: Method, positions: Sequence[int], seconds: float) -> Sequence[int]:
    """The first of some films, as many as a method can explain in :data:`SECONDS` when one takes ``seconds``."""
    count = len(positions)
    while count and scored_cost(job, method, positions[:count]) * seconds > SECONDS:
        count -= 1
    return positions[:count]


def shrink(maps: Tensor) -> npt.NDArray[np.uint8]:
    """Maps for the eye, 64 x 64: how strongly each place is painted, see :func:`normgrad_attr.visualize.heat`.

    Args:
        maps: Float (N, 1, h, w).

    Returns:
        uint8 (N, 64, 64), the opacity; its square, as shares of 255, is the value that gives the colour.
    """
    maps = torch.nan_to_num(maps.detach().cpu().double(), nan=0.0, posinf=0.0, neginf=0.0)
    if min(maps.shape[-2:]) >= MAP_SIDE:
        small = F.adaptive_avg_pool2d(maps, MAP_SIDE)
    else:
        small = F.interpolate(maps, size=(MAP_SIDE, MAP_SIDE), mode="bilinear", align_corners=False)
    small[is_constant(maps)] = 0
    return np.stack([heat(plane, alpha=1.0, outliers=OUTLIERS, fade=True)[..., 3].numpy() for plane in small[:, 0]])


def gallery_entries(
    job: Job,
    positions: Sequence[int],
    maps: dict[str, npt.NDArray[np.uint8]],
    scores: pd.DataFrame,
    verdicts: dict[str, str],
) -> list[dict[str, Any]]:
    """Everything that the page needs of its films.

    Returns:
        One dictionary a film, ready for JSON: ``name``, ``width`` and ``height``; ``film`` and ``maps`` as data URIs
        (the maps of all methods below each other); ``drawn``, the methods that have a map; ``shapes`` with
        points as shares of the film; ``verdict``, what the classifier says; and ``points`` by protocol and method as
        [x, y, distance], x and y as shares, or None for a map that is not finite.
    """
    names = {job.films.records[position].name for position in positions}
    rows = scores[scores["image"].isin(names)]
    points = {key: group.set_index("method") for key, group in rows.groupby(["image", "protocol"])}
    entries = []
    for i, position in enumerate(positions):
        record = job.films.records[position]
        width, height = job.films.original_sizes[position]
        drawn = [name for name, stack in maps.items() if i < len(stack)]
        sheet = np.concatenate([maps[name][i] for name in drawn]) if drawn else np.zeros((1, MAP_SIDE), np.uint8)
        entries.append(
            {
                "name": record.name,
                "width": width,
                "height": height,
                "film": _data_uri(_small_film(job, position), "JPEG"),
                "maps": _data_uri(sheet, "PNG"),
                "drawn": drawn,
                "shapes": [
                    {"kind": kind, "points": [[round(x / width, 4), round(y / height, 4)] for x, y in points]}
                    for shape in record.shapes
                    for kind, points in _outlines(shape)
                ],
                "verdict": verdicts[record.name],
                "points": {protocol: _points(points[record.name, protocol]) for protocol in PROTOCOLS},
            }
        )
    return entries


def _points(rows: pd.DataFrame) -> dict[str, list[float] | None]:
    return {
        str(method): None
        if row["status"] == "non_finite"
        else [(int(row["x"]) + 0.5) / FRAME, (int(row["y"]) + 0.5) / FRAME, round(float(row["distance"]), 1)]
        for method, row in rows.iterrows()
    }


def _outlines(shape: Shape | RunLengths) -> list[tuple[str, Any]]:
    """Kind and points of a shape; of run lengths, the polygons around them."""
    if isinstance(shape, Shape):
        return [(shape.kind, shape.points)]
    lines = mask_outlines(shape.mask)
    return [("polygon", line[:: max(1, len(line) // MOST_POINTS)] + 0.5) for line in lines]


def mask_outlines(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.float64]]:
    """Outlines of a mask as points (x, y), whole numbers being the middles of pixels."""
    return [np.asarray(line) - 1 for line in contour_generator(z=np.pad(mask, 1).astype(np.float32)).lines(0.5)]


def _small_film(job: Job, position: int) -> npt.NDArray[np.uint8]:
    film = job.films.picture(position, FILM_SIDE)
    width, height = job.films.original_sizes[position]
    scale = min(1.0, FILM_SIDE / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(film).resize(size, Image.Resampling.LANCZOS))


def _data_uri(pixels: npt.NDArray[np.uint8], kind: str) -> str:
    stream = io.BytesIO()
    options: dict[str, Any] = {"quality": 82} if kind == "JPEG" else {"optimize": True}
    Image.fromarray(pixels).save(stream, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
