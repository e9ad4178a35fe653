"""Pictures of maps that were scored, kept in the run directory so that a report is drawn again without the network."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from benchmarks.methods import Context, Method
from benchmarks.run.files import whole_file
from benchmarks.run.stored import DamagedError, read_array
from benchmarks.scoring.job import Job, digest
from benchmarks.scoring.scored_maps import scored_maps

FORMAT = 3
"""Raise it when maps of the same results would be kept in another form."""

Pictures = npt.NDArray[np.uint8]
Form = Callable[[Tensor], Pictures]
"""Maps float ``(N, 1, h, w)`` to their pictures, uint8 ``(N, ...)``, of one size whatever h and w are."""


@dataclass(frozen=True)
class DrawnMaps:
    """Pictures of the maps of a job, made once.

    Attributes:
        job: Network and films.
        verdicts: As of :meth:`benchmarks.scoring.store.ScoreStore.verdicts`.
        folder: Where pictures are kept; those of the same films and network are not made again.
        form: Makes the pictures.
    """

    job: Job
    verdicts: pd.DataFrame
    folder: Path
    form: Form

    @cached_property
    def _context(self) -> Context:
        return self.job.context()

    def of(self, method: Method, positions: Sequence[int]) -> Pictures | None:
        """Pictures of a method's maps for some films, at least one.

        Returns:
            Pictures in the order of the films; None where they were not kept, and there is no network to compute them.
        """
        job = self.job
        what = repr((FORMAT, self.form.__name__, digest(job.method_facts(method.name)), list(positions)))
        path = self.folder / f"{method.name}.{hashlib.sha256(what.encode()).hexdigest()[:24]}.npy"
        pictures = _kept(path, len(positions))
        if pictures is None and job.explains:
            maps = scored_maps(job, method, positions, self.verdicts, self._context)
            pictures = np.concatenate([self.form(one[None]) for one in maps])
            with whole_file(path) as stream:
                np.save(stream, pictures)
        return pictures


def _kept(path: Path, films: int) -> Pictures | None:
    """Pictures that were made before; None where there are none, or no whole ones."""
    if not path.is_file():
        return None
    with contextlib.suppress(DamagedError):
        pictures: Pictures = read_array(path)
        if pictures.dtype == np.uint8 and len(pictures) == films:
            return pictures
    print(f"{path} is damaged; its maps are computed again.")
    return None
