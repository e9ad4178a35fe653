from __future__ import annotations

import math

import pytest
import torch
from captum.attr import LayerGradCam, Saliency
from torch import Tensor, nn

from benchmarks.metrics.grid_game import (
    chance,
    confidence,
    draw_grids,
    lay_out,
    play,
    play_difull,
    with_nothing,
)
from benchmarks.run.errors import UserError
from normgrad_attr import CombinedNormGrad, NormGrad


def test_confidence_by_hand_for_sigmoid():
    logits = torch.tensor(
        [[3.0, -4.0, -2.0], [3.0, 0.5, -9.0], [-0.1, -9.0, -9.0], [3.0, 2.0, -9.0], [-5.0, -5.0, -5.0]]
    )
    labels = torch.tensor([[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]]).bool()
    expected = 1 / (1 + math.exp(-2.0))  # that class 2 is not there is less sure than that class 0 is
    assert confidence(logits, labels, "sigmoid").tolist() == pytest.approx([expected, 0, 0, 0, 0])


def test_confidence_by_hand_for_softmax():
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    labels = torch.tensor([[1, 0, 0], [1, 0, 0]]).bool()
    assert confidence(logits, labels, "softmax").tolist() == pytest.approx([math.exp(2) / (math.exp(2) + 2), 0])
    with pytest.raises(ValueError, match="softmax"):
        confidence(logits, labels, "relu")


def test_the_most_confident_images_come_first_and_again_when_all_were_used():
    confidences = torch.tensor([0.91, 0.99, 0.5, 1.0, 1.0, 1.0])
    grids = draw_grids(confidences, [0, 0, 0, 1, 2, 3], side=2, count=3)
    assert [dict(zip(grid.classes, grid.images, strict=True))[0] for grid in grids] == [1, 0, 1]
    for grid in grids:
        assert sorted(grid.classes) == [0, 1, 2, 3]
    assert grids == draw_grids(confidences, [0, 0, 0, 1, 2, 3], side=2, count=3)
    assert grids != draw_grids(confidences, [0, 0, 0, 1, 2, 3], side=2, count=3, seed=1)


def test_too_few_classes_are_a_sentence():
    with pytest.raises(UserError, match=r"of 4 classes .* of 2 \(classes: cat, dog\)"):
        draw_grids(torch.tensor([1.0, 1.0, 0.8]), [0, 1, 2], side=2, count=1, names=["cat", "dog", "owl"])


def test_cells_lie_in_raster_order():
    cells = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 5, 7)
    laid = lay_out(cells, 2)
    assert laid.shape == (1, 3, 10, 14)
    assert laid[0, 0, [0, 0, 9, 9], [0, 13, 0, 13]].tolist() == [0, 1, 2, 3]


def test_scores_of_hand_made_maps():
    """One map of 2 x 2 for all four questions: 3 and 1 positive, -4 and 0 not."""
    maps = torch.tensor([[3.0, -4.0], [1.0, 0.0]]).view(1, 1, 2, 2).repeat_interleave(60, 2).repeat_interleave(60, 3)
    seen = []

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        seen.append((images, targets))
        return maps.expand(4, -1, -1, -1)

    cells = torch.rand(4, 3, 8, 8)
    scores = play(explain, cells, [7, 5, 6, 4], side=2, grid=3)
    ((images, targets),) = seen
    assert targets.tolist() == [7, 5, 6, 4]
    assert torch.equal(images[2, :, :8, 8:], cells[1])
    assert [(score.grid, score.cell, score.hit) for score in scores] == [(3, i, i == 0) for i in range(4)]
    # The edges between cells are drawn out over some pixels.
    assert [score.energy for score in scores] == pytest.approx([0.75, 0, 0.25, 0], abs=0.01)


def test_a_map_that_says_nothing_scores_chance():
    cells = torch.rand(9, 3, 4, 4)
    scores = [
        score for grid in range(100) for score in play(lambda x, t: torch.ones(9, 1, 5, 5), cells, range(9), 3, grid)
    ]
    assert chance(3) == pytest.approx(1 / 9)
    assert [score.energy for score in scores] == pytest.approx([1 / 9] * 900)
    assert sum(score.hit for score in scores) / len(scores) == pytest.approx(1 / 9, abs=0.04)


class ColourNetwork(nn.Sequential):
    """Class k is the mean of channel k, less half of the others': each pixel speaks for one class, against the rest."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
        with torch.no_grad():
            self[0].weight.copy_(torch.eye(4).view(4, 4, 1, 1))
            self[0].bias.zero_()
            self[4].weight.copy_(1.5 * torch.eye(4) - 0.5)
            self[4].bias.zero_()


CELLS = torch.eye(4).view(4, 4, 1, 1).expand(4, 4, 6, 6)  # cell k is all of class k


def test_grad_cam_knows_the_class_and_the_norm_does_not():
    network = ColourNetwork().eval()
    cam = LayerGradCam(network, network[1])
    scores = play(lambda x, t: cam.attribute(x, t), CELLS, range(4), 2)
    assert all(score.hit for score in scores)
    assert [score.energy for score in scores] == pytest.approx([1] * 4, abs=0.03)
    norm = NormGrad(network, "1")
    scores = play(lambda x, t: norm.attribute(x, t), CELLS, range(4), 2)
    # Gradients of 1 and thrice -1/2 at every location: the norm is the same everywhere.
    assert [score.energy for score in scores] == pytest.approx([1 / 4] * 4)


def test_the_class_sensitive_recipe_has_the_right_cell():
    network = ColourNetwork().eval()
    method = CombinedNormGrad.class_sensitive(network, ["0", "1"])
    scores = play(lambda x, t: method.attribute(x, t), CELLS, range(4), 2)
    assert all(score.hit and score.energy > 0.93 for score in scores)


def convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 5, padding=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    ).eval()  # fmt: skip


def gradient(network: nn.Module, x: Tensor, t: Tensor | int) -> Tensor:
    return Saliency(network).attribute(x.clone().requires_grad_(), t).sum(1, keepdim=True)


def difull(explain, cells: Tensor) -> list[float]:
    return [score.energy for score in play_difull(explain, cells, range(4), side=2, nothing=4)]


def test_gradients_invent_nothing():
    network = with_nothing(convolutions())
    cells = torch.rand(4, 3, 16, 16)
    normgrad = NormGrad(network, "2")
    # Input-sized maps: what lies between two cells once the map is stretched is all that is lost.
    assert difull(lambda x, t: gradient(network, x, t), cells) == pytest.approx([1] * 4, abs=0.05)
    assert difull(lambda x, t: normgrad.attribute(x, t), cells) == pytest.approx([1] * 4, abs=0.05)


def test_what_is_the_same_for_every_score_is_invented():
    """The mean activation, whatever is asked."""
    network = with_nothing(convolutions())
    cells = torch.rand(1, 3, 16, 16).expand(4, -1, -1, -1)
    assert difull(lambda x, t: network[:2](x).mean(1, keepdim=True), cells) == pytest.approx([1 / 4] * 4, abs=0.005)


def test_a_cell_of_difull_is_what_a_network_with_a_head_for_each_cell_gives():
    """Independent truth: the whole grid in one input that is cut up inside of the network."""
    inner = convolutions()

    class HeadForEachCell(nn.Module):
        def forward(self, x: Tensor) -> Tensor:  # (N, 3, 32, 32) to (N, 4 cells x 4 classes)
            cells = torch.stack([x[:, :, i : i + 16, j : j + 16] for i in (0, 16) for j in (0, 16)], dim=1)
            return inner(cells.flatten(0, 1)).view(len(x), 16)

    cells = torch.rand(4, 3, 16, 16)
    seen = []

    def explain(x: Tensor, t: Tensor) -> Tensor:
        seen.append(gradient(with_nothing(inner), x, t))
        return seen[-1]

    difull(explain, cells)
    for cell in range(4):
        whole = gradient(HeadForEachCell(), lay_out(cells, 2), 4 * cell + cell)
        torch.testing.assert_close(lay_out(seen[cell], 2), whole)


def test_the_network_with_nothing_leaves_the_first_as_it_was():
    network = convolutions()
    twin = with_nothing(network)
    x = torch.rand(2, 3, 16, 16)
    assert type(twin) is type(network)
    assert torch.equal(twin(x), torch.cat([network(x), torch.zeros(2, 1)], dim=1))
    assert not network._forward_hooks
