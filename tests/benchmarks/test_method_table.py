"""What every method of the registry promises, on a tiny residual network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_network import SIZE, TinyResNet, assert_same, count_films, snapshot

from benchmarks.methods import METHODS, Context

BUDGET = 24
TARGETS = torch.tensor([1, 0])
UNABLE = {"lrp"}  # a residual network is no chain
ABLE = [name for name in METHODS if name not in UNABLE]


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def counted():
    torch.manual_seed(3)
    network = TinyResNet().eval()
    return network, count_films(network.conv1)


@pytest.fixture(scope="module")
def context(counted):
    generator = torch.Generator().manual_seed(5)

    def training():
        for _ in range(2):
            yield torch.randn(6, 3, SIZE, SIZE, generator=generator), torch.tensor([0, 1, 0, 1, 1, 0])

    network, _ = counted
    return Context(network, SIZE, BUDGET, training)


@pytest.mark.parametrize("name", ABLE)
def test_method(name, context, counted, images):
    network, counter = counted
    method = METHODS[name]
    before = snapshot(network)
    given = images.clone()
    numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002
    explain = method.prepare(context)

    torch.manual_seed(7)
    counter["films"] = 0
    maps = explain(given, TARGETS)
    forwards = counter["films"] / len(images)

    assert maps.shape[:2] == (2, 1)
    assert maps.ndim == 4
    assert maps.is_floating_point()
    assert maps.isfinite().all()
    assert not maps.requires_grad
    if method.reduction != "positive" and name != "grad_cam":  # of which nothing may be left
        assert (maps.flatten(1).std(dim=1) > 0).all()
    if method.reduction in ("absolute", "positive"):
        assert (maps >= 0).all()

    assert {"none": 0, "one_pass": 1}.get(method.cost, BUDGET / 3) <= forwards
    assert forwards <= {"none": 0, "one_pass": 3}.get(method.cost, BUDGET)

    torch.manual_seed(7)
    again = explain(given, TARGETS)
    assert torch.equal(again, maps)

    if method.random:
        torch.manual_seed(8)
        assert not torch.equal(explain(given, TARGETS), maps)
    else:
        for i in range(2):
            alone = explain(given[i : i + 1], TARGETS[i : i + 1])
            largest = maps[i].abs().max()
            torch.testing.assert_close(alone[0] / largest, maps[i] / largest, rtol=1e-3, atol=1e-4)

    assert_same(before, snapshot(network))
    assert torch.equal(given, images)
    assert not given.requires_grad
    assert np.random.get_state()[1].tolist() == numpy_state  # noqa: NPY002


def test_cost_classes_are_told_apart_by_gradients_and_budget():
    assert {name for name, method in METHODS.items() if method.cost == "perturbation"} == {
        "score_cam", "ablation_cam", "occlusion", "feature_ablation", "shapley_value_sampling", "kernel_shap", "lime",
        "rise",
    }  # fmt: skip
    for method in METHODS.values():
        assert (method.cost == "none") == (method.family == "baseline")
        assert "fast" not in method.sets or method.cost in ("none", "one_pass")
