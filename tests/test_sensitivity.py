from __future__ import annotations

from typing import Any

import pytest
import scipy.stats
import torch
from captum.attr import InputXGradient, LayerGradCam
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from normgrad_attr import NormGrad, class_sensitivity
from normgrad_attr._sensitivity import spearman


@given(
    st.integers(2, 40).flatmap(lambda n: st.lists(st.tuples(*[st.integers(-4, 4)] * 2), min_size=n, max_size=n)),
    st.sampled_from([torch.float16, torch.float32, torch.float64, torch.int64]),
)
def test_spearman_equals_scipy(pairs: list[tuple[int, int]], dtype: torch.dtype) -> None:
    a, b = torch.tensor(pairs).to(dtype).T
    found = spearman(a[None], b[None])
    if len(a.unique()) == 1 or len(b.unique()) == 1:
        assert found.isnan().all()
    else:
        assert found.item() == pytest.approx(scipy.stats.spearmanr(a.numpy(), b.numpy()).statistic, abs=1e-12)


def test_each_sample_is_compared_by_itself() -> None:
    a, b = torch.randn(5, 1, 70, 70), torch.randn(5, 1, 70, 70)
    b[2] = float("nan")
    b[3] = a[3].exp()
    b[4] = 1
    found = spearman(a, b)
    for i in range(2):
        assert found[i].item() == pytest.approx(scipy.stats.spearmanr(a[i].flatten(), b[i].flatten()).statistic)
    assert found[2].isnan()
    assert found[3].item() == pytest.approx(1)
    assert found[4].isnan()


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    ).eval()


@pytest.mark.parametrize("build", [lambda m: NormGrad(m, "1"), lambda m: LayerGradCam(m, m[1]), InputXGradient])
@pytest.mark.filterwarnings("ignore:Input Tensor .* did not already")
def test_compares_the_most_and_the_least_likely_class(build: Any) -> None:
    model, x = net(), torch.randn(3, 3, 10, 10)
    method = build(model)
    found = class_sensitivity(method, x)
    for i in range(3):
        order = model(x[i : i + 1])[0].argsort()
        least, most = (method.attribute(x[i : i + 1], target=int(order[c])).detach().flatten() for c in (0, -1))
        assert found[i].item() == pytest.approx(scipy.stats.spearmanr(most, least).statistic)
    assert not found.requires_grad


def test_rounding_noise_has_no_order() -> None:
    # Behind the pool the gradient is one vector at every location, and its norms differ by their rounding alone.
    model, x = net(), torch.randn(2, 3, 10, 10)
    noisy = NormGrad(model, "3", extract="bias")
    original = noisy.attribute

    def attribute(*args: Any, **kwargs: Any) -> Any:
        maps = original(*args, **kwargs)
        return maps * (1 + 3e-7 * torch.rand_like(maps))

    noisy.attribute = attribute  # type: ignore[method-assign]
    assert spearman(attribute(x, target=0), attribute(x, target=1)).isfinite().all()
    assert class_sensitivity(noisy, x).isnan().all()


def test_targets_of_ones_own_and_further_arguments() -> None:
    model, x = net(), torch.randn(2, 3, 10, 10)

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor, scale: float) -> Tensor:
            return self.model(x) * scale

    same = class_sensitivity(NormGrad(model, "1"), x, targets=(1, [1, 1]))
    torch.testing.assert_close(same, torch.ones(2).double())
    # A negative scale swaps the classes, which the correlation does not mind.
    torch.testing.assert_close(
        class_sensitivity(NormGrad(Scaled(), model[1]), x, -1.0), class_sensitivity(NormGrad(model, "1"), x)
    )


def test_errors() -> None:
    model, x = net(), torch.randn(2, 3, 10, 10)
    with pytest.raises(ValueError, match=r"outputs of shape \(2, 6, 8, 8\)"):
        class_sensitivity(NormGrad(model[:2], "1"), x)
    with pytest.raises(TypeError, match="NormGrad returned a list"):
        class_sensitivity(NormGrad(model, ["1", "3"]), x)
    with pytest.raises(ValueError, match=r"same shape .N, ...., these have \(2, 3\) and \(2, 4\)"):
        spearman(torch.rand(2, 3), torch.rand(2, 4))
