from __future__ import annotations

import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tvf

from benchmarks.classifier.augmentation import augment, draw
from benchmarks.run.config import Augmentation

NONE = Augmentation(brightness=0, contrast=0, rotate=0, translate=0, scale=0, shear=0)
HALF = 0.5  # the number that leaves a symmetric change out; 0.5 for the last one means no flip


def film() -> torch.Tensor:
    """A film with structure in the middle, so that no change pushes it out."""
    image = torch.zeros(1, 1, 65, 65)
    image[..., 20:40, 25:31] = 0.8
    image[..., 45:50, 20:45] = 0.4
    return image


def test_draws_depend_on_seed_epoch_and_film_alone() -> None:
    together = draw(3, 1, torch.tensor([5, 9, 2]))

    assert torch.equal(draw(3, 1, torch.tensor([9]))[0], together[1])
    assert not torch.equal(draw(3, 2, torch.tensor([9]))[0], together[1])
    assert not torch.equal(draw(4, 1, torch.tensor([9]))[0], together[1])


def test_no_strength_leaves_the_film_or_mirrors_it() -> None:
    numbers = torch.rand(2, 10)
    numbers[0, 8], numbers[1, 8] = 0.9, 0.1
    image = film()

    kept, mirrored = augment(image.expand(2, 1, 65, 65), numbers, NONE).split(1)

    torch.testing.assert_close(kept, image)
    torch.testing.assert_close(mirrored, image.flip(3))


def test_warps_as_torchvision_does() -> None:
    strength = Augmentation(brightness=0, contrast=0, rotate=30, translate=0.1, scale=0.05, shear=10)
    numbers = torch.tensor([[HALF, HALF, HALF, 0.9, 0.2, 0.1, 0.8, 0.3, 0.9, 0]])
    image = film()

    ours = augment(image, numbers, strength)

    theirs = tvf.affine(
        image,
        angle=24.0,
        translate=[0.06 * 65, -0.04 * 65],
        scale=1 - 0.04,
        shear=[-6.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )
    assert (ours - theirs).abs().mean() < 0.002  # torchvision rounds shifts less finely
    assert (ours - image).abs().mean() > 0.02


def test_jitters_as_torchvision_does() -> None:
    strength = Augmentation(brightness=0.4, contrast=0.4, rotate=0, translate=0, scale=0, shear=0)
    numbers = torch.tensor([[0.75, 0.25, 0.1] + [HALF] * 7, [0.75, 0.25, 0.9] + [HALF] * 7])
    image = film()

    bright_first, contrast_first = augment(image.expand(2, 1, 65, 65), numbers, strength).split(1)

    torch.testing.assert_close(bright_first, tvf.adjust_contrast(tvf.adjust_brightness(image, 1.2), 0.8))
    torch.testing.assert_close(contrast_first, tvf.adjust_brightness(tvf.adjust_contrast(image, 0.8), 1.2))
