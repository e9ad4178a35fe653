"""NormGrad on a device: is it what a CPU computes, and what does it cost beside inference, in float32 and autocast?

``python -m benchmarks.speed.on_device``; :file:`gpu.sh` runs it with all else that wants a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.run.files import write_json
from benchmarks.speed.subjects import subject
from benchmarks.speed.timing import interleave, paired_ratio
from normgrad_attr import CombinedNormGrad, NormGrad
from normgrad_attr.functional import AGGREGATES, EXTRACTS

TOLERANCE = 1e-4
"""Largest difference of a map from the CPU's, as a share of that map's largest value."""


def worst_difference(name: str, device: torch.device, size: int) -> dict[str, float]:
    """Largest difference between the maps of a device and of a CPU, by extract, aggregate, and for the combined map.

    Args:
        name: Of a network in ``SUBJECTS``.
        device: That is compared with a CPU.
        size: Side of the images in pixels.

    Returns:
        Shares of the largest value of the CPU's map.
    """
    case = subject(name)
    torch.manual_seed(0)
    network = case.build().eval()
    images, target = torch.rand(2, 3, size, size), torch.tensor([1, 0])

    def maps() -> dict[str, Tensor]:
        here = next(network.parameters()).device
        method = NormGrad(network, case.last, channel_dim=case.channel_dim)
        grid = method.attribute_grid(images.to(here), target.to(here))
        combined = CombinedNormGrad(network, case.four, channel_dim=case.channel_dim)
        found = {
            f"{extract}, {aggregate}": grid[extract, aggregate] for extract in EXTRACTS for aggregate in AGGREGATES
        }
        return {**found, "combined": combined.attribute(images.to(here), target.to(here))}

    with _float32():
        truth = maps()
        network.to(device)
        there = {key: of_device.cpu() for key, of_device in maps().items()}
    return {
        key: float((there[key] - one).abs().max() / one.abs().max().clamp(min=torch.finfo(one.dtype).tiny))
        for key, one in truth.items()
    }


def costs(name: str, device: torch.device, size: int, batch: int, repeats: int) -> dict[str, Any]:
    """Time of NormGrad at the last layer and of four combined, as multiples of plain inference.

    Args:
        name: Of a network in ``SUBJECTS``.
        device: Where.
        size: Side of the images in pixels.
        batch: Their number.
        repeats: Rounds.
    """
    case = subject(name)
    network = case.build().eval().to(device)
    images = torch.rand(batch, 3, size, size, device=device)
    target = torch.zeros(batch, dtype=torch.long, device=device)
    single = NormGrad(network, case.last, channel_dim=case.channel_dim)
    combined = CombinedNormGrad(network, case.four, channel_dim=case.channel_dim)

    def infer() -> Any:
        with torch.no_grad():
            return network(images)

    calls: dict[str, Callable[[], Any]] = {
        "inference": infer,
        "normgrad": lambda: single.attribute(images, target),
        "combined": lambda: combined.attribute(images, target),
    }
    result: dict[str, Any] = {}
    for precision in ("float32", "autocast"):
        context = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "autocast")
        with context:
            seconds = interleave({key: _finished(call, device) for key, call in calls.items()}, repeats)
        ratios = {key: paired_ratio(seconds[key], seconds["inference"]).median for key in calls}
        result[precision] = {"milliseconds": 1e3 * sorted(seconds["inference"])[repeats // 2], "ratios": ratios}
    return result


def _finished(call: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """A call that waits for the device."""

    def finished() -> None:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return finished


@contextlib.contextmanager
def _float32() -> Iterator[None]:
    """Convolutions in float32, whatever tensor cores would round."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def main() -> int:
    """Write ``on_device.json``; 1 where a map differs by more than :data:`TOLERANCE`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.on_device", description=__doc__)
    parser.add_argument("--device", default="cuda", metavar="D", help="default: cuda")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), metavar="DIR", help="default: runs/gpu")
    parser.add_argument("--quick", action="store_true", help="one network and small images, to see that it works")
    given = parser.parse_args()
    device, quick = torch.device(given.device), given.quick
    networks = ("resnet18",) if quick else ("resnet18", "resnet50", "vit_b_16")
    size, batches, repeats = (64, (2,), 3) if quick else (224, (8, 64), 20)
    differences = {name: worst_difference(name, device, size) for name in networks}
    times = {f"{name}, batch {n}": costs(name, device, size, n, repeats) for name in networks for n in batches}
    facts = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    write_json(given.out / "on_device.json", {"device": facts, "differences": differences, "times": times})
    worst = max((value, name, cell) for name, cells in differences.items() for cell, value in cells.items())
    print(f"largest difference from a CPU: {worst[0]:.2e} of the map's largest value ({worst[1]}, {worst[2]})")
    for case, by_precision in times.items():
        for precision, found in by_precision.items():
            ratios = ", ".join(f"{key} {value:.2f}" for key, value in found["ratios"].items() if key != "inference")
            print(f"{case}, {precision}: inference {found['milliseconds']:.1f} ms; x inference: {ratios}")
    return int(worst[0] > TOLERANCE)


if __name__ == "__main__":
    raise SystemExit(main())
