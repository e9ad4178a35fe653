"""Many cases drawn by number, each with a bound on its time and on the memory of the process."""

from __future__ import annotations

import os
import resource
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from benchmarks.run.errors import UserError

SHARE = float(os.environ.get("FUZZ", "1"))
MOST_SECONDS, MOST_BYTES = 5, 2 * 2**30


@contextmanager
def bounded(case: str, seconds: float) -> Iterator[None]:
    """Fail after some seconds of computing, or twelve times as long; the machine may be busy with other things."""

    def stop(*_: object) -> None:
        raise AssertionError(f"{case} takes too long")

    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 12 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert peak < MOST_BYTES, f"after {case} the process holds {peak / 2**20:.0f} MB"


def try_all(
    kind: str, count: int, attempt: Callable[[np.random.Generator], str], seconds: float = MOST_SECONDS
) -> None:
    """Make and try cases; ``attempt`` says in a word what became of one."""
    outcomes: Counter[str] = Counter()
    for number in range(max(1, round(count * SHARE))):
        case, said = f"{kind} {number}", ""
        with bounded(case, seconds):
            try:
                outcome = attempt(np.random.default_rng([number, *kind.encode()]))
            except UserError as error:
                outcome, said = "refused", str(error)
            except Exception as error:
                raise AssertionError(f"{case} ends in {type(error).__name__}: {error}") from error
        assert said.isprintable(), case
        outcomes[outcome] += 1
    print(f"\n{kind}: {sum(outcomes.values())} cases, {dict(outcomes)}")
