"""Run a check in a process of its own, with limits of time and memory; what it found until it died is kept."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.run.process import deaf_processes, peak_memory

#: Exit status of a process that found itself above its limit of memory.
_TOO_LARGE = 77
_LOOK_EVERY = 0.05  # seconds


def processes(preload: Sequence[str]) -> Any:
    """Where new processes come from: copies of one that has imported ``preload``, where the system can copy."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    with deaf_processes():  # and so are those that it will make
        forkserver.ensure_running()
    return context


def run_isolated(
    context: Any, work: Callable[..., Iterator[dict[str, Any]]], arguments: tuple[Any, ...], seconds: float, mib: float
) -> dict[str, Any]:
    """What a generator of parts of a record yields, run in a process of its own.

    Args:
        context: Of :func:`processes`.
        work: A function of a module, which yields parts of the record. The part ``stage`` names what comes next.
        arguments: For it; they are pickled.
        seconds: Limit of time, imports included.
        mib: Limit of resident memory.

    Returns:
        The parts together. If the work did not come to its end, ``stopped`` says why and ``stage`` where.
    """
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_worker, args=(sending, work, arguments, mib), daemon=True)
    deadline = time.monotonic() + seconds
    process.start()
    sending.close()
    record: dict[str, Any] = {}
    try:
        while receiving.poll(max(deadline - time.monotonic(), 0)):
            record.update(receiving.recv())
        record["stopped"] = f"the limit of {seconds:g} s"
        process.kill()
    except EOFError:
        process.join()
        if process.exitcode == _TOO_LARGE:
            record["stopped"] = f"the limit of {mib:g} MiB"
        elif process.exitcode:
            record["stopped"] = f"the process died of {_cause(process.exitcode)}"
    finally:
        process.kill()
        process.join()
        receiving.close()
    if "stopped" not in record:
        record.pop("stage", None)
    return record


def _worker(
    connection: Connection, work: Callable[..., Iterator[dict[str, Any]]], arguments: tuple[Any, ...], mib: float
) -> None:
    threading.Thread(target=_watch, args=(mib,), daemon=True).start()
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
    warnings.simplefilter("ignore")
    try:
        for part in work(*arguments):
            connection.send(part)
    except Exception as error:  # of the entry or of the harness; the library's own are part of the record
        connection.send({"stopped": f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"})
    connection.close()
    os._exit(0)  # threads and finalisers of big packages may take their time


def _watch(mib: float) -> None:
    """End this process when it is too large, or the one that waits for it is gone, however that was ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    while (peak_memory() or 0) < mib:
        parent.join(_LOOK_EVERY)
        if not parent.is_alive():
            os._exit(1)
    os._exit(_TOO_LARGE)


def _cause(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"
