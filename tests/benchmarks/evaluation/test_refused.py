"""What an evaluation refuses, and in which words: settings, networks, folders and data that do not fit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from asked import asked
from colours import Colours, write_colours

from benchmarks.__main__ import main
from benchmarks.commands.options import pairs
from benchmarks.formats.load import load_dataset
from benchmarks.run.errors import UserError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": None}, r"does not say what its outputs are.*\(red, green, blue\)"),
        ({"classes": ["red", "green"]}, "3 outputs and --classes names 2"),
        ({"classes": ["cat", "dog", "fish"]}, "No category of .*instances.json .* is an output"),
        ({"explain": "all"}, "--explain is 'all'"),
        ({"tolerance_in": "mm"}, "--tolerance-in is 'mm'"),
        ({"grid": 1}, "--grid is 1"),
        ({"limit": 0}, "--limit is 0: it must be at least 1"),
        ({"limit": -3}, "--limit is -3: it must be at least 1"),
        ({"layers": ["color"]}, "no layer 'color'; near it are colour"),
        ({"methods": ["grad_cm"]}, "no method 'grad_cm'; near it are grad_cam"),
        ({"methods": [3]}, "methods holds int"),
        ({"model": "resnet18"}, "--model resnet18: give FILE.py:FACTORY"),
        ({"model": 3}, "model is int"),
        ({"epochs_": 3}, "does not know a setting"),
        ({"dev": "same"}, "thresholds are tuned on other images"),
    ],
)
def test_what_does_not_fit_is_a_sentence_before_anything_runs(settings, message, data, tmp_path):
    settings = {"dev": None, **settings}
    settings["dev"] = data if settings["dev"] else None
    methods = settings.pop("methods", ["center"])
    with pytest.raises(UserError, match=message):
        asked(tmp_path / "out", data, methods, **settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", [np.s_[:, 0, 0], np.s_[:, :, :0]])
def test_a_function_that_gives_something_else_is_told_in_the_report(part, data, tmp_path):
    def wrong(model, images, targets):
        return images[part]

    result = asked(tmp_path, data, ["center", wrong])
    assert "float maps" in result.results.failures["wrong"]
    assert list(result.table["method"].unique()) == ["center"]


def hooked(model):
    model.colour.register_forward_hook(lambda layer, inputs, output: 0 * output)


def trained(model):
    model.colour.weight.data.sub_(0.1)


@pytest.mark.parametrize("change", [hooked, trained])
def test_a_function_that_changes_the_network_is_refused_before_others_explain_it(change, data, tmp_path):
    def careless(model, images, targets):
        change(model)
        return images[:, :1]

    with pytest.raises(UserError, match="the method careless changes the network"):
        asked(tmp_path, data, ["grad_cam", careless])


class NotFinite(Colours):
    """Gives no numbers for what is bright in red, as trials of noise are not."""

    def forward(self, images):
        scores = super().forward(images)
        return torch.where(images[:, 0].amax(dim=(1, 2))[:, None] == 250 / 255, torch.nan, scores)


@pytest.mark.parametrize("further", [{}, {"grid": 2}])
def test_an_image_without_finite_scores_is_named_before_maps_are_computed(further, data, tmp_path):
    known = pytest.fail
    one = load_dataset(data)
    images = tuple(replace(image, labels=image.labels[:1]) for image in one.images) if further else one.images
    images = tuple(replace(image, objects=()) for image in images) if further else images
    with pytest.raises(UserError, match=r"NotFinite gives scores that are not finite for \S*0\.png: mend the network"):
        asked(tmp_path, replace(one, images=images), {"known": known}, model=NotFinite(), **further)
    with pytest.raises(UserError, match=r"0\.png"):  # once more: nothing of it is kept
        asked(tmp_path, replace(one, images=images), {"known": known}, model=NotFinite(), **further)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["measures.csv"], "measures.csv"),
        (["overlays.png", "cache/a"], "overlays.png"),
        (["notes/a.txt"], "notes"),
        (["maps/index.csv"], "maps"),
    ],
)
def test_files_of_others_are_left_alone(names, told, data, tmp_path):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"holds {told} and is no folder of an evaluation.*: choose another --out"):
        asked(tmp_path, data, ["center"])
    found = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == dict.fromkeys(names, "mine")


@pytest.mark.parametrize("name", ["measures.csv", "overlays.png"])
@pytest.mark.parametrize("role", ["data", "dev"])
def test_annotations_and_images_in_the_folder_are_left_alone(name, role, data, tmp_path):
    out = tmp_path / "out"
    asked(out, data, ["center"], limit=1)  # an evaluation's own, so the folder is known
    (out / name).write_bytes(b"mine")
    other = load_dataset(write_colours(tmp_path / "other"))
    if name == "measures.csv":
        other = replace(other, source=out / name)
    else:
        other = replace(other, images=(*other.images[:3], replace(other.images[3], path=out / name)))
    sets = {"data": data, "dev": None, role: other}
    with pytest.raises(UserError, match=r"out holds files of the data .*: choose another --out"):
        asked(out, sets["data"], ["center"], dev=sets["dev"])
    assert (out / name).read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--limit", "0"], "error: --limit is 0: it must be at least 1."),
        (["--value-range", "0"], "error: --value-range has 1 number: give 2, of black and of white."),
        (["--image-size", "10000000"], "error: --image-size is 10000000: it must be at most 16384."),
        (["--accelerator", "tpu"], "--accelerator tpu --devices 1 --strategy auto cannot be had on this machine"),
    ],
)
def test_values_that_no_evaluation_takes_are_a_line(given, message, data, tmp_path, capsys):
    line = ["evaluate", "--model", "torchvision:resnet18", "--weights", "none", "--data", str(data), "--quiet"]
    line += ["--classes", "red,green,blue", "--image-size", "64", "--out", str(tmp_path / "out"), "--methods", "center"]
    assert main([*line, *given]) == 2
    assert message in (said := capsys.readouterr().err)
    assert said.count("\n") == 1


def test_a_column_is_named_once(data, capsys):
    line = ["evaluate", "--data", str(data), "--check", "--columns"]
    with pytest.raises(SystemExit) as stop:
        main([*line, "image=file,x1=left,image=path"])
    assert stop.value.code == 2
    assert "--columns: image is given twice, as file and as path: give it once" in capsys.readouterr().err
    assert pairs("image=file,x1=left") == {"image": "file", "x1": "left"}


def test_check_says_all_that_is_wrong_at_once(data, tmp_path, capsys):
    good = ["evaluate", "--model", "timm:resnet18", "--data", str(data), "--check"]
    assert main(good) == 0
    assert "4 images, 6 objects of 3 categories, all well" in capsys.readouterr().out
    assert main([*good, "--classes", "red,green,fish"]) == 0
    told = capsys.readouterr().out
    assert "1 of 3 categories has no output: blue; 1 of 3 outputs has no category: fish." in told
    assert main([*good, "--classes", "cat"]) == 2
    assert "No category of" in capsys.readouterr().err
    content = json.loads(data.read_text())
    content["images"][0]["width"] = 41
    content["annotations"][1]["category_id"] = 17
    spoilt = data.with_name("spoilt.json")
    spoilt.write_text(json.dumps(content))
    assert main([*good[:4], str(spoilt), "--check"]) == 2
    said = capsys.readouterr()
    assert "17" in said.out + said.err
    assert "41" in said.out + said.err


def test_images_that_do_not_decode_are_told_all_at_once(tmp_path, capsys):
    data = write_colours(tmp_path / "set")
    for number in (1, 3):  # cut behind the header, which alone is read with the annotation
        path = data.parent / "images" / f"{number}.png"
        path.write_bytes(path.read_bytes()[:60])
    line = ["evaluate", "--model", "timm:resnet10t", "--weights", "none", "--data", str(data)]
    line += ["--classes", "red,green,blue", "--out", str(tmp_path / "out"), "--quiet"]
    assert main(line) == 2
    assert "1.png is truncated" in (said := capsys.readouterr().err)
    assert "(2 faults in all; `evaluate --check` lists them)" in said
    assert main([*line, "--check"]) == 2
    told = capsys.readouterr()
    assert "1.png is truncated" in told.out
    assert "3.png is truncated" in told.out
    assert "2 faults; each is named above" in told.err
