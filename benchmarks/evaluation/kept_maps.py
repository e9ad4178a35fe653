"""Maps on disk, for whoever wants to measure something else on them: one file a method, half precision."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.evaluation.questions import AskedImages
from benchmarks.methods import METHODS
from benchmarks.run.errors import UserError
from benchmarks.run.files import cannot_write, write_csv
from benchmarks.run.stored import DamagedError, read_array
from benchmarks.scoring.job import Job
from benchmarks.scoring.scored_maps import scored_maps

FOLDER = "maps"


class KeptMaps:
    """A folder with a memory map ``METHOD.npy`` for each method, float16 ``(questions, h, w)``, and ``index.csv``.

    A row is the map for the class of a question, scaled to [0, 1] so that half precision holds it; ``index.csv`` tells
    the image and the class of each row. A row of NaN is not there yet, or was not finite.

    Args:
        folder: Made when maps are kept.
        questions: In the order of the rows.
    """

    def __init__(self, folder: Path, questions: AskedImages) -> None:
        self.folder = folder
        self._questions = questions.records

    def write_index(self) -> None:
        """Write ``index.csv``."""
        rows = [(i, asked.image.name, asked.category) for i, asked in enumerate(self._questions)]
        write_csv(self.folder / "index.csv", pd.DataFrame(rows, columns=["row", "image", "class"]))

    def path(self, job: Job, method: str) -> Path:
        """File of a method; another one for maps that other settings, weights or versions made."""
        return self.folder / f"{job.kept_as(method)}.npy"

    def keep(self, job: Job, method: str, positions: Sequence[int], maps: Tensor) -> None:
        """Write the maps of some questions, float ``(N, 1, h, w)``.

        Raises:
            UserError: The disk is full, or cannot be written.
        """
        path = self.path(job, method)
        maps = maps.detach().float().cpu()
        low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
        unit = (maps - low) / torch.where(high > low, high - low, torch.ones_like(high))
        try:
            if self._whole(path) is None:
                # Of several processes each begins the file; what the last one to do so takes away is completed later.
                partial = path.with_name(f"{path.stem}.{os.getpid()}.partial.npy")
                shape = (len(self._questions), *maps.shape[2:])
                new = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
                new[:] = np.nan
                new.flush()
                partial.replace(path)
            kept = read_array(path, "r+")
            if kept.shape[1:] != maps.shape[2:]:  # images of several sizes
                unit = F.interpolate(unit, size=kept.shape[1:], mode="bilinear", align_corners=False)
            kept[list(positions)] = unit[:, 0].numpy().astype(np.float16)
            kept.flush()
        except OSError as error:
            raise cannot_write(path, error) from error

    def complete(self, job: Job, methods: Sequence[str], verdicts: pd.DataFrame) -> None:
        """Compute the maps that scoring made before they were to be kept."""
        for method in methods:
            path = self.path(job, method)
            missing = list(range(len(self._questions)))
            if (kept := self._whole(path)) is not None:
                missing = [i for i in missing if np.isnan(kept[i]).all()]
            for first in range(0, len(missing), job.batch_size):
                some = missing[first : first + job.batch_size]
                self.keep(job, method, some, torch.stack(scored_maps(job, METHODS[method], some, verdicts)))

    def read(self, job: Job, method: str) -> np.ndarray:
        """Maps of a method, float16 ``(questions, h, w)``, as a memory map.

        Raises:
            UserError: There are none.
        """
        maps = self._whole(self.path(job, method))
        if maps is None:
            raise UserError(f"{self.folder} has no maps of {method}: evaluate with keep_maps=True.")
        return maps

    def _whole(self, path: Path) -> np.ndarray | None:
        """The maps in a file as a memory map; None where there is none, or no whole one."""
        if not path.exists():
            return None
        with contextlib.suppress(DamagedError):
            kept: np.ndarray = read_array(path, "r")
            if kept.dtype == np.float16 and kept.ndim == 3 and len(kept) == len(self._questions):
                return kept
        print(f"{path} is damaged; its maps are computed again.")
        path.unlink()
        return None
