"""The survey: what is chosen, kept and measured again, and what its tables say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from benchmarks import __main__ as cli
from benchmarks.run.errors import UserError
from benchmarks.zoo import survey
from benchmarks.zoo.architecture import Architecture
from benchmarks.zoo.zoo_tables import beside_peers, by_package, markdown, print_summary, verdict_of

RIGHT = {"verdict": "right"}
GOOD = {
    "input": [2, 3, 8, 8], "layers": ["a", "b"], "channels": [1, 1], "suggest_layers": RIGHT, "normgrad": RIGHT,
    "combined": RIGHT, "explain": RIGHT,
    "forwards": 1.0, "forwards_combined": 1, "changed": [], "cost": 1.1, "cost_combined": 1.5,
    "captum": RIGHT, "captum_changed": [], "pytorch_grad_cam": RIGHT, "pytorch_grad_cam_changed": [".grad"],
    "torchcam": {"verdict": "wrong", "detail": "wrong layout"}, "torchcam_changed": [],
}  # fmt: skip
REFUSED = {
    **GOOD,
    "normgrad": {"verdict": "refused", "detail": "ValueError: Say where."},
    "captum": {"verdict": "wrong"},
}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were run, of three architectures; nothing is computed."""
    names: list[str] = []
    records = {"torch/a": GOOD, "torch/b": REFUSED, "torch/c": GOOD}

    def run(context: Any, work: Any, arguments: tuple[str], seconds: float, mib: float) -> dict[str, Any]:
        names.append(arguments[0])
        return records[arguments[0]]

    entries = [Architecture("torch", name, nn.Identity, 8, 12) for name in "abc"]
    entries.append(Architecture("no_such_package", "d", nn.Identity, 8, 12))
    monkeypatch.setattr(survey, "ARCHITECTURES", {one.key: one for one in entries})
    monkeypatch.setattr(survey, "run_isolated", run)
    monkeypatch.setattr(survey, "processes", lambda preload: None)
    return names


def test_a_survey_goes_on_where_it_stood(ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    survey.zoo(tmp_path, only=["torch/b"])
    survey.zoo(tmp_path)
    assert ran == ["torch/b", "torch/a", "torch/c"]
    stored = json.loads((tmp_path / "zoo.json").read_text())
    assert list(stored["architectures"]) == ["torch/a", "torch/b", "torch/c"]  # of the table, not of the runs
    assert "torch" in stored["versions"]
    monkeypatch.setattr(survey, "_digest", lambda package: "another version")
    survey.zoo(tmp_path, only=["torch/a"])
    assert ran[3:] == ["torch/a"]
    assert list(json.loads((tmp_path / "zoo.json").read_text())["architectures"]) == ["torch/a"]  # none of the other


def test_what_a_limit_stopped_is_tried_again(ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "run_isolated", lambda *_: {"stopped": "the limit of 1 s", "stage": "inference"})
    survey.zoo(tmp_path, only=["torch/a"])
    monkeypatch.setattr(survey, "run_isolated", lambda *_: GOOD)
    survey.zoo(tmp_path, only=["torch/a"])
    assert json.loads((tmp_path / "zoo.json").read_text())["architectures"]["torch/a"]["normgrad"] == RIGHT


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--seconds", "0"], "--seconds is 0: it must be above 0"),
        (["--seconds", "nan"], "--seconds is nan"),
        (["--mib", "-1"], "--mib is -1"),
        (["--out", "taken/zoo"], "taken/zoo cannot be written"),
    ],
)
def test_what_cannot_work_is_said_before_the_first_architecture(
    options: list[str],
    text: str,
    ran: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file")
    assert cli.main(["zoo", *options]) == 2
    assert text in capsys.readouterr().err
    assert not ran


def test_what_cannot_be_run_is_said(ran: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    survey.zoo(tmp_path)
    assert "no_such_package is not installed: pip install no_such_package" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"pip install -e '\.\[zoo\]'"):
        survey.zoo(tmp_path, only=["no_such*"])
    with pytest.raises(UserError, match="no architecture of the zoo is named 'torch/x'"):
        survey.zoo(tmp_path, only=["torch/*", "torch/x"])


@pytest.mark.parametrize(
    "fault",
    [
        {"normgrad": {"verdict": "wrong", "detail": "by far"}},
        {"changed": ["hooks"]},
        {"combined": {"verdict": "crash", "detail": "IndexError"}},
    ],
)
def test_a_fault_of_the_library_ends_in_an_error_after_all_is_written(
    ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    monkeypatch.setattr(survey, "run_isolated", lambda *_: {**GOOD, **fault})
    with pytest.raises(UserError, match="3 of 3 are wrong, crashed or changed, such as torch/a"):
        survey.zoo(tmp_path)
    assert "## What is not right, and why" in (tmp_path / "zoo.md").read_text()


def test_versions_are_of_what_is_installed() -> None:
    found = survey._versions(["timm", "no_such_package"])
    assert {"normgrad-attr", "torch", "captum", "grad-cam", "timm"} <= set(found)
    assert "no_such_package" not in found


def test_verdicts_of_records_that_stop_early() -> None:
    stopped = {"suggest_layers": RIGHT, "stage": "NormGrad", "stopped": "the limit of 9 s"}
    assert verdict_of(stopped, "normgrad") == "stopped"
    assert verdict_of({**stopped, "stopped": "the process died of SIGSEGV"}, "normgrad") == "crash"
    assert verdict_of({**stopped, "stage": "building the network"}, "normgrad") == "not run"
    assert verdict_of({"suggest_layers": {"verdict": "refused"}}, "combined") == "refused"


def test_tables_count_by_package_and_beside_others(capsys: pytest.CaptureFixture[str]) -> None:
    volume = {name: value for name, value in GOOD.items() if name != "explain"}  # which is for images
    records = {"one/a": GOOD, "one/b": REFUSED, "two/c": volume}
    assert by_package(records)[1:] == [
        ["one", "2", "1 right, 1 refused", "2 right", "2 right"],
        ["two", "1", "1 right", "1 right", ""],
        ["all", "3", "2 right, 1 refused", "3 right", "2 right"],
    ]
    assert [row[1:] for row in beside_peers(records)[1:]] == [
        ["2", "0", "1", "0"], ["2", "1", "0", "0"], ["3", "0", "0", "3"], ["0", "3", "0", "0"],
    ]  # fmt: skip
    text = markdown({"versions": {"torch": "2"}, "architectures": records})
    assert "| `b` | 3x8x8 | `a` to `b` | refused | right | right | 1.10 | 1.50 | 1 | wrong | right | wrong |" in text
    assert "- `one/b`, NormGrad refused: `ValueError: Say where.`" in text
    assert "| **NormGrad** |" in text
    print_summary(records)
    assert "*" not in capsys.readouterr().out


def test_every_entry_of_the_table_can_be_named_and_fed() -> None:
    names = set(survey.ARCHITECTURES)
    assert len(names) >= 200
    assert 25 <= len(survey.select(survey.SMALL)) <= 40
    for one in survey.ARCHITECTURES.values():
        inputs = one.inputs()
        assert len(one.axes(inputs)) in (1, 2, 3), one.key
        assert inputs.equal(one.inputs()), one.key


def test_the_command_line_takes_patterns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(survey, "zoo", lambda **settings: given.update(settings))
    assert cli.main(["zoo", "--only", "timm/vit_*,monai/*", "--out", str(tmp_path), "--seconds", "9"]) == 0
    assert given == {"out": tmp_path, "only": ("timm/vit_*", "monai/*"), "seconds": 9}
