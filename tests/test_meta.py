from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from captum.attr import (
    GradientShap,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    LayerActivation,
    LayerGradCam,
    LayerGradientXActivation,
    NoiseTunnel,
    Saliency,
)
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from normgrad_attr import CombinedNormGrad, MetaSaliency, NormGrad

pytestmark = pytest.mark.filterwarnings("ignore:Setting backward hooks", "ignore:Input Tensor .* did not already")


class Net(nn.Module):
    """With tied weights, a buffer, dropout and a second, optional input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(4, 4, 3)
        self.conv3 = nn.Conv2d(4, 4, 3)
        self.conv3.weight = self.conv2.weight
        self.norm = nn.BatchNorm2d(4)
        self.relu2 = nn.ReLU()
        self.drop = nn.Dropout()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor, shift: Tensor | None = None, scale: float = 1) -> Tensor:
        x = self.relu1(self.conv1(x if shift is None else x + shift))
        x = self.relu2(self.norm(self.conv3(self.conv2(x))))
        return self.head(self.drop(x).mean((2, 3))) * scale


def net() -> Net:
    model = Net().double()
    model(torch.randn(4, 3, 12, 12).double())
    return model.eval()


def images(n: int = 3) -> Tensor:
    return torch.randn(n, 3, 12, 12).double()


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


def test_tuples_and_lists_and_further_arguments_are_taken_apart_and_put_together() -> None:
    model, x, shift = net(), images(), images()
    method = MetaSaliency(InputXGradient(model), lr=0.1)
    found = method.attribute((x, shift), target=[0, 1, 2], additional_forward_args=2.0)
    assert isinstance(found, tuple)
    for n in range(3):
        one = method.attribute((x[n : n + 1], shift[n : n + 1]), target=n, additional_forward_args=(2.0,))
        torch.testing.assert_close(tuple(f[n : n + 1] for f in found), one)
    as_argument = MetaSaliency(InputXGradient(model), lr=0.1).attribute(
        x, target=[0, 1, 2], additional_forward_args=(shift, 2.0)
    )
    torch.testing.assert_close(as_argument, found[0])
    several = MetaSaliency(NormGrad(model, ["relu1", "relu2"])).attribute(x, target=0)
    assert isinstance(several, list)
    assert [len(m) for m in several] == [3, 3]
    layers = MetaSaliency(LayerGradientXActivation(model, [model.relu1, model.relu2])).attribute(x, target=0)
    assert isinstance(layers, list)
    assert MetaSaliency(LayerActivation(model, model.relu1)).attribute(x, target=0).shape == (3, 4, 10, 10)
    attributions, delta = MetaSaliency(IntegratedGradients(model)).attribute(
        x, target=0, return_convergence_delta=True, n_steps=3
    )
    assert attributions.shape == x.shape
    assert delta.shape == (3,)


class Clip(nn.Module):
    """Images against the texts of the classes; and, if given, a shift of each image and a bias of each class."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Linear(6, 5)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        shift: Tensor | None = None,
        bias: Tensor | None = None,
        gated: Tensor | None = None,
    ) -> Tensor:
        image = image if shift is None else image + shift
        logits = 10 * F.normalize(self.image(image), dim=-1) @ text.T
        logits = logits if bias is None else logits + bias
        return logits if gated is None else logits + self.gate * gated.sum()


@pytest.mark.parametrize("own", [(), (1,)])
@pytest.mark.parametrize("shared", [(0,), (0, 2)])
def test_arguments_that_samples_share_are_not_cut_into_rows(own: tuple[int, ...], shared: tuple[int, ...]) -> None:
    # Three samples, three classes: every one of these arguments has three rows.
    model, x = Clip().double(), torch.rand(3, 6).double()
    values = (F.normalize(torch.randn(3, 5).double(), dim=-1), torch.randn(3, 6).double(), torch.randn(3).double())
    arguments = tuple(v if i in own + shared else None for i, v in enumerate(values))
    method = MetaSaliency(NormGrad(model, "image"), lr=0.5)
    found = method.attribute(x, target=[0, 2, 1], additional_forward_args=arguments)
    for n, target in enumerate([0, 2, 1]):
        copied = copy.deepcopy(model)
        row = [a if a is None or i in shared else a[n : n + 1] for i, a in enumerate(arguments)]
        F.cross_entropy(copied(x[n : n + 1], *row), torch.tensor([target])).backward()
        with torch.no_grad():
            for p in copied.parameters():
                p -= 0 if p.grad is None else 0.5 * p.grad
        expected = NormGrad(copied, "image").attribute(x[n : n + 1], target, tuple(row))
        torch.testing.assert_close(found[n : n + 1], expected, rtol=1e-8, atol=1e-10)


def test_arguments_of_which_it_cannot_be_told_whether_samples_share_them() -> None:
    model, x, text = Clip(), torch.rand(3, 6), torch.randn(4, 5)
    method = MetaSaliency(NormGrad(model, "image"), lr=0.5)
    message = "A further argument has as many rows as there are samples, 3, and the output does not tell"
    # A gate that is still zero hides what it multiplies from the output, but not from the step.
    with pytest.raises(ValueError, match=message):
        method.attribute(x, target=0, additional_forward_args=(text, None, None, torch.rand(3, 1)))
    # The remedies: among the inputs, or one at a time.
    alone = [method.attribute(one[None], 0, (text, one[None])) for one in x]
    texts = MetaSaliency(NormGrad(lambda x, s: model(x, text, s), model.image), lr=0.5, model=model)
    torch.testing.assert_close(texts.attribute((x, x), target=0), torch.cat(alone))
    # A container is handed on whole, and that must be right.
    nested = MetaSaliency(NormGrad(lambda x, d: model(x, text, d["shift"]), model.image), lr=0.5, model=model)
    with pytest.raises(ValueError, match=message):
        nested.attribute(x, target=0, additional_forward_args={"shift": x})
    torch.testing.assert_close(nested.attribute(x, 0, {"shift": x[:1]})[:1], alone[0])


def test_inputs_and_arguments_that_the_model_overwrites() -> None:
    class Overwrites(Clip):
        def forward(self, image: Tensor, text: Tensor, shift: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(image.mul_(2), text.mul_(-1), shift.add_(1))

    class Plain(Clip):
        def forward(self, image: Tensor, text: Tensor, shift: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(2 * image, -text, shift + 1)

    model, plain = Overwrites(), Plain()
    plain.load_state_dict(model.state_dict())
    x, text, shift = torch.rand(3, 6), torch.randn(3, 5), torch.randn(3, 6)
    before = [t.clone() for t in (x, text, shift)]
    expected = MetaSaliency(NormGrad(plain, "image"), lr=0.5).attribute(x, 1, (text, shift))
    torch.testing.assert_close(MetaSaliency(NormGrad(model, "image"), lr=0.5).attribute(x, 1, (text, shift)), expected)
    assert all(a.equal(b) for a, b in zip((x, text, shift), before, strict=True))


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


def test_baselines_that_are_a_distribution_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, seen = net(), images(), []
    original = GradientShap.attribute
    monkeypatch.setattr(
        GradientShap,
        "attribute",
        lambda *a, baselines, **k: (seen.append(len(baselines)), original(*a, baselines, **k))[1],
    )
    MetaSaliency(GradientShap(model)).attribute(x, target=0, baselines=images(3))
    assert seen == [3, 3, 3]


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
    [(None, "does not tell the class"), ([0, 1, 2], "3 targets were given for 2 samples"), ([], "0 targets")],
)
def test_targets_that_name_no_class(target: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MetaSaliency(Saliency(net())).attribute(images(2), target=target)


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
