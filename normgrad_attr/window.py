"""The window through which a convolution sees its input, summed or maximised over."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

_AVG_POOL: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAX_POOL: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@dataclass(frozen=True)
class Window:
    """The neighbourhood N(u) of each location u, as of a convolution.

    ``Window()`` is the single location u itself, for any number of spatial dimensions.

    Args:
        size: Kernel size per spatial dimension.
        stride: Stride per spatial dimension.
        dilation: Dilation per spatial dimension.
        padding: Cells added before and after, per spatial dimension.
        mode: ``"constant"`` (zeros), ``"reflect"``, ``"replicate"`` or ``"circular"``, as in
            :func:`torch.nn.functional.pad`.
    """

    size: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    mode: str = "constant"

    @staticmethod
    def centred(size: int, dims: int) -> Window:
        """A window of odd ``size`` around each location of ``dims`` dimensions, padded with zeros."""
        ones = (1,) * dims
        return Window((size,) * dims, ones, ones, ((size // 2, size // 2),) * dims)

    @property
    def trivial(self) -> bool:
        """Whether the window shows every location exactly itself."""
        return not any(sum(p) for p in self.padding) and all(s == 1 for s in (*self.size, *self.stride))

    def sum(self, t: Tensor) -> Tensor:
        r"""Sum ``t`` of shape (N, G, \*spatial) over the window of every location."""
        if self.trivial:
            return t
        t = self._pad(t)
        dims = len(self.size)
        if all(d == 1 for d in self.dilation):
            return _AVG_POOL[dims](t, self.size, self.stride) * math.prod(self.size)
        groups = t.shape[1]
        ones = t.new_ones((groups, 1, *self.size))
        return _CONV[dims](t, ones, stride=self.stride, dilation=self.dilation, groups=groups)

    def max(self, t: Tensor) -> Tensor:
        r"""Maximum of ``t`` of shape (N, G, \*spatial) over the window; padding takes part, as in unfold."""
        if self.trivial:
            return t
        return _MAX_POOL[len(self.size)](self._pad(t), self.size, self.stride, 0, self.dilation)

    def min(self, t: Tensor) -> Tensor:
        """Minimum, likewise."""
        return -self.max(-t)

    def _pad(self, t: Tensor) -> Tensor:
        if not any(sum(p) for p in self.padding):
            return t
        return F.pad(t, [cells for pair in reversed(self.padding) for cells in pair], mode=self.mode)
