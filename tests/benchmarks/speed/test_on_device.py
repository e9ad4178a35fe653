from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.speed import on_device
from benchmarks.speed.subjects import SUBJECTS
from normgrad_attr.functional import AGGREGATES, EXTRACTS

CPU = torch.device("cpu")


def test_all_cells_are_compared_and_a_map_that_differs_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    same = on_device.differences("tiny", CPU, 16, torch.float32)
    assert len(same) == len(EXTRACTS) * len(AGGREGATES) + 1
    assert set(same.values()) == {0.0}
    plain, calls = on_device.CombinedNormGrad.attribute, []

    def off(self: object, *arguments: object) -> torch.Tensor:
        calls.append(1)
        return plain(self, *arguments) * (1.01 if len(calls) == 2 else 1)  # what the device gives

    monkeypatch.setattr(on_device.CombinedNormGrad, "attribute", off)
    found = on_device.differences("tiny", CPU, 16, torch.float64)
    assert found["combined"] == pytest.approx(1.01 ** len(SUBJECTS["tiny"].four) - 1, rel=1e-3)
    assert {found[key] for key in found if key != "combined"} == {0.0}


def test_what_a_device_finds_in_the_same_maps_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_device.worst_score(CPU, 64, 2) == 0
    plain, calls = on_device.FilmBatch.play, []

    def off(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        found = plain(self, *arguments)
        for row in found["plays"]:
            row["iou"] += 0.01 * (len(calls) == 2)  # what the device gives
        found["plays"].reverse()  # a device may take the films in other parts
        return found

    monkeypatch.setattr(on_device.FilmBatch, "play", off)
    assert on_device.worst_score(CPU, 64, 2) == pytest.approx(0.01)


def test_costs_are_multiples_of_inference() -> None:
    found = on_device.costs("tiny", CPU, 16, 2, 3)
    assert set(found) == {"float32", "autocast"}
    assert found["float32"]["ratios"]["inference"] == 1
    assert found["float32"]["ratios"]["combined"] > 0


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell")
def test_the_script_for_a_gpu_can_be_read() -> None:
    script = Path(on_device.__file__).with_name("gpu.sh")
    subprocess.run(["sh", "-n", str(script)], check=True)
    for command in ("train", "score", "report"):
        assert f"python -m benchmarks {command} " in script.read_text(encoding="utf-8")
