"""Work in units of one method on one batch of films: resumable, and on any number of processes.

The films are cut into fixed batches by their position in the split. A unit is computed as a whole, by
one process, and random numbers are seeded from seed, method and batch; so a run that was killed, or
shared by several processes, ends with the results of a plain one.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.methods import Explain, Method, prepare_together, select_methods
from benchmarks.run.config import Config
from benchmarks.run.devices import is_out_of_memory, open_fabric
from benchmarks.run.directory import write_environment
from benchmarks.run.errors import UserError
from benchmarks.run.text_tables import counted
from benchmarks.scoring.batch import FilmBatch
from benchmarks.scoring.damaged_store import set_damaged_aside
from benchmarks.scoring.job import Job
from benchmarks.scoring.unit_store import EVERY, Facts, Row, UnitStore

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from typing_extensions import Self

S = TypeVar("S", bound=UnitStore)
B = TypeVar("B", bound=FilmBatch)


class Step(ABC, Generic[S, B]):
    """A step of the benchmark that works through units; it holds no results, so that processes can hand it on.

    Attributes:
        name: stem of its files in the run directory.
        doing: for the progress bar, as in "Scoring".
        store: class of its results.
        done: what is said of methods that need no more work, as in "all methods are scored".
        unit: what a row is about.
        knows_films: whether a batch that is opened keeps what is known of its films, as the method
            :data:`benchmarks.scoring.unit_store.EVERY`.
    """

    name: ClassVar[str]
    doing: ClassVar[str]
    done: ClassVar[str]
    unit: ClassVar[str] = "film"
    store: type[S]
    knows_films: ClassVar[bool] = False

    @abstractmethod
    def open_job(self, config: Config, device: torch.device | str = "cpu") -> Job:
        """Load what the step needs."""

    @classmethod
    def facts(cls, job: Job) -> Facts:
        """What rows depend on."""
        return job.method_facts

    @classmethod
    def open_store(cls, path: Path, job: Job, *, create: bool = True) -> S:
        """Open a file of results for a job; ``create`` as of :class:`benchmarks.scoring.unit_store.UnitStore`."""
        return cls.store(path, cls.facts(job), create=create)

    @classmethod
    @contextmanager
    def reading(cls, config: Config, job: Job) -> Iterator[S]:
        """What is in the run directory at one moment; nothing where the step has not run."""
        path = config.out / f"{cls.name}.sqlite"
        with closing(cls.open_store(path, job, create=False)) as store, store.reading():
            yield store

    @abstractmethod
    def open_batch(self, job: Job, batch: int, store: S) -> B:
        """Load the films of a batch."""

    @abstractmethod
    def compute(self, films: B, method: Method, explain: Explain) -> Mapping[str, Sequence[Row]]:
        """Rows by table of a method on a batch."""

    @abstractmethod
    def finish(self, config: Config, job: Job, store: S) -> None:
        """Write the tables, when all units are in the store."""

    def run(self, config: Config) -> None:
        """Work through the step, going on where an earlier start stopped.

        Runs on the devices and machines of the configuration through Lightning Fabric; several machines
        need a run directory that all of them see.

        Raises:
            UserError: an unknown method, a full disk, or what the step raises.
        """
        select_methods(config.scoring.methods)  # before any work, so that a wrong name is told at once
        config.out.mkdir(parents=True, exist_ok=True)
        fabric = open_fabric(config)
        fabric.launch(self._on_process, config)  # type: ignore[arg-type]  # Lightning types its function too narrowly

    def _on_process(self, fabric: Fabric, config: Config) -> None:
        torch.backends.cudnn.allow_tf32 = False  # maps are to be those of a CPU, in float32
        with fabric.rank_zero_first(local=True):  # the first decodes the films, the others find them decoded
            job = self.open_job(config, fabric.device)
        methods = select_methods(config.scoring.methods)
        path = config.out / f"{self.name}.sqlite"
        if fabric.is_global_zero:
            with self._mended_store(path, job) as store:
                self._absorb_parts(config, job, store)  # of an earlier start that was killed
                store.forget_failures()
                for method, why in store.outdated(method.name for method in methods).items():
                    print(f"{config.out}: {method} was {self.done} before ({why}); it is {self.done} anew.")
        fabric.barrier()
        with closing(self.open_store(path, job)) as store:
            pending = self.pending(job, methods, store.units())  # they are mended, so all that are there are whole
        fabric.barrier()  # everyone has the same view before anyone writes
        if pending and fabric.is_global_zero:
            write_environment(config)
        elif fabric.is_global_zero:
            films = len(job.positives)
            every = "the method is" if len(methods) == 1 else f"all {len(methods)} methods are"
            print(f"{config.out}: {every} {self.done} on {counted(films, self.unit)}; nothing to do.")
        own = path if fabric.world_size == 1 else config.out / f"{self.name}.rank{fabric.global_rank}.sqlite"
        mine = dict(itertools.islice(pending.items(), fabric.global_rank, None, fabric.world_size))
        with closing(self.open_store(own, job)) as store:
            self.compute_units(job, mine, store, show=fabric.is_global_zero and not config.quiet)
        fabric.barrier()
        if fabric.is_global_zero:
            with closing(self.open_store(path, job)) as store:
                self._absorb_parts(config, job, store)
                with store.reading(mended=True):
                    self.finish(config, job, store)
                for method, reason in store.failures().items():
                    print(f"{method} could not run: {reason}")
        fabric.barrier()

    def _absorb_parts(self, config: Config, job: Job, store: S) -> None:
        for part in sorted(config.out.glob(f"{self.name}.rank*.sqlite")):
            with self._mended_store(part, job):
                pass
            store.absorb(part)

    @contextmanager
    def _mended_store(self, path: Path, job: Job) -> Iterator[S]:
        """A file of results, open and without what was damaged in it; lines say so."""
        set_damaged_aside(path, self.store)
        with closing(self.open_store(path, job)) as store:
            damaged = store.delete_damaged()
            if damaged:
                names = ", ".join(f"{method or 'the films themselves'} ({units})" for method, units in damaged.items())
                print(
                    f"{path}: rows were lost, changed or added since they were written, by batches of {names}; "
                    f"these count as not {self.done} and are computed again."
                )
            yield store

    def pending(
        self, job: Job, methods: Sequence[Method], finished: Iterable[tuple[int, str]]
    ) -> dict[int, Sequence[Method]]:
        """The methods that each batch still needs; batches that need nothing are left out."""
        names = [*(method.name for method in methods), *([EVERY] if self.knows_films else [])]
        places = {name: place for place, name in enumerate(names)}
        missing = np.ones((job.batches, len(names)), dtype=bool)
        for batch, name in finished:
            if name in places and isinstance(batch, int) and 0 <= batch < job.batches:  # else damaged, and empty
                missing[batch, places[name]] = False
        # Most batches need the same: one list for all of them.
        lists = {row.tobytes(): list(itertools.compress(methods, row)) for row in np.unique(missing, axis=0)}
        return {int(batch): lists[missing[batch].tobytes()] for batch in np.flatnonzero(missing.any(axis=1))}

    def compute_units(self, job: Job, pending: Mapping[int, Sequence[Method]], store: S, *, show: bool = False) -> None:
        """Compute units, each stored as soon as it is there, while the next one is computed.

        A method that cannot be built, or that fails on a batch even with one image at a time when
        memory runs out, is noted with its reason and not tried on further batches.

        Args:
            job: network and films.
            pending: methods to run for each batch.
            store: where results and failures go.
            show: draw a progress bar with the time left.
        """
        wanted = dict.fromkeys(method for methods in pending.values() for method in methods)
        ready, failed, shared = prepare_together(wanted, job.context())
        for name, error in failed.items():
            store.write_failure(name, _reason(error))
        progress = Progress(
            TextColumn(f"{self.doing} {{task.description}}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not (show and pending),
        )
        with progress, _WrittenBehind(store) as behind:
            task = progress.add_task("", total=sum(len(methods) for methods in pending.values()))
            for batch, methods in pending.items():
                films = self.open_batch(job, batch, behind.store)
                for method in methods:
                    progress.update(task, description=method.name)
                    if method.name in ready:
                        try:
                            results = self.compute(films, method, ready[method.name])
                        except Exception as error:
                            del ready[method.name]
                            behind.store.write_failure(method.name, _reason(error))
                        else:
                            behind.write_unit(batch, method.name, results)
                    progress.advance(task)
                for one in shared:
                    one.forget()


class _WrittenBehind(Generic[S]):
    """Writes a unit while the next one is computed: a transaction waits for the disk longer than a map takes."""

    def __init__(self, store: S) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, "writes-units")
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        self._wait()

    @property
    def store(self) -> S:
        """The store, with all units in it that there are so far."""
        self._wait()
        return self._store

    def write_unit(self, batch: int, method: str, results: Mapping[str, Sequence[Row]]) -> None:
        """Write a unit once the last one is written; what kept that from being written is raised here."""
        self._last = self._thread.submit(self.store.write_unit, batch, method, results)

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()


def _reason(error: Exception) -> str:
    if isinstance(error, (MemoryError, RuntimeError)) and is_out_of_memory(error):
        return "out of memory even with one image at a time"
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"[:300]
