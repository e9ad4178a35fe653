from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from normgrad_attr import CombinedNormGrad, NormGrad, suggest_layers

KNOWN = {
    "resnet18": ["layer1.1", "layer2.1", "layer3.1", "layer4.1"],
    "resnet34": ["layer1.2", "layer2.3", "layer3.5", "layer4.2"],
    "resnet50": ["layer1.2", "layer2.3", "layer3.5", "layer4.2"],
    "vgg16": ["features.8", "features.15", "features.22", "features.29"],  # those of the NormGrad paper
    "densenet121": [f"features.denseblock{i}" for i in (1, 2, 3, 4)],
    "efficientnet_b0": ["features.2.1", "features.3.1", "features.5.2", "features.8"],
    "mobilenet_v2": ["features.3", "features.6", "features.13", "features.18"],
    "convnext_tiny": ["features.1.2", "features.3.2", "features.5.8", "features.7.2"],
    "alexnet": ["features.1", "features.4", "features.11"],
}


@pytest.mark.parametrize("name", KNOWN)
def test_torchvision_networks(name: str) -> None:
    with torch.device("meta"):  # shapes are all it takes
        model, x = getattr(torchvision.models, name)().eval(), torch.empty(1, 3, 224, 224)
    assert suggest_layers(model, x) == KNOWN[name]
    assert suggest_layers(model, x, count=2) == KNOWN[name][-2:]


def test_blocks_of_a_class_of_their_own() -> None:
    model = torchvision.models.inception_v3(init_weights=False).eval()
    assert suggest_layers(model, torch.rand(1, 3, 160, 160))[1:] == ["Mixed_5d", "Mixed_6e", "Mixed_7c"]


def test_a_vit_gives_blocks_at_even_depths_but_not_the_last() -> None:
    model = VisionTransformer(64, 16, num_layers=9, num_heads=2, hidden_dim=24, mlp_dim=48, num_classes=5).eval()
    nn.init.normal_(model.heads[0].weight)
    x = torch.randn(1, 3, 64, 64)
    layers = suggest_layers(model, x)
    assert layers == [f"encoder.layers.encoder_layer_{i}" for i in (1, 3, 5, 7)]
    assert CombinedNormGrad(model, layers).attribute(x, target=0).amax() == 1


def test_a_swin_gives_the_last_block_of_each_stage() -> None:
    model = SwinTransformer([4, 4], 16, [2, 3], [2, 4], window_size=[4, 4], num_classes=5).eval()
    x = torch.randn(1, 3, 64, 64)
    layers = suggest_layers(model, x)
    assert layers == ["features.1.1", "features.3.2"]
    assert CombinedNormGrad(model, layers).attribute(x, target=0).amax() == 1


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_plain_layers_of_any_number_of_dimensions(dims: int) -> None:
    conv, pool = {1: (nn.Conv1d, nn.MaxPool1d), 2: (nn.Conv2d, nn.MaxPool2d), 3: (nn.Conv3d, nn.MaxPool3d)}[dims]
    model = nn.Sequential(
        conv(1, 4, 3, padding=1), nn.ReLU(), pool(2), conv(4, 4, 3, padding=1), nn.ReLU(), pool(2), nn.Flatten()
    )
    x = torch.rand(2, 1, *[8] * dims)
    assert suggest_layers(model, x) == ["1", "4"]  # what pooling alone makes is passed over
    assert CombinedNormGrad(model, suggest_layers(model, x)).attribute(x, target=0).shape == x.shape


class Backbone(nn.Module):
    """One of its kind, and with a last step of its own: no block, all the same."""

    def __init__(self) -> None:
        super().__init__()
        resnet = torchvision.models.resnet18()
        self.stages = nn.ModuleList([nn.Sequential(resnet.conv1, resnet.maxpool), resnet.layer1, resnet.layer2])

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return F.relu(x)


class Wrapper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.head = nn.Linear(129, 2)

    def forward(self, x: Tensor, age: Tensor, *, scale: float = 1) -> dict[str, Tensor]:
        features = self.backbone(x).mean((2, 3))
        return {"logits": self.head(torch.cat([features, age[:, None]], 1)) * scale}


@pytest.mark.parametrize("wrap", [lambda m: m, nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_wrapped_models_with_several_inputs_and_odd_outputs(wrap: Any) -> None:
    model, x, age = Wrapper(), torch.rand(2, 3, 64, 64), torch.rand(2)
    expected = ["backbone.stages.1.1", "backbone.stages.2.1"]
    assert suggest_layers(wrap(model), (x, age)) == expected
    assert suggest_layers(wrap(model), x, age) == expected


class Merging(nn.Linear):
    """Does something when its mode is changed, as layers of LoRA that put their weights together for inference."""

    merged = False

    def train(self, mode: bool = True) -> Merging:
        self.merged = not mode
        return super().train(mode)


def test_the_mode_is_changed_and_put_back_without_the_models_own_train() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), Merging(32, 2)).train()
    suggest_layers(model, torch.rand(2, 1, 6, 6))
    assert (model[2].training, model[2].merged) == (True, False)


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.LazyLinear(2))
    x, wrong = torch.rand(2, 1, 6, 6), torch.rand(2, 3, 6, 6)
    model(x)
    model[2].eval()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    assert suggest_layers(model, x) == suggest_layers(model, x)
    with pytest.raises(RuntimeError):
        suggest_layers(model, wrong)
    assert torch.get_rng_state().equal(random)
    assert [m.training for m in model] == [True, True, False, True, True]
    assert all(not m._forward_hooks for m in model.modules())
    assert all(v.equal(state[k]) for k, v in model.state_dict().items())


def test_reused_modules_and_maps_of_one_location_are_passed_over() -> None:
    relu = nn.ReLU()
    model = nn.Sequential(nn.Conv2d(1, 2, 3), relu, nn.Conv2d(2, 2, 3, stride=2), relu, nn.Conv2d(2, 2, 3))
    assert suggest_layers(model, torch.rand(1, 1, 9, 9)) == ["0", "2"]


class Late(nn.Module):
    """Convolutions, then tokens at another resolution, a class token among them, and perhaps a last norm."""

    def __init__(self, *, head_reads: str = "mean") -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 2, stride=2), nn.ReLU())
        self.embed = nn.Conv2d(8, 8, 2, stride=2)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.norm, self.head, self.head_reads = nn.LayerNorm(8), nn.Linear(8, 3), head_reads

    def forward(self, x: Tensor) -> Tensor:
        t = self.embed(self.stem(x)).flatten(2).mT
        t = self.norm(self.blocks(torch.cat([self.token.expand(len(t), -1, -1), t], 1)))
        return self.head(t.mean(1) if self.head_reads == "mean" else t[:, 0])


def test_layers_of_several_layouts_are_proposed_and_combined() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolutions = nn.Sequential(Residual(3, 8), Residual(8, 8))
            self.tokens = Late()
            self.tokens.stem = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.tokens(self.convolutions(x))

    model, x = Both().eval(), torch.rand(1, 3, 24, 24)
    layers = suggest_layers(model, x)
    assert layers == ["convolutions.1", "tokens.blocks.layers.2"]
    assert CombinedNormGrad(model, layers).attribute(x, target=0).amax() == 1


class Residual(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv, self.short = nn.Conv2d(channels, out, 3, padding=1), nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.short(x) + self.conv(x)).relu()


@pytest.mark.parametrize("frozen", [False, True])
def test_nothing_depends_on_the_callers_grad_mode(frozen: bool) -> None:
    model, x = torchvision.models.resnet18(num_classes=3).eval().requires_grad_(not frozen), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert suggest_layers(model, x) == KNOWN["resnet18"]


def test_no_layer_is_proposed_whose_map_is_constant() -> None:
    # Where the class token alone is read, the patches that leave the last block have no gradient; behind the last norm
    # of what is averaged, gradients and norms are the same everywhere.
    x = torch.rand(1, 3, 16, 16)
    last = "blocks.layers.2"
    assert last not in suggest_layers(Late(head_reads="class").eval(), x)
    assert last in suggest_layers(Late().eval(), x)
    for reads in ("class", "mean"):
        assert "norm" not in suggest_layers(Late(head_reads=reads).eval(), x)


def test_blocks_that_give_none_beside_their_tensor() -> None:
    class Block(nn.Module):  # as in transformers, where attention weights may stand in second place
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.mlp = nn.LayerNorm(8), nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8))

        def forward(self, t: Tensor) -> tuple[Tensor, None]:
            return t + self.mlp(self.norm(t)), None

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.blocks = nn.Conv2d(3, 8, 4, 4), nn.ModuleList([Block() for _ in range(3)])

        def forward(self, x: Tensor) -> Tensor:
            t = self.embed(x).flatten(2).mT
            for block in self.blocks:
                t = block(t)[0]
            return t.square().mean(1)

    model, x = Net().eval(), torch.rand(1, 3, 12, 20)
    assert suggest_layers(model, x) == [f"blocks.{i}" for i in range(3)]
    t = model.embed(x).flatten(2).mT
    t = model.blocks[1](model.blocks[0](t)[0])[0].detach().requires_grad_()
    (g,) = torch.autograd.grad(model.blocks[2](t)[0].square().mean(1)[0, 5], t)
    expected = (t.norm(dim=-1) * g.norm(dim=-1)).detach()
    torch.testing.assert_close(NormGrad(model, "blocks.1").attribute(x, 5)[:, 0], expected)


def test_no_layer_of_another_number_of_dimensions_is_proposed() -> None:
    class States(nn.Module):
        """A convolution over states that are no places, behind one over places; a residual map of both."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.states, self.mix = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 1), nn.Conv1d(6, 6, 1)

        def forward(self, x: Tensor) -> Tensor:
            m = self.conv(x).relu()
            weights = self.states(m).flatten(2).softmax(-1)  # (N, 4, places)
            states = self.mix(m.flatten(2) @ weights.mT)  # (N, 6, 4)
            return (m + (states @ weights).view_as(m)).mean((2, 3))

    assert suggest_layers(States().eval(), torch.rand(1, 3, 8, 8)) == ["states"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: suggest_layers(lambda x: x, torch.rand(1, 3, 8, 8)), "pass the model itself"),
        (lambda: suggest_layers(nn.Conv2d(3, 3, 1), torch.rand(1, 3, 8, 8)), "No layer of Conv2d"),
        (lambda: suggest_layers(nn.Sequential(nn.Linear(3, 3)), torch.rand(1, 3)), "No layer of Sequential"),
        (lambda: suggest_layers(nn.Linear(3, 3), torch.rand(1, 3), count=0), "at least 1, not 0"),
        (lambda: suggest_layers(nn.Conv2d(3, 3, 1), torch.rand(0, 3, 8, 8)), "is an empty batch"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
