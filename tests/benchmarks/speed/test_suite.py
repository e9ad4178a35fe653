from __future__ import annotations

import itertools
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as cli
from benchmarks.run.errors import UserError
from benchmarks.speed import bounds, suite, worker
from benchmarks.speed.bounds import Bound
from benchmarks.speed.contenders import CELLS, CONTENDERS, Contender, minimal_pass
from benchmarks.speed.measurements import Plan, curve_exponent, measure_network
from benchmarks.speed.subjects import SUBJECTS, make_case
from benchmarks.speed.timing import exponent, interleave, paired_ratio

MIB = 1024**2


def in_a_new_process(function, *arguments):
    """What a function gives where no earlier test has left memory that it could use."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


class Clock:
    """Time that passes only when a call says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def spend(self, seconds):
        self.now += seconds


def test_every_call_is_timed_once_in_each_round_in_changing_orders():
    clock, order = Clock(), []

    def call(name, seconds):
        return lambda: (order.append(name), clock.spend(seconds))

    seconds = interleave({"a": call("a", 1), "b": call("b", 2), "c": call("c", 3)}, 8, clock=clock)
    assert seconds == {"a": [1] * 8, "b": [2] * 8, "c": [3] * 8}
    rounds = [tuple(order[i : i + 3]) for i in range(3, 27, 3)]  # the first three warm up
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) > 1


def test_a_budget_ends_the_rounds_but_not_before_the_third():
    clock = Clock()
    assert len(interleave({"a": lambda: clock.spend(1)}, 10, budget=5.5, clock=clock)["a"]) == 6
    assert len(interleave({"a": lambda: clock.spend(1)}, 10, budget=0, clock=clock)["a"]) == 3
    assert len(interleave({"a": lambda: clock.spend(1)}, 2, budget=0, clock=clock)["a"]) == 2


def test_ratios_are_taken_within_a_round_so_that_a_slow_round_does_no_harm():
    ratio = paired_ratio([2.0, 20.0, 3.0, 2.0, 4.0], [1.0, 10.0, 1.0, 1.0, 1.0])
    assert (ratio.median, ratio.low, ratio.high) == (2.0, 2.0, 3.0)
    with pytest.raises(ValueError, match="shorter"):
        paired_ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_found(p):
    assert exponent([1, 2, 4, 8], [3 * n**p for n in (1, 2, 4, 8)]) == pytest.approx(p)


def test_pixels_count_by_the_square_of_the_side():
    curve = {side: {"normgrad": [side**2, side**2, 99 * side**2]} for side in (32, 64, 96)}
    assert curve_exponent(curve, "normgrad", power=2) == pytest.approx(1)
    assert curve_exponent({224: {"normgrad": [1.0]}}, "normgrad") is None


def peak_behind_a_larger_one(mib):
    torch.ones(160 * MIB // 4)
    return worker.peak_above_idle(lambda: torch.ones(mib * MIB // 4).sum())


@pytest.mark.skipif(sys.platform != "linux", reason="the peak can be reset on Linux only")
@pytest.mark.parametrize("mib", [16, 64])
def test_the_peak_sees_an_allocation_and_not_an_earlier_larger_one(mib):
    peak = in_a_new_process(peak_behind_a_larger_one, mib)
    assert mib - 2 < peak < mib + 8  # the kernel counts pages in lots per processor


def what_stays_behind():
    kept = []

    def cycle():
        tensor = torch.ones(4)
        tensor.itself = tensor

    return (
        worker.growth(lambda: kept.append(torch.ones(40 * MIB // 4)), 4, warm_up=1),
        worker.growth(cycle, 20, warm_up=1),
        worker.growth(lambda: torch.ones(4), 20, warm_up=1),
    )


def test_growth_sees_what_stays_behind_also_in_a_cycle():
    leak, cycle, nothing = in_a_new_process(what_stays_behind)
    assert [left["tensors"] for left in (leak, cycle, nothing)] == [4, 20, 0]
    assert 118 < leak["mib"] < 125  # between the first call and the fourth


def test_a_row_is_measured_in_a_process_of_its_own():
    task = {"network": "tiny", "row": "captum", "batch": 4, "size": 256, "threads": 1}
    peak = worker.in_fresh_process(task="peak", **task)
    # Captum keeps the outputs of all four convolutions for the backward: 4 x 8 x 256 x 256 floats each.
    assert 4 * 8 < peak < 120
    with pytest.raises(UserError, match="failed in a process of its own: TypeError"):
        worker.in_fresh_process(task="peak")


def pairs_of(seconds):
    """Seconds of pairs, 1 where nothing else is said."""
    rounds = (1.0, 2.0, 4.0)
    return {
        pair: {row: [seconds.get(row, 1.0) * s for s in rounds] for row in (pair.numerator, pair.denominator)}
        for pair in bounds.PAIRS
    }


def test_bounds_are_judged_on_paired_medians():
    seconds = {"normgrad": 1.04, "combined": 1.1, "grad_cam": 3.12, "cell_conv3x3_max": 1.2}
    ours, combined, other, window, grid = bounds.time_bounds(pairs_of(seconds))
    assert (ours.value, ours.status) == (pytest.approx(1.04), "pass")
    assert (combined.value, combined.status) == (pytest.approx(1.1), "fail")
    assert (other.value, other.text, other.status) == (pytest.approx(3.0), ">= 2.5", "pass")
    assert (window.value, window.status) == (pytest.approx(1.2), "fail")
    assert window.note.startswith("max")
    assert (grid.value, grid.status) == (pytest.approx(1 / 1.04), "pass")


def test_what_was_not_measured_does_not_pass():
    pairs = pairs_of({})
    del pairs[bounds.OTHERS]
    assert [bound.status for bound in bounds.time_bounds(pairs)].count("not measured") == 1
    assert [bound.status for bound in bounds.memory_bounds({"normgrad": 1.0})] == ["not measured"] * 2
    assert Bound("m", 1.0, 1.0).status == "pass"
    assert Bound("m", float("nan"), 1.0).status == "fail"


def test_memory_growth_scaling_and_import_have_bounds():
    ours, captum = bounds.memory_bounds({"inference": 10.0, "normgrad": 12.0, "captum": 36.0})
    assert (ours.value, ours.status, captum.value, captum.status) == (1.2, "fail", 3.0, "pass")
    grown = bounds.growth_bounds({"tiny": {"mib": 0.0, "tensors": 1}}, 10)
    assert [bound.status for bound in grown] == ["pass", "fail"]
    exponents = {"batch": 1.2, "pixels": None}
    image, batch, pixels = bounds.scaling_bounds({1: [1.0, 2.0], 4: [2.0, 4.0]}, exponents, exponents)
    assert (image.value, image.status, batch.status, pixels.status) == (0.5, "pass", "fail", "not measured")
    assert bounds.import_bound([0.1, 0.3, 0.1]).status == "pass"


def test_the_cost_of_scoring_has_bounds():
    beside = {600: {"rest": [1.0, 1.0], "map": [10.0, 10.0]}, 224: {"rest": [1.0, 1.0], "map": [11.0, 11.0]}}
    shared = {"one": [2.0, 2.0], "together": [3.0, 3.0]}
    small, large, together, whole = bounds.scoring_bounds(beside, shared, (1.3, 1.6))
    assert "224 px" in small.measure
    assert (small.value, small.status) == (pytest.approx(1 / 11), "pass")
    assert (large.value, large.text, large.status) == (pytest.approx(0.1), "<= 0.05", "fail")
    assert (together.value, together.status) == (1.5, "pass")
    assert (whole.value, whole.status) == (1.3, "fail")
    assert "1.6" in whole.note


def test_the_minimal_pass_has_the_gradients_of_autograd():
    network, images, targets = make_case("tiny", 2, 16)
    kept, gradients = minimal_pass(network, ["1", "3"], images, targets)()
    early = network[:2](images).detach().requires_grad_()
    late = network[2:4](early)
    expected = torch.autograd.grad(network[4:](late)[range(2), targets].sum(), [early, late])
    for activation, truth in zip(kept, (early, late), strict=True):
        torch.testing.assert_close(activation, truth)
    for gradient, truth in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, truth)
    assert all(not module._forward_hooks for module in network.modules())
    assert torch.is_grad_enabled()


def test_all_layers_exist_and_are_in_order():
    for name in ("resnet18", "efficientnet_b0", "vit_b_16", "tiny"):
        subject = SUBJECTS[name]
        names = [module for module, _ in subject.build().named_modules()]
        assert {subject.last, subject.weighted} <= set(names)
        for layers in (subject.four, subject.blocks):
            assert [names.index(layer) for layer in layers] == sorted(names.index(layer) for layer in layers)
        assert subject.four[-1] == subject.last


def test_packages_that_are_absent_or_fail_are_reported_and_the_others_measured(monkeypatch):
    def fail(*_):
        raise RuntimeError("tokens are not supported")

    broken = {
        "absent": Contender("Absent", fail, "a_package_that_is_not_there", "its-name"),
        "broken": Contender("Broken", fail, "torch", "torch"),
    }
    for name, contender in broken.items():
        monkeypatch.setitem(CONTENDERS, name, contender)
    for name in ("captum", "torchcam", "grad_cam", "grad_cam_four", "captum_four"):
        monkeypatch.delitem(CONTENDERS, name)
    monkeypatch.setattr("benchmarks.speed.measurements.peak_memory", lambda *_: 1.0)
    costs = measure_network(Plan(("tiny",), batch=1, image_size=16, repeats=1, threads=1), "tiny")
    assert costs.absent == {
        "absent": "not installed: pip install its-name",
        "broken": "fails: RuntimeError: tokens are not supported",
    }
    assert set(costs.seconds) == set(CONTENDERS) - set(broken)
    assert set(costs.mib) == set(costs.seconds) - set(CELLS)


def test_explain_is_compared_with_a_forward_and_a_minimal_pass_of_the_same_round():
    seconds = {"explain": [3.0, 6.0, 9.0], "inference": [1.0, 2.0, 5.0], "minimal_explain": [2.0, 6.0, 5.0]}
    (bound,) = bounds.explain_bounds({"resnet18": seconds})
    assert (bound.value, bound.limit, bound.status) == (0.9, 1.05, "pass")
    assert "resnet18" in bound.measure
    assert "alone: 1.500" in bound.note


def test_the_command_writes_json_markdown_and_a_figure(tmp_path, monkeypatch, capsys):
    fake = itertools.cycle([10.0, 30.0])
    monkeypatch.setattr("benchmarks.speed.measurements.peak_memory", lambda *_: next(fake))
    monkeypatch.setattr("benchmarks.speed.measurements.in_fresh_process", lambda **_: {"mib": 0.0, "tensors": 0})
    monkeypatch.setattr(suite, "import_seconds", lambda: 0.05)
    out = tmp_path / "speed"
    arguments = ["--networks", "tiny", "--batch", "2", "--image-size", "16", "--repeats", "1", "--threads", "1"]
    assert cli.main(["speed", "--quick", "--debug", "--out", str(out), *arguments]) == 0
    content = json.loads((out / "speed.json").read_text())
    assert content["settings"]["networks"] == ["tiny"]
    assert content["conditions"]["met"] is False
    assert len(content["networks"]["tiny"]) == len(CONTENDERS)
    assert {row["status"] for row in content["bounds"]} <= {"pass", "fail", "not measured"}
    assert len(content["bounds"]) == 18
    assert [point["x"] for point in content["curves"]["batch"]["normgrad"]] == [1, 2, 4]
    assert [point["x"] for point in content["curves"]["layers"]["captum"]] == [1, 2, 4]
    assert content["control"]["low"] <= content["control"]["median"] <= content["control"]["high"]
    text = (out / "speed.md").read_text()
    assert all(contender.title in text for name, contender in CONTENDERS.items() if name not in CELLS)
    assert "The bounds are set for resnet18, 8 x 3 x 224 x 224, 2 threads; this run measured tiny" in text
    assert (out / "speed.png").stat().st_size > 10_000
    assert "time: NormGrad at the last layer" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--networks", "resnet19"], "no network 'resnet19': choose from resnet18"),
        (["--networks", "vit_b_16", "--image-size", "128"], "vit_b_16 takes images of 224 pixels only"),
        (["--networks", ","], "--networks names no network"),
        (["--repeats", "0"], "--repeats must be at least 1, not 0"),
    ],
)
def test_wrong_arguments_are_told_at_once(arguments, message, tmp_path: Path, capsys):
    assert cli.main(["speed", "--out", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(suite, "measure_all", lambda _: pytest.fail("measured"))
    with pytest.raises(UserError, match=r"speed cannot be written"):
        suite.speed(tmp_path / "file" / "speed", quick=True, threads=1)
