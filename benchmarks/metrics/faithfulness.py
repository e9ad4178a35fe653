"""Insertion and deletion: does the class follow the pixels that a map calls important?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.metrics.explained_film import ExplainedFilm
from normgrad_attr import smooth
from normgrad_attr.functional import is_constant

STEPS = 16
"""Steps from the one film to the other."""
BLUR = 0.05
"""Standard deviation of the blur, as a share of the film's side: objects are of that size or larger."""

Probability = Callable[[Tensor], Tensor]
"""Images ``(N, C, S, S)`` to the probability of the class in question, ``(N,)``."""


def blur(images: Tensor) -> Tensor:
    """The films without their detail, which take the place of what is not there."""
    sigma = BLUR * images.shape[-1]
    return smooth(images, sigma, 2 * round(3 * sigma) + 1)


def rank_pixels(saliency: Tensor, size: Sequence[int], seed: tuple[int, ...]) -> Tensor:
    """Ranks of the pixels of a map stretched to ``size``, 0 the highest; pixels that tie draw lots.

    Args:
        saliency: ``(1, h, w)``, finite.
        size: height and width of the film.
        seed: of the lots.

    Returns:
        int64, of that size.
    """
    saliency = saliency.detach().cpu()
    low, high = (end.double() for end in saliency.aminmax())
    unit = torch.zeros_like(saliency, dtype=torch.float64)
    if not is_constant(saliency):
        unit = (saliency.double() - low) / (high - low)
    # Rounding of the interpolation must not choose between pixels that tie.
    values = F.interpolate(unit[None], size=tuple(size), mode="bilinear", align_corners=False).flatten().numpy()
    lots = np.random.default_rng(seed).permutation(values.size)
    order = lots[np.argsort(-values[lots].round(12), kind="stable")]
    ranks = np.empty(values.size, dtype=np.int64)
    ranks[order] = np.arange(values.size)
    return torch.from_numpy(ranks).view(*size)


def insertion_and_deletion(
    probability: Probability,
    image: Tensor,
    blurred: Tensor,
    ends: tuple[float, float],
    ranks: Tensor,
    steps: int = STEPS,
) -> tuple[float, float]:
    """Areas under the probability while a film's pixels appear, and while they vanish, the most important first.

    Insertion starts from the blurred film and puts pixels of the film into it; deletion starts from the film and
    puts pixels of the blurred one into it. Both go in equal steps to the other end.

    Args:
        probability: of the class that the map explains.
        image: ``(C, S, S)``.
        blurred: ``(C, S, S)``, what is there where the film's pixels are not.
        ends: probabilities of ``image`` and ``blurred``.
        ranks: int64 ``(S, S)``, as of :func:`rank_pixels`.
        steps: their number.

    Returns:
        Insertion (higher is better) and deletion (lower is better), each by the trapezoidal rule over the share of
        the pixels.

    References:
        Petsiuk, Das, Saenko: RISE: Randomized Input Sampling for Explanation of Black-box Models. BMVC 2018,
        arXiv:1806.07421, section 4.1.
    """
    counts = _counts(ranks, steps)
    changed = (ranks < counts[1:-1].view(-1, 1, 1))[:, None].to(image.device)
    mixed = torch.cat([torch.where(changed, image, blurred), torch.where(changed, blurred, image)])
    inside = probability(mixed.contiguous(memory_format=torch.channels_last)).double().cpu()
    inserted, deleted = inside.chunk(2)
    whole, gone = (inside.new_tensor([end]) for end in ends)
    share = counts.double() / ranks.numel()
    insertion = torch.trapezoid(torch.cat([gone, inserted, whole]), share)
    deletion = torch.trapezoid(torch.cat([whole, deleted, gone]), share)
    return float(insertion), float(deletion)


def _counts(ranks: Tensor, steps: int) -> Tensor:
    """How many pixels have changed after each step, the start included."""
    return torch.linspace(0, ranks.numel(), steps + 1, dtype=torch.float64, device=ranks.device).round().long()


def insertion(film: ExplainedFilm) -> float | None:
    """Insertion of a film, of the class that is explained; None where the map is not finite."""
    return film.once(_areas)[0]


def deletion(film: ExplainedFilm) -> float | None:
    """Deletion of a film, of the class that is explained; None where the map is not finite."""
    return film.once(_areas)[1]


def _areas(film: ExplainedFilm) -> tuple[float | None, float | None]:
    target = film.explained
    saliency = film.maps[target]
    if not bool(saliency.isfinite().all()):
        return None, None
    ranks = rank_pixels(saliency, film.image.shape[-2:], film.seed)
    # Maps that change the same pixels at each step, such as a product and its root, show the network the same images.
    turns = torch.bucketize(ranks, _counts(ranks, STEPS)[1:-1], right=True)
    key = (target, hashlib.sha256(turns.byte().numpy().tobytes()).digest())
    if key not in film.answers:
        film.answers[key] = insertion_and_deletion(
            lambda images: film.classify(images)[:, target],
            film.image,
            film.blurred,
            (float(film.probabilities[target]), float(film.gone[target])),
            ranks,
        )
    found: tuple[float, float] = film.answers[key]
    return found
