"""Films and maps for the gallery of the HTML report: which are shown, and how they fit into one page."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from benchmarks.analysis.tallies import explaining
from benchmarks.classifier.network import normalise
from benchmarks.films.decode import decode
from benchmarks.methods import Context, Method
from benchmarks.metrics.frame import FRAME
from benchmarks.metrics.pointing_game import PROTOCOLS
from benchmarks.run.files import whole_file
from benchmarks.scoring.batch import explain_within_memory
from benchmarks.scoring.job import Job

FILMS = 24
"""Most films in a gallery."""
METHODS_WITH_MAPS = 24
"""Most methods with maps in a gallery; with the sizes below this bounds the page, whatever films and maps look like."""
MAP_SIDE = 64
"""Side of a stored map: the eye needs no more under a film of a few hundred pixels."""
FILM_SIDE = 480
"""Longer side of a film in the page."""
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
    spaced = np.linspace(0, len(rest) - 1, most - len(worst) - len(divided)).round().astype(int)
    chosen = {*worst, *divided, *rest.index[spaced]}
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
    job: Job,
    methods: Sequence[Method],
    positions: Sequence[int],
    seconds: dict[str, float],
    folder: Path,
    *,
    show: bool = False,
) -> dict[str, npt.NDArray[np.uint8]]:
    """Compute small maps of the predicted class, keeping each method's as soon as they are there.

    Methods that draw random numbers draw others than in scoring, so their maximum may lie elsewhere.

    Args:
        job: Network and films.
        methods: Whose maps.
        positions: Films, the most important first.
        seconds: Time a film by method, as measured in scoring; a method gets :data:`SECONDS` in all.
        folder: Where maps are kept; those of the same films and network are not computed again.
        show: Draw a progress bar.

    Returns:
        By method, uint8 (films, 64, 64) for the first of the films, as many as the time allows.
    """
    digest = hashlib.sha256(f"1 {job.digest()} {list(positions)}".encode()).hexdigest()[:24]
    folder = folder / digest
    context = job.context()
    result = {}
    for method in track(methods, "Drawing maps", console=Console(stderr=True), transient=True, disable=not show):
        path = folder / f"{method.name}.npy"
        if not path.exists():
            affordable = int(SECONDS / max(seconds.get(method.name, 0.0), 1e-9))
            maps = _compute(job, method, context, list(positions)[:affordable])
            with whole_file(path) as stream:
                np.save(stream, maps)
        result[method.name] = np.load(path)
    return result


def _compute(job: Job, method: Method, context: Context, positions: list[int]) -> npt.NDArray[np.uint8]:
    if not positions:
        return np.zeros((0, MAP_SIDE, MAP_SIDE), dtype=np.uint8)
    explain = method.prepare(context)
    parts = []
    with torch.random.fork_rng(devices=[job.device] if job.device.type == "cuda" else []):
        torch.manual_seed(job.seed)
        for start in range(0, len(positions), job.batch_size):
            films = torch.stack([job.films[i][0] for i in positions[start : start + job.batch_size]])
            images = normalise(films.to(job.device))
            with torch.no_grad():
                targets = job.network(images).argmax(dim=1)
            parts.append(shrink(explain_within_memory(explain, images, targets)))
    return np.concatenate(parts)


def shrink(maps: Tensor) -> npt.NDArray[np.uint8]:
    """Maps for the eye: 64 x 64, from the minimum (0) to the 99.5th percentile, or a sparse map's maximum (255).

    Args:
        maps: Float (N, 1, h, w).

    Returns:
        uint8 (N, 64, 64); zeros for a map that is constant.
    """
    maps = torch.nan_to_num(maps.detach().cpu().double(), nan=0.0, posinf=0.0, neginf=0.0)
    if min(maps.shape[-2:]) >= MAP_SIDE:
        maps = F.adaptive_avg_pool2d(maps, MAP_SIDE)
    else:
        maps = F.interpolate(maps, size=(MAP_SIDE, MAP_SIDE), mode="bilinear", align_corners=False)
    flat = maps.flatten(1)
    low, high = flat.amin(dim=1), flat.quantile(0.995, dim=1)
    high = torch.where(high > low, high, flat.amax(dim=1))  # a map of a few spikes
    spread = high - low
    flat_map = spread <= 1e-9 * flat.abs().amax(dim=1)
    unit = (flat - low[:, None]) / torch.where(flat_map, torch.ones_like(spread), spread)[:, None]
    unit[flat_map] = 0
    return (unit.clamp(0, 1) * 255).round().to(torch.uint8).view(-1, MAP_SIDE, MAP_SIDE).numpy()


def gallery_entries(
    job: Job, positions: Sequence[int], maps: dict[str, npt.NDArray[np.uint8]], scores: pd.DataFrame
) -> list[dict[str, Any]]:
    """Everything that the page needs of its films.

    Returns:
        One dictionary a film, ready for JSON: ``name``, ``width`` and ``height``; ``film`` and ``maps`` as data URIs
        (the maps of all methods below each other); ``drawn``, the methods that have a map; ``shapes`` with
        points as shares of the film; ``target``, ``probability``, and ``points`` by protocol and method as
        [x, y, distance], x and y as shares, or None for a map that is not finite.
    """
    names = {job.films.records[position].name for position in positions}
    rows = explaining(scores[scores["image"].isin(names)])
    points = {key: group.set_index("method") for key, group in rows.groupby(["image", "protocol"])}
    entries = []
    for i, position in enumerate(positions):
        record = job.films.records[position]
        width, height = job.films.original_sizes[position]
        drawn = [name for name, stack in maps.items() if i < len(stack)]
        sheet = np.concatenate([maps[name][i] for name in drawn]) if drawn else np.zeros((1, MAP_SIDE), np.uint8)
        first = points[record.name, PROTOCOLS[0]].iloc[0]
        entries.append(
            {
                "name": record.name,
                "width": width,
                "height": height,
                "film": _data_uri(_small_film(record.path), "JPEG"),
                "maps": _data_uri(sheet, "PNG"),
                "drawn": drawn,
                "shapes": [
                    {
                        "kind": shape.kind,
                        "points": [[round(x / width, 4), round(y / height, 4)] for x, y in shape.points],
                    }
                    for shape in record.shapes
                ],
                "target": int(first["target"]),
                "probability": float(first["probability"]),
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


def _small_film(path: Path) -> npt.NDArray[np.uint8]:
    film, (width, height) = decode(path, FILM_SIDE)
    scale = min(1.0, FILM_SIDE / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(film).resize(size, Image.Resampling.LANCZOS))


def _data_uri(pixels: npt.NDArray[np.uint8], kind: str) -> str:
    stream = io.BytesIO()
    options: dict[str, Any] = {"quality": 82} if kind == "JPEG" else {"optimize": True}
    Image.fromarray(pixels).save(stream, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
