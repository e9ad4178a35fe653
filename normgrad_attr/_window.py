"""The window through which a convolution sees its input, summed or maximised over."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
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
        size: Kernel size per spatial dimension, in cells.
        stride: Stride per spatial dimension, in cells.
        dilation: Dilation per spatial dimension, in cells.
        padding: Cells added before and after, per spatial dimension.
        mode: ``"constant"`` (zeros), ``"reflect"``, ``"replicate"`` or ``"circular"``, as in
            :func:`torch.nn.functional.pad`.

    Examples:
        >>> import torch
        >>> from normgrad_attr.functional import Window
        >>> window = Window.centred(3, dims=1)
        >>> window.sum(torch.tensor([[[1.0, 2.0, 4.0]]]))
        tensor([[[3., 7., 6.]]])
        >>> window.max(torch.tensor([[[-1.0, -2.0, -4.0]]]))  # the zeros outside take part
        tensor([[[ 0., -1.,  0.]]])
    """

    size: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    mode: str = "constant"

    @staticmethod
    def centred(size: int, dims: int) -> Window:
        """A window around each location, padded with zeros.

        Args:
            size: Odd kernel size, in cells, the same in every dimension.
            dims: Number of spatial dimensions, 1 to 3.

        Returns:
            The window, of stride 1.
        """
        ones = (1,) * dims
        return Window((size,) * dims, ones, ones, ((size // 2, size // 2),) * dims)

    @property
    def trivial(self) -> bool:
        """Whether the window shows every location exactly itself."""
        return not any(sum(p) for p in self.padding) and all(s == 1 for s in (*self.size, *self.stride))

    def sum(self, t: Tensor) -> Tensor:
        r"""Sum over the window of every location.

        Args:
            t: (N, G, \*spatial), float.

        Returns:
            (N, G, \*locations), same dtype.
        """
        if self.trivial:
            return t
        t = self._pad(t)
        dims = len(self.size)
        if all(d == 1 for d in self.dilation):
            return _AVG_POOL[dims](t, self.size, self.stride) * math.prod(self.size)
        groups = t.shape[1]
        ones = t.new_ones((groups, 1, *self.size))
        with torch.autocast(t.device.type, enabled=False):
            return _CONV[dims](t, ones, stride=self.stride, dilation=self.dilation, groups=groups)

    def max(self, t: Tensor) -> Tensor:
        r"""Maximum over the window of every location; padding takes part, as in unfold.

        Args:
            t: (N, G, \*spatial), float.

        Returns:
            (N, G, \*locations), same dtype.
        """
        if self.trivial:
            return t
        return _MAX_POOL[len(self.size)](self._pad(t), self.size, self.stride, 0, self.dilation)

    def min(self, t: Tensor) -> Tensor:
        r"""Minimum over the window of every location; padding takes part.

        Args:
            t: (N, G, \*spatial), float.

        Returns:
            (N, G, \*locations), same dtype.
        """
        return -self.max(-t)

    def _pad(self, t: Tensor) -> Tensor:
        if not any(sum(p) for p in self.padding):
            return t
        return F.pad(t, [cells for pair in reversed(self.padding) for cells in pair], mode=self.mode)
