"""Models on another device, or on several: the right map, and nothing changed afterwards."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
import torch
from models import SIZE, Net, build, each_kind, images, plain, untouched
from torch import Tensor, nn

from normgrad_attr import CombinedNormGrad, NormGrad
from normgrad_attr._capture import _sorted_by_device


def test_data_parallel_without_a_second_device():
    net, x = Net().eval(), images()
    expected = plain("single", lambda: net(x)[:, 0], [net.block], SIZE)
    for layer in (net.block, "block"):
        with untouched(net, x):
            torch.testing.assert_close(NormGrad(nn.DataParallel(net), layer).attribute(x, 0), expected)
    with untouched(net, x):
        CombinedNormGrad(nn.DataParallel(net), ["conv1", "block"], device_ids=[0]).attribute(x, 0)


def test_distributed_data_parallel_is_not_made_to_wait_for_a_backward(tmp_path):
    distributed = torch.distributed
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        net, x = Net(), images()
        ddp = nn.parallel.DistributedDataParallel(net)
        ddp.train()(x).sum().backward()
        ddp.eval()
        expected = plain("single", lambda: net(x)[:, 0], [net.block], SIZE)
        with untouched(ddp, x):
            torch.testing.assert_close(NormGrad(ddp, "block").attribute(x, 0), expected)
            torch.testing.assert_close(NormGrad(ddp, net.block).attribute(x, 0), expected)
        for _ in range(2):  # a reducer that waits would raise in the second step
            ddp.train()(x).sum().backward()
    finally:
        distributed.destroy_process_group()


class First(Tensor):
    """A tensor in memory that says it is on cuda:0, as does what is computed from it."""

    device = property(lambda self: torch.device("cuda", 0))

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        return self if isinstance(args[0], torch.device) else super().to(*args, **kwargs)


class Second(First):
    device = property(lambda self: torch.device("cuda", 1))


@each_kind
@pytest.mark.parametrize("target", [[0, 4], [-1, 0], torch.tensor([0, 4]), torch.tensor([-1, 0])])
@pytest.mark.parametrize("there", [False, True])
def test_a_target_that_is_no_class_does_not_reach_a_device(kind, target, there):
    # There a gather out of bounds ends all work with the device.
    net, x = Net().eval(), images().as_subclass(First)
    given = target.as_subclass(First) if there and isinstance(target, Tensor) else target
    with pytest.raises(ValueError, match=r"does not fit the model's output of shape \(2, 4\) \(an index is out"):
        build(kind, net, "block").attribute(x, given)


@each_kind
def test_targets_on_a_device(kind):
    net, x = Net().eval(), images()
    expected = build(kind, net, "block").attribute(x, [3, 0])
    found = build(kind, net, "block").attribute(x.as_subclass(First), torch.tensor([3, 0]).as_subclass(First))
    torch.testing.assert_close(found.as_subclass(Tensor), expected)


class TwoDevices(nn.DataParallel):
    """DataParallel's own forward, over torch's own replicas; only what needs a second device is stood in for."""

    def __init__(self, module: nn.Module, device_ids: list[int]) -> None:
        nn.DataParallel.__init__(self, module)
        self.device_ids, self.output_device, self.dim = device_ids, device_ids[0], 0
        self.src_device_obj = torch.device("cpu")

    def scatter(self, inputs: Any, kwargs: Any, device_ids: Any) -> Any:
        parts = [
            [t.chunk(2)[i].as_subclass([First, Second][device]) for t in inputs] for i, device in enumerate(device_ids)
        ]
        return tuple(map(tuple, parts)), ({}, {})

    def replicate(self, module: nn.Module, device_ids: Any) -> list[nn.Module]:
        def copies(tensors: Any, devices: Any, detach: bool = False) -> list[list[Tensor]]:
            return [[(t.detach() if detach else t).clone() for t in tensors] for _ in devices]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys.modules["torch.nn.parallel.replicate"], "_broadcast_coalesced_reshape", copies)
            return nn.parallel.replicate(module, list(device_ids), not torch.is_grad_enabled())

    def parallel_apply(self, replicas: Any, inputs: Any, kwargs: Any) -> list[Tensor]:
        outputs: dict[int, Tensor] = {}
        recorded = torch.is_grad_enabled()

        def work(i: int) -> None:
            with torch.set_grad_enabled(recorded):
                outputs[i] = replicas[i](*inputs[i], **kwargs[i])

        for i in reversed(range(len(replicas))):  # the last part is done first
            thread = threading.Thread(target=work, args=(i,))
            thread.start()
            thread.join()
        return [outputs[i] for i in range(len(replicas))]

    def gather(self, outputs: Any, output_device: Any) -> Tensor:
        return torch.cat([y.as_subclass(Tensor) for y in outputs])


@each_kind
@pytest.mark.parametrize("device_ids", [[0, 1], [1, 0]])
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("layer_input", [False, True])
def test_data_parallel_with_two_devices(kind, device_ids, hidden, layer_input):
    net, x = Net().eval(), images(5)
    expected = plain(kind, lambda: net(x)[:, 0], [net.block], SIZE, layer_input)
    parallel = TwoDevices(net, device_ids)
    forward = (lambda t: parallel(t)) if hidden else parallel
    with untouched(net, x):
        method = build(kind, forward, net.block, device_ids=device_ids if hidden else None)
        actual = method.attribute(x, 0, attribute_to_layer_input=layer_input)
    torch.testing.assert_close(actual.as_subclass(Tensor), expected)


def test_parts_of_the_batch_are_joined_in_the_order_of_the_devices():
    captured = {torch.device("cuda", i): f"part {i}" for i in (2, 0, 1)}
    assert _sorted_by_device(captured, [1, 0, 2]) == ["part 1", "part 0", "part 2"]
    assert _sorted_by_device({torch.device("cpu"): "all"}, None) == ["all"]
    with pytest.raises(ValueError, match="ran on 3 devices, but their order in the batch is unknown; pass device_ids"):
        _sorted_by_device(captured, None)
    with pytest.raises(ValueError, match=r"ran on cuda:2, which is not among device_ids=\[0, 1\]"):
        _sorted_by_device(captured, [0, 1])
