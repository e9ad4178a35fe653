from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from benchmarks.methods import METHODS, Context, Prepared, prepare_together
from benchmarks.methods.method import Method
from benchmarks.methods.shared_pass import SharedPass
from benchmarks.run.errors import UserError
from normgrad_attr import NormGrad

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
    ready, failed, shared = prepare_together(methods, context)
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
    shared = SharedPass([NormGrad(network, "layer4"), NormGrad(network, "layer3")])
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

    shared = SharedPass([NormGrad(small, network.layer4)])
    films = torch.randn(2, 3, 96, 96)
    with pytest.raises(MemoryError):
        shared.maps(0, films, TARGETS[:2])
    assert shared.maps(0, films[:1], TARGETS[:1]).shape == (1, 1, 3, 3)


def test_methods_pay_the_pass_in_equal_shares(network, monkeypatch):
    clock = iter([0.0, 6.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    names = NAMES[:3]
    ready, _, shared = prepare_together([METHODS[name] for name in names], Context(network, 96))
    films, seconds = torch.randn(1, 3, 96, 96), []
    for name, passed in zip(names, (7.0, 1.0, 2.0), strict=True):  # the first includes the pass
        ready[name](films, TARGETS[:1])
        seconds.append(shared.settle(passed))
    assert seconds == [3.0, 3.0, 4.0]
    assert shared.settle(5.0) == 5.0  # of a method that shares nothing
    assert isinstance(ready[names[0]], Prepared)
