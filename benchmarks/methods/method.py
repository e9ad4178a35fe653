"""What a method is: an entry of the registry, with its reduction to one map for each film."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from benchmarks.methods.context import Context

Explain = Callable[[Tensor, Tensor], Tensor]
"""Images float ``(N, 3, S, S)`` and classes long ``(N,)`` to maps float ``(N, C, h, w)``, any h and w."""

PAPER = frozenset({"paper", "fast", "all"})
FAST = frozenset({"fast", "all"})
ALL = frozenset({"all"})

_PACKAGES = {"captum": ("captum",), "normgrad_attr": ("captum", "normgrad_attr"), "pytorch_grad_cam": ("grad-cam",)}
"""Packages behind the first part of a method's source; normgrad_attr takes classes and targets as captum does."""

# Expected of the methods as they are used here, and no news to anyone.
_EXPECTED = (
    "Setting backward hooks on ReLU",
    "Setting forward, backward hooks and attributes",
    "Input Tensor .* did not already require gradients",
    "The map of layer .* is constant",
    "max_unpooling2d_forward_out does not have a deterministic",  # its windows never overlap here, so it has
)


@dataclass(frozen=True)
class Method:
    """One entry of the registry.

    Attributes:
        name: As in ``--methods`` and in the tables.
        title: For figures, short.
        build: Makes the function that computes attributions; may raise :class:`benchmarks.run.errors.UserError` with
            the reason when the method cannot run on the network.
        family: ``"baseline"``, ``"cam"``, ``"gradient"`` (input-sized; the protocol ``paper`` clips these),
            ``"perturbation"`` or ``"normgrad"``.
        reduction: How an attribution becomes one map: ``"signed"`` (sum over channels), ``"absolute"`` (sum of
            absolute values), ``"positive"`` (sum of the positive parts).
        cost: ``"none"``, ``"one_pass"`` (a handful at most), ``"many_passes"`` (dozens of gradients) or
            ``"perturbation"`` (as many forwards as the budget allows).
        sets: The named sets it belongs to; everything belongs to ``all``.
        source: Where the computation comes from: an importable name, or this package.
        random: Whether it draws random numbers, so that a batch differs from its films one at a time.
        needs: Packages that its maps depend on beside those that ``source`` and ``family`` tell.
        version: Another one when the same film would get another map; scores of other versions are never mixed.
    """

    name: str
    title: str
    build: Callable[[Context], Explain]
    family: str
    reduction: str = "signed"
    cost: str = "one_pass"
    sets: frozenset[str] = ALL
    source: str = "benchmarks"
    random: bool = False
    needs: tuple[str, ...] = ()
    version: int | str = 1

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages, beside torch and torchvision, another version of which may give other maps."""
        found = {*self.needs, *_PACKAGES.get(self.source.partition(".")[0], ())}
        if self.family == "normgrad":
            found.update(_PACKAGES["normgrad_attr"])
        return tuple(sorted(found))

    @property
    def clipped(self) -> bool:
        """Whether the protocol ``paper`` clips its maps at the 99th percentile."""
        return self.family == "gradient"

    def prepare(self, context: Context) -> Explain:
        """Build the method and put its reduction behind it.

        Args:
            context: Of the network.

        Returns:
            A function from images float ``(N, 3, S, S)`` and classes long ``(N,)`` to detached maps ``(N, 1, h, w)``,
            float. It never changes its arguments, and hides warnings that are expected here, such as that Captum sets
            hooks.
        """
        with _expected_warnings_hidden():
            attribute = self.build(context)

        def explain(images: Tensor, targets: Tensor) -> Tensor:
            with _expected_warnings_hidden():
                # A new tensor object, so that requires_grad is never left on the caller's.
                return reduce_channels(attribute(images.detach(), targets), self.reduction)

        return explain


@contextmanager
def _expected_warnings_hidden() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in _EXPECTED:
            warnings.filterwarnings("ignore", message=message)
        yield


def reduce_channels(attribution: Tensor, reduction: str) -> Tensor:
    """Reduce an attribution to one map an image, the sum over its channels.

    Args:
        attribution: ``(N, C, h, w)``, any float dtype.
        reduction: ``"signed"``, ``"absolute"`` or ``"positive"``: what is summed.

    Returns:
        ``(N, 1, h, w)``, same dtype, detached.

    Raises:
        ValueError: There is no such reduction.

    Example:
        >>> import torch
        >>> attribution = torch.tensor([1.0, -3.0]).view(1, 2, 1, 1)
        >>> [reduce_channels(attribution, r).item() for r in ("signed", "absolute", "positive")]
        [-2.0, 4.0, 1.0]
    """
    attribution = attribution.detach()
    if reduction == "absolute":
        attribution = attribution.abs()
    elif reduction == "positive":
        attribution = attribution.clamp(min=0)
    elif reduction != "signed":
        raise ValueError(f"There is no reduction {reduction!r}: choose signed, absolute or positive.")
    return attribution if attribution.shape[1] == 1 else attribution.sum(dim=1, keepdim=True)
