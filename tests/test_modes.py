"""Grad modes, flags and training: the right map or a sentence, and nothing changed afterwards."""

from __future__ import annotations

import pytest
import torch
from models import SIZE, Net, build, each_kind, images, plain, refused, untouched
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from normgrad_attr import NormGrad


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


@pytest.mark.parametrize("how", ["a forward of the instance", "a list", "a method"])
def test_networks_that_are_no_modules_of_the_model_are_left_alone_too(how):
    net, x = (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2)).train(),
        images()[..., :8, :8],
    )
    wrapper = nn.Identity()
    if how == "a list":
        wrapper.nets = [net]
        wrapper.forward = lambda t: wrapper.nets[0](t)
    else:
        wrapper.forward = lambda t: net(t)
    forward = wrapper.forward if how == "a method" else wrapper
    with pytest.warns(UserWarning, match="training mode: BatchNorm2d"):
        NormGrad(forward, net[0]).attribute(x, 0)
    assert net[1].num_batches_tracked == 0
    assert net[1].running_mean.eq(0).all()


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (nn.LSTM(4, 4, 2, dropout=0.5, batch_first=True), "LSTM"),
        (nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True), "MultiheadAttention"),
        (nn.InstanceNorm1d(7, track_running_stats=True), "InstanceNorm1d"),
        (nn.InstanceNorm1d(7), None),
    ],
)
@pytest.mark.filterwarnings("error")
def test_training_mode_of_all_that_depends_on_it(layer, name):
    class Sequence(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.layer, self.head = nn.Linear(5, 4), layer, nn.Linear(4, 2)

        def forward(self, x):
            t = self.embed(x)
            t = self.layer(t, t, t)[0] if isinstance(self.layer, nn.MultiheadAttention) else self.layer(t)
            return self.head(t[0] if isinstance(t, tuple) else t).mean(1)

    method, x = NormGrad(Sequence().train(), "embed"), torch.rand(2, 7, 5)
    if name is None:
        method.attribute(x, 1)
    else:
        with pytest.warns(UserWarning, match=rf"training mode: 'layer' \({name}\)"):
            method.attribute(x, 1)
