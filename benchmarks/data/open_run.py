"""A run directory belongs to its settings and to its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.data.film_facts import annotation_digest
from benchmarks.run.config import FREE_SETTINGS, Config, check, flag
from benchmarks.run.directory import run_record, saved_config
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_json
from benchmarks.run.process import process_rank


def open_run(config: Config) -> None:
    """Make the run directory, or check that the existing one belongs to the same settings and data.

    Args:
        config: The settings; the data must be in place.

    Raises:
        UserError: The directory holds results of other settings, or of other data.
    """
    content = config.to_dict()
    for name in ("data", "checkpoint"):  # a later command may be started from another folder
        if content[name] is not None:
            content[name] = str(Path(content[name]).absolute())
    content["annotations"] = annotation_digest(config.data_root, config.limit, config.cache_dir)
    record = run_record(config.out)
    if record is not None:
        _refuse_differences(config.out, record, content)
    if process_rank() == 0:
        write_json(config.out / "config.json", content)


def open_existing(out: Path, settings: dict[str, Any]) -> Config:
    """Settings for scoring and reporting: those that the classifier was trained with.

    With ``checkpoint`` in the settings, the classifier of that run is scored into ``out``, and settings of scoring may
    differ from the run's; without, they must agree.

    Args:
        out: Run directory for the results.
        settings: What was given on the command line, by field name.

    Returns:
        The complete configuration.

    Raises:
        UserError: There is no such run, or a setting that changes results differs.
    """
    source = settings.get("checkpoint") or out
    saved = saved_config(source)
    if source.resolve() == out.resolve():
        config = saved.replace(**{**settings, "out": out, "checkpoint": saved.checkpoint})
    else:
        data = settings.get("data") or saved.replace(out=source).data_root
        config = saved.replace(**{**settings, "out": out, "data": data, "one_of_seeds": False})
    check(config)
    open_run(config)
    return config


def _refuse_differences(run: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    then, now = (content.get("seeds", 1) for content in (old, new))
    if (then == 1) != (now == 1):  # 3 may become 5, but a run of one seed has its files elsewhere
        raise UserError(f"{run} was made with --seeds {then}, not {now}: choose another --out.")
    for name in new:
        if name in FREE_SETTINGS or name not in old or old[name] == new[name]:
            continue
        if name == "annotations":
            raise UserError(f"{run} was made with other films or annotations: choose another --out.")
        raise UserError(f"{run} was made with {flag(name)} {old.get(name)}, not {new[name]}: choose another --out.")
