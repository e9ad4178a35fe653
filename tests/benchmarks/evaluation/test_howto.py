"""The stranger's session of docs/howto/evaluate.md: its command as it stands there, on pictures that it names."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import timm
import torch
from colours import CLASSES, SIDE, Colours, write_colours
from safetensors.torch import save_file

from benchmarks.__main__ import main
from benchmarks.evaluation.evaluate import evaluate
from benchmarks.shapes.coco_set import write_coco

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "evaluate.md"


def test_the_first_command_of_the_page_ends_in_a_report(tmp_path, monkeypatch):
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    line = re.search(r"python -m benchmarks (evaluate [^\n]*)", text)[1]
    monkeypatch.chdir(tmp_path)
    write_coco(Path(), "pictures", seed=0, count=6)
    torch.manual_seed(0)
    save_file(timm.create_model("resnet10t", num_classes=3).state_dict(), "mine.safetensors")
    assert main([*shlex.split(line), "--methods", "center,grad_cam", "--quiet"]) == 0  # the paper's take half a minute
    assert Path("runs/mine/report.html").is_file()
    table = pd.read_csv("runs/mine/summary.csv")
    assert set(table["method"]) == {"center", "grad_cam"}
    assert table["images"].eq(table["images"][0]).all()


def test_the_session_in_python_is_ten_lines_at_most():
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (session,) = [code for code in blocks if "timm.create_model" in code]
    assert sum(1 for row in session.splitlines() if row.strip()) <= 10


def test_quantus_measures_kept_maps_by_the_lines_of_the_page(tmp_path, monkeypatch):
    pytest.importorskip("quantus", reason="the suite does without Quantus")
    (lines,) = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    data = write_colours(tmp_path / "set")
    model = Colours()
    result = evaluate(
        model, data, ["grad_cam"], classes=CLASSES, layers=["colour"], out="out", keep_maps=True, measure_films=2,
        preparation={"size": (SIDE, SIDE)}, accelerator="cpu", quiet=True,
    )  # fmt: skip
    names: dict[str, Any] = {"result": result, "model": model}
    exec(lines, names)
    assert len(names["sparseness"]) == len(names["inside"]) == 4
    # Of the brightest pixels, as many as the mask has, all lie inside but for one that is put beside it.
    assert min(names["inside"]) > 0.9


@pytest.mark.parametrize("option", ["--grid", "--keep-maps", "--dev", "--tolerance-in", "--explain", "--layers"])
def test_options_are_on_the_page(option):
    assert option in PAGE.read_text(encoding="utf-8")
