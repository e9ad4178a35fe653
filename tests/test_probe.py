from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models.vision_transformer import VisionTransformer

from normgrad_attr import CombinedNormGrad, NormGrad, class_sensitivity, probe_weights


class TwoLayers(nn.Module):
    """One layer that knows the class, and one that has thrown it away."""

    def __init__(self) -> None:
        super().__init__()
        self.knows = nn.Identity()
        self.ignorant = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.ignorant(torch.zeros_like(self.knows(x))).mean((2, 3))


def samples(n: int = 120, classes: int = 3) -> tuple[Tensor, Tensor]:
    labels = torch.arange(n) % classes
    images = torch.randn(n, 3, 4, 4)
    images[torch.arange(n), labels] += 3
    return images, labels + 5  # labels need not start at 0


def test_layers_that_know_the_class_weigh_more() -> None:
    images, labels = samples()
    knows, ignorant = probe_weights(TwoLayers(), ["knows", "ignorant"], [(images, labels)], channel_dim=1)
    assert knows == 1
    assert ignorant == pytest.approx(1 / 3)  # always the same class


def test_the_probe_is_a_ridge_regression_fitted_to_three_quarters() -> None:
    images, labels = samples(90)
    labels = labels[torch.randperm(90)].sort().values  # hard, and in the order of the classes
    images[:60] += torch.linspace(0, 1, 60).view(-1, 1, 1, 1)
    found = probe_weights(TwoLayers(), ["knows"], [(images, labels)], seed=3, channel_dim=1)[0]
    generator = torch.Generator().manual_seed(3)
    test = np.zeros(90, bool)
    for c in (5, 6, 7):
        members = np.flatnonzero(labels.numpy() == c)
        test[members[torch.randperm(len(members), generator=generator)[: round(len(members) / 4)]]] = True
    x = images.double().mean((2, 3)).numpy()
    x = (x - x[~test].mean(0)) / x[~test].std(0)
    y = np.eye(3)[labels.numpy() - 5]
    # Ridge regression as least squares with rows added for the penalty.
    rows = np.concatenate([x[~test], np.sqrt(0.01 * (~test).sum()) * np.eye(3)])
    goals = np.concatenate([y[~test] - y[~test].mean(0), np.zeros((3, 3))])
    weight = np.linalg.lstsq(rows, goals, rcond=None)[0]
    right = (x[test] @ weight + y[~test].mean(0)).argmax(1) == labels[test].numpy() - 5
    assert found == pytest.approx(right.mean())
    assert 0 < found < 1


def test_batches_and_repeats_make_no_difference_and_seeds_do() -> None:
    images, labels = samples(60)
    images += torch.randn_like(images) * 6
    model = TwoLayers()
    loader = DataLoader(TensorDataset(images, labels, torch.arange(60)), batch_size=7)
    whole = [probe_weights(model, ["knows"], [(images, labels)], seed=s, channel_dim=1)[0] for s in range(8)]
    assert probe_weights(model, ["knows"], loader, channel_dim=1)[0] == whole[0]
    assert len(set(whole)) > 1
    assert not any(m._forward_hooks for m in model.modules())


def test_a_tuple_of_inputs() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sum = nn.Identity()

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.sum(a + b)

    images, labels = samples()
    assert probe_weights(Sum(), ["sum"], [((images - 1, torch.ones_like(images)), labels)], channel_dim=1) == [1.0]


def test_tokens_are_averaged_over_the_tokens() -> None:
    model = VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=8, num_classes=2).eval()
    nn.init.normal_(model.heads[0].weight)
    labels = torch.arange(40) % 2
    images = torch.rand(40, 3, 32, 32) + labels.view(-1, 1, 1, 1)
    layers = [f"encoder.layers.encoder_layer_{i}" for i in range(2)]
    weights = probe_weights(model, layers, [(images, labels)])
    assert weights == probe_weights(model, layers, [(images, labels)], channel_dim=-1)
    assert min(weights) > 0.8
    method = CombinedNormGrad(model, layers[:1], weights=weights[:1], channel_dim=-1)
    assert method.attribute(images[:2], target=0).amax() == 1


@pytest.mark.parametrize(
    ("batches", "options", "error", "message"),
    [
        ([], {}, ValueError, "no batches"),
        ([(torch.rand(4, 3, 2, 2), torch.zeros(4, dtype=torch.long))], {}, ValueError, "all labels are 0"),
        ([(torch.rand(4, 3, 2, 2), [0, 0, 0, 1])], {}, ValueError, "Class 1 has a single sample"),
        ([(torch.rand(4, 3, 2, 2), [0, 1])], {}, RuntimeError, "'knows' .Identity. did not run exactly once"),
        ([], {"validation": 1.0}, ValueError, "between 0 and 1, not 1.0"),
        ([{"image": torch.rand(4, 3, 2, 2)}], {}, TypeError, r"gave a dict, but a batch is a tuple \(inputs, labels\)"),
        ([torch.rand(4, 3, 2, 2)], {}, TypeError, "gave a Tensor, but a batch is a tuple"),
    ],
)
def test_errors(batches: Any, options: Any, error: type[Exception], message: str) -> None:
    model = TwoLayers()
    with pytest.raises(error, match=message):
        probe_weights(model, ["knows"], batches, channel_dim=1, **options)
    assert not model.knows._forward_hooks


def test_layers_that_cannot_be_probed() -> None:
    images, labels = samples()
    with pytest.raises(ValueError, match="has no layer named 'know'"):
        probe_weights(TwoLayers(), ["know"], [(images, labels)])
    with pytest.raises(TypeError, match="layers is a list of modules or names"):
        probe_weights(TwoLayers(), "knows", [(images, labels)])
    model = TwoLayers()
    model.unused = nn.ReLU()
    with pytest.raises(RuntimeError, match=r"'unused' .ReLU. did not run"):
        probe_weights(model, ["unused"], [(images, labels)])
    attention = nn.MultiheadAttention(4, 1, batch_first=True)
    with pytest.raises(TypeError, match="MultiheadAttention does not give one tensor"):
        probe_weights(lambda x: attention(x, x, x), [attention], [(torch.rand(4, 3, 4), [0, 0, 1, 1])])


def test_labels_are_integers_one_for_each_sample() -> None:
    images, labels = samples()
    for wrong in (nn.functional.one_hot(labels), labels.double()):
        with pytest.raises(ValueError, match="Labels are one integer for each sample"):
            probe_weights(TwoLayers(), ["knows"], [(images, wrong)], channel_dim=1)


def test_another_default_device() -> None:
    model, batches, layers = TwoLayers(), [samples(40)], ["knows", "ignorant"]
    expected = probe_weights(model, layers, batches, channel_dim=1)
    with torch.device("meta"):
        assert probe_weights(model, layers, batches, channel_dim=1) == expected


@pytest.mark.filterwarnings("ignore:The model is in training mode")
def test_a_model_in_training_mode_keeps_its_statistics() -> None:
    images, labels = samples()
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten())
    before = model[1].running_mean.clone()
    probe_weights(model, ["0"], [(images, labels)])
    class_sensitivity(NormGrad(model, "0"), images[:2])
    assert torch.equal(model[1].running_mean, before)


def test_a_compiled_model_is_probed() -> None:
    images, labels = samples()
    model = torch.compile(TwoLayers(), backend="eager")
    model(images)  # compiled before the hooks come
    assert probe_weights(model, ["knows"], [(images, labels)], channel_dim=1) == [1]
