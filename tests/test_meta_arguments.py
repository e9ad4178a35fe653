"""Which rows of inputs, further arguments and options belong to a sample of meta-saliency."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from captum.attr import (
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    LayerActivation,
    LayerGradientXActivation,
)
from meta_network import images, net
from torch import Tensor, nn

from normgrad_attr import MetaSaliency, NormGrad

pytestmark = pytest.mark.filterwarnings("ignore:Setting backward hooks", "ignore:Input Tensor .* did not already")


def test_tuples_and_lists_and_further_arguments_are_taken_apart_and_put_together() -> None:
    model, x, shift = net(), images(), images()
    method = MetaSaliency(InputXGradient(model), lr=0.1)
    found = method.attribute((x, shift), target=[0, 1, 2], additional_forward_args=2.0)
    assert isinstance(found, tuple)
    for n in range(3):
        one = method.attribute((x[n : n + 1], shift[n : n + 1]), target=n, additional_forward_args=(2.0,))
        torch.testing.assert_close(tuple(f[n : n + 1] for f in found), one)
    as_argument = MetaSaliency(InputXGradient(model), lr=0.1).attribute(
        x, target=[0, 1, 2], additional_forward_args=(shift, 2.0)
    )
    torch.testing.assert_close(as_argument, found[0])
    several = MetaSaliency(NormGrad(model, ["relu1", "relu2"])).attribute(x, target=0)
    assert isinstance(several, list)
    assert [len(m) for m in several] == [3, 3]
    layers = MetaSaliency(LayerGradientXActivation(model, [model.relu1, model.relu2])).attribute(x, target=0)
    assert isinstance(layers, list)
    assert MetaSaliency(LayerActivation(model, model.relu1)).attribute(x, target=0).shape == (3, 4, 10, 10)
    attributions, delta = MetaSaliency(IntegratedGradients(model)).attribute(
        x, target=0, return_convergence_delta=True, n_steps=3
    )
    assert attributions.shape == x.shape
    assert delta.shape == (3,)


class Clip(nn.Module):
    """Images against the texts of the classes; and, if given, a shift of each image and a bias of each class."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Linear(6, 5)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        shift: Tensor | None = None,
        bias: Tensor | None = None,
        gated: Tensor | None = None,
    ) -> Tensor:
        image = image if shift is None else image + shift
        logits = 10 * F.normalize(self.image(image), dim=-1) @ text.T
        logits = logits if bias is None else logits + bias
        return logits if gated is None else logits + self.gate * gated.sum()


@pytest.mark.parametrize("own", [(), (1,)])
@pytest.mark.parametrize("shared", [(0,), (0, 2)])
def test_arguments_that_samples_share_are_not_cut_into_rows(own: tuple[int, ...], shared: tuple[int, ...]) -> None:
    # Three samples, three classes: every one of these arguments has three rows.
    model, x = Clip().double(), torch.rand(3, 6).double()
    values = (F.normalize(torch.randn(3, 5).double(), dim=-1), torch.randn(3, 6).double(), torch.randn(3).double())
    arguments = tuple(v if i in own + shared else None for i, v in enumerate(values))
    method = MetaSaliency(NormGrad(model, "image"), lr=0.5)
    found = method.attribute(x, target=[0, 2, 1], additional_forward_args=arguments)
    for n, target in enumerate([0, 2, 1]):
        copied = copy.deepcopy(model)
        row = [a if a is None or i in shared else a[n : n + 1] for i, a in enumerate(arguments)]
        F.cross_entropy(copied(x[n : n + 1], *row), torch.tensor([target])).backward()
        with torch.no_grad():
            for p in copied.parameters():
                p -= 0 if p.grad is None else 0.5 * p.grad
        expected = NormGrad(copied, "image").attribute(x[n : n + 1], target, tuple(row))
        torch.testing.assert_close(found[n : n + 1], expected, rtol=1e-8, atol=1e-10)


def test_arguments_of_which_it_cannot_be_told_whether_samples_share_them() -> None:
    model, x, text = Clip(), torch.rand(3, 6), torch.randn(4, 5)
    method = MetaSaliency(NormGrad(model, "image"), lr=0.5)
    message = "A further argument has as many rows as there are samples, 3, and the output does not tell"
    # A gate that is still zero hides what it multiplies from the output, but not from the step.
    with pytest.raises(ValueError, match=message):
        method.attribute(x, target=0, additional_forward_args=(text, None, None, torch.rand(3, 1)))
    # The remedies: among the inputs, or one at a time.
    alone = [method.attribute(one[None], 0, (text, one[None])) for one in x]
    texts = MetaSaliency(NormGrad(lambda x, s: model(x, text, s), model.image), lr=0.5, model=model)
    torch.testing.assert_close(texts.attribute((x, x), target=0), torch.cat(alone))
    # A container is handed on whole, and that must be right.
    nested = MetaSaliency(NormGrad(lambda x, d: model(x, text, d["shift"]), model.image), lr=0.5, model=model)
    with pytest.raises(ValueError, match=message):
        nested.attribute(x, target=0, additional_forward_args={"shift": x})
    torch.testing.assert_close(nested.attribute(x, 0, {"shift": x[:1]})[:1], alone[0])


def test_inputs_and_arguments_that_the_model_overwrites() -> None:
    class Overwrites(Clip):
        def forward(self, image: Tensor, text: Tensor, shift: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(image.mul_(2), text.mul_(-1), shift.add_(1))

    class Plain(Clip):
        def forward(self, image: Tensor, text: Tensor, shift: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(2 * image, -text, shift + 1)

    model, plain = Overwrites(), Plain()
    plain.load_state_dict(model.state_dict())
    x, text, shift = torch.rand(3, 6), torch.randn(3, 5), torch.randn(3, 6)
    before = [t.clone() for t in (x, text, shift)]
    expected = MetaSaliency(NormGrad(plain, "image"), lr=0.5).attribute(x, 1, (text, shift))
    torch.testing.assert_close(MetaSaliency(NormGrad(model, "image"), lr=0.5).attribute(x, 1, (text, shift)), expected)
    assert all(a.equal(b) for a, b in zip((x, text, shift), before, strict=True))


def test_baselines_that_are_a_distribution_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, seen = net(), images(), []
    original = GradientShap.attribute
    monkeypatch.setattr(
        GradientShap,
        "attribute",
        lambda *a, baselines, **k: (seen.append(len(baselines)), original(*a, baselines, **k))[1],
    )
    MetaSaliency(GradientShap(model)).attribute(x, target=0, baselines=images(3))
    assert seen == [3, 3, 3]
