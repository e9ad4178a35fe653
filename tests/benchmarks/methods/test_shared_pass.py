from __future__ import annotations

from functools import partial

import pytest
import torch
from captum.attr import GuidedBackprop, GuidedGradCam, InputXGradient, NoiseTunnel, Saliency
from torch import nn
from torchvision.models import resnet18

from benchmarks.methods import METHODS, Context, Prepared, noise, prepare_together, reduce_channels
from benchmarks.methods.method import Method
from benchmarks.methods.normgrad import LEARNING_RATE, combined
from benchmarks.methods.shared_pass import SharedPass
from benchmarks.run.errors import UserError
from benchmarks.scoring.batch import seeded
from normgrad_attr import MetaSaliency, NormGrad, attribute_together

NAMES = ("normgrad_conv3x3_single", "normgrad_conv1x1_combined", "normgrad_class_sensitive_combined", "grad_cam")
TARGETS = torch.tensor([1, 0, 1])


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return resnet18(num_classes=2).eval()


def test_methods_share_a_forward_and_give_what_each_gives_alone(network):
    context, films = Context(network, 96), torch.randn(3, 3, 96, 96)
    methods = [METHODS[name] for name in NAMES]
    alone = {method.name: method.prepare(context)(films, TARGETS) for method in methods}
    ready, failed, [shared] = prepare_together(methods, context)
    assert failed == {}
    assert [name for name in NAMES if ready[name].shared is shared] == list(NAMES[:3])
    batches = []
    handle = network.register_forward_hook(lambda _, inputs, __: batches.append(len(inputs[0])))
    for again in range(2):
        for name in NAMES[:3]:
            assert torch.equal(ready[name](films, TARGETS), alone[name])
        shared.forget()
        assert batches == [3] * (again + 1)
    handle.remove()


def test_what_was_held_is_not_taken_for_other_films_or_classes(network):
    context, films = Context(network, 96), torch.randn(3, 3, 96, 96)
    method = METHODS["normgrad_conv1x1_combined"]
    explain, alone = prepare_together([method], context)[0][method.name], method.prepare(context)
    first = explain(films, TARGETS)
    assert not torch.equal(explain(films, 1 - TARGETS), first)
    assert torch.equal(explain(films[:2], TARGETS[:2]), alone(films[:2], TARGETS[:2]))
    films.mul_(torch.linspace(0, 1, 96))  # the same memory
    assert torch.equal(explain(films, TARGETS), alone(films, TARGETS))
    assert not torch.equal(explain(films, TARGETS), first)


def test_what_is_held_is_found_without_reading_it(network):
    methods = [NormGrad(network, "layer4"), NormGrad(network, "layer3")]
    shared = SharedPass(partial(attribute_together, methods), [method.attribute for method in methods])
    films = torch.randn(2, 3, 64, 64)
    targets = TARGETS[:2].clone()
    passes = []
    handle = network.register_forward_hook(lambda *_: passes.append(1))
    first = shared.maps(0, films, targets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "equal", None)
        shared.maps(1, films, targets)
        shared.maps(1, *(t.chunk(1)[0] for t in (films, targets)))  # the same memory
        assert len(passes) == 1
        targets.copy_(1 - targets)
        assert not torch.allclose(shared.maps(0, films, targets), first)
    handle.remove()
    assert len(passes) == 2


def test_a_method_that_fails_leaves_the_others_alone(network):
    def unbuilt(context: Context) -> NormGrad:
        raise UserError("not here")

    def broken(context: Context) -> NormGrad:
        return NormGrad(context.network, "avgpool", extract="layer")  # has no weights

    others = [Method(build.__name__, "", build, "normgrad") for build in (unbuilt, broken)]
    method = METHODS["normgrad_conv1x1_single"]
    context, films = Context(network, 96), torch.randn(1, 3, 96, 96)
    ready, failed, _ = prepare_together([*others, method], context)
    assert [str(error) for error in failed.values()] == ["not here"]
    with pytest.raises(ValueError, match="avgpool"):
        ready["broken"](films, TARGETS[:1])
    assert torch.equal(ready[method.name](films, TARGETS[:1]), method.prepare(context)(films, TARGETS[:1]))


def test_a_pass_that_does_not_fit_is_tried_on_fewer_films(network):
    def small(images: torch.Tensor) -> torch.Tensor:
        if len(images) > 1:
            raise MemoryError
        return network(images)

    method = NormGrad(small, network.layer4)
    shared = SharedPass(partial(attribute_together, [method]), [method.attribute])
    films = torch.randn(2, 3, 96, 96)
    with pytest.raises(MemoryError):
        shared.maps(0, films, TARGETS[:2])
    assert shared.maps(0, films[:1], TARGETS[:1]).shape == (1, 1, 3, 3)


def test_methods_pay_the_pass_in_equal_shares(network, monkeypatch):
    clock = iter([0.0, 6.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    names = NAMES[:3]
    ready, _, [shared] = prepare_together([METHODS[name] for name in names], Context(network, 96))
    films, seconds = torch.randn(1, 3, 96, 96), []
    for name, passed in zip(names, (7.0, 1.0, 2.0), strict=True):  # the first includes the pass
        ready[name](films, TARGETS[:1])
        seconds.append(shared.settle(passed))
    assert seconds == [3.0, 3.0, 4.0]
    assert shared.settle(5.0) == 5.0  # of a method that shares nothing
    assert isinstance(ready[names[0]], Prepared)


NOISY = {
    "saliency": (lambda context: Saliency(context.network), {"abs": False}, 8),
    "input_x_gradient": (lambda context: InputXGradient(context.network), {}, 8),
    "guided_backprop": (lambda context: GuidedBackprop(context.guided_network), {}, 4),
    "guided_grad_cam": (
        lambda context: GuidedGradCam(context.guided_network, context.guided_network.layer4[-1]),
        {"interpolate_mode": "bilinear"},
        4,
    ),
    "normgrad_conv1x1_combined": (lambda context: combined(context, "conv1x1"), {}, 8),
}
"""What is smoothed: the method, options, and copies that a budget of eight allows."""
KINDS = {"smoothgrad": "smoothgrad", "smoothgrad_squared": "smoothgrad_sq", "vargrad": "vargrad"}


@pytest.mark.filterwarnings("ignore:Setting (backward|forward)")
def test_methods_on_the_same_noisy_copies_are_those_of_captum_on_these_copies():
    torch.manual_seed(0)
    context, films = Context(resnet18(num_classes=2).eval(), 64, budget=8), torch.randn(3, 3, 64, 64)
    methods = {(base, kind): METHODS[f"{base}_{kind}"] for base in NOISY for kind in KINDS}
    ready, failed, passes = prepare_together(methods.values(), context)
    assert failed == {}
    assert len(passes) == 3
    for (base, kind), method in methods.items():
        make, options, copies = NOISY[base]
        with seeded(5, method, 0, films.device):
            maps = ready[method.name](films, TARGETS)
        with seeded(5, method, 0, films.device):
            expected = NoiseTunnel(make(context)).attribute(
                films, nt_type=KINDS[kind], nt_samples=copies, nt_samples_batch_size=1,
                stdevs=noise.DEVIATION * context.contrast, target=TARGETS, **options,
            )  # fmt: skip
        assert torch.equal(maps, reduce_channels(expected, method.reduction)), method.name
        with seeded(5, method, 0, films.device):  # a run that is taken up may lack one of them only
            assert torch.equal(method.prepare(context)(films, TARGETS), maps), method.name


def test_noise_is_drawn_and_differentiated_once_for_all_that_share_it():
    network = resnet18(num_classes=2).eval()
    films, sizes = torch.randn(2, 3, 64, 64), []
    network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    methods = [METHODS[f"{base}_{kind}"] for base in ("saliency", "input_x_gradient") for kind in KINDS]
    ready, _, _ = prepare_together(methods, Context(network, 64, budget=4))
    sizes.clear()
    for method in reversed(methods):
        assert ready[method.name](films, TARGETS[:2]).shape == (2, 1, 64, 64)
    assert sizes == [2] * 4


def test_guided_backprop_is_smoothed_on_a_network_without_maps_too():
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    methods = [METHODS[f"{base}_vargrad"] for base in ("guided_backprop", "guided_grad_cam")]
    ready, failed, _ = prepare_together(methods, Context(network, 4, budget=4))
    assert list(ready) == ["guided_backprop_vargrad"]
    assert list(failed) == ["guided_grad_cam_vargrad"]
    assert ready["guided_backprop_vargrad"](torch.randn(2, 3, 4, 4), TARGETS[:2]).shape == (2, 1, 4, 4)


@pytest.mark.parametrize("extract", ["conv1x1", "scaling"])
def test_meta_methods_share_the_step_and_give_what_the_library_gives(network, extract):
    context, films = Context(network, 64), torch.randn(3, 3, 64, 64)
    methods = [METHODS[f"normgrad_{extract}_{scope}_meta"] for scope in ("single", "combined")]
    ready, _, [shared] = prepare_together(methods, context)
    inner = (NormGrad(network, "layer4.1", extract=extract), combined(context, extract))
    for method, one in zip(methods, inner, strict=True):
        assert ready[method.name].shared is shared
        expected = MetaSaliency(one, lr=LEARNING_RATE).attribute(films, TARGETS)
        assert torch.equal(ready[method.name](films, TARGETS), expected)
        assert torch.equal(method.prepare(context)(films, TARGETS), expected)
