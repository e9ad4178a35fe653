"""What must be known of a set's films before they are used: their sizes, and a digest of what they show.

Looked up once for each file, and kept in the run's cache for as long as neither size nor time of the file change.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import track

from benchmarks.data.object_cxr import FaultyTableError, read_split
from benchmarks.films.decode import decode, warnings_hidden
from benchmarks.run.directory import SPLITS
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_json

NAME, COLOUR_NAME = "film_facts.json", "image_facts.json"
_SIDE = 128
"""Least side at which films are compared: a JPEG at an eighth of its size decodes many times faster."""


@dataclass(frozen=True)
class FilmFacts:
    """Of one film.

    Attributes:
        width: In pixels, as stored.
        height: In pixels, as stored.
        pixels: Digest of what it shows, whatever its container.
    """

    width: int
    height: int
    pixels: str


class FileRecord(Protocol):
    """An entry of an annotation that names a file."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def where(self) -> str:
        """The entry, for messages."""


def film_facts(records: Sequence[FileRecord], cache_dir: Path, *, colour: bool = False) -> list[FilmFacts]:
    """Facts of the films of some records.

    Args:
        records: Of any splits.
        cache_dir: Where they are kept.
        colour: Whether colours count, where there are some.

    Raises:
        FaultyTableError: Films do not decode: all of them.
    """
    kept = cache_dir / (COLOUR_NAME if colour else NAME)
    known = _read(kept)
    keys = [_key(record.path) for record in records]
    new = {key: record for key, record in zip(keys, records, strict=True) if key not in known}
    faults: list[str] = []
    if new:
        # Threads are enough: PIL decodes without holding the interpreter's lock.
        with warnings_hidden(), ThreadPoolExecutor(os.cpu_count()) as pool:
            looked_up = pool.map(partial(_look, colour=colour), new.values())
            console = Console(stderr=True)
            found = track(
                looked_up, "Reading films", len(new), console=console, transient=True, disable=not console.is_terminal
            )
            for key, facts in zip(new, found, strict=True):
                if isinstance(facts, FilmFacts):
                    known[key] = facts
                else:
                    faults.append(facts)
        write_json(kept, {key: [f.width, f.height, f.pixels] for key, f in known.items()})
    if faults:
        raise FaultyTableError(faults)
    return [known[key] for key in keys]


def annotation_digest(root: Path, limit: int | None, cache_dir: Path) -> str:
    """Digest of the names, pixels and annotations of all splits, which identifies a data set wherever it lies."""
    digest = hashlib.sha256()
    for split in SPLITS:
        records = read_split(root, split, limit)
        for record, facts in zip(records, film_facts(records, cache_dir), strict=True):
            digest.update(repr((split, record.name, record.shapes, facts.pixels)).encode(errors="surrogateescape"))
    return digest.hexdigest()


def _look(record: FileRecord, colour: bool) -> FilmFacts | str:
    try:
        pixels, (width, height) = decode(record.path, _SIDE, colour=colour)
    except UserError as error:
        return f"{record.where}: {error}"
    return FilmFacts(width, height, hashlib.sha256(f"{width} {height} ".encode() + pixels.tobytes()).hexdigest()[:32])


def _key(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return f"{path.resolve()} missing"
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"


def _read(path: Path) -> dict[str, FilmFacts]:
    """What is known already; nothing where the file is damaged, since it can be made again."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(key): FilmFacts(int(width), int(height), str(pixels))
            for key, (width, height, pixels) in content.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
