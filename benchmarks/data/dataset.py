"""Films of some records at one working size, decoded once into a memory map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from benchmarks.data.annotations import rasterize
from benchmarks.data.decoded_films import decoded_films
from benchmarks.data.records import Record, labels_of
from benchmarks.films.decode import decode


class FilmDataset(Dataset[tuple[torch.Tensor, int, int]]):
    """Films of some records at one working size, decoded once.

    Every film is stretched to ``size x size`` (the aspect is not kept) and kept in a uint8 memory map under
    ``cache_dir``, keyed by the films' paths, sizes and times of change and by ``size``. So missing and
    truncated films show before a training starts, and an epoch costs no decoding.

    Items are ``(film, label, index)``: a uint8 tensor (1, size, size), 0 or 1, and the position in ``records``.

    Args:
        records: As ``read_split`` returns them.
        size: Side of the working frame in pixels.
        cache_dir: Folder of the memory maps; created when missing.

    Attributes:
        records: The records.
        labels: Those of the records, uint8.
        original_sizes: (width, height) of each film as stored, to which its shapes refer.
        pixels: Digest of the films at the working size.

    Raises:
        UserError: Films are missing or do not decode (names the first and its row, and counts them), or the disk has
            no room for the decoded ones.
    """

    def __init__(self, records: Sequence[Record], size: int, cache_dir: Path | str) -> None:
        """Decode what is not in the cache."""
        self.records = records
        self.labels = labels_of(records)
        self.size = size
        cache = Path(cache_dir)
        cache.mkdir(parents=True, exist_ok=True)
        self._path, sizes, self.pixels = decoded_films(self.records, size, cache)
        self.original_sizes = _Sizes(sizes)
        self._films: npt.NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        """Number of films."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        """Film, label and index."""
        if self._films is None:
            self._films = np.load(self._path, mmap_mode="r")
        film = torch.from_numpy(np.array(self._films[index]))[None]
        return film, int(self.labels[index]), index

    def picture(self, index: int, at_least: int | None = None) -> npt.NDArray[np.uint8]:
        """A film as it is shown.

        Args:
            index: Its place in ``records``.
            at_least: Side in pixels that is enough, for formats that can be decoded smaller.

        Returns:
            Grey values, uint8 (height, width).

        Raises:
            UserError: It cannot be read.
        """
        return decode(self.records[index].path, at_least)[0]

    def mask(self, index: int, frame: tuple[int, int], truth: str) -> npt.NDArray[np.bool_]:
        """Annotation of a film in the frame, see :func:`benchmarks.data.annotations.rasterize`.

        Args:
            index: Its place in ``records``.
            frame: Height and width of the frame in pixels.
            truth: ``"box"`` or ``"shape"``.

        Returns:
            Bool (frame height, frame width).

        Raises:
            ValueError: Unknown ``truth``.
        """
        return rasterize(self.records[index].shapes, *self.original_sizes[index], frame=frame, truth=truth)

    def __getstate__(self) -> dict[str, object]:
        """Leave the open map behind: a spawned worker opens its own instead of receiving every film and its record."""
        return {**self.__dict__, "_films": None, "records": (), "original_sizes": ()}


class _Sizes(Sequence[tuple[int, int]]):
    """Rows of a memory map that begin with width and height."""

    def __init__(self, rows: npt.NDArray[np.int64]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[int, int]]: ...
    def __getitem__(self, index: int | slice) -> tuple[int, int] | list[tuple[int, int]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        width, height, *_ = self._rows[index].tolist()
        return width, height
