"""Compiled and scripted models: the right map or a sentence, and nothing changed afterwards."""

from __future__ import annotations

import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from models import SIZE, Net, build, each_kind, images, plain, refused, untouched
from torch import Tensor, nn

from normgrad_attr import NormGrad

compile_eager = functools.partial(torch.compile, backend="eager")
needs_stance = pytest.mark.skipif(not hasattr(torch.compiler, "set_stance"), reason="torch < 2.6 cannot run it eagerly")


@each_kind
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_model(kind, backend, warm):
    torch._dynamo.reset()
    net, x = Net().eval(), images()
    expected = plain(kind, lambda: net(x)[:, 0], [net.block], SIZE)
    compiled = torch.compile(net, backend=backend)
    if warm:
        with torch.no_grad():
            compiled(x)
    for layer in ("block", net.block, compiled.block):
        with untouched(net, x):
            torch.testing.assert_close(build(kind, compiled, layer).attribute(x, 0), expected)
    torch.testing.assert_close(compiled(x), net(x))


@needs_stance
def test_threads_that_overlap_leave_compilation_on():
    torch._dynamo.reset()
    net, x, begun, over = Net().eval(), images(), threading.Event(), threading.Event()

    def wait(*_: Any) -> None:  # the first call ends behind the second, which began later
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            over.wait(10)

    handle = net.head.register_forward_pre_hook(wait)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(NormGrad(net, "block").attribute, x, 0)
        begun.wait(10)
        second = NormGrad(net, "block").attribute(x, 0)
        over.set()
        torch.testing.assert_close(first.result(), second)
    handle.remove()
    graphs = []
    torch.compile(net, backend=lambda graph, _: graphs.append(graph) or graph.forward)(x)
    assert graphs


@needs_stance
@each_kind
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("how", ["model.compile", "lambda", "inner module", "function"])
def test_compiled_model_that_is_not_seen_from_outside(kind, how, warm):
    torch._dynamo.reset()
    net, x = Net().eval(), images()
    expected = plain(kind, lambda: net(x)[:, 0], [net.block], SIZE)
    layer: Any = net.block
    forward: Any = net
    if how == "model.compile":
        net.compile(backend="eager")
    elif how == "lambda":
        compiled = compile_eager(net)
        forward = lambda t: compiled(t)  # noqa: E731
    elif how == "inner module":
        net.block = compile_eager(net.block)
        layer = "block"
    else:
        forward = compile_eager(lambda t: net(t))
    if warm:
        with torch.no_grad():
            forward(x)
    with untouched(net, x):
        torch.testing.assert_close(build(kind, forward, layer).attribute(x, 0), expected)


@each_kind
@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("how", ["script", "trace"])
def test_scripted_model(kind, how):
    net, x = Net().eval(), images()
    scripted = torch.jit.script(net) if how == "script" else torch.jit.trace(net, x)
    with pytest.raises(
        ValueError, match="is scripted or traced, and hooks on such modules never run; use the original"
    ):
        build(kind, scripted, "block")
    for forward in (scripted, nn.DataParallel(scripted), scripted.forward):
        with refused(net, x, error=ValueError, match="is a scripted or traced module.*pass the eager model"):
            build(kind, forward, net.block).attribute(x, 0)
    with refused(
        net, x, error=RuntimeError, match="'?block.*did not run.*if forward_func hides a compiled or scripted"
    ):
        build(kind, Hidden(net, scripted), "net.block").attribute(x, 0)


@each_kind
@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.parametrize("part", ["conv1", "bn", "head"])
def test_scripted_part_of_a_model(kind, how, part):
    net, x = Net().eval(), images()
    expected = plain(kind, lambda: net(x)[:, 0], [net.block], SIZE)
    example = {"conv1": x, "bn": torch.rand(2, 5, 12, 12), "head": torch.rand(2, 6)}[part]
    module = getattr(net, part)
    setattr(net, part, torch.jit.script(module) if how == "script" else torch.jit.trace(module, example))
    buffers = {name: b.clone() for name, b in net.named_buffers()}
    torch.testing.assert_close(build(kind, net, "block").attribute(x, 0), expected)
    assert all(torch.equal(b, buffers[name]) for name, b in net.named_buffers())
    with pytest.raises(ValueError, match="is scripted or traced"):
        build(kind, net, part)


class Hidden(nn.Module):
    def __init__(self, net: nn.Module, used: Any) -> None:
        super().__init__()
        self.net = net
        self.used = (used,)

    def forward(self, x: Tensor) -> Tensor:
        return self.used[0](x)


class PassesOn(nn.Module):
    """A wrapper that gives its model's attributes as its own, as adapters do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.model((x - 0.5) * 4)
        return result

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.model, name)


@needs_stance
def test_a_wrapper_that_passes_on_the_attributes_of_a_compiled_model() -> None:
    net, x = Net().eval(), images()
    wrapped = PassesOn(torch.compile(net, backend="eager")).eval()
    expected = plain("single", lambda: net((x - 0.5) * 4)[:, 1], [net.conv1], SIZE)
    for layer in ("model.conv1", net.conv1):
        maps, output = NormGrad(wrapped, layer).attribute(x, 1, return_output=True)
        torch.testing.assert_close(maps, expected)
        torch.testing.assert_close(output, net((x - 0.5) * 4).detach())
