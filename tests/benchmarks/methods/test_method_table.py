"""What every method of the registry promises, on a tiny residual network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_network import SIZE, TinyResNet, assert_same, count_films, snapshot

from benchmarks.methods import METHODS, Context
from normgrad_attr import smooth

BUDGET = 20
TARGETS = torch.tensor([1, 0])
UNABLE = {"lrp"}  # a residual network is no chain
ABLE = [name for name in METHODS if name not in UNABLE]


@pytest.fixture(scope="module")
def images():
    return smooth(torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2)), sigma=3) * 10


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
    if not name.startswith("normgrad_bias_single"):  # average pooling has the same gradient everywhere
        varied = maps.flatten(1).std(dim=1) > 0
        assert varied.any() if method.reduction == "positive" else varied.all()  # nothing positive may be left
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
        alone = explain(given[1:], TARGETS[1:])[0]
        assert (alone - maps[1]).abs().mean() <= 1e-3 * maps[1].abs().mean()

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
