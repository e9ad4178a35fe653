"""Reader of Object-CXR and of anything that is laid out like it.

Two layouts are known, and both headers ``image_name,annotation`` and ``image_path,annotation``::

    root/train.csv  root/train/00001.jpg ...                       (as the organisers ship it)
    root/object-CXR_train/train.csv  root/object-CXR_train/images/00001.jpg ...

What the objects are may be told in a table of its own, see ``benchmarks.data.kinds``.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch.utils.data import Dataset

from benchmarks.data.annotations import Shape, parse_annotation
from benchmarks.data.films import decode
from benchmarks.data.kinds import read_kinds, with_kinds
from benchmarks.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Record:
    """One row of a split.

    Attributes:
        name: The film's name as the CSV gives it.
        path: Where the film is.
        shapes: Its annotated objects, in pixels of the original film.
        row: Line in the CSV, the header being line 1.
        table: The CSV.
    """

    name: str
    path: Path
    shapes: tuple[Shape, ...]
    row: int
    table: Path

    @property
    def label(self) -> int:
        """1 where a foreign object is annotated, else 0."""
        return int(bool(self.shapes))


def read_split(root: Path | str, split: str, limit: int | None = None) -> list[Record]:
    r"""Read the rows of one split, in the order of its CSV.

    Args:
        root: Data folder in either layout.
        split: ``"train"``, ``"dev"`` or ``"test"``.
        limit: Keep at most this many films, the first half of them of each class.

    Returns:
        One record a film. That the films exist is checked here; that they decode, by ``FilmDataset``.

    Raises:
        UserError: No such split, a malformed row or table of kinds, a missing film, or a name that leaves the folder.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     (Path(folder) / "test").mkdir()
        ...     Image.new("L", (40, 30)).save(Path(folder) / "test" / "1.png")
        ...     _ = (Path(folder) / "test.csv").write_text("image_name,annotation\n1.png,0 5 5 20 10\n")
        ...     (record,) = read_split(folder, "test")
        >>> record.label, record.shapes[0].box
        (1, (5.0, 5.0, 20.0, 10.0))
    """
    table, folder = _locate(Path(root), split)
    kinds = read_kinds(table)
    records = []
    seen: dict[str, int] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            name_column, annotation_column = _columns(table, next(reader, []))
            for cells in reader:
                if not cells:
                    continue
                where = f"{table}, row {reader.line_num}"
                if len(cells) <= max(name_column, annotation_column):
                    raise UserError(f"{where}: {len(cells)} cell(s) where a name and an annotation are expected.")
                name = cells[name_column].strip()
                try:
                    shapes = parse_annotation(cells[annotation_column])
                except ValueError as error:
                    raise UserError(f"{where}: {error}.") from None
                if name in seen:
                    raise UserError(f"{where}: {name} is already on row {seen[name]}; remove one of the two.")
                seen[name] = reader.line_num
                if name in kinds:
                    shapes = with_kinds(table, name, shapes, kinds[name])
                path = _film_path(folder, table, name, where)
                records.append(Record(name, path, shapes, reader.line_num, table))
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{table}, after row {len(records) + 1}: not readable as CSV ({error}).") from None
    if not records:
        raise UserError(f"{table} lists no films.")
    return records if limit is None else _balanced(records, limit)


def _locate(root: Path, split: str) -> tuple[Path, Path]:
    """CSV and film folder of a split."""
    tables = [root / f"{split}.csv", *sorted(root.glob(f"*{split}/{split}.csv"))]
    for table in tables:
        if table.is_file():
            for folder in (table.parent / split, table.parent / "images"):
                if folder.is_dir():
                    return table, folder
            raise UserError(f"{table} has no folder {split}/ or images/ with its films beside it.")
    raise UserError(
        f"{root} holds neither {split}.csv nor object-CXR_{split}/{split}.csv; "
        "give the folder of a set in Object-CXR layout."
    )


def _columns(table: Path, header: list[str]) -> tuple[int, int]:
    names = [cell.strip() for cell in header]
    for name in ("image_name", "image_path"):
        if name in names and "annotation" in names:
            return names.index(name), names.index("annotation")
    raise UserError(f'{table}, row 1: the header must be "image_name,annotation", not "{",".join(names)}".')


def _film_path(folder: Path, table: Path, name: str, where: str) -> Path:
    """Path of a film, which must exist below the data folder."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if not name or parts.is_absolute() or ":" in name or ".." in parts.parts:
        raise UserError(f"{where}: the name {name!r} is not a path inside {folder}.")
    # image_path may count from the folder of the CSV ("train/00001.jpg").
    for path in (folder / parts, table.parent / parts):
        if path.is_file():
            return path
    raise UserError(f"{where}: the film {folder / parts} is missing.")


def _balanced(records: list[Record], limit: int) -> list[Record]:
    left = {0: limit // 2, 1: limit - limit // 2}
    chosen = []
    for record in records:
        if left[record.label]:
            left[record.label] -= 1
            chosen.append(record)
    return chosen


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
        if not (self._path.is_file() and facts_path.is_file()):
            _build_cache(self.records, size, self._path, facts_path)
        with np.load(facts_path) as facts:
            self.original_sizes: list[tuple[int, int]] = [(int(w), int(h)) for w, h in facts["sizes"]]
            self.pixels = str(facts["pixels"])
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


def _build_cache(records: Sequence[Record], size: int, films_path: Path, facts_path: Path) -> None:
    """Decode all films. Other processes may do the same: each writes its own file and renames it."""
    part = films_path.with_suffix(f".{os.getpid()}.part")
    films = _reserve(part, (len(records), size, size))
    sizes = np.zeros((len(records), 2), dtype=np.int64)

    def fill(index: int) -> None:
        record = records[index]
        film, sizes[index] = _located(record, lambda: decode(record.path, 2 * size))
        films[index] = np.asarray(Image.fromarray(film).resize((size, size), Image.Resampling.LANCZOS))

    try:
        # Threads are enough: PIL decodes and resizes without holding the interpreter's lock.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
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
        facts_part = facts_path.with_suffix(f".{os.getpid()}.part")
        with facts_part.open("wb") as stream:
            np.savez(stream, sizes=sizes, pixels=hashlib.sha256(films.data).hexdigest())
        facts_part.replace(facts_path)
        part.replace(films_path)
    finally:
        part.unlink(missing_ok=True)


def _reserve(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    """A uint8 memory map on a file whose space is taken already: a map that finds the disk full kills the process."""
    try:
        films: np.memmap[Any, Any] = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)
        needed = np.prod(shape) / 2**30
        raise UserError(f"{path.parent} has no room for the decoded films, {needed:.1f} GB ({error}).") from None
    return films
