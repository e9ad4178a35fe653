from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel
from torch import nn
from torchvision.models import resnet18

from normgrad_attr import CombinedNormGrad, MetaSaliency, NormGrad, class_sensitivity, smooth
from normgrad_attr._combine import combine_maps, is_constant, layer_weights, minmax, resize
from normgrad_attr.functional import AGGREGATES, normgrad_map, spearman, virtual_identity


def test_layer_weights():
    assert layer_weights("uniform", 4) == [0.25] * 4
    assert layer_weights("linear", 4) == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert layer_weights([0.5, 2], 2) == [0.5, 2.0]


def test_minmax_is_per_sample_and_keeps_constants_and_nans_apart():
    maps = torch.tensor([[[[1.0, 3.0]]], [[[5.0, 5.0]]], [[[float("nan"), 1.0]]]])
    scaled = minmax(maps)
    assert scaled[0].flatten().tolist() == [0, 1]
    assert scaled[1].flatten().tolist() == [0, 0]
    assert scaled[2].isnan().all()


def literal(maps: list[np.ndarray], weights: list[float], combine: str) -> np.ndarray:
    """Loop over samples and layers in numpy; maps already at the output's size."""
    results = []
    for sample in range(len(maps[0])):
        total = np.ones_like(maps[0][0]) if combine == "product" else np.zeros_like(maps[0][0])
        for layer_map, w in zip(maps, weights, strict=True):
            m = layer_map[sample]
            m = (m - m.min()) / (m.max() - m.min())
            total = total * m**w if combine == "product" else total + w * m
        results.append((total - total.min()) / (total.max() - total.min()))
    return np.stack(results)


@pytest.mark.parametrize("combine", ["product", "sum"])
@pytest.mark.parametrize("weights", ["uniform", "linear", [1.0, 1.0, 1.0], [0.0, 0.3, 2.0]])
def test_combination_against_loops(combine, weights):
    maps = [torch.rand(4, 1, 5, 6, dtype=torch.float64) for _ in range(3)]
    expected = literal([m.numpy() for m in maps], layer_weights(weights, 3), combine)
    actual = combine_maps(maps, (5, 6), combine=combine, weights=weights)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_resizing_is_bilinear_without_aligned_corners():
    actual = resize(torch.tensor([[[[0.0, 1.0]]]]), (1, 4))
    assert actual.flatten().tolist() == pytest.approx([0, 0.25, 0.75, 1])


def test_constant_layer_is_left_out_of_that_samples_product():
    informative = torch.rand(2, 1, 4, 4)
    sometimes = torch.rand(2, 1, 2, 2)
    sometimes[1] = 0.3
    with pytest.warns(UserWarning, match=r"layer 1 \(counted from 0\) is constant for 1 of 2 samples"):
        actual = combine_maps([informative, sometimes], (4, 4), weights=[1, 1])
    torch.testing.assert_close(actual[1], minmax(informative)[1])
    torch.testing.assert_close(actual[0], combine_maps([informative[:1], sometimes[:1]], (4, 4), weights=[1, 1])[0])


def test_all_constant_gives_zeros_not_nan():
    with pytest.warns(UserWarning, match="constant"):
        actual = combine_maps([torch.ones(1, 1, 2, 2)], (4, 4))
    assert actual.eq(0).all()


def test_nan_is_reported_and_stays_in_its_sample():
    maps = torch.rand(2, 1, 3, 3)
    maps[0, 0, 0, 0] = float("nan")
    with pytest.warns(UserWarning, match="not finite"):
        actual = combine_maps([maps], (3, 3))
    assert actual[0].isnan().all()
    assert actual[1].isfinite().all()


def test_combined_maps_have_finite_derivatives():
    maps = [torch.rand(2, 1, 3, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    combine_maps(maps, (6, 6)).pow(2).sum().backward()
    assert all(m.grad is not None and m.grad.isfinite().all() for m in maps)


@pytest.mark.parametrize("shape", [(2, 1), (2, 1, 5), (2, 1, 2, 2, 2)])
def test_maps_that_do_not_fit_the_output(shape):
    with pytest.raises(ValueError, match="cannot be resized"):
        combine_maps([torch.rand(shape)], (4, 4))


def test_nothing_to_combine():
    with pytest.raises(ValueError, match="at least one layer"):
        combine_maps([], (4, 4))


def behind_a_global_pool(aggregate: str, method: str, dtype: torch.dtype) -> torch.Tensor:
    """Maps of the gradient alone where it is the same vector, fc's weights / 49, at every location."""
    model, images = resnet18(num_classes=2).eval().to(dtype), torch.rand(3, 3, 224, 224).to(dtype)
    normgrad = NormGrad(model, "layer4", extract="bias", aggregate=aggregate)
    explainer = MetaSaliency(normgrad, lr=1e-3) if method == "MetaSaliency" else normgrad
    maps = explainer.attribute(images, target=[0, 1, 1])
    assert isinstance(maps, torch.Tensor)
    if method == "NormGrad":
        vector = model.fc.weight[[0, 1, 1]].float() / 49
        expected = {"norm": vector.norm(dim=1), "sum": vector.sum(1), "max": vector.amax(1)}
        if aggregate in expected:
            torch.testing.assert_close(maps[:, 0, 3, 3].float(), expected[aggregate], rtol=1e-2, atol=1e-4)
    return maps


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("method", ["NormGrad", "MetaSaliency"])
def test_behind_a_global_pool_the_gradients_map_is_constant(aggregate, method, dtype):
    maps = behind_a_global_pool(aggregate, method, dtype)
    assert is_constant(maps).all()
    assert is_constant(maps.double()).all()
    assert is_constant(resize(maps.float(), (50, 61))).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 352.0, 1e30])
def test_a_faint_map_is_not_constant(size, dtype):
    faint = torch.full((3, 1, 7, 7), size, dtype=dtype)
    faint[0, 0, 2, 5] *= 1 + 1e-4
    faint[1, 0, 2, 5] *= 1 - 1e-4
    faint[2, 0, 2, 5] *= -1
    assert not is_constant(faint).any()
    assert not is_constant(-faint).any()
    assert minmax(faint).amax((1, 2, 3)).tolist() == [1, 1, 1]
    # The same, up to three roundings, is.
    rounded = torch.full((3, 1, 7, 7), size, dtype=dtype)
    rounded[:, :, 1:3] *= 1 + 3 * torch.finfo(torch.float32).eps
    assert rounded.amin() < rounded.amax()
    assert is_constant(rounded).all()
    assert minmax(rounded).eq(0).all()


def test_constant_is_decided_for_values_of_any_size():
    tiny = torch.finfo(torch.float32).smallest_normal
    maps = torch.tensor([[0, tiny / 2**20], [tiny / 2**9, tiny / 2**9], [0, 0], [-3e38, 3e38], [3e38, 3e38]])
    assert is_constant(maps).tolist() == [False, True, True, False, True]
    assert minmax(maps).tolist() == [[0, 1], [0, 0], [0, 0], [0, 1], [0, 0]]
    single = torch.tensor([[1.0], [0.0], [float("nan")], [float("inf")]])
    assert is_constant(single).tolist() == [True, True, False, False]


def test_a_layer_that_is_constant_up_to_rounding_is_left_out():
    rough = torch.rand(2, 1, 4, 4) + 0.5
    nearly = torch.full((2, 1, 4, 4), 352.0)
    nearly[:, :, 1:3] += 3 * 352 * torch.finfo(torch.float32).eps
    with pytest.warns(UserWarning, match=r"layer 1 \(counted from 0\) is constant for 2 of 2"):
        found = combine_maps([rough, nearly], (4, 4))
    torch.testing.assert_close(found, minmax(minmax(rough).sqrt()))


@pytest.mark.parametrize("power", [-30, -22, -18, 18, 22, 30])
@pytest.mark.parametrize("cell", [("conv1x1", "norm"), ("conv3x3", "positive_norm"), ("scaling", "sum")])
def test_the_combined_map_does_not_depend_on_the_scale_of_the_score(cell, power):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
    model = model.extend([nn.Flatten(), nn.Linear(1152, 3)]).double()
    images, layers, kind = (
        torch.rand(2, 3, 16, 16),
        [model[1], model[3]],
        dict(zip(("extract", "aggregate"), cell, strict=True)),
    )
    expected = CombinedNormGrad(model, layers, **kind).attribute(images.double(), 1)
    model.float()
    scaled = CombinedNormGrad(lambda x: model(x) * 10.0**power, layers, **kind)
    torch.testing.assert_close(scaled.attribute(images, 1).double(), expected, rtol=0, atol=1e-4)


def test_a_peak_that_is_lost_on_the_way_to_a_smaller_size_does_not_erase_the_others():
    peak = torch.zeros(1, 1, 8, 8)
    peak[..., 0, 0] = 1
    other = torch.rand(1, 1, 2, 2)
    with pytest.warns(UserWarning, match="is constant for 1 of 1"):
        found = combine_maps([peak, other], (2, 2), weights=[1, 1])
    torch.testing.assert_close(found, minmax(other))


def test_weights_that_say_nothing():
    with pytest.raises(ValueError, match="not all zero"):
        layer_weights([0, 0], 2)
    with pytest.raises(TypeError, match=r"not 0\.5"):
        layer_weights(0.5, 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_maps_in_half_precision_are_not_constant_for_it(dtype):
    maps = torch.tensor([[[[1.0, 1.015625]]], [[[2.0, 2.0]]]], dtype=dtype)
    assert minmax(maps).flatten(1).tolist() == [[0, 1], [0, 0]]


def test_an_infinite_map_is_not_constant():
    maps = torch.tensor([[[[1.0, float("inf")]]]])
    assert minmax(maps).isnan().any()
    with pytest.warns(UserWarning, match="not finite") as record:
        assert combine_maps([maps, torch.rand(1, 1, 1, 2)], (1, 2)).isnan().any()
    assert not any("is constant" in str(w.message) for w in record)


NONSENSE = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)).eval()


@pytest.mark.parametrize(
    "call",
    [
        lambda x: NormGrad(NONSENSE, "0").attribute(x, 0),
        lambda x: NormGrad(NONSENSE, ["0"]).attribute_grid(x, 0),
        lambda x: CombinedNormGrad(NONSENSE, ["0"]).attribute(x, 0),
        lambda x: NoiseTunnel(CombinedNormGrad(NONSENSE, ["0"])).attribute(x, target=0, nt_samples=2),
        lambda x: MetaSaliency(CombinedNormGrad(NONSENSE, ["0"])).attribute(x, 0),
        lambda x: class_sensitivity(CombinedNormGrad(NONSENSE, ["0"]), x),
        lambda x: combine_maps([x[:, :1]], (8, 8)),
        lambda x: combine_maps([torch.ones(1, 1, 2, 2)], (8, 8)),
    ],
)
def test_warnings_point_at_the_users_line(call):
    with pytest.warns(UserWarning, match="not finite|is constant") as record:
        call(torch.full((1, 3, 8, 8), torch.nan))
    assert {w.filename for w in record} == {__file__}


ARRAY = np.ones((1, 1, 4, 4))


@pytest.mark.parametrize(
    "call",
    [
        lambda: normgrad_map(ARRAY, torch.ones(1, 1, 4, 4)),
        lambda: virtual_identity(torch.ones(1, 1, 4, 4), ARRAY, "bias"),
        lambda: combine_maps([ARRAY], (4, 4)),
        lambda: combine_maps([(torch.ones(1, 1, 4, 4),)], (4, 4)),
        lambda: minmax(ARRAY),
        lambda: is_constant(ARRAY),
        lambda: spearman(ARRAY, ARRAY),
        lambda: smooth(ARRAY, 1.0),
    ],
)
def test_what_is_no_tensor_gets_a_sentence(call):
    with pytest.raises(TypeError, match=r"are tensors, not (ndarray|tuple); convert them"):
        call()


def test_arguments_of_combine_maps():
    with pytest.raises(TypeError, match="a list with one tensor for each layer"):
        combine_maps(torch.rand(2, 1, 4, 4), (4, 4))
    with pytest.raises(TypeError, match=r"whole number for each spatial dimension, as \(224, 224\), not 4"):
        combine_maps([torch.rand(2, 1, 4, 4)], 4)
    with pytest.raises(ValueError, match=r"cannot have the size \(4, 0\)"):
        combine_maps([torch.rand(2, 1, 4, 4)], (4, 0))


def test_evidence_of_nothing_makes_the_product_zero() -> None:
    maps = [torch.rand(3, 1, 4, 4), torch.rand(3, 1, 4, 4)]
    maps[1][0], maps[1][1] = 0.0, 2.0
    with pytest.warns(UserWarning, match="constant") as caught:
        product = combine_maps(maps, (4, 4), evidence=[1])
    assert [str(w.message).partition("samples: ")[2].partition(",")[0] for w in caught] == [
        "it says nothing of where and is left out.",
        "it is zero",
    ]
    assert product[0].eq(0).all()
    torch.testing.assert_close(product[1], minmax(minmax(maps[0]).sqrt())[1])
    torch.testing.assert_close(product[2], combine_maps([m[2:] for m in maps], (4, 4))[0])
