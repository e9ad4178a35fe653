"""Saliency maps on their way into the frame of 600 x 600 pixels in which all methods are compared.

A frame holds far more pixels than most maps, and most of them decide nothing: neither where the maximum is nor which
pixels are the highest. So a frame is made where it is asked for (:class:`Stretched`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from normgrad_attr import smooth as gaussian_smooth
from normgrad_attr.functional import is_constant

FRAME = 600
"""Side of the square frame onto which films, annotations and maps are stretched."""
ROUNDING = 1e-12
"""Of an interpolation in float64 of maps scaled to [0, 1]: values this near are equal."""
_LENGTH = 20  # of the pieces of rows that are made together, where it divides the frame
_EVERY = 10  # rows and columns of the frame there is a pixel from which the level of the highest ones is guessed
_MARGIN = 1.1  # times as many pixels as are asked for are to reach the first guess of their level


@dataclass(frozen=True)
class Pieces:
    """Pieces of rows of N maps in the frame, by map and in raster order.

    Each has a pixel that was looked for; what lies beside it is lower than all of these.

    Attributes:
        of: int64 ``(P,)``, the map of each.
        first: int64 ``(P,)``, the first pixel of each.
        values: float64 ``(P, length)``.
        counts: number of pieces of each map.
        levels: float64 ``(N,)``, the value of the last of the highest pixels that were asked for; of a map without
            pieces, infinity.
    """

    of: Tensor
    first: Tensor
    values: Tensor
    counts: list[int]
    levels: Tensor

    def by_map(self, *parts: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Of each map what tensors ``(P, length)`` hold at its pieces, as one row."""
        return zip(*(map(torch.flatten, torch.split_with_sizes(part, self.counts)) for part in parts), strict=True)

    @property
    def pixels(self) -> Tensor:
        """The pixels, int64 ``(P, length)``: ``row * frame + column``."""
        return self.first[:, None] + torch.arange(self.values.shape[1], device=self.first.device)

    @cached_property
    def ties(self) -> tuple[Tensor, ...]:
        """The pixels of each map that share its maximum, int64 ``(T,)`` in raster order."""
        # Equal values come out of the interpolation with different rounding, which must not choose.
        highest = self.values.amax(dim=1)
        level = _highest(highest, self.of, len(self.counts)) - ROUNDING
        pieces = (highest >= level[self.of]).nonzero()[:, 0]
        of = self.of[pieces]
        piece, column = (self.values[pieces] >= level[of, None]).nonzero(as_tuple=True)
        lengths = torch.bincount(of[piece], minlength=len(self.counts)).tolist()
        return torch.split_with_sizes(self.first[pieces[piece]] + column, lengths)


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
        return _resize(self.unit, self.frame, self.frame)

    def choose(self, chosen: Tensor) -> Stretched:
        """Some of the maps, by their numbers."""
        unit, finite, constant, zero = (part[chosen] for part in (self.unit, self.finite, self.constant, self.zero))
        return Stretched(unit, finite, constant, zero, self.frame)

    def highest(self, counts: Sequence[int]) -> Pieces:
        """The pieces with the highest pixels of each map: at least so many, with all that equal the last of them.

        Args:
            counts: N numbers from 1 to ``frame ** 2``.

        Returns:
            The pieces; none of a map that is constant or not finite.
        """
        levels = torch.full_like(self.zero, torch.inf)
        short = (self.finite & ~self.constant).nonzero()[:, 0].tolist()
        share = _MARGIN / self.frame**2
        while True:
            if short:
                levels[short] = self._levels(short, [share * counts[i] for i in short])
            pieces = self._reaching(levels, counts)
            # Pixels that reach the level itself count, not those that only rounding lifts to it.
            short = (pieces.levels < levels).nonzero()[:, 0].tolist()
            if not short:
                return pieces
            share *= 4

    def lowest(self) -> Tensor:
        """Minima of the frames, float64 ``(N,)``; of maps that are neither constant nor not finite."""
        return 1 - replace(self, unit=1 - self.unit).highest([1] * len(self.unit)).levels

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

    def _reaching(self, levels: Tensor, counts: Sequence[int]) -> Pieces:
        """All pieces with a pixel that reaches the level of its map, up to rounding, and the level of ``counts``."""
        low, high, weight = self._axis(self.unit.shape[1])
        length = math.gcd(self.frame, _LENGTH)
        cells = self._across.view(*self._across.shape[:2], -1, length)  # (N, h, pieces of a row, length)
        # No pixel is higher than the mixture of the highest values of the two pieces of the map that it lies between.
        tops = cells.amax(dim=3)
        bounds = tops[:, low].lerp_(tops[:, high], weight[:, None])
        of, row, piece = (bounds >= levels[:, None, None] - 3 * ROUNDING).nonzero(as_tuple=True)
        del bounds  # what is held at once costs page faults
        flat, rows, width = cells.flatten(0, 2), cells.shape[1], cells.shape[2]
        above, below = (((of * rows + line[row]) * width + piece) for line in (low, high))
        values, pieces = flat.index_select(0, above), torch.bincount(of, minlength=len(levels)).tolist()
        parts = (torch.split_with_sizes(part, pieces) for part in (values, below, weight[row, None]))
        reached = []
        for part, under, share, count in zip(*parts, counts, strict=True):  # map by map: so much stays in the caches
            part.lerp_(flat.index_select(0, under), share)
            reached.append(_last(part.flatten(), count))
        return Pieces(of, row * self.frame + piece * length, values, pieces, torch.stack(reached))

    @cached_property
    def _across(self) -> Tensor:
        """Maps that are stretched to the side only, ``(N, h, frame)``."""
        return _resize(self.unit, self.unit.shape[1], self.frame)

    def _axis(self, cells: int) -> tuple[Tensor, Tensor, Tensor]:
        return between_cells(cells, self.frame, self.unit.device)


def _highest(values: Tensor, of: Tensor, maps: int) -> Tensor:
    """The highest of the values of pieces ``(P,)`` for each map; below all numbers where it has no piece."""
    return values.new_full((maps,), -torch.inf).scatter_reduce(0, of, values, "amax")


def _last(values: Tensor, count: int) -> Tensor:
    """The last of so many highest values: below all numbers where there are fewer, above them where there is none."""
    if 0 < len(values) < count:
        return values.new_tensor(-torch.inf)
    return values.kthvalue(len(values) - count + 1).values if len(values) else values.new_tensor(torch.inf)


def _resize(maps: Tensor, height: int, width: int) -> Tensor:
    if maps.shape[1:] == (height, width):
        return maps
    return F.interpolate(maps[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]


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
