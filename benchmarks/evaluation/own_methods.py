"""Methods of the user's: functions, and Captum's attribution objects, as entries of the table of methods."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from captum.attr import Attribution
from torch import Tensor

from benchmarks.methods import Context, Explain, Method, register
from benchmarks.run.errors import UserError
from benchmarks.scoring.batch import seeded
from benchmarks.scoring.job import Job

OwnMethod = Callable[..., Tensor]
"""A function (model, images float ``(N, C, H, W)``, targets long ``(N,)``) to maps ``(N, 1, h, w)``, of any h and w."""


def own_methods(methods: Iterable[Any] | Mapping[str, Any]) -> tuple[tuple[str, ...], list[Method]]:
    """Sort what was asked for into names of the suite's methods and entries for the user's own.

    Args:
        methods: Names or sets of methods, functions, Captum's attribution objects; or any of these by the name that
            tables show. Of a name of the suite, the name alone counts.

    Returns:
        All names, and an entry for each method that is the user's. Of maps with several channels the sum counts.

    Raises:
        UserError: Something is none of these.

    Example:
        >>> names, own = own_methods(["grad_cam", lambda model, images, targets: images[:, :1]])
        >>> names
        ('grad_cam', 'own_1')
    """
    pairs = methods.items() if isinstance(methods, Mapping) else [(None, method) for method in methods]
    names: list[str] = []
    own: list[Method] = []
    for number, (given, method) in enumerate(pairs):
        if isinstance(method, str):
            names += [part.strip() for part in method.split(",")]
            continue
        if isinstance(method, Method):
            own.append(method)
            names.append(method.name)
            continue
        if not callable(getattr(method, "attribute", method)):
            raise UserError(
                f"methods holds {type(method).__name__}: give names, functions (model, images, targets) -> maps, or "
                "Captum's attribution objects."
            )
        name = given or _name(method) or f"own_{number}"
        while name in names:
            name += "_"
        build = _captum_method if isinstance(method, Attribution) else _function_method
        own.append(Method(name, name, build(method), "own", cost="unknown", source=type(method).__module__))
        names.append(name)
    return tuple(names), own


def _name(method: Any) -> str:
    name = type(method).__name__ if isinstance(method, Attribution) else getattr(method, "__name__", "")
    return "" if name == "<lambda>" else name


def _captum_method(method: Attribution) -> Callable[[Context], Explain]:
    def attribute(images: Tensor, targets: Tensor) -> Tensor:
        found = method.attribute(images, target=targets)
        return _as_maps(found[0] if isinstance(found, tuple) and len(found) == 1 else found, len(images))

    return lambda context: attribute


def _function_method(method: OwnMethod) -> Callable[[Context], Explain]:
    # What others are to see is not its to change.
    return lambda context: (
        lambda images, targets: _as_maps(method(context.network, images.clone(), targets.clone()), len(images))
    )


def _as_maps(maps: Any, count: int) -> Tensor:
    if isinstance(maps, Tensor) and maps.ndim == 3 and len(maps) == count:
        maps = maps[:, None]
    wanted = isinstance(maps, Tensor) and maps.ndim == 4 and len(maps) == count and maps.is_floating_point()
    if not wanted or not maps.numel():
        what = f"a tensor of {maps.dtype} and shape {tuple(maps.shape)}" if isinstance(maps, Tensor) else type(maps)
        raise UserError(f"it gives {what} where float maps ({count}, 1, h, w) are expected")
    return cast(Tensor, maps)


def register_all(own: Iterable[Method], job: Job) -> None:
    """Enter methods of the user's in the table, each with a version that tells its results from those of another.

    What a function does, its code alone does not say: it may read a file. So the version is a digest of its maps for
    the first question.

    Args:
        own: Their entries.
        job: Network and questions.

    Raises:
        UserError: One changes the network, so that the others would explain another one.
    """
    for method in own:
        before = _scores(method, job)
        try:
            with seeded(job.seed, method, 0, job.device):
                target = torch.tensor([job.films.records[0].label], device=job.device)
                maps = method.prepare(job.context())(_first_input(job), target).double().cpu()
            scaled = (maps / maps.abs().amax().clamp(min=1e-30) * 1e3).round().nan_to_num(nan=-1e4)
            version = hashlib.sha256(repr(tuple(maps.shape)).encode() + scaled.numpy().tobytes()).hexdigest()[:16]
        except Exception:  # which scoring meets too, and reports with its reason
            version = "fails"
        rounding = 1e-4 * float(before.nan_to_num().abs().amax())
        if not torch.allclose(_scores(method, job), before, rtol=0, atol=rounding, equal_nan=True):
            raise UserError(
                f"the method {method.name} changes the network, which other methods are to explain: let it work on "
                "copy.deepcopy(model)."
            )
        register(replace(method, version=version))


def _scores(method: Method, job: Job) -> Tensor:
    """The network's, of the first question."""
    with torch.no_grad(), seeded(job.seed, method, 0, job.device):
        scores: Tensor = job.network(_first_input(job))
    return scores


def _first_input(job: Job) -> Tensor:
    """What the network is given for the first question, or for the first cell of the first grid; ``(1, C, H, W)``."""
    first = job.films[0][0]
    return job.to_input(first.view(-1, *first.shape[-3:])[:1].to(job.device))
