"""Films at one working size in a memory map on disk, decoded once, by many threads, and on from where that stopped."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from benchmarks.data.file_state import file_state
from benchmarks.data.records import Record
from benchmarks.films.decode import decode, warnings_hidden
from benchmarks.films.grey import at_size
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_json
from benchmarks.run.stored import Count, DamagedError, read_array, read_json

T = TypeVar("T")

_AT_ONCE = 64
_WAITING = 64
"""Films of one job, and jobs that wait: jobs for a hundred thousand films would take more memory than the films."""

Sizes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DecodedFacts:
    """What belongs to a memory map of decoded films.

    Attributes:
        pixels: Digest of the films in the map.
        sizes: Digest of the map of their sizes, and of the digest of the films.
        seen: Size and time of change of the map when its pixels were read last.
    """

    pixels: str
    sizes: str
    seen: tuple[Count, Count]


def decoded_films(records: Sequence[Record], size: int, folder: Path) -> tuple[Path, Sizes, str]:
    """Decode films that are not in the cache.

    Args:
        records: Of the films.
        size: Side of the working frame in pixels.
        folder: Of the cache.

    Returns:
        The memory map, uint8 ``(N, size, size)``; width, height and a checksum of each film as stored, a memory map
        int64 ``(N, 3)``; and a digest of the pixels.

    Raises:
        UserError: Films are missing or do not decode (names the first and its row, and counts them), or the disk has
            no room for the decoded ones.
    """
    stem = _digest(records, size)
    path, sizes_path, facts_path = (folder / f"{stem}{end}" for end in (".npy", ".sizes.npy", ".json"))
    facts = _read(path, sizes_path, facts_path, (len(records), size, size))
    return path, *(facts or _decode(records, size, path, sizes_path, facts_path))


def _digest(records: Sequence[Record], size: int) -> str:
    digest = hashlib.sha256(f"2 {size}".encode())
    for record in records:
        state = _located(record, partial(file_state, record.path))
        digest.update(f"\n{state}".encode(errors="surrogateescape"))
    return digest.hexdigest()[:24]


def _located(record: Record, action: Callable[[], T]) -> T:
    """Result of ``action``, with the record's row added to its errors."""
    try:
        return action()
    except FileNotFoundError:
        raise UserError(f"{record.where}: the film {record.path} is missing.") from None
    except UserError as error:
        raise UserError(f"{record.where}: {error}") from None


def _read(path: Path, sizes_path: Path, facts_path: Path, shape: tuple[int, ...]) -> tuple[Sizes, str] | None:
    """Sizes of the decoded films and the digest of their pixels; None where there are none, or no whole ones."""
    if not (path.is_file() and facts_path.is_file()):
        return None
    try:
        facts: DecodedFacts = read_json(facts_path, DecodedFacts)
        films, sizes = (read_array(kept, "r") for kept in (path, sizes_path))
        if films.shape == shape and sizes.shape == (len(films), 3) and _sha256(sizes, facts.pixels) == facts.sizes:
            # To read all pixels takes as long as to open a hundred runs, so it is done after a change only.
            if list(facts.seen) == _status(path):
                return sizes, facts.pixels
            if _sha256(films) == facts.pixels:
                _write_facts(facts_path, path, sizes, facts.pixels)
                return sizes, facts.pixels
    except DamagedError:
        pass
    print(f"{path} is damaged; its films are decoded again.")
    return None


def _sha256(values: np.ndarray, more: str = "") -> str:
    digest = hashlib.sha256(values.data)
    digest.update(more.encode(errors="replace"))
    return digest.hexdigest()


def _status(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _write_facts(facts_path: Path, path: Path, sizes: Sizes, pixels: str) -> None:
    write_json(facts_path, {"pixels": pixels, "sizes": _sha256(sizes, pixels), "seen": _status(path)})


def _decode(records: Sequence[Record], size: int, path: Path, sizes_path: Path, facts_path: Path) -> tuple[Sizes, str]:
    """Decode all films into a file that is named once it is whole.

    What a start that was stopped has decoded is taken over. Processes that do it at once write the same to the same
    places.
    """
    part, done_path = path.with_suffix(".part"), path.with_suffix(".done")
    films = _reserved(part, (len(records), size, size), np.uint8)
    # Width, height and a checksum: after a power failure a film may not be where it is said to be.
    done = _reserved(done_path, (len(records), 3), np.int64)

    def fill(first: int) -> list[str]:
        damaged = []
        for index in range(first, min(first + _AT_ONCE, len(records))):
            if done[index, 0] and done[index, 2] == zlib.crc32(films[index]):
                continue
            record = records[index]
            try:
                film, stored = _located(record, lambda: decode(record.path, 2 * size))  # noqa: B023
            except UserError as error:
                damaged.append(str(error))
                continue
            films[index] = at_size(film, size)
            done[index] = *stored, zlib.crc32(films[index])
        return damaged

    def filled() -> Iterator[list[str]]:
        at_once = _AT_ONCE * _WAITING
        for first in range(0, len(records), at_once):
            yield from pool.map(fill, range(first, min(first + at_once, len(records)), _AT_ONCE))

    # Threads are enough: PIL decodes and resizes without holding the interpreter's lock.
    with warnings_hidden(), ThreadPoolExecutor(os.cpu_count()) as pool:
        damaged: list[str] = []  # told at the end, all at once: each start decodes every film
        console, jobs = Console(stderr=True), -(-len(records) // _AT_ONCE)
        try:
            for found in track(filled(), "Decoding films", jobs, console=console, transient=True):
                damaged += found
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if damaged:
        for unneeded in (part, done_path):
            unneeded.unlink(missing_ok=True)
        count = f" Damaged films in all: {len(damaged)} of {len(records)}." if len(damaged) > 1 else ""
        raise UserError(damaged[0] + count)
    films.flush()
    done.flush()
    pixels = _sha256(films)
    for made, name in ((done_path, sizes_path), (part, path)):
        if made.exists():  # else another process was as far a moment ago
            made.replace(name)
    _write_facts(facts_path, path, done, pixels)
    return done, pixels


def _reserved(path: Path, shape: tuple[int, ...], dtype: type) -> np.memmap[Any, Any]:
    """A memory map on a file whose space is taken already: a map that finds the disk full kills the process."""
    try:
        kept: np.memmap[Any, Any] = read_array(path, "r+")
        if kept.shape == shape and kept.dtype == dtype:
            return kept
    except DamagedError:  # or there is none
        pass
    try:
        made: np.memmap[Any, Any] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)
        needed = np.prod(shape) * np.dtype(dtype).itemsize / 2**30
        raise UserError(f"{path.parent} has no room for the decoded films, {needed:.1f} GB ({error}).") from None
    return made
