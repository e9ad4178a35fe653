from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import (
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    NoiseTunnel,
    Saliency,
)
from meta_network import images, net
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from normgrad_attr import CombinedNormGrad, MetaSaliency, NormGrad

pytestmark = pytest.mark.filterwarnings("ignore:Setting backward hooks", "ignore:Input Tensor .* did not already")


def literal(
    build: Callable[[nn.Module], Any], model: nn.Module, x: Tensor, targets: list[int], step: float, **kwargs: Any
) -> list[Any]:
    """A copied model for each sample, trained on it by torch's own optimiser."""
    results = []
    for n, target in enumerate(targets):
        copied = copy.deepcopy(model)
        for p in copied.parameters():
            p.requires_grad_(True)
        optimiser = torch.optim.SGD(copied.parameters(), lr=abs(step), maximize=step < 0)
        own = {k: v[n : n + 1] if isinstance(v, Tensor) else v for k, v in kwargs.items()}
        F.cross_entropy(copied(x[n : n + 1]), torch.tensor([target])).backward()
        optimiser.step()
        optimiser.zero_grad()
        torch.manual_seed(n)
        results.append(build(copied).attribute(x[n : n + 1], target=target, **own))
    return results


METHODS: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "NormGrad": (lambda m: NormGrad(m, m.relu1), {}),
    "NormGrad, own weights": (lambda m: NormGrad(m, m.conv3, extract="layer"), {}),
    "CombinedNormGrad": (lambda m: CombinedNormGrad(m, [m.relu1, m.relu2]), {}),
    "Saliency": (Saliency, {}),
    "LayerGradCam": (lambda m: LayerGradCam(m, m.relu1), {}),
    "GuidedGradCam": (lambda m: GuidedGradCam(m, m.relu1), {}),
    "IntegratedGradients": (IntegratedGradients, {"baselines": torch.rand(3, 3, 12, 12).double(), "n_steps": 3}),
    "NoiseTunnel": (lambda m: NoiseTunnel(InputXGradient(m)), {"nt_samples": 2}),
}


@pytest.mark.parametrize("ascend", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_equals_training_a_copy(name: str, ascend: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    build, kwargs = METHODS[name]
    model, x, targets = net(), images(), [2, 0, 1]
    expected = torch.cat(literal(build, model, x, targets, step=-0.1 if ascend else 0.1, **kwargs))
    method = MetaSaliency(build(model), lr=0.1, ascend=ascend)
    counter = iter(range(3))
    original = MetaSaliency._attribute_one
    # The literal version seeds each sample's noise.
    monkeypatch.setattr(
        MetaSaliency, "_attribute_one", lambda *args: (torch.manual_seed(next(counter)), original(*args))[1]
    )
    found = method.attribute(x, target=targets, **kwargs)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    unmoved = build(model).attribute(x, target=targets, **kwargs)
    assert not torch.allclose(found, unmoved, rtol=1e-3)


def snapshot(model: nn.Module) -> dict[str, Any]:
    return {
        "identity": [(k, id(p), p.requires_grad, p.grad) for k, p in model.named_parameters(remove_duplicate=False)],
        "buffers": [(k, id(b)) for k, b in model.named_buffers()],
        "modes": [m.training for m in model.modules()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()],
    }


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_never_changed(training: bool, failing: bool) -> None:
    model, x = net().train(training), images()
    before, values = snapshot(model), {k: v.clone() for k, v in model.state_dict().items()}
    method = MetaSaliency(Saliency(model), lr=0.5)
    if failing:
        with pytest.raises(TypeError, match="unheard_of"):
            method.attribute(x, target=0, unheard_of=1)
    else:
        method.attribute(x, target=0)
    assert snapshot(model) == before
    assert all(v.equal(values[k]) for k, v in model.state_dict().items())
    assert model.conv2.weight is model.conv3.weight


def test_frozen_parameters_move_too() -> None:
    model, x = net(), images(2)
    expected = MetaSaliency(NormGrad(model, "relu2"), lr=0.1).attribute(x, target=1)
    model.requires_grad_(False)
    with torch.no_grad():
        found = MetaSaliency(NormGrad(model, "relu2"), lr=0.1).attribute(x, target=1)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("target", [1, torch.tensor(1), [1, 1], torch.tensor([1, 1])])
def test_targets(target: Any) -> None:
    model, x = net(), images(2)
    method = MetaSaliency(NormGrad(model, "relu2"), lr=0.1)
    each = torch.cat([method.attribute(one[None], target=1) for one in x])
    torch.testing.assert_close(method.attribute(x, target=target), each)


@pytest.mark.parametrize("target", [(1, 2, 3), [(1, 2, 3), (1, 2, 3)]])
def test_a_target_of_class_and_position_steps_on_the_logits_there(target: Any) -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).double(), images(2)

    class There(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x)[:, :, 2, 3]

    expected = MetaSaliency(NormGrad(There(), model[1]), lr=0.1).attribute(x, target=1)
    torch.testing.assert_close(MetaSaliency(NormGrad(model, "1"), lr=0.1).attribute(x, target=target), expected)


def test_a_single_logit_is_that_of_a_binary_classifier() -> None:
    binary = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 1)).double()

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.binary = binary

        def forward(self, x: Tensor) -> Tensor:
            z = self.binary(x)
            return torch.cat([torch.zeros_like(z), z], 1)

    x = images(2)
    expected = MetaSaliency(NormGrad(Two(), binary[1]), lr=0.1).attribute(x, target=1)
    for target in (None, 0):
        found = MetaSaliency(NormGrad(binary, "1"), lr=0.1).attribute(x, target=target)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["copy", "graphless"])
def test_a_model_that_forward_func_does_not_run(kind: str) -> None:
    model, x = net(), images(2)
    given = copy.deepcopy(model)
    function = (lambda x: model(x)) if kind == "copy" else (lambda x: model(x) + given(x).detach())
    with pytest.raises(
        RuntimeError, match=r"does not depend on the weights of Net; .* the very module that forward_func"
    ):
        MetaSaliency(NormGrad(function, model.relu1), 0.1, model=given).attribute(x, target=0)
    # Its parts are enough.
    parts = MetaSaliency(NormGrad(lambda x: model.head(model.conv1(x).mean((2, 3))), model.conv1), 0.1, model=model)
    assert parts.attribute(x, target=0).shape == (2, 1, 10, 10)


def test_weights_that_parametrize_caches() -> None:
    model, x = net(), images(2)
    parametrizations.weight_norm(model.conv1)
    method = MetaSaliency(NormGrad(model, "relu1"), lr=0.5)
    expected = method.attribute(x, target=[0, 1])
    with parametrize.cached():
        model(x)
        torch.testing.assert_close(method.attribute(x, target=[0, 1]), expected)
    with parametrize.cached():
        method.attribute(x, target=[0, 1])
        model(x).sum().backward()
    assert model.conv1.parametrizations.weight.original1.grad.abs().max() > 0


@pytest.mark.filterwarnings("ignore:FSDP is switching to use `NO_SHARD`", "ignore:.*FullyShardedDataParallel")
@pytest.mark.parametrize("version", [1, 2])
def test_sharded_weights_are_refused(version: int, tmp_path: Any) -> None:
    distributed = torch.distributed
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        from torch.distributed import fsdp

        cpu, model = torch.device("cpu"), nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        if version == 1:
            model = fsdp.FullyShardedDataParallel(model, device_id=cpu, use_orig_params=True)
        elif not hasattr(fsdp, "fully_shard"):
            pytest.skip("this torch has no FSDP 2")
        else:
            fsdp.fully_shard(model, mesh=distributed.device_mesh.init_device_mesh("cpu", (1,)))
        with pytest.raises(ValueError, match="are sharded by FSDP"):
            MetaSaliency(Saliency(model))
    finally:
        distributed.destroy_process_group()


def test_a_function_around_a_model_needs_the_model() -> None:
    model, x = net(), images(2)
    function = lambda x: model(x, None, 2.0)  # noqa: E731
    with pytest.raises(ValueError, match=r"forward_func of NormGrad is a plain function.*model="):
        MetaSaliency(NormGrad(function, model.relu1))
    found = MetaSaliency(NormGrad(function, model.relu1), 0.1, model=model).attribute(x, target=0)
    expected = MetaSaliency(NormGrad(model, "relu1"), 0.1).attribute(x, target=0, additional_forward_args=(None, 2.0))
    torch.testing.assert_close(found, expected)


def test_bound_methods_and_wrapped_models() -> None:
    model, x = net(), images(2)
    expected = MetaSaliency(NormGrad(model, "relu1"), 0.1).attribute(x, target=0)
    for forward in (model.forward, nn.DataParallel(model), torch.compile(model, backend="eager")):
        found = MetaSaliency(NormGrad(forward, model.relu1), 0.1).attribute(x, target=0)
        torch.testing.assert_close(found, expected)


def test_inside_a_noise_tunnel() -> None:
    model, x = net(), images(2)
    method = NoiseTunnel(MetaSaliency(CombinedNormGrad(model, ["relu1", "relu2"]), 0.1))
    assert method.attribute(x, target=0, nt_samples=2, stdevs=0.1).shape == (2, 1, 12, 12)


def test_what_it_says_of_itself() -> None:
    model = net()
    assert MetaSaliency(IntegratedGradients(model)).has_convergence_delta()
    assert not MetaSaliency(NormGrad(model, "relu1")).has_convergence_delta()
    assert MetaSaliency(InputXGradient(model)).multiplies_by_inputs


@pytest.mark.parametrize("lr", [-1.0, float("nan"), float("inf")])
def test_learning_rates_that_make_no_sense(lr: float) -> None:
    with pytest.raises(ValueError, match="ascend=True"):
        MetaSaliency(Saliency(net()), lr)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "does not tell the class"),
        ([0, 1, 2], "3 targets were given for 2 samples"),
        ([], "0 targets"),
        (1.0, "does not fit.*class index"),
        ("cat", "does not fit.*class index"),
        (torch.tensor([0.0, 1.0]), "does not fit.*class index"),
    ],
)
def test_targets_that_name_no_class(target: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MetaSaliency(Saliency(net())).attribute(images(2), target=target)


def test_targets_of_numpy() -> None:
    method, x = MetaSaliency(NormGrad(net(), "relu1"), lr=0.1), images(2)
    torch.testing.assert_close(method.attribute(x, np.array([1, 2])), method.attribute(x, [1, 2]))
    torch.testing.assert_close(method.attribute(x, np.int64(2)), method.attribute(x, 2))


def test_other_errors() -> None:
    model, x = net(), images(2)
    with pytest.raises(TypeError, match="instance of a Captum attribution"):
        MetaSaliency(Saliency)
    with pytest.raises(ValueError, match="empty batch"):
        MetaSaliency(Saliency(model)).attribute(x[:0], target=0)
    with pytest.raises(RuntimeError, match="inference_mode"), torch.inference_mode():
        MetaSaliency(Saliency(model)).attribute(x, target=0)
    with pytest.raises(ValueError, match="does not fit"):
        MetaSaliency(Saliency(model)).attribute(x, target=7)
    with pytest.raises(ValueError, match=r"One sample gives an output of shape \(3,\).* the batch first"):
        MetaSaliency(Saliency(lambda x: model(x)[0]), model=model).attribute(x, target=0)
    with pytest.raises(RuntimeError, match="does not depend on the weights of Linear"):
        MetaSaliency(Saliency(lambda x: x.mean((2, 3))), model=nn.Linear(1, 1)).attribute(x, target=0)


@pytest.mark.parametrize("of", ["pruned", "normalised"])
@pytest.mark.parametrize("method", [lambda m: NormGrad(m, "1"), lambda m: MetaSaliency(NormGrad(m, "1"), lr=0.5)])
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_weights_that_old_hooks_compute_are_those_of_before(of: str, method: Any) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 2)).eval()
    if of == "pruned":
        prune.l1_unstructured(model[0], "weight", 0.5)
    else:
        nn.utils.weight_norm(model[0])
    weight = model[0].weight
    method(model).attribute(torch.rand(2, 3, 8, 8), target=1)
    assert model[0].weight is weight
    assert weight.requires_grad
    weight.sum().backward()  # a regulariser of the user's
