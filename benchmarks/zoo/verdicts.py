"""What came of a call: right, refused with a sentence, wrong, or a crash."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

import normgrad_attr
from benchmarks.zoo.truth import Recorded, norm_map

#: Largest difference from the truth, relative to its largest value.
TOLERANCE = 1e-4
#: The same for combined maps, in which scaling a map of little contrast enlarges roundings.
TOLERANCE_COMBINED = (1e-3, 5e-2)
#: From best to worst. ``unproved``: a map came, but nothing tells where its channels are.
VERDICTS = ("right", "refused", "unproved", "wrong", "crash")
#: What is asked of the library, by its key in the records; the stages of an examination are called so, too.
COLUMNS = {"normgrad": "NormGrad", "combined": "CombinedNormGrad", "explain": "explain"}
SUGGESTING, COMPARING, TIMING = "suggest_layers", "comparing the network with what it was", "timing"
#: Stages in which the library works, or what it left behind is looked at.
LIBRARY_STAGES = (SUGGESTING, *COLUMNS.values(), COMPARING, TIMING)

Verdict = dict[str, str]
T = TypeVar("T")

_LIBRARY = Path(normgrad_attr.__file__).parent
_REFUSALS = (ValueError, TypeError, RuntimeError)


def attempt(call: Callable[[], T]) -> tuple[T | None, Verdict]:
    """Do something with the library.

    Returns:
        Its result and no complaint, or None with how it failed: ``refused`` if the library itself raised a ValueError,
        a TypeError or a RuntimeError with a sentence, else ``crash``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(), {"verdict": "right"}
    except Exception as error:  # whatever it is, it is the result
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        text = " ".join(str(error).split())
        refused = isinstance(error, _REFUSALS) and _LIBRARY in raised_in.parents and is_sentence(text)
        where = "" if refused else f", raised in {raised_in.name}"
        detail = f"{type(error).__name__}: {text[:400]}{where}"
        return None, {"verdict": "refused" if refused else "crash", "detail": detail}


def is_sentence(text: str) -> bool:
    """Whether a message is more than a word or a number."""
    return len(text.split()) >= 5 and text.endswith((".", "?"))


def judge_map(got: Any, verdict: Verdict, truth: Recorded, dim: int | None) -> Verdict:
    """Compare a layer's map with the product of norms over the proved channels.

    Args:
        got: What the library gave, None if it raised.
        verdict: Of :func:`attempt`.
        truth: Activation and gradient.
        dim: Where the channels are, None if that is not proved.
    """
    if got is None:
        return verdict
    if isinstance(got, (tuple, list)):
        got = got[0]
    fits = [d for d in range(1, truth.activation.dim()) if distance(got, norm_map(truth, d)) <= TOLERANCE]
    if dim is None:
        like = f"norms over dimension {fits[0]}" if fits else "no norm over one dimension"
        return {"verdict": "unproved", "detail": f"{like} of {tuple(truth.activation.shape)}"}
    if dim in fits:
        return verdict
    if fits:
        detail = f"channels taken for dimension {fits[0]} of {tuple(truth.activation.shape)}, they are {dim}"
    else:
        detail = f"relative difference {distance(got, norm_map(truth, dim)):.1e}"
    return {"verdict": "wrong", "detail": detail}


def judge_combined(got: Tensor | None, verdict: Verdict, known: tuple[Tensor, float] | str, layers: int) -> Verdict:
    """Compare a combined map with the true one, both as products: the root near zero enlarges roundings without bound.

    Args:
        got: What the library gave, None if it raised.
        verdict: Of :func:`attempt`.
        known: The map and how much its making enlarges roundings, or why none is known.
        layers: How many are combined.
    """
    if got is None:
        return verdict
    if isinstance(known, str):
        return {"verdict": "unproved", "detail": known}
    want, contrast = known
    least, most = TOLERANCE_COMBINED
    difference = distance(got.double() ** layers, want**layers)
    if difference <= min(max(least, TOLERANCE * contrast), most):
        return verdict
    shape = f" of shape {tuple(got.shape)}" if got.shape != want.shape else ""
    return {"verdict": "wrong", "detail": f"a map{shape} that differs by {difference:.1e}"}


def distance(got: Any, want: Tensor) -> float:
    """Largest difference relative to the largest value of ``want``; infinite for other shapes."""
    if not isinstance(got, Tensor) or got.shape != want.shape:
        return float("inf")
    largest = float(want.abs().max())
    difference = float((got.detach().double() - want).abs().nan_to_num(float("inf")).max())
    return difference / largest if largest else difference


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on several maps is that on the worst of them."""
    return max(verdicts, key=lambda verdict: VERDICTS.index(verdict["verdict"]))
