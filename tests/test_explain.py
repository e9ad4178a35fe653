from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from models import Net, images
from PIL import Image
from torch import Tensor, nn

from normgrad_attr import CombinedNormGrad, Explanation, _explain, explain, suggest_layers
from normgrad_attr.functional import find_peaks
from normgrad_attr.visualize import overlay


class Gives(Net):
    """A network whose logits a function reshapes."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Any:
        return self.change(super().forward(x))


def same(result: Explanation, method: CombinedNormGrad, x: Tensor, target: Any) -> None:
    torch.testing.assert_close(result.maps, method.attribute(x, target), rtol=0, atol=0)


def test_the_predicted_class_is_explained_at_the_suggested_layers() -> None:
    net, x = Net().eval(), images(3)
    result, layers = explain(net, x), suggest_layers(net, x)
    with torch.no_grad():
        logits = net(x)
    assert result.layers == tuple(layers)
    assert result.targets.tolist() == logits.argmax(1).tolist()
    torch.testing.assert_close(result.logits, logits)
    torch.testing.assert_close(result.probabilities, logits.softmax(1))
    same(result, CombinedNormGrad(net, layers), x, logits.argmax(1))
    same(explain(net, x, class_sensitive=True), CombinedNormGrad.class_sensitive(net, layers), x, logits.argmax(1))
    assert not result.maps.requires_grad
    assert not result.logits.requires_grad


@pytest.mark.parametrize("class_sensitive", [False, True])
def test_it_works_where_nothing_is_recorded(class_sensitive: bool) -> None:
    net, x = Net().eval(), images(3)
    expected = explain(net, x, class_sensitive=class_sensitive)
    _explain._CHOSEN.clear()
    with torch.no_grad():
        found = explain(net, x, class_sensitive=class_sensitive)
    assert found.layers == expected.layers
    torch.testing.assert_close(found.maps, expected.maps, rtol=0, atol=0)


@pytest.mark.parametrize("target", [2, [0, 3, 1], torch.tensor([1, 1, 2]), torch.tensor(3), np.array([3, 0, 2])])
def test_a_target_is_one_for_all_or_one_for_each(target: Any) -> None:
    net, x = Net().eval(), images(3)
    expected = torch.as_tensor(target).expand(3)
    result = explain(net, x, target)
    assert result.targets.tolist() == expected.tolist()
    same(result, CombinedNormGrad(net, suggest_layers(net, x)), x, expected)


def test_the_model_runs_once_but_for_a_look_at_a_new_size_or_model() -> None:
    net, rows = Net().eval(), []
    net.register_forward_hook(lambda _, args, __: rows.append(len(args[0])))

    def batches_in(call: Callable[[], object]) -> list[int]:
        rows.clear()
        call()
        return list(rows)

    assert batches_in(lambda: explain(net, images(3))) == [1, 3]
    assert batches_in(lambda: explain(net, images(3))) == [3]
    assert batches_in(lambda: explain(net, images(2), 1, class_sensitive=True)) == [1, 2]
    assert batches_in(lambda: explain(net, images(2), 1, class_sensitive=True)) == [2]
    assert batches_in(lambda: explain(net, torch.randn(2, 3, 16, 20))) == [1, 2]
    net.block = nn.Sequential(*net.block, nn.Conv2d(6, 6, 1))
    assert batches_in(lambda: explain(net, images(3))) == [1, 3]


def test_models_are_not_kept_alive() -> None:
    net = Net().eval()
    explain(net, images())
    ghost = weakref.ref(net)
    del net
    gc.collect()
    assert ghost() is None
    assert not [model for model in _explain._CHOSEN if isinstance(model, Net)]


@pytest.mark.parametrize("column", [slice(0, 1), 0], ids=["(N, 1)", "(N,)"])
def test_a_single_score_is_explained_for_what_speaks_for_it(column: Any) -> None:
    net, x = Gives(lambda y: y[:, column]).eval(), images()
    result = explain(net, x)
    assert (result.logits.shape, result.targets.tolist()) == ((2, 1), [0, 0])
    torch.testing.assert_close(result.probabilities, net(x).detach().view(2, 1).sigmoid())
    of_first = Gives(lambda y: y)
    of_first.load_state_dict(net.state_dict())
    same(result, CombinedNormGrad(of_first.eval(), list(result.layers)), x, 0)


def test_logits_are_taken_from_an_object_that_holds_them() -> None:
    net, x = Gives(lambda y: SimpleNamespace(logits=y, hidden_states=None)).eval(), images()
    result = explain(net, x)
    torch.testing.assert_close(result.logits, net(x).logits.detach())
    torch.testing.assert_close(CombinedNormGrad(net, list(result.layers)).attribute(x, result.targets), result.maps)


def photographs() -> list[Image.Image]:
    noise = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), dtype=np.uint8)
    return [Image.fromarray(picture) for picture in noise]


def prepare(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.resize((14, 12)))).permute(2, 0, 1) / 255


def test_pictures_are_prepared_one_by_one() -> None:
    net, pictures = Net().eval(), photographs()
    result = explain(net, pictures, preprocess=prepare)
    expected = torch.stack([prepare(picture) for picture in pictures])
    torch.testing.assert_close(result.images, expected)
    torch.testing.assert_close(result.maps, explain(net, expected).maps)
    assert explain(net, pictures[0], preprocess=prepare).maps.shape == (1, 1, 12, 14)
    assert explain(net, list(expected)).maps.shape == explain(net, 2 * expected, preprocess=lambda t: t / 2).maps.shape
    assert explain(net.double(), pictures, preprocess=prepare).maps.dtype == torch.float64


def test_a_notebook_shows_no_pixels() -> None:
    result = explain(Net().eval(), images(2))
    assert repr(result) == f"Explanation(targets={result.targets!r}, layers={result.layers!r})"


def test_boxes_are_the_peaks_of_the_maps() -> None:
    result = explain(Net().eval(), images())
    assert result.boxes(most=2, least=0.5) == find_peaks(result.maps, most=2, least=0.5)


def test_it_is_drawn_and_saved(tmp_path: Any) -> None:
    result = explain(Net().eval(), images(), target=1)
    figure = result.show()
    assert len(figure.axes) == 4
    percent = [round(100 * p) for p in result.probabilities[:, 1].tolist()]
    assert [figure.axes[i].get_title() for i in (0, 2)] == [f"class 1: {p} %" for p in percent]
    result.save(tmp_path / "maps.png")
    with Image.open(tmp_path / "maps.png") as picture:
        assert picture.width > 100
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.maps = result.images  # type: ignore[misc]


def test_volumes_are_drawn_by_slices() -> None:
    layers = nn.Conv3d(2, 4, 3), nn.ReLU(), nn.Conv3d(4, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten()
    result = explain(nn.Sequential(*layers).eval(), torch.rand(2, 2, 6, 12, 12))
    with pytest.raises(ValueError, match=r"\(2, 2, 6, 12, 12\); draw a slice.*of volumes"):
        result.show()
    assert len(overlay(result.images[:, :1, 3], result.maps[:, :, 3]).axes) == 4


@pytest.mark.parametrize(
    ("model", "arguments", "error", "message"),
    [
        (Net().forward, [images()], TypeError, r"not in a method; pass the model itself"),
        (Net(), [images()[0]], ValueError, r"images\[None\]"),
        (Net(), [photographs()], TypeError, "type Image must be prepared; pass preprocess"),
        (Net(), [[]], ValueError, "no images"),
        (Net(), [images()[:0]], ValueError, "is an empty batch"),
        (
            Net(),
            [torch.zeros(1, 3, 12, 12, dtype=torch.uint8)],
            RuntimeError,
            r"pass for example images.float\(\) / 255",
        ),
        (Net(), [[torch.rand(3, 12, 12), torch.rand(3, 12, 14)]], ValueError, r"one shape, these have \[\(3, 12, 12\)"),
        (Net(), [images(), 4], ValueError, "4 is not one of the model's 4 classes, 0 to 3"),
        (Net(), [images(), -1], ValueError, "not one of the model's 4 classes"),
        (Net(), [images(), 0.5], TypeError, "index of a class, not 0.5"),
        (Net(), [images(), "cat"], TypeError, "index of a class, not 'cat'"),
        (Net(), [images(), [0, 1, 2]], ValueError, "3 targets were given for 2 images"),
        (Gives(lambda y: y[:, :, None, None]), [images()], ValueError, r"gives \(2, 4, 1, 1\) for 2 images"),
        (Gives(lambda y: {"out": y}), [images()], TypeError, r"returned a dict"),
        (Gives(lambda y: y.sum(0)), [images()], ValueError, r"gives \(4,\) for 2 images"),
    ],
)
def test_mistakes_are_named(model: Any, arguments: list[Any], error: type[Exception], message: str) -> None:
    if isinstance(model, nn.Module):
        model.eval()
    with pytest.raises(error, match=message):
        explain(model, *arguments)


def test_a_preprocess_that_gives_no_tensor_is_named() -> None:
    with pytest.raises(TypeError, match="preprocess returned a ndarray"):
        explain(Net().eval(), photographs(), preprocess=np.array)  # type: ignore[arg-type]
