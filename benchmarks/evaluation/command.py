"""The command ``evaluate``: what is on the line becomes a call of :func:`benchmarks.evaluate` and its report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.data.object_cxr import FaultyTableError
from benchmarks.evaluation.evaluate import evaluate
from benchmarks.formats.load import load_dataset
from benchmarks.run.directory import process_rank
from benchmarks.run.errors import UserError, printable

PREPARATION = ("mean", "std", "channels", "value_range", "resize")


def evaluate_command(
    model: str,
    data: Path,
    *,
    images: Path | None = None,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    check: bool = False,
    image_size: int | None = None,
    threads: int | None = None,
    **settings: Any,
) -> None:
    """Evaluate, and write the report.

    Raises:
        UserError: As of :func:`benchmarks.evaluate`.
    """
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    try:
        found = load_dataset(data, images, format, columns)
    except FaultyTableError as error:
        if not check or len(error.faults) == 1:
            raise
        for fault in error.faults:
            print(printable(fault))
        raise UserError(f"{data} has {len(error.faults)} faults; each is named above.") from None
    if check:
        objects = sum(len(image.objects) for image in found.images)
        print(*found.remarks, sep="\n", end="\n" if found.remarks else "")
        print(f"{data}: {len(found.images)} images, {objects} objects of {len(found.categories)} categories, all well.")
        return
    preparation = {name: settings.pop(name, None) for name in PREPARATION}
    size = None if image_size is None else (image_size, image_size)
    given = {name: value for name, value in {"size": size, **preparation}.items() if value is not None}
    result = evaluate(model, found, preparation=given, **settings)
    if process_rank() == 0:
        result.report()
