from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

from benchmarks.methods.target_scores import probabilities
from benchmarks.models import Preparation, open_model
from benchmarks.models.unwrapping import find_scores
from benchmarks.run.errors import UserError


class Gives(nn.Module):
    """A network of one weight whose scores are wrapped as told."""

    def __init__(self, wrap, outputs=3):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(1.0, outputs + 1))
        self.wrap = wrap

    def forward(self, images):
        return self.wrap(images.mean(dim=(1, 2, 3))[:, None] * self.weight)


class Output:
    def __init__(self, logits):
        self.loss = None
        self.logits = logits


@pytest.mark.parametrize(
    "wrap",
    [
        lambda scores: scores,
        Output,
        lambda scores: {"loss": torch.zeros(()), "logits": scores},
        lambda scores: (scores, torch.zeros(1)),
        lambda scores: [Output(scores)],
        lambda scores: scores[:, :, None, None],
    ],
    ids=["tensor", "object", "dictionary", "tuple", "object in a list", "map of one cell"],
)
def test_scores_are_found_in_what_a_network_gives(wrap):
    model = open_model(Gives(wrap), classes=["a", "b", "c"])
    images = torch.rand(2, 3, 8, 8)
    expected = images.mean(dim=(1, 2, 3))[:, None] * torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(model.network(images), expected)
    assert model.outputs == "softmax"


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (
            lambda scores: {"boxes": scores},
            r"a dictionary of 'boxes', in which no scores are found: wrap it in a",
        ),
        (lambda scores: None, "an object of type NoneType"),
        (lambda scores: scores[:, :, None, None].expand(-1, -1, 2, 2), r"a tensor of shape \(2, 3, 2, 2\)"),
        (lambda scores: scores[:1], "1 rows of scores for 2 images"),
        (lambda scores: scores / 0, "scores that are not finite"),
    ],
)
def test_what_holds_no_scores_is_refused_with_a_wrapper(wrap, message):
    with pytest.raises(UserError, match=f"(?s){message}"):
        open_model(Gives(wrap))


def pair(scores):
    return torch.cat([scores, -scores], dim=1)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("step", "outputs"),
    [
        (torch.sigmoid, "sigmoid"),
        (lambda scores: torch.sigmoid(scores).squeeze(-1), "sigmoid"),
        (lambda scores: scores.sigmoid().where(scores > 0, scores.sigmoid() / 2), "sigmoid"),  # as of torchxrayvision
        (lambda scores: scores[:, :1].sigmoid() * torch.tensor([1, -1]) + torch.tensor([0, 1]), "softmax"),
        (lambda scores: pair(scores).softmax(dim=1), "softmax"),
        (lambda scores: pair(scores).log_softmax(dim=1).exp(), "softmax"),
        (lambda scores: pair(scores).log_softmax(dim=1), None),  # which softmax undoes
        (lambda scores: pair(scores * scores.sigmoid()), None),  # a gate
        (lambda scores: pair(scores.square() * 1e-3), None),  # small scores
    ],
)
def test_a_network_that_gives_probabilities_has_these(step, outputs, count, frozen):
    """One more sigmoid or softmax would make others of them, such as a half and more for each class."""

    class Ends(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, count).requires_grad_(not frozen)

        def forward(self, images):
            return step(self.head(images.mean(dim=(2, 3))))

    network, images = Ends(), torch.randn(5, 3, 8, 8)
    model, given = open_model(network, size=(8, 8)), network(images)
    if outputs is None:
        assert model.network is network
        return
    found = probabilities(model.network(images), model.outputs)
    single = given.ndim == 1 or given.shape[1] == 1
    assert model.outputs == ("softmax" if single else outputs)
    torch.testing.assert_close(found[:, 1] if single else found, given.reshape(5) if single else given)
    names = dict(model.network.named_modules())
    assert names[f"{model.inside}head"] is network.head


@pytest.mark.parametrize("last", [nn.Sigmoid(), nn.Softmax(dim=1)])
def test_a_probability_of_0_or_1_leaves_finite_scores_and_gradients(last):
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2), last)
    model = open_model(network, size=(8, 8))
    nn.init.constant_(network[2].bias, 200)
    nn.init.constant_(network[2].weight[0], 100)
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    scores = model.network(images)
    (gradient,) = torch.autograd.grad(scores[:, 0].sum(), images)
    assert scores.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_weights_that_are_no_float32_are_refused(kind):
    with pytest.raises(UserError, match=f"Linear has weights of {kind}: give it as model.float()"):
        open_model(nn.Linear(3, 2).to(kind), size=(8, 8))


@pytest.mark.parametrize("wrap", [lambda scores: scores, lambda scores: scores[:, 0], Output])
def test_one_output_becomes_two_with_the_same_probability(wrap):
    model = open_model(Gives(wrap, outputs=1), classes=["sick"])
    assert model.classes == ("not sick", "sick")
    images = torch.randn(4, 3, 8, 8)
    logit = images.mean(dim=(1, 2, 3))
    torch.testing.assert_close(model.network(images).softmax(dim=1)[:, 1], logit.sigmoid())
    with pytest.raises(UserError, match="has one output, of which softmax is always 1"):
        open_model(Gives(wrap, outputs=1), outputs="softmax")


def test_without_a_configuration_an_image_is_rgb_from_0_to_1():
    model = open_model(Gives(lambda scores: scores), size=(2, 2))
    image = Image.fromarray(np.array([[[255, 0, 51], [0, 0, 0]], [[0, 0, 0], [0, 255, 0]]], dtype=np.uint8))
    prepared = model.prepare(image)
    assert prepared[:, 0, 0].tolist() == pytest.approx([1, 0, 0.2])
    assert prepared[1, 1, 1] == 1


def test_range_mean_and_deviation():
    prepare = Preparation((1, 1), (0.0, 10.0, -10.0), (2.0,), value_range=(-100.0, 100.0))
    grey = Image.new("RGB", (3, 3), (255, 0, 51))
    assert prepare(grey).flatten().tolist() == pytest.approx([50, -55, -25])  # 100/2, (-100 - 10)/2, (-60 + 10)/2


def test_the_shorter_side_keeps_the_aspect():
    prepare = Preparation((10, 10), resize="shorter")
    assert prepare(Image.new("RGB", (40, 20))).shape == (3, 10, 20)
    assert not prepare.same_size


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": (0, 4)}, "--image-size is 0: it must be at least 1"),
        ({"size": (10**7, 10**7)}, "--image-size is 10000000: it must be at most 16384"),
        ({"channels": 2}, "--channels is 2"),
        ({"mean": (1.0, 2.0)}, "--mean has 2"),
        ({"mean": (float("nan"),)}, "--mean has the number nan: give finite ones"),
        ({"std": (0.0,)}, "--std is"),
        ({"std": (1.0, float("nan"), 1.0)}, "--std has the number nan"),
        ({"value_range": (1.0, 0.0)}, "--value-range is"),
        ({"value_range": (0.0,)}, "--value-range has 1 number: give 2, of black and of white"),
        ({"value_range": (0.0, 1.0, 2.0)}, "--value-range has 3 numbers"),
        ({"value_range": (0.0, float("inf"))}, "--value-range has the number inf"),
        ({"resize": "crop"}, "--resize is"),
    ],
)
def test_numbers_that_fit_no_image(settings, message):
    with pytest.raises(UserError, match=message):
        open_model(Gives(lambda scores: scores), **settings)


TENSOR = transforms.ToTensor()


@pytest.mark.parametrize(
    ("steps", "side"),
    [
        ([transforms.Resize(64), transforms.CenterCrop(64), TENSOR], "left"),
        ([transforms.Resize(80), transforms.CenterCrop(64), TENSOR], "top"),
        ([transforms.Resize((64, 64)), transforms.RandomVerticalFlip(1.0), TENSOR], "top"),
        ([lambda image: image.transpose(Image.Transpose.ROTATE_180), transforms.Resize((64, 64)), TENSOR], "top"),
        ([transforms.Resize(32, max_size=40), TENSOR, transforms.Pad((0, 20, 0, 20))], "top"),
    ],
    ids=["crops to a square", "crops", "flips", "turns", "pads"],
)
def test_a_preprocess_function_that_moves_the_image_is_refused(steps, side):
    with pytest.raises(UserError, match=rf"crops, pads or turns images of .* pixels \(the {side} edge"):
        open_model(Gives(lambda scores: scores), transforms.Compose(steps))


def test_a_preprocess_function_that_keeps_the_image_is_taken():
    steps = [transforms.Resize((64, 48)), TENSOR, transforms.Normalize([0.5] * 3, [0.2] * 3)]
    model = open_model(Gives(lambda scores: scores), transforms.Compose(steps))
    assert model.shape == (3, 64, 48)
    with pytest.raises(UserError, match="preprocess function of its own, so --image-size has no effect"):
        open_model(Gives(lambda scores: scores), transforms.Compose(steps), size=(3, 3))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda image: np.zeros((3, 8, 8)), "gives <class 'numpy.ndarray'>"),
        (lambda image: TENSOR(image)[None], r"shape \(1, 3, 256, 384\)"),
        (lambda image: image.nothing, "raises AttributeError on a PIL image"),
    ],
)
def test_a_preprocess_function_that_gives_something_else_is_told(function, message):
    with pytest.raises(UserError, match=message):
        open_model(Gives(lambda scores: scores), function)


def test_a_network_that_does_not_take_the_images_is_told_before_anything_runs():
    with pytest.raises(UserError, match=r"does not take images of 3 channels and 10 x 10 pixels .*--image-size"):
        open_model(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), size=(10, 10))
    with pytest.raises(UserError, match=r"does not take images of 1 channels"):
        open_model(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten()), size=(10, 10), channels=1)


def test_names_of_outputs_must_fit():
    with pytest.raises(UserError, match="3 outputs and --classes names 2"):
        open_model(Gives(lambda scores: scores), classes=["a", "b"])
    with pytest.raises(UserError, match="two outputs of Gives are called 'a'"):
        open_model(Gives(lambda scores: scores), classes=["a", "b", "a"])


def test_a_training_network_is_asked_in_eval_mode_and_its_weights_stay():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.9), nn.Flatten(), nn.Linear(48, 2)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    open_model(network, size=(4, 4))
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_scores_of_a_sequence_that_is_empty():
    with pytest.raises(UserError, match="an object of type tuple"):
        find_scores(())


@pytest.mark.parametrize(
    ("settings", "contrast"),
    [
        ({}, 1.0),
        ({"value_range": (-1024.0, 1024.0), "channels": 1}, 2048.0),
        ({"mean": (0.5, 0.4, 0.3), "std": (0.5, 0.25, 0.125)}, (2 + 4 + 8) / 3),
        ({"resize": "shorter"}, 1.0),
    ],
)
def test_contrast_is_what_black_and_white_differ_by(settings, contrast):
    model = open_model(Gives(lambda scores: scores), classes=["a", "b", "c"], size=(16, 24), **settings)
    assert model.contrast == pytest.approx(contrast)


def test_contrast_of_images_that_are_standardised_one_by_one():
    def standardised(image):
        values = torch.from_numpy(np.array(image.resize((8, 8)))).permute(2, 0, 1).float()
        return (values - values.mean()) / values.std(correction=0).clamp(min=1e-6)

    model = open_model(Gives(lambda scores: scores), standardised, classes=["a", "b", "c"])
    assert model.contrast == pytest.approx(2.0)  # -1 and 1 are black and white in equal parts
