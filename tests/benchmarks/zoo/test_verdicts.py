"""What the zoo says of a library that is right, refuses, errs or crashes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.zoo import examine as harness
from benchmarks.zoo.architecture import Architecture
from benchmarks.zoo.peers import judge
from benchmarks.zoo.truth import Recorded, grad_cam, norm_map
from benchmarks.zoo.verdicts import attempt, is_sentence, judge_combined, judge_map, worst
from normgrad_attr import NormGrad


def tiny(size: int) -> nn.Module:
    """Two convolutions and a head; takes any size."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


TINY = Architecture("torch", "tiny", tiny, 8, 12)


def examine() -> dict[str, Any]:
    record: dict[str, Any] = {}
    for part in harness.examine(TINY):
        record.update(part)
    return record


def test_a_network_on_which_everything_is_right() -> None:
    record = examine()
    assert [record[column]["verdict"] for column in ("suggest_layers", "normgrad", "combined")] == ["right"] * 3
    assert (record["forwards"], record["forwards_combined"], record["changed"]) == (1, 1, [])
    assert record["input"] == [2, 3, 8, 8]
    assert record["channels"] == [1] * len(record["layers"])
    assert record["inference"] > 0
    assert record["cost"] > 0
    assert record["captum"]["verdict"] == "right"


class WrongLayout(NormGrad):
    """Takes the last dimension for the channels."""

    def attribute(self, inputs: Any, target: Any = None, **_: Any) -> Any:
        names = [name for name, module in self.forward_func.named_modules() if module is self.layer]
        return norm_map(harness.record(self.forward_func, inputs, names, target)[names[0]], 3).float()


class Careless(NormGrad):
    """Runs the network twice and leaves gradients on its weights."""

    def attribute(self, inputs: Any, target: Any = None, **_: Any) -> Any:
        self.forward_func(inputs).sum().backward()
        return super().attribute(inputs, target)


class Failing(NormGrad):
    """Fails without a sentence."""

    def attribute(self, inputs: Any, target: Any = None, **_: Any) -> Any:
        return [][1]


@pytest.mark.parametrize(
    ("method", "verdict", "detail"),
    [(WrongLayout, "wrong", "taken for dimension 3"), (Careless, "right", ""), (Failing, "crash", "IndexError")],
)
def test_a_library_with_a_fault_is_found_out(
    monkeypatch: pytest.MonkeyPatch, method: type, verdict: str, detail: str
) -> None:
    monkeypatch.setattr(harness, "NormGrad", method)
    record = examine()
    assert record["normgrad"]["verdict"] == verdict
    assert detail in record["normgrad"].get("detail", "")
    assert (record["changed"], record["forwards"]) == (
        ([".grad"], 2) if method is Careless else ([], record["forwards"])
    )


def test_a_refusal_is_a_sentence_of_the_library_itself() -> None:
    network = tiny(8).eval()
    _, refused = attempt(lambda: NormGrad(network, "no such layer"))
    assert refused["verdict"] == "refused"
    assert "no layer named" in refused["detail"]
    # An error of torch that merely passes through the library is a crash.
    _, crash = attempt(lambda: NormGrad(network, "0").attribute(torch.rand(1, 5, 8, 8), 0))
    assert crash["verdict"] == "crash"
    assert is_sentence("Pass a larger input, or name the layers.")
    assert not is_sentence("size mismatch")


def test_maps_of_known_and_unknown_layout() -> None:
    truth = Recorded(torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5))
    right = {"verdict": "right"}
    assert judge_map(norm_map(truth, 1), right, truth, 1) == right
    assert judge_map(norm_map(truth, 3), right, truth, 1)["verdict"] == "wrong"
    assert "difference" in judge_map(1.01 * norm_map(truth, 1), right, truth, 1)["detail"]
    assert judge_map(norm_map(truth, 1), right, truth, None)["verdict"] == "unproved"
    assert judge_map(None, {"verdict": "refused"}, truth, 1) == {"verdict": "refused"}
    assert worst([right, {"verdict": "wrong"}, {"verdict": "refused"}]) == {"verdict": "wrong"}


def test_combined_maps_of_another_size_or_value() -> None:
    right, want = {"verdict": "right"}, torch.rand(1, 1, 4, 4, dtype=torch.float64)
    assert judge_combined(want.float(), right, (want, 1.0), 4) == right
    assert judge_combined(1.1 * want, right, (want, 1e9), 4)["verdict"] == "wrong"
    assert "of shape (1, 1, 2, 4)" in judge_combined(want[:, :, :2], right, (want, 1.0), 4)["detail"]
    close = (want**4 + 3e-3 * (want < want.max())) ** 0.25  # apart by roundings of a flat map
    assert judge_combined(close, right, (want, 1.0), 4)["verdict"] == "wrong"
    assert judge_combined(close, right, (want, 50.0), 4) == right
    assert judge_combined(want, right, "nothing tells", 4) == {"verdict": "unproved", "detail": "nothing tells"}


def test_other_packages_are_judged_by_grad_cam_whatever_their_units() -> None:
    truth = Recorded(torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4))
    right, other = grad_cam(truth, 1), grad_cam(truth, 2)

    def verdict(give: Any) -> str:
        return judge(lambda *_: give(), nn.Identity(), "", torch.rand(1), torch.tensor([0]), truth, 1)["verdict"]

    low = right.amin((2, 3), keepdim=True)
    assert verdict(lambda: right) == "right"
    assert verdict(lambda: 7 * right.float()) == "right"
    assert verdict(lambda: (right - low) / (right - low).amax((2, 3), keepdim=True)) == "right"
    resized = nn.functional.interpolate(right - low, (8, 8), mode="bilinear")
    assert verdict(lambda: resized - resized.amin((2, 3), keepdim=True)) == "right"
    assert verdict(lambda: other) == "wrong"
    assert verdict(lambda: 1 / 0) == "fail"


def test_nobody_is_judged_by_a_map_of_roundings() -> None:
    gradient = torch.rand(1, 3, 4, 4)
    truth = Recorded(torch.rand(1, 3, 4, 4), gradient - gradient.mean((2, 3), keepdim=True))
    noise = lambda *_: torch.rand(1, 1, 4, 4)  # noqa: E731
    assert judge(noise, nn.Identity(), "", torch.rand(1), torch.tensor([0]), truth, 1)["verdict"] == "unproved"
