from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.data.object_cxr import read_split
from benchmarks.run.directory import saved_config
from benchmarks.speed import scale


def test_a_run_of_many_small_films_needs_few_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "KINDS", 8)
    config = scale.write_run(tmp_path, 20)
    records = read_split(config.data_root, "test")
    assert [len(records), sum(record.label for record in records)] == [20, 5]
    assert len({record.path.stat().st_ino for record in records}) == 8
    assert saved_config(config.out).scoring.methods == ("center",)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_memory_is_read_at_its_peak_without_maps_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    lines = "x = bytearray(b'1') * 60_000_000; time.sleep(0.5); del x; time.sleep(0.2)"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import time; {lines}"\n')
    program.chmod(0o755)
    monkeypatch.setattr(scale.sys, "executable", str(program))
    found = scale.watched("score")
    assert 60e6 < found["bytes"] < 120e6
    assert found["seconds"] > 0.5


def test_slopes_are_bytes_a_film_from_each_size_to_the_next() -> None:
    sizes = {10: (1000, 2), 30: (1100, 5), 130: (1100, 3)}
    table = {
        films: {"score": {"bytes": size, "seconds": 1.0}, "report.html": page} for films, (size, page) in sizes.items()
    }
    assert scale.slopes(table) == {"10 to 30": {"score": 5.0}, "30 to 130": {"score": 0.0}}


@pytest.mark.parametrize("step", scale.BOUND)
def test_the_last_slope_is_judged(step: str) -> None:
    flat = {**dict.fromkeys(scale.BOUND, float(scale.MOST)), "report": 1e6}
    assert scale.too_steep({"10 to 30": {**flat, step: 1e6}, "30 to 130": flat}) == []
    assert scale.too_steep({"10 to 30": flat, "30 to 130": {**flat, step: scale.MOST + 0.1}}) == [step]
    assert scale.too_steep({}) == []
