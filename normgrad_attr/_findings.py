"""What is found about maps on their device, and read from there once, when all of them are computed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Findings:
    """Counts on the device, with what is said of them: a GPU is waited for once, at the end, whatever their number."""

    def __init__(self) -> None:
        self._found: list[tuple[Tensor, Callable[[list[int]], None]]] = []

    def note(self, counts: Tensor, say: Callable[[list[int]], None]) -> None:
        """Keep counts, or flags, for later.

        Args:
            counts: (K,), bool or long, on any device.
            say: What warns, given their values.
        """
        self._found.append((counts, say))

    def tell(self) -> None:
        """Read all counts at once, and warn where there is something to warn of."""
        if not self._found:
            return
        device = self._found[0][0].device
        counts = torch.cat([counts.to(device, torch.long) for counts, _ in self._found]).tolist()
        for of_one, say in self._found:
            say(counts[: len(of_one)])
            counts = counts[len(of_one) :]
        self._found.clear()
