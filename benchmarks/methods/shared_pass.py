"""One pass through the network for several methods of a batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.run.devices import is_out_of_memory


@dataclass(frozen=True)
class Shareable:
    """A method whose maps can be made together with those of others; called, it makes its own.

    Attributes:
        group: Methods of one group share a pass.
        part: What the pass is to make for this method.
        together: Makes several parts, from them, images and targets; that of any method of the group makes all.
    """

    group: str
    part: Any
    together: Callable[[Sequence[Any], Tensor, Tensor], Sequence[Tensor]]

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute attributions."""
        return self.together([self.part], images, targets)[0]


@dataclass(frozen=True)
class _Held:
    """Maps of all methods for some images, and what they were made of and cost."""

    images: Tensor
    targets: Tensor
    version: int
    targets_version: int
    maps: Sequence[Tensor]
    seconds: float

    def is_of(self, images: Tensor, targets: Tensor) -> bool:
        """Whether these images and targets, in this memory and unchanged since, were asked for."""
        return _is(images, self.images, self.version) and _is(targets, self.targets, self.targets_version)


def _is(given: Tensor, held: Tensor, version: int) -> bool:
    """Whether a tensor is what is held. It is not read for that: a GPU would be waited for."""
    # What is held is alive, so nothing else can have come to lie where it is.
    same = (held.data_ptr(), held.dtype, held.shape, held.stride(), version)
    return same == (given.data_ptr(), given.dtype, given.shape, given.stride(), given._version)


class SharedPass:
    """Methods of one network, whose maps come from one pass for all of them.

    The first method that is asked for a batch makes the maps of all; they are held until :meth:`forget`.

    Args:
        together: Makes the maps of all from images and targets.
        alone: What makes those of each by itself.
    """

    def __init__(
        self,
        together: Callable[[Tensor, Tensor], Sequence[Tensor]],
        alone: Sequence[Callable[[Tensor, Tensor], Tensor]],
    ) -> None:
        self._together = together
        self._alone = list(alone)
        self._held: list[_Held] = []
        self._by_themselves = False
        self._spent = self._owed = 0.0

    def maps(self, number: int, images: Tensor, targets: Tensor) -> Tensor:
        """Maps of one of the methods.

        Args:
            number: Its place among the methods.
            images: Float ``(N, C, H, W)``.
            targets: Classes, long ``(N,)``.

        Returns:
            Float ``(N, C, h, w)``, as the method itself would give them.
        """
        held = next((held for held in self._held if held.is_of(images, targets)), None) or self._make(images, targets)
        if held is None:
            return self._alone[number](images, targets)
        self._owed += held.seconds / len(self._alone)
        return held.maps[number]

    def _make(self, images: Tensor, targets: Tensor) -> _Held | None:
        """The maps of all methods; None where a method cannot do it, which is not the fault of the others."""
        if self._by_themselves:
            return None
        started = time.perf_counter()
        try:
            maps = self._together(images, targets)
        except Exception as error:
            if len(images) > 1 and is_out_of_memory(error):
                raise  # half of them may fit
            self._by_themselves = True
            return None
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        seconds = time.perf_counter() - started
        self._spent += seconds
        self._held.append(_Held(images, targets, images._version, targets._version, maps, seconds))
        return self._held[-1]

    def forget(self) -> None:
        """Let go of a batch."""
        self._held.clear()

    def settle(self, seconds: float) -> float:
        """What a method cost, if the pass is paid by all methods in equal shares.

        Args:
            seconds: That passed while its maps were made, the pass included if this method was the first.
        """
        seconds += self._owed - self._spent
        self._owed = self._spent = 0.0
        return seconds
