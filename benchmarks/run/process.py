"""A command as a process: one of several, stopped when told to, and at work when nobody reads."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from benchmarks.run.files import cannot_write

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's ``mallopt``."""
_KEPT, _LARGEST = 2**30, 2**25
"""Bytes that may be kept, and of the largest block that is: glibc takes no larger one."""


def process_rank() -> int:
    """Number of this process among those that torchrun, SLURM or Lightning started; 0 where there is only one.

    Only process 0 writes what all share.
    """
    ranks = {name: os.environ.get(name, "") for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK")}
    known = {name: int(rank) for name, rank in ranks.items() if rank.isdigit()}
    for of_all in ("RANK", "SLURM_PROCID"):
        if of_all in known:
            return known[of_all]
    return sum(known.values())  # only whether it is 0 counts


def peak_memory() -> float | None:
    """Peak of this process's resident memory so far, MiB; None on Windows, whose Python does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def keep_freed_memory() -> None:
    """Have glibc keep what a forward pass frees for the next one.

    By default large blocks go back to the kernel, and come again page by page in every pass. Nothing is changed where
    ``MALLOC_`` variables are set, or where the C library is another.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_TRIM_THRESHOLD, _KEPT)
    mallopt(_MMAP_THRESHOLD, _LARGEST)


@contextmanager
def well_behaved() -> Iterator[None]:
    """Take SIGTERM as Ctrl-C, and a closed stdout, as of ``>&-`` or ``| head -1``, as a reader who has seen enough.

    Raises:
        UserError: The disk behind stdout is full.
    """
    before, stdout = signal.getsignal(signal.SIGTERM), sys.stdout
    try:
        signal.signal(signal.SIGTERM, _stop)
    except ValueError:  # not in the main thread
        before = None
    with Path(os.devnull).open("w", encoding="utf-8") if stdout is None else nullcontext(stdout) as stream:
        sys.stdout = _Patient(stream)
        try:
            yield
            sys.stdout.flush()
        finally:
            sys.stdout = stdout
            if before is not None:
                signal.signal(signal.SIGTERM, before)


@contextmanager
def deaf_processes() -> Iterator[None]:
    """Start processes that do not hear Ctrl-C: a terminal sends it to all, but this one alone answers and ends them."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a new process takes that over
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _Patient:
    """A stream that goes on without a word when nobody reads it any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Let what comes, and what is still in the buffer, go nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError):
            raise cannot_write(Path("stdout"), error) from error
