from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from asked import SETTINGS
from colours import CLASSES, OBJECTS, Colours, channel_of_target, write_colours
from PIL import Image

from benchmarks.evaluation.evaluate import evaluate
from benchmarks.evaluation.grid import GridBatch
from benchmarks.evaluation.measuring import box_table, tuned_values
from benchmarks.formats.load import load_dataset
from benchmarks.methods.shared_pass import SharedPass
from benchmarks.run.errors import UserError


def curve(image, method, values, name="mask", shown=None):
    more = {} if shown is None else {"class": shown}
    return [
        {"image": image, "method": method, "curve": name, "threshold": threshold, "value": value, **more}
        for threshold, value in zip((0.25, 0.5, 0.75), values, strict=True)
    ]


def test_a_threshold_is_tuned_for_each_class_and_method():
    dev = pd.DataFrame(
        [
            *curve("d1", "a", (0.1, 0.6, 0.2), shown="cat"), *curve("d2", "a", (0.9, 0.7, 0.0), shown="cat"),
            *curve("d3", "a", (0.0, 0.0, 0.9), shown="dog"), *curve("d1", "b", (0.5, 0.1, 0.1), shown="cat"),
        ]
    )  # fmt: skip
    masks = pd.DataFrame(
        [
            *curve("t1", "a", (1, 2, 3), shown="cat"), *curve("t2", "a", (4, 5, 6), shown="dog"),
            *curve("t3", "a", (7, 8, 9), shown="fish"), *curve("t1", "b", (10, 11, 12), shown="cat"),
        ]
    )  # fmt: skip
    # a: cats (1.0, 1.3, 0.2) / 2, so 0.5; dogs 0.75; fish as over all, (1.0, 1.3, 1.1) / 3, so 0.5. b: 0.25.
    found = tuned_values(masks, dev).set_index(["image", "method"])["value"]
    assert dict(found) == {("t1", "a"): 2, ("t2", "a"): 6, ("t3", "a"): 8, ("t1", "b"): 10}


def test_max_box_acc_is_the_best_share_at_one_threshold_for_all():
    boxes = pd.DataFrame(
        [
            *curve("q1", "a", (0.6, 0.4, 0.1), "box"), *curve("q2", "a", (0.1, 0.5, 0.9), "box"),
            *curve("q3", "a", (0.7, 0.9, 0.2), "box"),
        ]
    )  # fmt: skip
    questions = pd.DataFrame({"file": ["1", "2", "3"], "class": ["cat"] * 3}, index=["q1", "q2", "q3"])
    (row,) = box_table(boxes, questions, seed=0).itertuples()
    assert row.value == pytest.approx(2 / 3)
    assert row.films == 3
    assert row.ci_low <= row.value <= row.ci_high


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    root = tmp_path_factory.mktemp("set")
    data = write_colours(root / "test")
    dev = write_colours(root / "dev")
    methods = {"known": channel_of_target, "center": "center"}
    return evaluate(Colours(), data, methods, dev=dev, out=root / "out", outputs="sigmoid", **SETTINGS)


def test_measures_of_a_map_that_is_the_object(result):
    values = result.measures.set_index(["method", "measure"])["value"]
    # Rectangles of 90 with a pixel of 250: below a threshold of 90/250 the mask is that, and the pixel outside.
    tuned = values["known", "tuned_iou"]
    expected = []
    for _, _, (x1, y1, x2, y2), right in OBJECTS:
        area = (x2 - x1) * (y2 - y1)
        expected.append(area / (area + (right > 0)))
    assert tuned == pytest.approx(np.mean(expected), abs=0.07)  # the frame of 150 px blurs the edges
    assert values["known", "max_box_accuracy"] == 1
    assert values["known", "energy"] > 0.8 > values["center", "energy"]
    assert values["center", "class_sensitivity"] == pytest.approx(1)
    assert set(values["known"].index) == {
        "energy", "iou", "insertion", "deletion", "otsu_iou", "tuned_iou", "max_box_accuracy", "class_sensitivity",
    }  # fmt: skip


def test_true_positives_and_all(result):
    """The thresholds of dev, which shows the same, tell images with a class from those without."""
    table = result.localisation.set_index(["measure", "rows", "method", "class"])["value"]
    for which in ("true positives", "all"):
        assert table["hit_rate", which, "known", "red"] == pytest.approx(1 / 3)
        assert table["hit_rate", which, "known", "green"] == pytest.approx(2 / 3)
        assert table["hit_rate", which, "known", "(mean)"] == pytest.approx(1 / 2)
        assert np.isnan(table["hit_rate", which, "known", "blue"])
    by_question = result.further.measures.query("method == 'known' and measure == 'otsu_iou'").set_index("image")
    red = by_question["value"][[name.endswith("red") for name in by_question.index]]
    assert len(red) == 3
    assert table["otsu_iou", "true positives", "known", "red"] == pytest.approx(red.mean())
    assert table["otsu_iou", "all", "known", "red"] == pytest.approx(red.mean())
    tuned = result.localisation.query("measure == 'tuned_iou' and method == 'known' and `class` == 'red'")
    assert tuned["threshold"].between(0.5, 0.6).all()  # of sigmoids of small means, by the images of dev
    assert set(tuned["questions"]) == {3}


def test_of_one_class_an_image_the_most_likely_is_said(tmp_path):
    """Red is the most likely on 0 and 1, green on 2 and 3; on 0 and 3 the other one is there, too."""
    result = evaluate(Colours(), write_colours(tmp_path / "set"), ["center"], out=tmp_path / "out", **SETTINGS)
    counts = result.localisation.query("measure == 'otsu_iou'").set_index(["rows", "class"])
    said = result.seen.verdicts.chosen
    assert said is not None
    with torch.no_grad():
        inputs, _ = result.inputs([0, 2, 3, 4])
        best = Colours()(inputs).argmax(dim=1).numpy()
    np.testing.assert_array_equal(said, best[:, None] == np.arange(3))
    labelled = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=bool)
    for place, name in enumerate(CLASSES[:2]):
        true, false = (said & labelled)[:, place].sum(), (said & ~labelled)[:, place].sum()
        assert counts.loc[("true positives", name), "questions"] == true
        assert counts.loc[("all", name), ["questions", "false_positives"]].tolist() == [labelled[:, place].sum(), false]
    assert result.localisation["threshold"].isna().all()


def test_images_without_an_object_are_false_positives(tmp_path):
    """Of many some stand for all; the annotation of a label without a place is neither here nor there."""
    data = write_colours(tmp_path / "set")
    content = json.loads(data.read_text())
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] != 3]
    data.write_text(json.dumps(content))
    found = load_dataset(data)
    told = replace(found.images[3], labels=("red",))
    found = replace(found, images=(*found.images[:3], told))
    result = evaluate(Colours(), found, ["center"], out=tmp_path / "out", outputs="sigmoid", **SETTINGS)
    counts = result.localisation.query("measure == 'otsu_iou' and rows == 'all'").set_index("class")
    # Each class is said of each image: green of 1 and 3, red of 2 (of 3 nobody knows where it is), blue of all.
    assert counts["false_positives"][["red", "green", "blue"]].tolist() == [1, 2, 4]
    assert counts["questions"][["red", "green", "blue"]].tolist() == [2, 2, 0]
    assert "false positive" in (result.report().parent / "report.html").read_text()
    assert "# On true positives and on all" in (tmp_path / "out" / "tables.md").read_text()


def test_insertion_is_of_the_class_that_is_asked_for(result):
    """Half of the questions ask for a class that is not the most likely one."""
    measures = result.further.measures
    rows = measures[(measures["method"] == "known") & measures["measure"].isin(["insertion", "deletion"])]
    assert len(rows) == 2 * len(OBJECTS)
    wide = rows.pivot(index="image", columns="measure", values="value")
    assert (wide["insertion"] > wide["deletion"]).all()


def single_colours(root, count=6):
    """A folder a class, all of one colour on black."""
    generator = np.random.default_rng(0)
    for channel, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.zeros((8, 8, 3), dtype=np.uint8)
            pixels[2:6, 2:6, channel] = generator.integers(200, 256, (4, 4))
            Image.fromarray(pixels).save(root / name / f"{name}{number}.png")
    return root


def test_a_grid_needs_as_many_classes_that_the_network_is_sure_of(tmp_path):
    data = single_colours(tmp_path / "photos")
    settings = {**SETTINGS, "preparation": {"size": (8, 8)}}
    with pytest.raises(UserError, match=r"--grid 2 needs images of 4 classes .* there are such images of 0"):
        evaluate(Colours(), data, ["center"], grid=2, out=tmp_path / "out", **settings)  # 40 % for each, at most


def test_a_grid_game_whose_answer_is_known(tmp_path):
    """The known method shows the colour of the class and nothing else, so everything is in the right cell."""

    class Quarters(torch.nn.Module):
        """Red, green, blue, and what is of two colours, told apart for sure."""

        def __init__(self):
            super().__init__()
            self.colours = Colours()

        def forward(self, images):
            red, green, blue = self.colours(images).unbind(dim=1)
            both = torch.minimum(red, green)
            return 1000 * torch.stack([red - 2 * both, green - 2 * both, blue, 3 * both - blue], dim=1)

    root = single_colours(tmp_path / "photos")
    (root / "yellow").mkdir()
    for number in range(3):
        pixels = np.zeros((8, 8, 3), dtype=np.uint8)
        pixels[1:7, 1:7, :2] = 220 + number
        Image.fromarray(pixels).save(root / "yellow" / f"{number}.png")

    def known(model, images, targets):
        red, green, blue = images.unbind(dim=1)
        both = torch.minimum(red, green)
        maps = torch.stack([red - both, green - both, blue, both], dim=1)
        return maps[torch.arange(len(images)), targets][:, None]

    classes = [*CLASSES, "yellow"]
    settings = {**SETTINGS, "classes": classes, "preparation": {"size": (8, 8)}}
    methods = {"known": known, "center": "center"}
    result = evaluate(Quarters(), load_dataset(root), methods, grid=2, out=tmp_path / "out", **settings)
    table = result.table.set_index("method")
    assert table.loc["known", "energy"] == pytest.approx(1, abs=0.03)  # stretching blurs over the border of cells
    assert table.loc["known", "maximum"] == 1
    assert table.loc["center", "energy"] == pytest.approx(0.25, abs=0.01)
    assert (table["chance"] == 0.25).all()
    assert result.report().read_text().count("| known |") == 1
    again = evaluate(Quarters(), load_dataset(root), methods, grid=2, out=tmp_path / "out", **settings)
    pd.testing.assert_frame_equal(result.table, again.table)
    methods["known"] = lambda model, images, targets: 1 - known(model, images, targets)  # another one by the same name
    other = evaluate(Quarters(), load_dataset(root), methods, grid=2, out=tmp_path / "out", **settings)
    assert other.table.set_index("method").loc["known", "maximum"] < 0.5


def test_methods_of_one_grid_share_a_pass():
    """Each is asked with tensors that are laid out anew."""
    batch, passes = object.__new__(GridBatch), []
    batch._given = {}

    def together(images, targets):
        passes.append(images)
        return [images, 2 * images]

    shared = SharedPass(together, [torch.zeros_like] * 2)
    for number in (0, 1):
        for position in (3, 4):
            images = torch.full((2, 1, 4, 4), float(position))
            maps = batch._of_grid(position, partial(shared.maps, number))(images, torch.tensor([0, 1]))
            assert (maps == position * (number + 1)).all()
    assert len(passes) == 2
