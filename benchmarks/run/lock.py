"""One command at a time in a run directory."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.run.errors import UserError
from benchmarks.run.files import cannot_write, clear_partials
from benchmarks.run.process import process_rank

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]


def lock_file(what: str) -> str:
    """Name of the file that is locked; it stays behind."""
    return f".lock.{what}"


@contextmanager
def only_one(folder: Path, what: str, command: str) -> Iterator[None]:
    """Hold a run directory for one command, and clear partial files that dead ones have left.

    The lock is the operating system's, on the file ``.lock.WHAT``, so it ends with the process, however that ends. The
    file says who holds it. Of several processes of one command, the first holds it for all.

    Args:
        folder: The run directory; one that is not there is not held.
        what: What is written: commands that write the same exclude each other.
        command: For the sentence that others get.

    Raises:
        UserError: Another process holds it; or the folder cannot be written.
    """
    if process_rank() > 0 or not folder.is_dir():
        yield
        return
    path = folder / lock_file(what)
    try:
        stream = path.open("ab", buffering=0)  # a full disk is told by what writes, not again by what closes
    except OSError as error:
        raise cannot_write(path, error) from None
    with stream:
        if fcntl is not None:
            try:
                fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"{folder} is in use by {_holder(path)}: wait for its end, or stop it.") from None
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = json.dumps({"process": os.getpid(), "command": command, "since": started}) + "\n"
        try:
            stream.truncate(0)
            stream.write(holder.encode())
        except OSError as error:
            raise cannot_write(path, error) from None
        clear_partials(folder)
        try:
            yield
        finally:
            with suppress(OSError):  # of a disk that went away; the first error counts
                stream.truncate(0)


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"`{holder['command']}` (process {holder['process']}) since {holder['since']}"
    except (ValueError, KeyError, TypeError, OSError):  # it is just writing that
        return "another command"
