"""Films of some records at one working size, decoded once into a memory map."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch.utils.data import Dataset

from benchmarks.data.annotations import rasterize
from benchmarks.data.object_cxr import Record
from benchmarks.films.decode import decode, warnings_hidden
from benchmarks.run.errors import UserError
from benchmarks.run.files import whole_file

T = TypeVar("T")


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
        original_sizes: (width, height) of each film as stored, to which its shapes refer.
        pixels: Digest of the films at the working size.

    Raises:
        UserError: Films are missing or do not decode (names the first and its row, and counts them), or the disk has
            no room for the decoded ones.
    """

    def __init__(self, records: Sequence[Record], size: int, cache_dir: Path | str) -> None:
        """Decode what is not in the cache."""
        self.records = list(records)
        self.size = size
        cache = Path(cache_dir)
        cache.mkdir(parents=True, exist_ok=True)
        stem = _digest(self.records, size)
        self._path, facts_path = cache / f"{stem}.npy", cache / f"{stem}.facts.npz"
        facts = _read_cache(self._path, facts_path, (len(self.records), size, size))
        if facts is None:
            facts = _build_cache(self.records, size, self._path, facts_path)
        sizes, self.pixels = facts
        self.original_sizes: list[tuple[int, int]] = [(int(w), int(h)) for w, h in sizes]
        self._films: npt.NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        """Number of films."""
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        """Film, label and index."""
        if self._films is None:
            self._films = np.load(self._path, mmap_mode="r")
        film = torch.from_numpy(np.array(self._films[index]))[None]
        return film, self.records[index].label, index

    def picture(self, index: int, at_least: int | None = None) -> npt.NDArray[np.uint8]:
        """A film as it is shown, uint8 (height, width), see :func:`benchmarks.films.decode.decode`."""
        return decode(self.records[index].path, at_least)[0]

    def mask(self, index: int, frame: tuple[int, int], truth: str) -> npt.NDArray[np.bool_]:
        """Annotation of a film in the frame, see :func:`benchmarks.data.annotations.rasterize`."""
        return rasterize(self.records[index].shapes, *self.original_sizes[index], frame=frame, truth=truth)

    def __getstate__(self) -> dict[str, object]:
        """Leave the open map behind: a spawned worker opens its own instead of receiving every film."""
        return {**self.__dict__, "_films": None}


def _digest(records: Sequence[Record], size: int) -> str:
    digest = hashlib.sha256(f"1 {size}".encode())
    for record in records:
        status = _located(record, record.path.stat)
        digest.update(f"\n{record.path.resolve()} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:24]


def _located(record: Record, action: Callable[[], T]) -> T:
    """Result of ``action``, with the record's row added to its errors."""
    try:
        return action()
    except FileNotFoundError:
        raise UserError(f"{record.table}, row {record.row}: the film {record.path} is missing.") from None
    except UserError as error:
        raise UserError(f"{record.table}, row {record.row}: {error}") from None


def _read_cache(films_path: Path, facts_path: Path, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.int64], str] | None:
    """Sizes of the decoded films and the digest of their pixels; None where there are none, or no whole ones."""
    if not (films_path.is_file() and facts_path.is_file()):
        return None
    try:
        with np.load(facts_path) as facts:
            sizes, pixels = facts["sizes"], str(facts["pixels"])
        films = np.load(films_path, mmap_mode="r")
        if films.shape == shape and sizes.shape == (len(films), 2) and hashlib.sha256(films.data).hexdigest() == pixels:
            return sizes, pixels
    except Exception:  # whatever NumPy makes of a damaged file
        pass
    print(f"{films_path} is damaged; its films are decoded again.")
    return None


def _build_cache(
    records: Sequence[Record], size: int, films_path: Path, facts_path: Path
) -> tuple[npt.NDArray[np.int64], str]:
    """Decode all films. Other processes may do the same: each writes its own file and renames it."""
    sizes = np.zeros((len(records), 2), dtype=np.int64)

    def fill(index: int) -> None:
        record = records[index]
        film, sizes[index] = _located(record, lambda: decode(record.path, 2 * size))
        films[index] = np.asarray(Image.fromarray(film).resize((size, size), Image.Resampling.LANCZOS))

    with whole_file(films_path) as stream:
        films = _reserve(stream, (len(records), size, size))
        # Threads are enough: PIL decodes and resizes without holding the interpreter's lock.
        with warnings_hidden(), ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = [pool.submit(fill, index) for index in range(len(records))]
            damaged = []
            try:
                for job in track(jobs, "Decoding films", console=Console(stderr=True), transient=True):
                    error = job.exception()
                    if isinstance(error, UserError):
                        damaged.append(str(error))  # told at the end, all at once: each start decodes every film
                    elif error is not None:
                        raise error
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        if damaged:
            count = f" Damaged films in all: {len(damaged)} of {len(records)}." if len(damaged) > 1 else ""
            raise UserError(damaged[0] + count)
        films.flush()
        pixels = hashlib.sha256(films.data).hexdigest()
        with whole_file(facts_path) as facts:
            np.savez(facts, sizes=sizes, pixels=pixels)
    return sizes, pixels


def _reserve(stream: BinaryIO, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    """A uint8 memory map on a file whose space is taken already: a map that finds the disk full kills the process."""
    path = Path(stream.name)
    try:
        films: np.memmap[Any, Any] = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    except OSError as error:
        needed = np.prod(shape) / 2**30
        raise UserError(f"{path.parent} has no room for the decoded films, {needed:.1f} GB ({error}).") from None
    return films
