"""Every trap that a model, a caller or torch sets: the right map or a sentence, and nothing changed afterwards."""

from __future__ import annotations

import functools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from models import KINDS, Net, build, images, plain, refused, untouched
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from normgrad_attr import CombinedNormGrad, NormGrad
from normgrad_attr._capture import _sorted_by_device
from normgrad_attr.functional import normgrad_map

SIZE = (12, 12)
each_kind = pytest.mark.parametrize("kind", KINDS)


# Modules that are used in other ways than once, in the forward, with tensors


class Reused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.relu, self.spare = nn.ReLU(), nn.ReLU()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.second(self.relu(self.first(x))))
        self.unused = self.head(y.mean((2, 3))).detach()
        return self.head(y.mean((2, 3)))


@each_kind
@pytest.mark.parametrize("layer_input", [False, True])
def test_reused_module(kind, layer_input):
    model, x = Reused().eval(), images()
    model(x)
    message = r"Layer 'relu' \(ReLU\) ran more than once in one forward pass.*a module of its own"
    with refused(model, x, error=RuntimeError, match=message):
        build(kind, model, "second", "relu").attribute(x, 0, attribute_to_layer_input=layer_input)


@each_kind
def test_block_around_a_reused_module(kind):
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Reused()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    model, x = Outer().eval(), images()
    expected = plain(kind, lambda: model(x)[:, 0], [model.inner.second], SIZE)
    torch.testing.assert_close(build(kind, model, "inner.second").attribute(x, 0), expected)


@each_kind
def test_layer_that_never_ran(kind):
    model, x = Reused().eval(), images()
    model(x)
    with refused(model, x, error=RuntimeError, match=r"Layer 'spare' \(ReLU\) did not run.*choose a layer that"):
        build(kind, model, "first", "spare").attribute(x, 0)
    stranger = nn.Conv2d(3, 3, 1)
    with refused(model, x, error=RuntimeError, match=r"Layer Conv2d did not run"):
        build(kind, model, stranger).attribute(x, 0)


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.aside, self.behind = Net(), nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.aside(x)
        return self.net(x) + 0 * self.behind(x).detach().mean()


@each_kind
@pytest.mark.parametrize("name", ["aside", "behind"])
def test_layer_that_ran_but_is_unused(kind, name):
    model, x = Unused().eval(), images()
    message = rf"'{name}' \(Conv2d\) ran, but the target does not depend on it.*materialize_grads"
    for layers in ([name], ["net.block", name]):
        with refused(model, x, error=RuntimeError, match=message):
            build(kind, model, *layers).attribute(x, 0)


@pytest.mark.parametrize("grad_kwargs", [{"materialize_grads": True}, {"allow_unused": True}])
def test_unused_layer_gives_zeros_if_asked_for(grad_kwargs):
    model, x = Unused().eval(), images()
    expected = plain("single", lambda: model(x)[:, 0], [model.net.block], SIZE)
    with untouched(model, x):
        zeros, used = NormGrad(model, ["aside", "net.block"]).attribute(x, 0, grad_kwargs=grad_kwargs)
    assert zeros.shape == (2, 1, 10, 10)
    assert not zeros.any()
    torch.testing.assert_close(used, expected)
    with pytest.warns(UserWarning, match="is constant for 2 of 2 samples"):
        combined = CombinedNormGrad(model, ["aside", "net.block"]).attribute(x, 0, grad_kwargs=grad_kwargs)
    # What is left is the other layer's map, to the power of its weight.
    alone = CombinedNormGrad(model, ["net.block"], weights=[0.5]).attribute(x, 0)
    torch.testing.assert_close(combined, alone)


@dataclass
class Data:
    maps: Tensor


class Odd(nn.Module):
    """A layer that gives what ``of`` makes of its convolution's output, in a model that uses the convolution."""

    def __init__(self, of: Any) -> None:
        super().__init__()
        self.conv, self.odd, self.head = nn.Conv2d(3, 4, 1), nn.Module(), nn.Linear(4, 3)
        self.odd.forward = lambda x: of(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        self.odd(x)
        return self.head(x.mean((2, 3)))


@each_kind
@pytest.mark.parametrize(
    ("of", "what"),
    [
        (lambda x: {"out": x}, "dict"),
        (lambda x: Data(x), "Data"),
        (lambda x: None, "NoneType"),
        (lambda x: (x, (x, x)), "tuple"),
        (lambda x: (), "NoneType"),
        (lambda x: x > 0, r"torch\.bool"),
        (lambda x: x.argmax(1), r"torch\.int64"),
        (lambda x: x.to(torch.complex64), r"torch\.complex64"),
        (lambda x: x.to_sparse(), r"torch\.sparse_coo"),
    ],
)
def test_layer_that_does_not_give_tensors(kind, of, what):
    model, x = Odd(of).eval(), images()
    message = rf"The output of layer 'odd' \(Module\) holds a {what}, but .* floating-point tensors only; choose"
    with refused(model, x, error=TypeError, match=message):
        build(kind, model, "odd").attribute(x, 0)


@each_kind
def test_a_score_that_is_complex(kind):
    net, x = Net().eval(), images()
    with refused(net, x, error=TypeError, match=r"score is complex .* let forward_func give its .abs\(\) or .real"):
        build(kind, lambda t: net(t) * 1j, net.block).attribute(x, 0)


@each_kind
@pytest.mark.parametrize("target", [0, [0, 0], torch.tensor([0, 0])])
def test_another_default_device(kind, target):
    net, x = Net().eval(), images()
    expected = build(kind, net, "block").attribute(x, 0)
    with untouched(net, x), torch.device("meta"):
        found = build(kind, net, "block").attribute(x, target)
    torch.testing.assert_close(found, expected)


@each_kind
@pytest.mark.parametrize(
    "wrap", [lambda y: {"out": y}, lambda y: Data(y), lambda y: (y, y)], ids=["dict", "data", "tuple"]
)
def test_model_that_does_not_return_a_tensor(kind, wrap):
    net, x = Net().eval(), images()
    expected = plain(kind, lambda: net(x)[:, 0], [net.block], SIZE)
    with refused(
        net, x, error=TypeError, match=r"The model returned a \w+, not a tensor; wrap it, for example lambda x"
    ):
        build(kind, lambda t: wrap(net(t)), net.block).attribute(x, 0)
    with untouched(net, x):
        torch.testing.assert_close(build(kind, lambda t: net(t), net.block).attribute(x, 0), expected)


class Keywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layer, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(input=self.stem(input=x)).square().mean((2, 3)))


@each_kind
@pytest.mark.parametrize("extract", ["conv1x1", "layer"])
def test_layer_that_is_called_with_keywords_only(kind, extract):
    model, x = Keywords().eval(), images()
    with untouched(model, x):
        maps = build(kind, model, "layer", extract=extract).attribute(x, 0)
    if extract == "conv1x1":
        torch.testing.assert_close(maps, plain(kind, lambda: model(x)[:, 0], [model.layer], SIZE))
        message = r"Layer 'layer' \(Conv2d\) was called without positional arguments.*attribute to its output"
        with refused(model, x, error=TypeError, match=message):
            build(kind, model, "layer").attribute(x, 0, attribute_to_layer_input=True)


# Targets and inputs


@each_kind
@pytest.mark.parametrize(
    ("target", "error"),
    [
        (4, ValueError),
        (-5, ValueError),
        ((9999,) * 20, AssertionError),  # which it is too, for Captum's own tests
        ((0, 0), ValueError),
        ([0, 1, 2], ValueError),
        (torch.tensor([0, 1, 2]), ValueError),
        ([0, 9], ValueError),
        ("cat", ValueError),
        (1.5, ValueError),
        (None, ValueError),
    ],
)
def test_wrong_target(kind, target, error):
    net, x = Net().eval(), images()
    message = "with target=None the model's output" if target is None else "does not fit the model's output of shape"
    with refused(net, x, error=error, match=message):
        build(kind, net, "block").attribute(x, target)


@each_kind
@pytest.mark.parametrize(
    "target", [2, -2, (2,), torch.tensor(2), torch.tensor([2]), [2, 2], torch.tensor([2, 2]), [(2,), (2,)]]
)
def test_every_form_of_target(kind, target):
    net, x = Net().eval(), images()
    expected = plain(kind, lambda: net(x)[:, 2], [net.block], SIZE)
    torch.testing.assert_close(build(kind, net, "block").attribute(x, target), expected)


@each_kind
def test_no_target_for_one_number_per_sample(kind):
    net, x = Net().eval(), images()
    expected = plain(kind, lambda: net(x)[:, 1], [net.block], SIZE)
    for forward in (lambda t: net(t)[:, 1], lambda t: net(t)[:, 1:2], lambda t: net(t)[:, 1].sum()):
        torch.testing.assert_close(build(kind, forward, net.block).attribute(x), expected)


@each_kind
def test_segmentation_output(kind):
    class Segmenter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.conv(x).relu())

    model, x = Segmenter().eval(), images()
    message = (
        r"with target=2 the model's output of shape \(2, 5, 12, 12\) gives 144 numbers for each sample.*target=\(c"
    )
    with refused(model, x, error=ValueError, match=message):
        build(kind, model, "conv").attribute(x, 2)
    pixel = plain(kind, lambda: model(x)[:, 2, 5, 7], [model.conv], SIZE)
    torch.testing.assert_close(build(kind, model, "conv").attribute(x, (2, 5, 7)), pixel)
    mean = plain(kind, lambda: model(x)[:, 2].mean((1, 2)), [model.conv], SIZE)
    torch.testing.assert_close(build(kind, lambda t: model(t).mean((2, 3)), model.conv).attribute(x, 2), mean)


@each_kind
def test_empty_batch(kind):
    net = Net().eval()
    x = images(0)
    with refused(net, x, error=ValueError, match=r"Input 0 of shape \(0, 3, 12, 12\) is an empty batch; pass at least"):
        build(kind, net, "block").attribute(x, 0)


@each_kind
def test_uint8_input(kind):
    net = Net().eval()
    x = torch.randint(256, (2, 3, 12, 12), dtype=torch.uint8)
    with refused(net, x, error=RuntimeError, match=r"input of type torch\.uint8 .*images\.float\(\) / 255"):
        build(kind, net, "block").attribute(x, 0)
    expected = plain(kind, lambda: net(x / 255)[:, 0], [net.block], SIZE)
    with untouched(net, x):  # a model that scales by itself is fine
        actual = build(kind, lambda t: net(t.float() / 255), net.block).attribute(x, 0)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected)
    build(kind, lambda t: net(t.float() / 255), net.block).attribute(x, 0, attribute_to_layer_input=True)


@each_kind
def test_channels_last(kind):
    net, x = Net().eval(), images()
    expected = plain(kind, lambda: net(x)[:, 0], [net.block], SIZE)
    net.to(memory_format=torch.channels_last)
    strided = x.to(memory_format=torch.channels_last)
    with untouched(net, strided):
        actual = build(kind, net, "block").attribute(strided, 0)
    assert actual.is_contiguous()
    torch.testing.assert_close(actual, expected)
    if kind == "combined":
        assert build(kind, net, "block").attribute(strided, 0, expand_as_inputs=True).is_contiguous()


# Grad modes, flags, training


@each_kind
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize("layer_input", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_grad_modes_and_frozen_parameters(kind, mode, layer_input, frozen):
    net, x = Net().eval(), images()
    expected = plain(kind, lambda: net(x)[:, 0], [net.block], SIZE, layer_input)
    net.requires_grad_(not frozen)
    with mode(), untouched(net, x):
        actual = build(kind, net, "block").attribute(x, 0, attribute_to_layer_input=layer_input)
    torch.testing.assert_close(actual, expected)
    assert not actual.requires_grad


@each_kind
def test_gradients_that_the_user_has_gathered_are_kept(kind):
    net, x = Net().eval(), images().requires_grad_()
    net(x).sum().backward()
    with untouched(net, x):
        build(kind, net, "conv1").attribute(x, 0)


@each_kind
def test_backward_hooks_of_the_users_own(kind):
    net, x = Net().eval(), images()
    expected = build(kind, net, "block").attribute(x, 0)
    seen = []
    net.head.register_full_backward_hook(lambda module, inputs, outputs: seen.append(outputs[0].shape))
    with untouched(net, x):
        torch.testing.assert_close(build(kind, net, "block").attribute(x, 0), expected)
    assert seen == [torch.Size([2, 4])]


@each_kind
def test_inference_mode(kind):
    net, x = Net().eval(), images()
    with (
        torch.inference_mode(),
        pytest.raises(RuntimeError, match=r"torch\.inference_mode\(\) forbids; call attribute"),
    ):
        build(kind, net, "block").attribute(x, 0)
    with torch.inference_mode():
        made = images()
    with refused(net, x, error=RuntimeError, match=r"Input 0 was made in torch\.inference_mode\(\).*pass its \.clone"):
        build(kind, net, "block").attribute(made, 0)
    with untouched(net, x):
        build(kind, net, "block").attribute(made.clone(), 0)


@each_kind
@pytest.mark.parametrize("where", ["everything", "layer"])
def test_inference_mode_of_the_models_own(kind, where):
    net, x = Net().eval(), images()
    if where == "layer":
        net.block.forward = torch.inference_mode()(net.block.forward)
        forward = net
    else:
        forward = torch.inference_mode()(lambda t: net(t))
    with pytest.raises(RuntimeError, match=r"torch\.inference_mode\(\)"):
        build(kind, forward, net.block).attribute(x, 0)


@each_kind
def test_model_made_in_inference_mode(kind):
    with torch.inference_mode():
        net = Net().eval()
    with pytest.raises(
        RuntimeError, match=r"was made in torch\.inference_mode\(\) .*make it outside of inference mode"
    ):
        build(kind, net, "conv1").attribute(images(), 0)


@each_kind
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("part", ["batch norm", "dropout"])
def test_training_mode_warns_and_changes_no_buffer(kind, hidden, part):
    net, x = Net().train(), images()
    if part == "dropout":
        net.bn, net.block[1] = nn.Identity(), nn.Dropout()
    forward = (lambda t: net(t)) if hidden else net
    with untouched(net, x), pytest.warns(UserWarning, match=r"training mode: .* call model\.eval") as record:
        build(kind, forward, net.block).attribute(x, 0)
    (warning,) = record
    assert warning.filename == __file__
    if not hidden:
        assert ("'bn' (BatchNorm2d)" if part == "batch norm" else "'block.1' (Dropout)") in str(warning.message)


@each_kind
@pytest.mark.parametrize("name", ["conv1", "block", "head"])
def test_batch_norm_in_training_anywhere_in_a_model_that_a_function_hides(kind, name):
    net, x = Net().train(), images()
    net.head.register_buffer("unused", torch.zeros(2))
    for layer in (net.conv1, net.block, net.head):
        layer.eval()
    layer = net.get_submodule(name) if name != "head" else net.relu1
    with untouched(net, x), pytest.warns(UserWarning, match=r"training mode: BatchNorm2d") as record:
        build(kind, lambda t: net(t), layer).attribute(x, 0)
    assert [warning.filename for warning in record] == [__file__]


def encoder() -> nn.Module:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.embedding, self.encoder = nn.Linear(5, 8), nn.TransformerEncoder(layer, 2)
            self.attention, self.post = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

        def forward(self, x: Tensor, padding: Tensor) -> Tensor:
            x = self.encoder(self.embedding(x), src_key_padding_mask=padding)
            x = x + self.attention(x, x, x, key_padding_mask=padding, need_weights=False)[0]
            return self.post(x).tanh().sum(1)

    return Encoder().eval()


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(
    "name", ["encoder.layers.0.linear1", "encoder.layers.1", "encoder", "attention.out_proj", "post"]
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:enable_nested_tensor is True")
def test_torchs_fast_paths_change_no_map(name, frozen):
    model, x, padding = encoder(), torch.rand(2, 4, 5), torch.tensor([[False] * 4, [False, False, True, True]])
    layer = model.get_submodule(name)
    if name == "attention.out_proj":  # which torch never calls
        with pytest.raises(RuntimeError, match="did not run"):
            NormGrad(model, name, channel_dim=-1).attribute(x, 1, padding)
        return
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda m, args, out: kept.append(out))
    score = model(x.clone().requires_grad_(), padding)[:, 1].sum()  # recorded, and so without fast paths
    handle.remove()
    (g,) = torch.autograd.grad(score, kept[0])
    expected = (kept[0].norm(dim=-1) * g.norm(dim=-1)).detach()
    model.requires_grad_(not frozen)
    enabled = torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad(), untouched(model, x, padding):
        alone = NormGrad(model, name, channel_dim=-1).attribute(x, 1, padding)
        _, beside = NormGrad(model, ["embedding", name], channel_dim=-1).attribute(x, 1, padding)
    assert torch.backends.mha.get_fastpath_enabled() == enabled
    torch.testing.assert_close(alone[:, 0], expected)
    torch.testing.assert_close(beside[:, 0], expected)


@pytest.mark.parametrize("options", [{}, {"create_graph": True}])
@pytest.mark.parametrize("name", ["0", "1", "2"])
@pytest.mark.parametrize("before", [False, True])
def test_weights_that_the_user_has_cached(name, before, options):
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 2))
    x, weight = torch.rand(2, 4), model[0].parametrizations.weight.original1
    expected = NormGrad(model, name).attribute(x, 0)
    (g,) = torch.autograd.grad(model(x).sum(), weight)
    with parametrize.cached():
        if before:
            with torch.no_grad():
                model[2](x)
            model(x)
        with torch.no_grad():
            found = NormGrad(model, name).attribute(x, 0, grad_kwargs=options)
        model(x).sum().backward()
    torch.testing.assert_close(found.detach(), expected)
    torch.testing.assert_close(weight.grad, g)
    assert not parametrize._cache


@each_kind
def test_parts_that_do_the_same_in_training_mode_are_not_warned_of(kind):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).train()
    x = images()
    with untouched(net, x):
        build(kind, net, "1").attribute(x, 0)


class Counter(nn.Module):
    """A buffer that grows in place and one that is replaced, as moving averages and caches do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", None)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            self.mean = 0.9 * self.mean + 0.1 * x.mean()
        return x


@each_kind
@pytest.mark.parametrize("hidden", [False, True])
def test_buffers_of_the_users_own_modules_are_restored(kind, hidden):
    net, x = Net().eval(), images()
    net.train().bn = Counter()
    with untouched(net, x):
        build(kind, (lambda t: net(t)) if hidden else net, net.block).attribute(x, 0)
    assert net.bn.calls == 0


@each_kind
@pytest.mark.parametrize("training", [False, True])
def test_exception_in_the_middle_of_the_forward(kind, training):
    net, x = Net().train(training), images()
    net.head.forward = lambda _: 1 / 0
    for layers in (["conv1", "block"], ["block"]):
        with refused(net, x, error=ZeroDivisionError, match="division"):
            build(kind, net, *layers).attribute(x, 0)
    del net.head.forward
    net.eval()
    expected = plain(kind, lambda: net(x)[:, 0], [net.block], SIZE)
    torch.testing.assert_close(build(kind, net, "block").attribute(x, 0), expected)


# Compiled and scripted models

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


# Precision


@each_kind
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(kind, dtype):
    net, x = Net().eval(), images()
    expected = plain(kind, lambda: net(x)[:, 0], [net.block], SIZE)
    with untouched(net, x), torch.autocast("cpu", dtype=dtype):
        actual = build(kind, net, "block").attribute(x, 0)
        assert torch.is_autocast_enabled("cpu")
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, rtol=0.1, atol=0.05 * float(expected.max()))
    with torch.autocast("cpu", dtype=dtype):
        same = plain(kind, lambda: net(x)[:, 0], [net.block], SIZE)
    torch.testing.assert_close(actual, same, rtol=1e-3, atol=1e-3 * float(expected.max()))


@each_kind
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(kind, dtype):
    net, x = Net().eval(), images()
    expected = plain(kind, lambda: net(x)[:, 0], [net.block], SIZE)
    net, x = net.to(dtype), x.to(dtype)
    with untouched(net, x):
        actual = build(kind, net, "block").attribute(x, 0)
    assert actual.dtype == dtype
    torch.testing.assert_close(actual.float(), expected, rtol=0.1, atol=0.05 * float(expected.max()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_norms_are_accumulated_in_float32(dtype):
    # Squared, these under- or overflow float16; 2048 ones cannot be counted in bfloat16.
    x, g = torch.full((1, 2048, 2, 2), 300.0, dtype=dtype), torch.full((1, 2048, 2, 2), 2**-20, dtype=dtype)
    expected = 2048 * 300 * float(g[0, 0, 0, 0])
    actual = normgrad_map(x, g)
    assert actual.dtype == dtype
    torch.testing.assert_close(actual.float(), torch.full((1, 1, 2, 2), expected), rtol=4e-3, atol=0)


@each_kind
def test_half_precision_model_in_the_middle_of_a_float32_one(kind):
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net().bfloat16()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x.bfloat16()).float()

    model, x = Mixed().eval(), images()
    with untouched(model, x):
        assert build(kind, model, "net.block").attribute(x, 0).dtype == torch.float32


# Double backward


def smooth_net() -> nn.Sequential:
    """Smooth, so that finite differences converge."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 3, 2), nn.Sigmoid(), nn.Flatten(), nn.Linear(27, 2)
    ).double().eval()  # fmt: skip


@each_kind
@pytest.mark.parametrize("layer_input", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_double_backward_by_inputs(kind, layer_input, frozen):
    net = smooth_net().requires_grad_(not frozen)
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    method = build(kind, net, "1") if kind == "single" else build(kind, net, "1", "3")

    def maps(t: Tensor) -> Tensor:
        return method.attribute(t, 1, attribute_to_layer_input=layer_input, grad_kwargs={"create_graph": True})

    assert torch.autograd.gradcheck(maps, (x,))


@each_kind
def test_double_backward_by_weights(kind):
    net = smooth_net()
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    method = build(kind, net, "1") if kind == "single" else build(kind, net, "1", "3")
    weights = [p for p in net.parameters() if p.dim() > 1]
    direction = [torch.randn_like(w) for w in weights]

    def loss() -> Tensor:
        return method.attribute(x, 1, grad_kwargs={"create_graph": True}).square().sum()

    slope = sum((g * d).sum() for g, d in zip(torch.autograd.grad(loss(), weights), direction, strict=True))
    values = []
    for sign in (1, -2, 1):
        with torch.no_grad():
            for w, d in zip(weights, direction, strict=True):
                w += sign * 1e-6 * d
        values.append(loss().item())
    torch.testing.assert_close(float(slope), (values[0] - values[1]) / 2e-6, rtol=1e-5, atol=1e-8)


def test_third_derivatives():
    net = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2)).double().eval()
    x = torch.randn(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)

    def maps(t: Tensor) -> Tensor:
        return NormGrad(net, "1").attribute(t, 1, grad_kwargs={"create_graph": True})

    assert torch.autograd.gradgradcheck(maps, (x,))


@each_kind
def test_double_backward_is_finite_where_activations_and_gradients_are_zero(kind):
    net, x = Net().eval(), images()
    layers = ["relu1", "block"] if kind == "combined" else ["block"]
    maps = build(kind, net, *layers).attribute(x, 0, grad_kwargs={"create_graph": True})
    assert (net.features(x).norm(dim=1) == 0).any() or (net.features(x) == 0).any()
    maps.sum().backward()
    for name, p in net.named_parameters():
        assert p.grad is None or p.grad.isfinite().all(), name
    assert net.conv1.weight.grad.any()


# Several devices


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
