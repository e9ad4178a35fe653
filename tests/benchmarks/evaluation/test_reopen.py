"""What later commands make of the folder of an evaluation, which holds no network."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from asked import SETTINGS
from colours import CLASSES, SIDE, Colours, channel_of_target, write_colours
from tiny_run import make_run
from torch import nn

from benchmarks.__main__ import main
from benchmarks.consistency.compare import compare
from benchmarks.evaluation.evaluate import evaluate
from benchmarks.evaluation.reopen import open_evaluation
from benchmarks.formats.coco import box_of_size
from benchmarks.formats.labelled import LabelledImage, LabelledObject, LabelledSet
from benchmarks.formats.load import load_dataset
from benchmarks.formats.run_lengths import RunLengths
from benchmarks.methods import METHODS
from benchmarks.run.errors import UserError


def one_left(model, images, targets):
    """The known map, moved by a pixel."""
    return channel_of_target(model, images, targets).roll(-1, dims=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An evaluation with a method of the user's, thresholds of other images, and kept maps; its report is written."""
    root = tmp_path_factory.mktemp("set")
    methods = {"known": channel_of_target, "center": "center", "grad_cam": "grad_cam"}
    settings = {**SETTINGS, "dev": write_colours(root / "dev"), "keep_maps": True, "layers": ["colour"]}
    result = evaluate(Colours(), write_colours(root / "test"), methods, out=root / "out", measure_films=4, **settings)
    result.report()
    return root / "out"


def elsewhere(folder, tmp_path, monkeypatch):
    """The same folder as another session finds it, without the user's function, annotations and results' tables."""
    copied = shutil.copytree(folder, tmp_path / "copied")
    monkeypatch.delitem(METHODS, "known")
    monkeypatch.setattr(nn.Conv2d, "forward", lambda *_: pytest.fail("a network has run"))
    return copied


def test_report_makes_every_file_again_from_the_results(folder, tmp_path, monkeypatch):
    copied = elsewhere(folder, tmp_path, monkeypatch)
    kept = {"environment.json", "evaluation.json", "questions.json", "scores.sqlite", "measures.sqlite"}
    made = [path for path in copied.iterdir() if path.is_file() and path.name not in kept and path.name[0] != "."]
    for path in made:
        path.unlink()

    assert main(["report", "--out", str(copied)]) == 0

    assert {"report.html", "overlays.png", "summary.csv", "by_class.csv", "measures.csv"} <= {
        path.name for path in made
    }
    assert [path.name for path in made if path.read_bytes() != (folder / path.name).read_bytes()] == []


def test_an_evaluation_is_read_as_it_was_returned(folder, tmp_path, monkeypatch):
    copied = elsewhere(folder, tmp_path, monkeypatch)
    result = open_evaluation(copied)
    table = pd.read_csv(folder / "summary.csv")
    pd.testing.assert_frame_equal(result.table, table, check_exact=False, rtol=1e-5, check_dtype=False)
    assert result.maps("known").shape == (6, SIDE, SIDE)
    assert set(open_evaluation(copied, ["grad_cam"]).table["method"]) == {"grad_cam"}
    with pytest.raises(UserError, match="no inputs of it: evaluate once more"):
        result.inputs([0])


def test_a_page_does_without_maps_that_nobody_drew(folder, tmp_path, monkeypatch, capsys):
    copied = elsewhere(folder, tmp_path, monkeypatch)
    shutil.rmtree(copied / "cache")
    assert main(["report", "--out", str(copied)]) == 0
    assert "Maps of center, grad_cam, known were not kept" in " ".join(capsys.readouterr().out.split())
    assert (copied / "overlays.png").is_file()
    assert (copied / "summary.csv").read_bytes() == (folder / "summary.csv").read_bytes()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("score --out {}", "holds an evaluation, which keeps no network"),
        ("measure --out {}", "holds an evaluation, which keeps no network"),
        ("run --out {}", "holds an evaluation, which keeps no network"),
        ("train --out {} --epochs 1", "holds an evaluation, which keeps no network"),
        ("score --checkpoint {0} --out {0}/other", "holds an evaluation, which keeps no network"),
        ("explain a.png --checkpoint {}", "holds an evaluation, which keeps no network"),
        ("report --out {} --truth box", "--truth belongs to what"),
        ("report --out {} --methods grad_cm", "no method 'grad_cm'"),
        ("report --out {} --methods random", "no method could run, choose others with --methods"),
        ("compare {}", "at least two different"),
    ],
)
def test_other_commands_refuse_it_in_a_sentence(line, message, folder, capsys):
    before = {path: path.read_bytes() for path in folder.rglob("*.json")}
    assert main(line.format(folder).split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1
    assert {path: path.read_bytes() for path in folder.rglob("*.json")} == before


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("evaluation.json", '{"model": "mine"}', "missing required field"),
        ("evaluation.json", "{", "it is no JSON"),
        ("evaluation.json", {"explain": None}, "neither explain nor grid says what was played"),
        ("evaluation.json", {"grid": 2}, "facts lacks grid"),
        ("evaluation.json", {"facts": {}}, "facts lacks scores"),
        ("questions.json", '{"images": []}', "is gone or damaged"),
        ("questions.json", None, "is gone or damaged"),
        ("scores.sqlite", None, "holds no complete scores .* `python -m benchmarks evaluate`"),
    ],
)
def test_what_is_damaged_is_told_with_its_remedy(name, text, message, folder, tmp_path, monkeypatch, capsys):
    copied = elsewhere(folder, tmp_path, monkeypatch)
    if isinstance(text, dict):  # what a record says instead
        text = json.dumps({**json.loads((copied / name).read_text()), **text})
    (copied / name).unlink() if text is None else (copied / name).write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        open_evaluation(copied)
    assert "evaluate`" in str(caught.value)
    assert main(["report", "--out", str(copied)]) == 2


def test_an_evaluation_goes_into_no_run(tmp_path):
    run = make_run(tmp_path, methods=("center",))
    with pytest.raises(UserError, match="holds a run, with a classifier of its own: choose another --out"):
        evaluate(Colours(), write_colours(tmp_path / "set"), ["center"], out=run.out, **SETTINGS)


def test_outlines_of_all_kinds_come_back(tmp_path):
    """Rectangles, polygons in parts, and run lengths."""
    images = load_dataset(write_colours(tmp_path / "set")).images
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[3:30, 5:9] = True
    objects = (
        LabelledObject("red", (RunLengths.of(mask), box_of_size(1, 2, 3, 4)), difficult=True),
        LabelledObject("green", (RunLengths.of(mask),), crowd=True),
    )
    first = LabelledImage("ä: b.png", images[0].path, objects, ("red", "green"), images[0].size, "here")
    data = LabelledSet((first, *images[1:]), CLASSES, "mine", tmp_path)
    result = evaluate(Colours(), data, ["center"], out=tmp_path / "out", measure_films=2, **SETTINGS)
    again = open_evaluation(tmp_path / "out")
    assert again.asked.questions == result.asked.questions
    pd.testing.assert_frame_equal(again.questions, result.questions)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two evaluations of the same questions; in the second the map lies a pixel further left."""
    root = tmp_path_factory.mktemp("two")
    data = write_colours(root / "set")
    for name, method in (("first", channel_of_target), ("second", one_left)):
        methods = {"known": method, "center": "center"}
        evaluate(Colours(), data, methods, out=root / name, measure_films=2, **SETTINGS).report()
    return root


def test_two_networks_are_compared_question_by_question(two, tmp_path, capsys):
    assert main(["compare", str(two / "first"), str(two / "second"), "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "first less second on the same questions" in " ".join(said.split())
    table = pd.read_csv(tmp_path / "comparison.csv").set_index(["protocol", "tolerance", "method"])
    # Inside: red 1/3 and green 2/3; moved, green is inside on all three.
    assert table.loc[("fair", 0, "known"), ["first", "second"]].tolist() == pytest.approx([1 / 2, 2 / 3], abs=1e-5)
    paired = pd.read_csv(tmp_path / "paired.csv").set_index(["protocol", "tolerance", "method"])
    row = paired.loc[("fair", 0, "known")]
    assert row["difference"] == pytest.approx(-1 / 6, abs=1e-5)
    assert (row["only_a"], row["only_b"], row["p"], row["differs"]) == (0, 1, 1, False)
    assert row["ci_low"] <= row["difference"] <= row["ci_high"] <= 0
    assert paired.loc[("fair", 15, "center"), "difference"] == 0
    text = (tmp_path / "comparison.md").read_text()
    assert "bootstrap interval over images" in text
    assert "| questions | 6 about 4 images | 6 about 4 images |" in text


def test_images_are_left_out_of_evaluations(two, tmp_path):
    (tmp_path / "list.csv").write_text("image\n0.png\n3.png: red\n")
    compare([two / "first", two / "second"], tmp_path, tmp_path / "list.csv")
    table = pd.read_csv(tmp_path / "comparison.csv").set_index(["protocol", "tolerance", "method"])
    # Left are red on 1 (23 and 8 px off), green on 2 and 3, inside both.
    assert table.loc[("fair", 15, "known"), ["first", "second"]].tolist() == [0.5, 1]


def test_evaluations_of_other_questions_are_not_paired(two, tmp_path):
    data = load_dataset(two / "set" / "instances.json")
    fewer = LabelledSet(data.images[:3], CLASSES, "coco", data.source)
    evaluate(Colours(), fewer, ["center"], out=tmp_path / "fewer", measure_films=2, **SETTINGS).report()
    compare([two / "first", tmp_path / "fewer"], tmp_path / "both")
    assert (tmp_path / "both" / "comparison.csv").is_file()
    assert not (tmp_path / "both" / "paired.csv").exists()


def test_grids_alone_are_read_and_reported_but_not_compared(two, tmp_path):
    record = json.loads((two / "first" / "evaluation.json").read_text())
    shutil.copytree(two / "first", tmp_path / "grids")
    (tmp_path / "grids" / "evaluation.json").write_text(json.dumps({**record, "explain": None}))
    with pytest.raises(UserError, match=r"the Grid Pointing Game alone, whose table is grid\.csv"):
        compare([two / "first", tmp_path / "grids"])
