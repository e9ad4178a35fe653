"""What a method is: an entry of the registry, with its reduction to one map for each film."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from benchmarks.methods.context import Context
from benchmarks.methods.shared_pass import Shareable, SharedPass
from normgrad_attr import CombinedNormGrad, NormGrad, attribute_together

Explain = Callable[[Tensor, Tensor], Tensor]
"""Images float ``(N, 3, S, S)`` and classes long ``(N,)`` to maps float ``(N, C, h, w)``, any h and w."""

NormGradMethod = NormGrad[Any] | CombinedNormGrad

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
        build: Makes the function that computes attributions. A
            ``benchmarks.methods.shared_pass.Shareable``, or a NormGrad of the library, shares its pass with
            others. May raise :class:`benchmarks.run.errors.UserError` with the reason when the method cannot run on
            the network.
        family: ``"baseline"``, ``"cam"``, ``"gradient"`` (input-sized; the protocol ``paper`` clips these),
            ``"perturbation"`` or ``"normgrad"``.
        reduction: How an attribution becomes one map: ``"signed"`` (sum over channels), ``"absolute"`` (sum of
            absolute values), ``"positive"`` (sum of the positive parts).
        cost: ``"none"``, ``"one_pass"`` (a handful at most), ``"many_passes"`` (dozens of gradients) or
            ``"perturbation"`` (as many forwards as the budget allows).
        sets: The named sets it belongs to; everything belongs to ``all``.
        source: Where the computation comes from: an importable name, or this package.
        random: Whether it draws random numbers, so that a batch differs from its films one at a time.
        draws_as: Name of the method whose random numbers it draws, where methods share them; its own if empty.
        needs: Packages that its maps depend on beside those that ``source`` and ``family`` tell.
        version: Another one when the same film would get another map; scores of other versions are never mixed.
    """

    name: str
    title: str
    build: Callable[[Context], Explain | NormGradMethod]
    family: str
    reduction: str = "signed"
    cost: str = "one_pass"
    sets: frozenset[str] = ALL
    source: str = "benchmarks"
    random: bool = False
    draws_as: str = ""
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

    def prepare(self, context: Context) -> Prepared:
        """Build the method and put its reduction behind it.

        Args:
            context: Of the network.

        Returns:
            What computes its maps.
        """
        return Prepared(self.reduction, self.built(context))

    def built(self, context: Context) -> Explain:
        """Build the method, without warnings that are expected here.

        Args:
            context: Of the network.

        Returns:
            What its builder makes, a NormGrad of the library as something that shares its pass.
        """
        with _expected_warnings_hidden():
            built = self.build(context)
        if isinstance(built, (NormGrad, CombinedNormGrad)):
            return Shareable("normgrad", built, attribute_together)
        return built


@dataclass(frozen=True)
class Prepared:
    """A method that is ready for a network.

    Called like a function, with images float ``(N, C, S, S)`` and classes long ``(N,)``, it gives detached maps
    ``(N, 1, h, w)``, float. It never changes its arguments, and hides warnings that are expected here, such as that
    Captum sets hooks.

    Attributes:
        reduction: As of the method.
        attribute: Computes attributions.
        shared: The pass that it shares with other methods.
    """

    reduction: str
    attribute: Explain
    shared: SharedPass | None = None

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the maps."""
        with _expected_warnings_hidden():
            # A new tensor object, so that requires_grad is never left on the caller's.
            return reduce_channels(self.attribute(images.detach(), targets), self.reduction)


def prepare_together(
    methods: Iterable[Method], context: Context
) -> tuple[dict[str, Prepared], dict[str, Exception], list[SharedPass]]:
    """Prepare methods so that those of one group share a pass.

    Args:
        methods: Any.
        context: Of the network.

    Returns:
        By their names the methods that are ready, and why others are not; and the passes that some share.
    """
    ready: dict[str, Prepared] = {}
    failed: dict[str, Exception] = {}
    groups: dict[str, dict[str, Shareable]] = {}
    for method in methods:
        try:
            built = method.built(context)
        except Exception as error:  # noqa: PERF203
            failed[method.name] = error
        else:
            ready[method.name] = Prepared(method.reduction, built)
            if isinstance(built, Shareable):
                groups.setdefault(built.group, {})[method.name] = built
    passes = []
    for group in groups.values():
        reductions = [ready[name].reduction for name in group]
        passes.append(SharedPass(partial(_reduced_together, list(group.values()), reductions), list(group.values())))
        for place, (name, reduction) in enumerate(zip(group, reductions, strict=True)):
            ready[name] = Prepared(reduction, partial(passes[-1].maps, place), passes[-1])
    return ready, failed, passes


def _reduced_together(
    group: Sequence[Shareable], reductions: Sequence[str], images: Tensor, targets: Tensor
) -> list[Tensor]:
    """Maps of one channel, as they are held; to reduce them once more changes nothing."""
    attributions = group[0].together([one.part for one in group], images, targets)
    return [reduce_channels(one, reduction) for one, reduction in zip(attributions, reductions, strict=True)]


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
