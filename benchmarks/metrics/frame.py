"""Saliency maps on their way into the frame of 600 x 600 pixels in which all methods are compared.

A frame holds far more pixels than most maps, and most of them decide nothing: neither where the maximum is nor which
pixels are the highest. So a frame is made where it is asked for (:class:`Stretched`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from normgrad_attr import smooth as gaussian_smooth
from normgrad_attr.functional import is_constant

FRAME = 600
"""Side of the square frame onto which films, annotations and maps are stretched."""
ROUNDING = 1e-12
"""Of an interpolation in float64 of maps scaled to [0, 1]: values this near are equal."""
_STRETCH = 30  # pixels of a row that are made together
_EVERY = 5  # rows and columns of the frame there is a pixel from which the level of the highest ones is guessed


@dataclass(frozen=True)
class Pixels:
    """Pixels of N maps in the frame, by map and in raster order.

    Attributes:
        of: int64 ``(P,)``, number of the map.
        index: int64 ``(P,)``, ``row * frame + column``.
        value: float64 ``(P,)``.
    """

    of: Tensor
    index: Tensor
    value: Tensor


@dataclass(frozen=True)
class Stretched:
    """N maps in the frame, on the device of the maps.

    Attributes:
        unit: float64 ``(N, h, w)``, each map scaled to [0, 1]; zeros for a map that is constant or not finite.
        finite: bool ``(N,)``, False when the map holds a NaN or an infinity.
        constant: bool ``(N,)``, True when the map says nothing of where (:func:`normgrad_attr.functional.is_constant`).
        zero: float64 ``(N,)``, where the value 0 of the map lies on the scale of ``unit``; 0 for a map that is
            constant or not finite.
        frame: side of the frame in pixels.
    """

    unit: Tensor
    finite: Tensor
    constant: Tensor
    zero: Tensor
    frame: int

    @property
    def planes(self) -> Tensor:
        """The whole frames, float64 ``(N, frame, frame)``."""
        low, high, weight = self._axis(self.unit.shape[1])
        return self._across[:, low].lerp_(self._across[:, high], weight[:, None])

    def choose(self, chosen: Tensor) -> Stretched:
        """Some of the maps, by their numbers."""
        unit, finite, constant, zero = (part[chosen] for part in (self.unit, self.finite, self.constant, self.zero))
        return Stretched(unit, finite, constant, zero, self.frame)

    def highest(self, counts: Sequence[int]) -> Pixels:
        """The highest pixels of each map: at least so many, with all that equal the last of them up to rounding.

        Args:
            counts: N numbers from 1 to ``frame ** 2``.

        Returns:
            The pixels, and some that are lower; none of a map that is constant or not finite.
        """
        levels = torch.full_like(self.zero, torch.inf)
        short = (self.finite & ~self.constant).nonzero()[:, 0].tolist()
        share = 1.3 / self.frame**2
        while True:
            if short:
                levels[short] = self._levels(short, [share * counts[i] for i in short])
            pixels = self._reaching(levels)
            # Those that reach the level itself count, not those that only rounding lifts to it.
            found = torch.bincount(pixels.of[pixels.value >= levels[pixels.of]], minlength=len(levels)).tolist()
            short = [i for i in short if found[i] < counts[i]]
            if not short:
                return pixels
            share *= 4

    def _levels(self, chosen: Sequence[int], shares: Sequence[float]) -> Tensor:
        """Levels that about those shares of the pixels of some maps reach, by a lattice of pixels."""
        low, high, weight = (part[_EVERY // 2 :: _EVERY] for part in self._axis(self.unit.shape[1]))
        across = self._across[list(chosen), :, _EVERY // 2 :: _EVERY]
        samples = torch.lerp(across[:, low], across[:, high], weight[:, None]).flatten(1)
        size = samples.shape[1]
        ranks = [int(share * size) + 16 for share in shares]
        levels = [
            sample.kthvalue(size - rank + 1).values if rank < size else sample.new_tensor(-torch.inf)
            for sample, rank in zip(samples, ranks, strict=True)
        ]
        return torch.stack(levels)

    def _reaching(self, levels: Tensor) -> Pixels:
        """All pixels that reach the level of their map, up to rounding."""
        levels = levels - 2 * ROUNDING
        low, high, weight = self._axis(self.unit.shape[1])
        length = math.gcd(self.frame, _STRETCH)
        pieces = self._across.view(*self._across.shape[:2], -1, length)  # (N, h, pieces of a row, length)
        # No pixel is higher than the mixture of the highest values of the two pieces of the map that it lies between.
        tops = pieces.amax(dim=3)
        bounds = torch.lerp(tops[:, low], tops[:, high], weight[:, None]) + ROUNDING
        of, row, piece = (bounds >= levels[:, None, None]).nonzero(as_tuple=True)
        flat, width = pieces.flatten(0, 2), pieces.shape[2]
        first, second = ((of * pieces.shape[1] + cells[row]) * width + piece for cells in (low, high))
        values = flat.index_select(0, first).lerp_(flat.index_select(0, second), weight[row, None])
        place, column = (values >= levels[of, None]).nonzero(as_tuple=True)
        index = (row * self.frame + piece * length)[place] + column
        return Pixels(of[place], index, values[place, column])

    @cached_property
    def _across(self) -> Tensor:
        """Maps that are stretched to the side only, ``(N, h, frame)``."""
        low, high, weight = self._axis(self.unit.shape[2])
        return self.unit.index_select(2, low).lerp_(self.unit.index_select(2, high), weight)

    def _axis(self, cells: int) -> tuple[Tensor, Tensor, Tensor]:
        return between_cells(cells, self.frame, self.unit.device)


def between_cells(cells: int, frame: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each pixel along a side of the frame the two cells of a map that it lies between, and the second's weight.

    Bilinear interpolation with ``align_corners=False``, one axis at a time.
    """
    pixel = torch.arange(frame, dtype=torch.float64, device=device)
    at = ((pixel + 0.5) * (cells / frame) - 0.5).clamp(0, cells - 1)
    low = at.long()
    return low, (low + 1).clamp(max=cells - 1), at - low


def stretch(maps: Tensor, frame: int = FRAME, *, smooth: bool = False) -> Stretched:
    """Stretch maps onto the frame, bilinear with ``align_corners=False``.

    Args:
        maps: ``(N, 1, h, w)``, any float dtype and size.
        frame: side of the frame in pixels.
        smooth: smooth in the frame, as Ozer and Oksuz did: a Gaussian of sigma 1 px in a window of 11 px.

    Returns:
        The maps in the frame, and which were finite and constant before.
    """
    if maps.ndim != 4 or maps.shape[1] != 1:
        raise ValueError(f"maps must have the shape (N, 1, h, w), not {tuple(maps.shape)}")
    maps = maps.detach()
    constant = is_constant(maps)
    flat = maps.flatten(1)
    low, high = flat.amin(dim=1).double(), flat.amax(dim=1).double()  # of a NaN and anything, NaN
    finite = low.isfinite() & high.isfinite()
    plays = finite & ~constant
    spread = (high - low).where(plays, 1.0)
    unit = maps[:, 0].to(torch.float64, copy=True).sub_(low.view(-1, 1, 1)).div_(spread.view(-1, 1, 1))
    unit.masked_fill_(~plays.view(-1, 1, 1), 0.0)
    stretched = Stretched(unit, finite, constant, (-low / spread).where(plays, 0.0), frame)
    if not smooth:
        return stretched
    planes = gaussian_smooth(stretched.planes[:, None], sigma=1.0, kernel_size=11)[:, 0]
    return replace(stretched, unit=planes)


def clip_at_percentile(maps: Tensor, percentile: float = 99.0) -> Tensor:
    """Clip each map from above at its own percentile and scale it to [0, 1].

    This is the published post-processing of gradient methods. A map without any spread below
    its percentile becomes zero everywhere; a map that is not finite becomes NaN.

    Args:
        maps: ``(N, 1, h, w)``, any float dtype.
        percentile: between 0 and 100, interpolated linearly between the two nearest values.

    Returns:
        float64 ``(N, 1, h, w)``.
    """
    maps = maps.detach()
    constant = is_constant(maps)
    flat = maps.flatten(1)
    place = percentile / 100 * (flat.shape[1] - 1)
    highest = flat.topk(flat.shape[1] - int(place), dim=1).values.double()
    high = torch.lerp(highest[:, -1], highest[:, max(-2, -highest.shape[1])], place - int(place))
    low = flat.amin(dim=1).double()
    finite = low.isfinite() & highest[:, 0].isfinite()
    spread = (high - low).where((high > low) & ~constant, torch.inf)  # zero everywhere, without any spread
    clipped = maps.to(torch.float64, copy=True).clamp_(max=high.view(-1, 1, 1, 1)).sub_(low.view(-1, 1, 1, 1))
    return clipped.div_(spread.view(-1, 1, 1, 1)).masked_fill_(~finite.view(-1, 1, 1, 1), torch.nan)
