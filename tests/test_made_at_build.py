"""What the documentation shows of stored runs is theirs: commands that make them, costs worked out from them."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.__main__ import build_parser
from benchmarks.commands.steps import configure
from benchmarks.run.directory import saved_config

ROOT = Path(__file__).parent.parent
RUNS = sorted(path.parent for path in (ROOT / "docs" / "results").glob("*/summary.md"))


@pytest.fixture(scope="module")
def made() -> Iterator[ModuleType]:
    pytest.importorskip("sphinx", reason="the extra docs is not installed; .ci/run has it where it builds the pages")
    folders = [str(ROOT / "docs" / "extensions"), str(ROOT / "examples")]
    sys.path[:0] = folders
    try:
        yield importlib.import_module("made_at_build")
    finally:
        del sys.path[: len(folders)]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_the_command_shown_makes_the_run(made: ModuleType, run: Path) -> None:
    """Parsed as the command line does it, the command gives the very settings that are stored."""
    words = shlex.split(made.command(run).replace(" --data DIR", " --data /films"))
    assert words[:3] == ["python", "-m", "benchmarks"]
    settings = vars(build_parser().parse_args(words[3:]))
    settings.pop("debug", None)
    parsed = configure(settings.pop("command"), settings).to_dict()
    stored = saved_config(run).to_dict()
    for where in ("out", "data", "checkpoint", "quiet", "threads"):  # these move no number
        parsed.pop(where)
        stored.pop(where)
    assert parsed == stored


def test_costs_are_worked_out_from_the_seconds_of_the_run(made: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "summary.csv").write_text("method,seconds_per_image\nslow,0.36\nfast,0.036\n")
    (tmp_path / "environment.json").write_text('{"threads": 2, "accelerator": "cpu"}')
    (tmp_path / "config.json").write_text('{"arch": "resnet34", "image_size": 600}')
    rows = [line for line in made.cost.table(tmp_path).splitlines() if line.startswith("| `")]
    assert rows == ["| `fast` | 36.0 | 60.0 |", "| `slow` | 360.0 | 600.0 |"]  # 100,000 films


def test_measures_are_shown_by_method_and_measure(made: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "measures.csv"
    path.write_text("method,measure,value,better\na,iou,0.5,higher\nb,iou,0.25,higher\nb,deletion,0.125,lower\n")
    assert made.measures_table(path) == [
        "| method | iou (higher is better) | deletion (lower is better) |",
        "| --- | ---: | ---: |",
        "| a | 0.500 |  |",
        "| b | 0.250 | 0.125 |",
    ]


def test_an_interval_stays_on_one_line(made: ModuleType) -> None:
    assert made.unbroken("| 93.7 [89.2, 97.4] | [-0.1, 0.2] |\n[a, b]") == (
        "| 93.7 [89.2,\N{NO-BREAK SPACE}97.4] | [-0.1,\N{NO-BREAK SPACE}0.2] |\n[a, b]"
    )


def test_the_speed_report_is_shown_with_its_command(made: ModuleType, tmp_path: Path) -> None:
    assert "No measurement is stored" in made.speed_section(tmp_path, tmp_path)
    run = tmp_path / "speed"
    run.mkdir()
    settings = {
        "networks": ["resnet18", "vit_b_16"],
        "batch": 8,
        "image_size": 224,
        "repeats": 20,
        "threads": 2,
        "calls": 9,
    }
    (run / "speed.json").write_text(json.dumps({"settings": settings}))
    (run / "speed.md").write_text("# Title\n\nWords.\n\n## Bounds\n\n![Curves](speed.png)\n")
    (run / "speed.png").write_bytes(b"picture")
    text = made.speed_section(run, tmp_path)
    line = next(line for line in text.splitlines() if line.startswith("$ python"))
    parsed = vars(build_parser().parse_args(shlex.split(line)[4:]))
    assert {name: parsed[name] for name in ("batch", "image_size", "repeats", "threads")} == {
        name: settings[name] for name in ("batch", "image_size", "repeats", "threads")
    }
    assert parsed["networks"] == ("resnet18", "vit_b_16")
    assert "### Bounds" in text
    assert "# Title" not in text
    assert "](made/speed.png)" in text
    assert (tmp_path / "speed.png").read_bytes() == b"picture"


def test_what_a_gpu_showed_is_made_from_its_stored_result(made: ModuleType, tmp_path: Path) -> None:
    assert "No result of it is stored" in made.gpu_section.section(tmp_path)
    found = {
        "device": "NVIDIA X", "torch": "2.11", "image_size": 224, "score": 2e-16,
        "differences": {"a": {"float32": {"bias, sum": 3e-6, "combined": 1e-6}, "float64": {"combined": 4e-15}}},
        "waits": {"a": {"inference": 0, "normgrad": 1}},
        "times": {
            "a, batch 8": {
                "float32": {"milliseconds": 2.96, "ratios": {"normgrad": 3.214, "combined": 4.5, "saliency": 2.0}}
            }
        },
    }  # fmt: skip
    (tmp_path / "on_device.json").write_text(json.dumps(found))
    (tmp_path / "steps.json").write_text('{"train": {"wall": 12.4}, "score": {"wall": 33.7}}')
    (tmp_path / "passed.txt").write_text("7 passed in 1.00s\n")
    (tmp_path / "busy.txt").write_text("61 % of 30 seconds\n")
    text = made.gpu_section.section(tmp_path)
    assert "On one NVIDIA X, torch 2.11:" in text
    assert "| a, 8 | float32 | 3.0 | 3.21 | 4.50 | 2.00 |" in text
    for words in ("7 passed", "3e-06 of a map", "4e-15 in float64", "2e-16.", "device 1 time,", "12 s", "34 s", "61 %"):
        assert words in text


def test_two_machines_are_shown_side_by_side(made: ModuleType, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert "No run of another machine" in made.another_machine.section(here, there)
    hits = {here: (0.905, 0.5), there: (0.8, 0.6)}
    #: better, worse, whether it holds
    differences = {
        here: ["guided_backprop,grad_cam,True", "grad_cam,deep_lift,True", "deep_lift,saliency,False"],
        there: ["guided_backprop,grad_cam,True", "deep_lift,grad_cam,True", "saliency,lrp,True"],
    }
    for run in (here, there):
        run.mkdir()
        (run / "seeds.csv").write_text("seed,auc\n0,0.9\n1,0.95\n" if run is here else "seed,auc\n0,1.0\n")
        rows = [
            f"{name},{protocol},{tolerance},{hit},0.1,1\n"
            for name, hit in zip(("guided_backprop", "grad_cam", "center"), (*hits[run], 0.1), strict=True)
            for protocol in ("fair", "paper")
            for tolerance in (0, 15)
        ]
        (run / "summary.csv").write_text("method,protocol,tolerance,accuracy,ci_low,ci_high\n" + "".join(rows))
        lines = [
            f"{protocol},{tolerance},{row}\n"
            for protocol, tolerance in (("fair", 15), ("fair", 25), ("paper", 15))
            for row in differences[run]
        ]
        (run / "differences.csv").write_text("protocol,tolerance,better,worse,holds\n" + "".join(lines))
    text = made.another_machine.section(here, there)
    assert "here: 0.9000, 0.9500 (mean 0.9250); there: 1.0000 (mean 1.0000)" in text
    assert "| `guided_backprop` | 90.5 [10.0, 100.0] | 80.0 [10.0, 100.0] | 90.5 [10.0, 100.0] |" in text
    assert "center" not in text
    assert (
        "2 differences hold over the seeds here and 3 there,\n1 of them on both machines, and 1 the other way" in text
    )


def test_the_page_of_the_zoo_is_made_from_its_stored_result(made: ModuleType, tmp_path: Path) -> None:
    assert "No survey is stored" in made.zoo_section(tmp_path)
    right = {"verdict": "right"}
    record = {"suggest_layers": right, "layers": ["a"], "normgrad": right, "combined": right, "input": [2, 3, 8, 8]}
    content = {"versions": {"torch": "2.14"}, "architectures": {"timm/tiny": record}}
    (tmp_path / "zoo.json").write_text(json.dumps(content))
    text = made.zoo_section(tmp_path)
    assert "1 architectures with random weights; torch 2.14." in text
    assert "| `tiny` | 3x8x8 | `a` | right | right |  |" in text
    assert not text.startswith("# ")  # the page has a title


def test_the_tables_of_the_readme_are_those_of_the_stored_runs() -> None:
    path = ROOT / "docs" / "extensions" / "readme_tables.py"
    spec = importlib.util.spec_from_file_location("readme_tables", path)
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for kind, number in {"results": 2, "verdicts": 1, "zoo": 1}.items():
        assert text.count(f"<!-- {kind}: ") == text.count(f"<!-- {kind} end -->") == number
    assert tables.filled_in(text) == text


def test_the_page_on_what_maps_follow_is_made_from_stored_results(made: ModuleType, tmp_path: Path) -> None:
    assert "No result is stored" in made.sanity_sections([], tmp_path)
    assert "measured, not assumed" in made.sanity_sentence([])
    run = tmp_path / "synthetic_seeds"
    run.mkdir()
    (run / "config.json").write_text('{"preset": "synthetic", "seeds": 5, "out": "runs/synthetic_seeds"}')
    (run / "consistency.png").write_bytes(b"picture")
    rows = [
        "smoothing,trained,normgrad_conv1x1_combined_suggested,accuracy,0.9,0.8,1,32",
        "randomised,trained,normgrad_conv1x1_combined_suggested,accuracy,0.9,0.8,1,32",
        "randomised,head only,normgrad_conv1x1_combined_suggested,rank_correlation,0.99,0.98,1,32",
        "randomised,all weights,normgrad_conv1x1_combined_suggested,accuracy,0.6,0.5,0.7,32",
        "randomised,all weights,normgrad_conv1x1_combined_suggested,accuracy_difference,-0.3,-0.4,-0.2,32",
        "randomised,all weights,normgrad_conv1x1_combined_suggested,rank_correlation,0.4,0.3,0.5,32",
        "randomised,trained,(chance),accuracy,0.07,,,32",
    ]
    head = "check,variant,method,measure,value,ci_low,ci_high,films"
    (run / "consistency.csv").write_text("\n".join([head, *rows]) + "\n")
    text = made.sanity_sections([run], tmp_path).replace("\N{NO-BREAK SPACE}", " ")
    assert "$ python -m benchmarks run --preset synthetic --seeds 5 --out runs/synthetic_seeds" in text
    assert "$ python -m benchmarks consistency --checkpoint runs/synthetic_seeds" in text
    assert (
        "| normgrad_conv1x1_combined_suggested | both | 90.0 [80.0, 100.0] | 60.0 [50.0, 70.0] | 0.99 | 0.40 |" in text
    )
    assert "### synthetic_seeds: Smoothed or not" in text
    assert (tmp_path / "synthetic_seeds_consistency.png").read_bytes() == b"picture"
    sentence = made.sanity_sentence([run])
    assert "on 60 % of the films of [`synthetic_seeds`](benchmark.md#results) (trained: 90 %, " in sentence
    assert "and follows **the weights and the picture**" in sentence
    assert made.sanity_sentence([run, run]).count("`synthetic_seeds`") == 2
