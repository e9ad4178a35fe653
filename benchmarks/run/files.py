"""The one way in which the suite writes files: whole or not at all, whatever stops the process."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import itertools
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from benchmarks.run.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PART, GROUP = 2**10, 2**12
"""Rows of a table that are held as objects of Python at once, and that lie together in a Parquet file."""
BEGUN = ".normgrad_attr-unfinished"
"""Of a folder that is not filled yet; no file of the user's has this name, or it would be emptied."""
# A partial file names who writes it: the machine, as others may share the disk, and the process.
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_NUMBER = itertools.count()
_PARTIAL = re.compile(rf".*\.{_HOST}-(\d+)-\d+\.partial", re.DOTALL)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file under a name of its own, and give it its name once it is complete and on the disk.

    Folders that are missing are made. After an error, whatever it is, the file is as it was before.

    Args:
        path: The file.

    Yields:
        A binary stream for writing and reading; ``stream.name`` is the path of the partial file.

    Raises:
        UserError: The file cannot be written: names it and what to do.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with whole_file(folder / "name.txt") as stream:
        ...     _ = stream.write(b"content")
        >>> [path.name for path in folder.iterdir()]
        ['name.txt']
    """
    partial = path.with_name(f"{path.name[:40]}.{_HOST}-{os.getpid()}-{next(_NUMBER)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w+b") as stream:
            try:
                yield stream
            except BaseException:
                with suppress(OSError):  # of what is still to be written, and not wanted any more
                    stream.close()
                raise
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # of a disk that went away; the first error counts
            partial.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder, and those that it is in.

    Raises:
        UserError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def filled_folder(folder: Path, refusal: str) -> Iterator[None]:
    """Fill a folder; until that is done it bears the file :data:`BEGUN`, and is filled anew.

    Args:
        folder: It need not be there.
        refusal: What is said where it holds something else.

    Raises:
        UserError: It does, or it cannot be made.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / BEGUN).exists():
        raise UserError(refusal)
    make_folder(folder)
    write_text(folder / BEGUN, "")
    for path in folder.iterdir():  # the mark stays until the end, as this may be stopped, too
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != BEGUN:
            path.unlink()
    yield
    (folder / BEGUN).unlink()


def refuse_folder_of_others(out: Path, own: Collection[str], early: Collection[str], kind: str) -> None:
    """Refuse a folder that holds files and none of its own, as results would replace those of the same names.

    Args:
        out: The folder, which need not be there.
        own: Names, any of which tells that it is of its kind.
        early: Names of what may be there before those are.
        kind: Of what it should be the folder.

    Raises:
        UserError: It is somebody else's.
    """
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    others = {name for name in there if not name.startswith(".")}.difference(early)
    if others and not there.intersection(own):
        raise UserError(
            f"{out} holds {min(others)} and is no folder of {kind}, so nothing is written: choose another --out."
        )


def cannot_write(path: Path, error: OSError) -> UserError:
    """The sentence for a disk that does not take a file."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free space" if full else "see to it that its folder can be written"
    reason = error.strerror or error
    return UserError(f"{path} cannot be written ({reason}): {remedy} and start the same command again.")


def user_cache(name: str) -> Path:
    """A folder, there or not, for what is made once for all runs of a user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "normgrad_attr" / name


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8."""
    with whole_file(path) as stream:
        stream.write(text.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write JSON."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_rows(path: Path, head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Write rows of text as CSV in UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, numbers to six digits."""
    write_text(path, table.to_csv(index=False, float_format="%.6g"))


def write_parquet(path: Path, parts: Iterable[pd.DataFrame]) -> None:
    """Write a table as Parquet.

    Args:
        path: The file.
        parts: The table from top to bottom, at least one; the first settles what is in the columns.
    """
    import pyarrow as pa  # late, as pandas
    import pyarrow.parquet as pq

    schema: pa.Schema | None = None
    waiting: list[pa.Table] = []
    with whole_file(path) as stream, ExitStack() as stack:
        for part in parts:
            for start in range(0, max(len(part), 1), PART):
                some = part.iloc[start : start + PART]
                waiting.append(pa.Table.from_pandas(some, schema=schema, preserve_index=False))
                if schema is None:
                    schema = waiting[0].schema
                    writer = stack.enter_context(pq.ParquetWriter(stream, schema))
                if sum(map(len, waiting)) >= GROUP:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting.clear()
        if waiting:
            writer.write_table(pa.concat_tables(waiting))


def write_torch(path: Path, content: Any) -> None:
    """Write what ``torch.load`` reads."""
    import torch  # late, as pandas

    with whole_file(path) as stream:
        try:
            torch.save(content, stream)
        except RuntimeError as error:  # torch's word for an error of the disk, which is behind it
            behind = error.__context__
            raise behind if isinstance(behind, OSError) else OSError(f"is the disk full? {error}") from error


def write_figure(path: Path, figure: Figure, dpi: int = 150) -> None:
    """Write a figure in the format that the file's name says.

    The same numbers give the same bytes: an SVG bears no date and no random ids.
    """
    import matplotlib

    kind = path.suffix[1:]
    metadata = {"Date": None} if kind == "svg" else None
    with whole_file(path) as stream, matplotlib.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(stream, format=kind, dpi=dpi, metadata=metadata)


def write_figure_files(stem: Path, figure: Figure) -> None:
    """Write a figure as PNG and as SVG; the path is without a suffix."""
    for kind in (".png", ".svg"):
        write_figure(stem.with_suffix(kind), figure)


def file_digest(path: Path) -> str:
    """Digest of what a file holds; another for one that cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    except OSError:
        return "absent"
    return digest.hexdigest()


def clear_partials(folder: Path) -> None:
    """Delete partial files below a folder whose writers are dead; those of other machines stay."""
    for path in folder.rglob("*.partial"):
        match = _PARTIAL.fullmatch(path.name)
        if match and not _is_alive(int(match[1])):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":  # whose os.kill has no harmless signal
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
