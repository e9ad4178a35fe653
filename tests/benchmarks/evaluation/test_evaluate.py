from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from asked import INPUT, QUIET, asked
from captum.attr import LayerGradCam
from colours import CLASSES, DISTANCES, OBJECTS, SIDE, Colours, channel_of_target, write_colours
from PIL import Image
from ten_images import CATEGORY, write_ten
from tiny_network import TinyResNet
from tiny_run import make_run
from torch import nn

import benchmarks
from benchmarks.__main__ import main
from benchmarks.classifier.checkpoints import load_classifier
from benchmarks.classifier.network import MEAN, STD
from benchmarks.evaluation.evaluate import evaluate
from benchmarks.formats.load import load_dataset
from benchmarks.models import Preparation, open_model
from benchmarks.run.errors import UserError
from benchmarks.scoring.score import ScoreStep, open_job, score


@pytest.fixture(scope="module")
def result(data, tmp_path_factory):
    """The known method as a function, as one of Captum's objects and as one of the suite's."""
    network = Colours()
    methods = {"known": channel_of_target, "captum": LayerGradCam(network, network.colour), "grad_cam": "grad_cam"}
    return asked(tmp_path_factory.mktemp("out"), data, methods, model=network, layers=["colour"], measure_films=4)


def test_distances_are_those_worked_out_by_hand(result):
    scores = result.results.scores
    for method in ("known", "captum", "grad_cam"):
        rows = scores[(scores["method"] == method) & (scores["protocol"] == "fair")].set_index("image")
        for image, name, _, right in OBJECTS:
            assert rows.loc[f"{image}.png: {name}", "distance"] == DISTANCES[right], (method, image, name)


def test_accuracy_is_the_mean_over_classes_with_the_pooled_one_beside_it(result):
    table = result.table
    rows = table[(table["method"] == "known") & (table["protocol"] == "fair")].set_index("tolerance")
    # Red: 0, 23 and 38 px; green: 8, 0 and 0 px.
    np.testing.assert_allclose(rows["accuracy"], [(1 / 3 + 2 / 3) / 2, (1 / 3 + 1) / 2, (2 / 3 + 1) / 2])
    np.testing.assert_allclose(rows["pooled"], [3 / 6, 4 / 6, 5 / 6])
    assert rows["images"].eq(4).all()
    assert rows["questions"].eq(6).all()
    # Difficult: on images with both colours, and less than a quarter covered; all four are.
    np.testing.assert_allclose(rows["difficult"], [(1 / 2 + 1 / 2) / 2, (1 / 2 + 1) / 2, (1 / 2 + 1) / 2])
    assert rows["difficult_questions"].eq(4).all()


def test_by_class(result):
    rows = result.by_class
    rows = rows[(rows["method"] == "known") & (rows["protocol"] == "fair") & (rows["tolerance"] == 15)]
    rows = rows.set_index("class")
    assert dict(rows["questions"]) == {"red": 3, "green": 3}
    np.testing.assert_allclose(rows.loc[["red", "green"], "accuracy"], [1 / 3, 1])


def test_an_equal_method_is_no_different(result):
    rows = result.significance
    assert not rows["differs"].any()
    assert rows["p"].eq(1).all()


def test_the_report_is_the_same_from_python_and_from_the_command_line(result, data, tmp_path):
    page = result.report(tmp_path / "python")
    text = page.read_text(encoding="utf-8")
    assert "4 images; 2 classes" in text
    assert "Question by question" in text
    assert "95 % interval over images" in " ".join(text.split())
    assert ", in the mean over classes" in text
    assert (tmp_path / "python" / "breakdown_class.png").is_file()
    (tmp_path / "model.py").write_text(
        "from tests.benchmarks.colours import Colours\n\n\ndef make():\n    return Colours()\n"
    )
    line = [
        "evaluate", "--model", f"{tmp_path}/model.py:make", "--data", str(data), "--classes", "red,green,blue",
        "--image-size", str(SIDE), "--layers", "colour", "--methods", "grad_cam", "--accelerator", "cpu", "--quiet",
        "--out", str(tmp_path / "line"),
    ]  # fmt: skip
    assert main(line) == 0
    for name in ("summary.csv", "by_class.csv"):
        both = [pd.read_csv(tmp_path / of / name).drop(columns="seconds_per_image", errors="ignore") for of in
                ("python", "line")]  # fmt: skip
        chosen = both[0][both[0]["method"] == "grad_cam"].reset_index(drop=True)
        pd.testing.assert_frame_equal(chosen, both[1])
    rows = pd.read_parquet(tmp_path / "line" / "scores.parquet")
    expected = {(f"{image}.png", name) for image, name, *_ in OBJECTS}
    assert set(zip(rows["image"], rows["class"], strict=True)) == expected


PLURAL = re.compile(r"\b1 (questions|images|classes|films|methods|maps|objects|categories|grids|false positives)\b")


@pytest.mark.parametrize("colours", [("red",), ("red", "green")])
def test_one_of_anything_is_singular(colours, data, tmp_path, capsys):
    one = load_dataset(data)
    objects = tuple(found for found in one.images[0].objects if found.category in colours)
    single = replace(one, images=(replace(one.images[0], objects=objects, labels=colours),), categories=colours)
    for _ in range(2):  # of which the second has nothing to do
        result = asked(tmp_path, single, ["grad_cam"], layers=["colour"], quiet=False, measure_films=2)
    page = result.report().read_text()
    files = [path for kind in ("summary.md", "tables.md", "*.svg") for path in tmp_path.glob(kind)]
    written = "\n".join(path.read_text() for path in files)
    told = "\n".join([written, page[page.index('id="data"') :].partition("</script>")[0], capsys.readouterr().out])
    assert PLURAL.findall(told) == []
    assert "films" not in written
    expected = (
        ["1 question about 1 image", "1 question, a class and an image"] if len(colours) == 1 else ["(1 question)"]
    )
    for words in (*expected, "about 1 image", "the method takes"):
        assert words in told


def test_images_of_several_sizes_as_they_are(tmp_path):
    """Each is an input of its own size, and so are its maps, those of the page too."""
    data = write_colours(tmp_path / "set")
    path = tmp_path / "set" / "images" / "1.png"
    content = json.loads(data.read_text())
    Image.open(path).resize((2 * SIDE, SIDE), Image.Resampling.NEAREST).save(path)
    content["images"][1]["width"] = 2 * SIDE
    for one in content["annotations"]:
        if one["image_id"] == 1:
            x, y, width, height = one["bbox"]
            one["bbox"] = [2 * x, y, 2 * width, height]
    data.write_text(json.dumps(content))
    settings = {"preparation": {**INPUT, "resize": "shorter"}, "layers": ["colour"], "measure_films": 4}
    result = asked(tmp_path / "out", data, ["grad_cam"], keep_maps=True, tolerance_in="image", **settings)
    rows = result.results.scores.query("protocol == 'fair'").set_index("image")
    assert rows.loc["1.png: red", "distance"] in (3, 4)  # two pixels right of it, which are four now
    assert result.report().is_file()


def sure_of_green(data):
    """Two images of one class each, and a network that finds all of them green."""
    images = load_dataset(data).images
    single = load_dataset(data).__class__(images[1:3], CLASSES, "coco", data)
    network = Colours()
    with torch.no_grad():
        network.colour.weight[1] = 3 * network.colour.weight.sum(dim=0)
    return single, network


def test_the_page_of_predicted_classes_knows_the_wrong_ones(data, tmp_path):
    single, network = sure_of_green(data)
    result = asked(tmp_path, single, [channel_of_target], model=network, explain="predicted", measure_films=2)
    result.report()
    assert "## By target" in (tmp_path / "tables.md").read_text()


def test_a_second_start_computes_nothing(data, tmp_path, capsys):
    calls = []

    def known(model, images, targets):
        calls.append(len(images))
        return channel_of_target(model, images, targets)

    first = asked(tmp_path, data, [known])
    counted = len(calls)
    second = asked(tmp_path, data, [known])
    assert len(calls) == counted + 1  # the look at what the function does
    pd.testing.assert_frame_equal(first.table, second.table)

    def known(model, images, targets):
        return -channel_of_target(model, images, targets)

    third = asked(tmp_path, data, [known])  # of the same name, and other maps
    assert not third.table["accuracy"].equals(second.table["accuracy"])


def test_tolerances_in_pixels_of_the_image(data, tmp_path):
    result = asked(tmp_path, data, [channel_of_target], tolerance_in="image")
    scores = result.results.scores[result.results.scores["protocol"] == "fair"].set_index("image")
    for image, name, _, right in OBJECTS:
        assert scores.loc[f"{image}.png: {name}", "distance"] == right


def test_a_limit_is_met(data, tmp_path):
    table = asked(tmp_path, data, ["center"], limit=3).table
    assert table["images"].eq(3).all()


def test_threads_are_those_asked_for(data, tmp_path):
    before = torch.get_num_threads()
    try:
        asked(tmp_path, data, ["center"], threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_the_predicted_class_is_explained_for_images_of_one_class(data, tmp_path):
    single, network = sure_of_green(data)
    result = asked(tmp_path, single, [channel_of_target], model=network, explain="predicted")
    verdicts = result.results.verdicts.set_index("image")
    assert dict(verdicts["target"]) == {"1.png": 1, "2.png": 1}
    assert dict(verdicts["label"]) == {"1.png": 0, "2.png": 1}
    true = result.results.true_scores.set_index(["image", "protocol"])
    assert true.loc[("1.png", "fair"), "distance"] == DISTANCES[2]
    with pytest.raises(UserError, match=r"instances.json.*the image shows 2 classes \(red, green\)"):
        asked(tmp_path / "other", data, [channel_of_target], explain="predicted")


class BlueUnlessRed(nn.Module):
    """One output, the logit of red."""

    def __init__(self):
        super().__init__()
        self.colours = Colours()

    def forward(self, images):
        scores = self.colours(images)
        return {"logits": scores[:, :1] - scores[:, 2:]}


def test_one_output_is_a_class_and_its_absence(data, tmp_path):
    result = asked(
        tmp_path, data, ["grad_cam", "normgrad_conv1x1_single"], model=BlueUnlessRed(), classes=["red"],
        layers=["colours.colour"],
    )  # fmt: skip
    scores = result.results.scores
    rows = scores[(scores["protocol"] == "fair") & (scores["method"] == "grad_cam")].set_index("image")
    assert dict(rows["distance"]) == {"0.png: red": 0.0, "1.png: red": 23.0, "3.png: red": 38.0}


def test_the_same_images_in_any_format_give_the_same_table(tmp_path):
    """To the last digit: nothing but the format differs."""
    torch.manual_seed(0)
    model = open_model(TinyResNet(), classes=["clean", CATEGORY], size=(64, 64))
    tables = {}
    for name, (path, images) in write_ten(tmp_path / "set").items():
        found = load_dataset(path, images=images)
        result = evaluate(
            model, found, ["center", "grad_cam", "random"], out=tmp_path / name, truth="box", measure_films=2, **QUIET,
            classes=None,
        )  # fmt: skip
        tables[name] = result.table.drop(columns="seconds_per_image")
    first = tables["coco"]
    assert first["accuracy"].between(0, 1).all()
    assert first["accuracy"].nunique() > 2
    for table in tables.values():
        pd.testing.assert_frame_equal(first, table, check_exact=True)


def test_object_cxr_through_the_open_path_gives_the_rows_of_its_run(tmp_path):
    config = make_run(tmp_path, methods=("paper",))
    score(config)
    job = open_job(config)
    with ScoreStep().reading(config, job) as store:
        expected, expected_true = store.scores(), store.true_scores()
    size = (config.image_size, config.image_size)
    model = open_model(
        load_classifier(config.out), Preparation(size, MEAN, STD, resampling="lanczos"), classes=["clean", CATEGORY]
    )
    found = load_dataset(config.data_root / "test.csv")
    result = evaluate(
        model, found, ["paper"], out=tmp_path / "open", explain="predicted", truth="box", score_batch_size=2,
        measure_films=2, **QUIET,
    )  # fmt: skip
    for rows, others in ((expected, result.results.scores), (expected_true, result.results.true_scores)):
        columns = [column for column in rows.columns if column != "seconds"]
        assert len(rows)
        pd.testing.assert_frame_equal(rows[columns], others[columns])


@pytest.mark.parametrize(
    "stopped_in", ["evaluation.evaluate.look", "evaluation.evaluate.play", "scoring.score.ScoreStep.compute"]
)
def test_a_stopped_evaluation_goes_on_in_its_folder(stopped_in, data, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr(f"benchmarks.{stopped_in}", stop)
        with pytest.raises(KeyboardInterrupt):
            asked(tmp_path, data, ["center"], keep_maps=True)
    assert list(tmp_path.iterdir())
    assert not (tmp_path / "evaluation.json").exists()
    assert len(asked(tmp_path, data, ["center"], keep_maps=True).questions) == 6


def test_importing_costs_nothing():
    code = "import sys, benchmarks; assert 'torch' not in sys.modules; print(benchmarks.evaluate.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "evaluate"
    assert benchmarks.evaluate is evaluate


def test_another_default_device_of_torch_changes_nothing(data, tmp_path):
    """What an evaluation makes is where its job is; on meta, whatever is made elsewhere has no numbers."""
    model = Colours()
    games = ["grad_cam", "random", "center", "edge", "rise", "feature_ablation"]

    def known(model, images, targets):
        return images[torch.arange(len(images), device="cpu"), targets][:, None]

    def played(out):
        result = asked(out, data, {"known": known, **{name: name for name in games}}, model=model, layers=["colour"],
                       measure_films=4, budget=20, keep_maps=True)  # fmt: skip
        assert not result.results.failures
        assert result.inputs([1])[1].tolist() == [1]
        return result

    torch.set_default_device("meta")
    try:
        found = played(tmp_path / "meta")
        found.report()
    finally:
        torch.set_default_device(None)
    rows = found.results.scores.query("method == 'known' and protocol == 'fair'").set_index("image")
    assert {f"{image}.png: {name}": DISTANCES[right] for image, name, _, right in OBJECTS} == dict(rows["distance"])
    plain = played(tmp_path / "plain")
    pd.testing.assert_frame_equal(
        *(
            one.table.drop(columns="seconds_per_image").sort_values(
                ["method", "protocol", "tolerance"], ignore_index=True
            )
            for one in (found, plain)
        )
    )
    pd.testing.assert_frame_equal(found.measures, plain.measures)


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


MODES = {
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": partial(torch.autocast, "cpu", torch.bfloat16),
    "float64": partial(default_dtype, torch.float64),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_of_torch_around_a_call_changes_nothing(mode, result, data, tmp_path):
    """As in a notebook that opens with one; the distances are those worked out by hand."""
    model = Colours()
    with MODES[mode]():
        found = asked(tmp_path, data, {"known": channel_of_target, "grad_cam": "grad_cam"}, model=model,
                      layers=["colour"], measure_films=4)  # fmt: skip
        assert not found.results.failures
        found.report()
    methods = ["known", "grad_cam"]
    tables = [one.results.scores[one.results.scores["method"].isin(methods)] for one in (found, result)]
    order = ["method", "protocol", "image"]
    pd.testing.assert_frame_equal(
        *(one.drop(columns="seconds").sort_values(order, ignore_index=True) for one in tables)
    )


def test_what_a_function_does_to_its_images_is_its_own(data, tmp_path):
    def careless(model, images, targets):
        maps = channel_of_target(model, images, targets)
        images.zero_()
        targets.zero_()
        return maps

    found = asked(tmp_path, data, {"careless": careless, "known": channel_of_target}, measure_films=4)
    rows = found.results.scores.query("method == 'known' and protocol == 'fair'").set_index("image")
    assert {f"{image}.png: {name}": DISTANCES[right] for image, name, _, right in OBJECTS} == dict(rows["distance"])
