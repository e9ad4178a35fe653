"""The data step: write the synthetic set once, or read a given set through."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.data.check_set import check_set
from benchmarks.data.object_cxr import FaultyTableError
from benchmarks.run.config import Config, flag, from_dict
from benchmarks.run.directory import run_record
from benchmarks.run.errors import UserError, printable
from benchmarks.run.files import filled_folder, write_json
from benchmarks.run.process import process_rank
from benchmarks.run.stored import Count, DamagedError, read_json

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class SetFacts:
    """``manifest.json`` of a synthetic set.

    Attributes:
        film_counts: Films of the splits train, dev and test.
        film_size: Longer side of a film in pixels.
        data_seed: Seed of the set.
    """

    film_counts: tuple[Count, Count, Count]
    film_size: Count
    data_seed: Count


def prepare(config: Config) -> None:
    """Make sure that the films of a run are there.

    The synthetic set is written below the run directory; its manifest comes last, and a set that was begun and has none
    is made anew.

    Raises:
        UserError: The given set has faults (all are printed); the folder holds something else, or a set of other
            settings.
    """
    if config.data is None and config.checkpoint is None:
        from benchmarks.synthetic.write import write_synthetic

        _write_once(config, write_synthetic)
    try:
        checked = check_set(config.data_root, config.limit, config.cache_dir)
    except FaultyTableError as error:
        if len(error.faults) == 1:
            raise
        for fault in error.faults:
            print(f"error: {printable(fault)}", file=sys.stderr)
        raise UserError(f"{config.data_root} has {len(error.faults)} faults; each is named above.") from None
    if process_rank() == 0:
        for split, films in checked.splits.items():
            print(f"{split}: {len(films)} films, {int(films.labels.sum())} with objects")
        for remark in checked.remarks:
            print(f"note: {printable(remark)}")


def _write_once(config: Config, write: Callable[..., None]) -> None:
    root = config.data_root
    manifest = _manifest(config)
    while process_rank() > 0 and not (root / MANIFEST).exists():  # process 0 writes it
        time.sleep(1)
    if (root / MANIFEST).exists():
        _refuse_other(root, _facts(config), manifest)
        return
    other = f"{root} is there, and not a synthetic set: choose another --out, or pass --data {root} for its films."
    with filled_folder(root, other):
        write(root, counts=config.split_counts(), size=config.film_size, seed=config.data_seed)
        write_json(root / MANIFEST, manifest)


def _facts(config: Config) -> dict[str, Any]:
    """What the manifest of a set says; where it is damaged, what the run that it was written for says."""
    path = config.data_root / MANIFEST
    try:
        return asdict(read_json(path, SetFacts, f"choose another --out, or pass --data {path.parent} for its films"))
    except DamagedError:
        record = run_record(config.out)
        if record is None:
            raise
    print(f"{path} is damaged; it is made again from the run's settings.")
    facts = _manifest(from_dict(record))
    write_json(path, facts)
    return facts


def _manifest(config: Config) -> dict[str, Any]:
    return {
        "film_counts": list(config.split_counts().values()),
        "film_size": config.film_size,
        "data_seed": config.data_seed,
    }


def _refuse_other(root: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    for name, value in new.items():
        then = list(old[name]) if isinstance(old[name], tuple) else old[name]
        if then != value:
            shown = "--limit or film counts" if name == "film_counts" else flag(name)
            raise UserError(f"{root} was written with {shown} {then}, not {value}: choose another --out.")
