"""What must be known of a set's films before they are used: their sizes, and a digest of what they show.

Looked up once for each file, and kept in the run's cache for as long as neither size nor time of the file change.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import track

from benchmarks.data.file_state import file_state
from benchmarks.data.object_cxr import FaultyTableError, film_states, locate, read_split
from benchmarks.films.decode import read_annotated, warnings_hidden
from benchmarks.run.config import SPLITS
from benchmarks.run.errors import UserError
from benchmarks.run.files import file_digest, write_json
from benchmarks.run.stored import DamagedError, database_fault, read_json

NAME, COLOUR_NAME, SEEN = "film_facts.sqlite", "image_facts.sqlite", "seen_set.json"
_SIDE = 128
"""Least side at which films are compared: a JPEG at an eighth of its size decodes many times faster."""
_NUMBER = re.compile(r"-?[\d.]+(e[+-]?\d+)?")
_AT_ONCE = 256
"""Films that are looked up together."""
_COLUMNS = "file BLOB PRIMARY KEY, width INTEGER, height INTEGER, pixels TEXT, notes TEXT, sum INTEGER"


@dataclass(frozen=True)
class FilmFacts:
    """Of one film.

    Attributes:
        width: In pixels, as stored.
        height: In pixels, as stored.
        pixels: Digest of what it shows, whatever its container.
        notes: What had to be decided while it was read, joined by ``"; "``.
    """

    width: int
    height: int
    pixels: str
    notes: str = ""


class FilmNotes:
    """What had to be decided while films were read, told once for each kind: thousands may be alike."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[int, str]] = {}

    def add(self, name: str, facts: FilmFacts) -> None:
        """Take the notes of a film."""
        for note in filter(None, facts.notes.split("; ")):
            kind = _NUMBER.sub("", note)
            count, example = self._kinds.get(kind, (0, f"such as {name}: {note}"))
            self._kinds[kind] = count + 1, example

    def told(self, noun: str) -> list[str]:
        """A sentence for each kind.

        Args:
            noun: What they are notes of, in the plural.
        """
        return [f"{count} of the {noun}, {example}." for count, example in self._kinds.values()]


@dataclass(frozen=True)
class SeenSet:
    """``seen_set.json`` in the cache: that a set was read through, and need not be as long as nothing changes.

    Attributes:
        seen: Digest of tables, of place, size and time of change of the films, and of what the reading found.
        annotations: What the reading found.
    """

    seen: str
    annotations: str


class FileRecord(Protocol):
    """An entry of an annotation that names a file."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def where(self) -> str:
        """The entry, for messages."""

    @property
    def placed(self) -> bool:
        """Whether it tells of places on the film as it is stored, which may not be turned then."""


R = TypeVar("R", bound=FileRecord)


def film_facts(records: Sequence[R], cache_dir: Path, *, colour: bool = False) -> Iterator[tuple[R, FilmFacts]]:
    """Facts of the films of some records.

    Args:
        records: Of any splits.
        cache_dir: Where they are kept.
        colour: Whether colours count, where there are some.

    Yields:
        Each record whose film decodes, with its facts.

    Raises:
        FaultyTableError: Films do not decode: all of them, at the end.
    """
    faults: list[str] = []
    console = Console(stderr=True)
    bar = partial(track, description="Reading films", console=console, transient=True, disable=not console.is_terminal)
    # Threads are enough: PIL decodes without holding the interpreter's lock.
    with _known(cache_dir / (COLOUR_NAME if colour else NAME)) as known, ThreadPoolExecutor(os.cpu_count()) as pool:
        for some in bar(_batches(records), total=-(-len(records) // _AT_ONCE)):
            keys = [_key(record.path) for record in some]
            kept = [_kept(known, key) for key in keys]
            new = {key: record for key, record, facts in zip(keys, some, kept, strict=True) if facts is None}
            with warnings_hidden():
                found = dict(zip(new, pool.map(partial(_look, colour=colour), new.values()), strict=True))
            with known:
                whole = [(key, *astuple(f), _sum(key, f)) for key, f in found.items() if isinstance(f, FilmFacts)]
                known.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?, ?)", whole)
            for key, record, before in zip(keys, some, kept, strict=True):
                facts = before or found[key]
                if isinstance(facts, FilmFacts):
                    yield record, facts
                elif new.get(key) is record:
                    faults.append(facts)
    if faults:
        raise FaultyTableError(faults)


def annotation_digest(root: Path, limit: int | None, cache_dir: Path) -> str:
    """Digest of the names, pixels and annotations of all splits, which identifies a data set wherever it lies.

    Args:
        root: Data folder.
        limit: Films per split, as in ``read_split``.
        cache_dir: Where it is kept for as long as neither the tables nor size or time of a film change.

    Raises:
        FaultyTableError: Malformed rows, films that are missing or do not decode.
    """
    seen = _seen(root, limit)
    try:
        kept: SeenSet = read_json(cache_dir / SEEN, SeenSet)
    except DamagedError:  # or gone
        kept = SeenSet("", "")
    if seen and kept.seen == _together(seen, kept.annotations):
        return kept.annotations
    digest = hashlib.sha256()
    for split in SPLITS:
        for record, facts in film_facts(read_split(root, split, limit), cache_dir):
            digest.update(repr((split, record.name, record.shapes, facts.pixels)).encode(errors="surrogateescape"))
    found = digest.hexdigest()
    write_json(cache_dir / SEEN, {"seen": _together(seen, found), "annotations": found})
    return found


def _together(seen: str, annotations: str) -> str:
    return hashlib.sha256(f"{seen} {annotations}".encode()).hexdigest()


def _seen(root: Path, limit: int | None) -> str:
    """Digest of the tables, and of place, size and time of change of all films; empty where there are faults."""
    digest = hashlib.sha256(f"{os.path.realpath(root)} {limit}".encode(errors="surrogateescape"))
    try:
        for split in SPLITS:
            digest.update(file_digest(locate(root, split)[0]).encode())
            for path, size, changed in film_states(root, split):
                digest.update(f"{path} {size} {changed}\n".encode(errors="surrogateescape"))
    except UserError:  # which reading tells better
        return ""
    return digest.hexdigest()


def _look(record: FileRecord, colour: bool) -> FilmFacts | str:
    try:
        film = read_annotated(record.path, _SIDE, colour=colour, placed=record.placed)
    except UserError as error:
        return f"{record.where}: {error}"
    width, height = film.size
    shown = hashlib.sha256(f"{width} {height} ".encode() + film.pixels.tobytes()).hexdigest()[:32]
    return FilmFacts(width, height, shown, "; ".join(film.notes))


def _key(path: Path) -> bytes:
    try:
        state = file_state(path)
    except OSError:
        state = f"{path} missing"
    return hashlib.blake2b(state.encode(errors="surrogateescape"), digest_size=16).digest()


def _kept(known: sqlite3.Connection, key: bytes) -> FilmFacts | None:
    row = known.execute("SELECT width, height, pixels, notes, sum FROM facts WHERE file = ?", (key,)).fetchone()
    if row is None or _sum(key, facts := FilmFacts(*row[:4])) != row[4]:  # or damaged
        return None
    return facts


def _sum(key: bytes, facts: FilmFacts) -> int:
    return zlib.crc32(repr((key, facts)).encode())


def _batches(records: Sequence[R]) -> Iterator[list[R]]:
    rest = iter(records)
    while some := list(itertools.islice(rest, _AT_ONCE)):
        yield some


@contextmanager
def _known(path: Path) -> Iterator[sqlite3.Connection]:
    """What is known already; nothing where the file is damaged, since it can be made again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if path.exists() and database_fault(path, {"facts": _COLUMNS}):
            path.unlink()
        with closing(sqlite3.connect(path, timeout=60)) as known:
            known.execute("PRAGMA cache_size = -1000")  # KiB
            known.execute(f"CREATE TABLE IF NOT EXISTS facts ({_COLUMNS}) WITHOUT ROWID")
            yield known
    except sqlite3.OperationalError as error:
        raise UserError(
            f"{path} cannot be written ({error}): free space or permit writing, then start the same command again."
        ) from error
