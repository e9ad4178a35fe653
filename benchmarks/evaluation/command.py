"""The command ``evaluate``: what is on the line becomes a call of ``benchmarks.evaluate`` and its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.data.film_facts import FilmNotes, film_facts
from benchmarks.data.object_cxr import FaultyTableError
from benchmarks.evaluation.evaluate import evaluate
from benchmarks.evaluation.reopen import open_evaluation
from benchmarks.formats.labelled import LabelledSet
from benchmarks.formats.load import load_dataset
from benchmarks.formats.matching import match_categories
from benchmarks.models import open_model
from benchmarks.models.preparation import option
from benchmarks.run.config import flag
from benchmarks.run.errors import UserError, printable
from benchmarks.run.process import process_rank
from benchmarks.run.text_tables import counted
from benchmarks.shapes.draw_picture import SIZE
from benchmarks.shapes.outlines import KINDS
from benchmarks.shapes.trained_network import test_pictures, trained_network

PREPARATION = ("mean", "std", "channels", "value_range", "resize")


def report_command(*, out: Path, methods: Sequence[str] = (), **others: Any) -> None:
    """Write the report of an evaluation once more, from its folder alone.

    Args:
        out: The folder.
        methods: Names or sets; by default all that were asked for.
        **others: Settings that a report of a run takes.

    Raises:
        UserError: There is a setting that an evaluation is made with, or as of ``open_evaluation``.
    """
    others.pop("quiet", None)
    if others:
        raise UserError(
            f"{flag(next(iter(others)))} belongs to what {out} was evaluated with: report takes --methods alone."
        )
    open_evaluation(out, methods).report()


def evaluate_command(
    *,
    preset: str | None = None,
    images: Path | None = None,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    check: bool = False,
    dev_images: Path | None = None,
    image_size: int | None = None,
    **settings: Any,
) -> None:
    """Evaluate, and write the report.

    Raises:
        UserError: As of ``benchmarks.evaluate``; or there are neither ``model`` and ``data`` nor a preset, or both.
    """
    given = {name: settings.pop(name) for name in PREPARATION if name in settings}
    if image_size is not None:
        given["size"] = (image_size, image_size)
    if preset is not None:
        _refuse_own(preset, {**settings, **given, "images": images, "format": format, "columns": columns})
        settings = {**shapes_preset(settings.get("seed", 0)), **settings}
    elif "data" not in settings or not ("model" in settings or check):
        raise UserError(f"--{'model' if 'data' in settings else 'data'} is missing: give it, or --preset shapes.")
    else:
        with _every_fault(settings["data"]) if check else nullcontext():
            settings["data"] = load_dataset(settings["data"], images, format, columns)
        if "dev" in settings:
            settings["dev"] = load_dataset(settings["dev"], dev_images or images, format, columns)
    if check:
        _look_through(settings["data"], settings.get("classes"))
        return
    result = evaluate(**settings, preparation=given)
    if process_rank() == 0:
        result.report()


def _look_through(found: LabelledSet, classes: Sequence[str] | None) -> None:
    """Decode every image, and say what is there, what is odd, and what does not meet the names of outputs."""
    met = match_categories(found, classes)[1] if classes else ""
    with _every_fault(found.source), TemporaryDirectory() as folder:
        notes = FilmNotes()
        for image, facts in film_facts(found.images, Path(folder), colour=True):  # which decodes each
            notes.add(image.name, facts)
    objects = sum(len(image.objects) for image in found.images)
    kinds = counted(len(found.categories), "category", "categories")
    count = f"{counted(len(found.images), 'image')}, {counted(objects, 'object')} of {kinds}"
    print(*found.remarks, *notes.told("images"), *filter(None, [met]), f"{found.source}: {count}, all well.", sep="\n")


@contextmanager
def _every_fault(source: Path) -> Iterator[None]:
    """Print all faults of a set, where there are several."""
    try:
        yield
    except FaultyTableError as error:
        if len(error.faults) == 1:
            raise
        for fault in error.faults:
            print(printable(fault))
        raise UserError(f"{source} has {len(error.faults)} faults; each is named above.") from None


def _refuse_own(preset: str, given: Mapping[str, Any]) -> None:
    """Refuse what the preset brings itself."""
    own = ("model", "data", "weights", "classes", "outputs", "size", *PREPARATION, "images", "format", "columns")
    for name in own:
        if given.get(name) is not None:
            raise UserError(f"--preset {preset} brings its own network and pictures: leave out {option(name)}.")


def shapes_preset(seed: int) -> dict[str, Any]:
    """Arguments of ``benchmarks.evaluate`` for a network of shapes and pictures that it has not seen.

    What is not there yet is made first, in a minute or two, and kept in the user's cache.

    Args:
        seed: Of the training; the pictures are the same for all.

    Returns:
        ``model``, ``data``, ``grid`` and ``out``.

    Raises:
        UserError: The cache cannot be written.
    """
    model = open_model(trained_network(seed), classes=KINDS, outputs="sigmoid", name="shapes", size=(SIZE, SIZE))
    path = test_pictures()
    data = load_dataset(path, path.with_suffix(""))
    return {"model": model, "data": data, "grid": 2, "out": Path("runs/shapes" if seed == 0 else f"runs/shapes_{seed}")}
