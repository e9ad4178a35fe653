"""Damage of chance to a finished run: it is mended or told, never a traceback, and what was whole stays."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cases_of_chance import try_all
from matplotlib.figure import Figure
from mutations import mutated
from tiny_run import make_run

from benchmarks.__main__ import main

pytestmark = pytest.mark.fuzz

SOURCES = ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "scores.sqlite", "measures.sqlite")
"""What a run computes; all else is made of these."""


def command(folder: Path) -> list[str]:
    return [
        "run", "--out", str(folder / "run"), "--data", str(folder / "data"), "--preset", "synthetic",
        "--weights", "none", "--arch", "slim_resnet18", "--image-size", "64", "--epochs", "2", "--batch-size", "4",
        "--score-batch-size", "4", "--measure-films", "4", "--methods", "center,grad_cam,normgrad_conv1x1_single",
        "--allow-weak", "--accelerator", "cpu", "--threads", "1", "--quiet",
    ]  # fmt: skip


def digests(run: Path) -> dict[str, str]:
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in SOURCES if (run / name).is_file()}


def table(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "summary.csv").drop(columns="seconds_per_image")


@pytest.mark.filterwarnings("ignore")  # of damaged files by the libraries that read them
def test_run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Figure, "savefig", lambda _, stream, **__: stream.write(b"figure"))  # they take the most time
    whole, work = tmp_path / "whole", tmp_path / "work"
    make_run(whole)
    shutil.rmtree(whole / "run")
    assert main(command(whole)) == 0
    assert main(["consistency", "--checkpoint", str(whole / "run"), "--films", "4", "--quiet"]) == 0
    assert main(["report", "--out", str(whole / "run"), "--quiet"]) == 0
    config, right = (whole / "run" / "config.json").read_text(), table(whole / "run")
    # One of a folder and a kind at a time: most files are maps in the cache.
    kinds: dict[tuple[Path, str], list[Path]] = {}
    for path in sorted((whole / "run").rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            relative = path.relative_to(whole)
            key = relative if relative.parent == Path("run") else relative.parent
            kinds.setdefault((key, path.suffix), []).append(relative)
    chosen = list(kinds.values())

    def attempt(generator: np.random.Generator) -> str:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(whole, work)
        (work / "run" / "config.json").write_text(config.replace(str(whole), str(work)))
        files = chosen[int(generator.integers(len(chosen)))]
        damaged = files[int(generator.integers(len(files)))]
        content = (work / damaged).read_bytes()
        match int(generator.integers(4)):
            case 0:
                (work / damaged).unlink()
            case 1:
                (work / damaged).write_bytes(content[: int(generator.integers(len(content) + 1))])
            case _:
                (work / damaged).write_bytes(mutated(content, generator))
        before = digests(work / "run")
        capsys.readouterr()
        codes = [main(arguments) for arguments in (["report", "--out", str(work / "run"), "--quiet"], command(work))]
        text = "".join(capsys.readouterr())
        assert "Traceback" not in text, damaged
        assert set(codes) <= {0, 2}, (damaged, codes, text)
        after = digests(work / "run")
        kept = [name for name in before if work / damaged != work / "run" / name]
        assert all(name in after for name in kept), (damaged, text)
        if codes[1]:
            return "told"
        return "mended" if table(work / "run").equals(right) else f"other table: {damaged.name}"

    try_all("run directories", 500, attempt, seconds=60)
