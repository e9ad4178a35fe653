"""The command ``explain``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from benchmarks.explain.explainer import DEFAULT_METHOD, Explainer
from benchmarks.explain.result_files import PAGE, Results, is_own_overlay
from benchmarks.explain.verdict import NOTICE, Explanation
from benchmarks.films.decode import read_film
from benchmarks.films.grey import Film
from benchmarks.run.devices import use_threads
from benchmarks.run.errors import UserError, printable

SMALLEST = 32
"""Shorter side of a film, in pixels."""


def explain(
    images: list[Path],
    checkpoint: Path,
    out: Path | None = None,
    method: str = DEFAULT_METHOD,
    threads: int | None = None,
    dicom: bool = False,
) -> None:
    """Explain films: print the verdicts, write an overlay PNG and a JSON for each, and a table and a page of all.

    No film keeps the others from theirs, whatever is wrong with it.

    Args:
        images: DICOM, PNG, JPEG, TIFF, JPEG 2000 or BMP.
        checkpoint: Run directory with the classifier.
        out: Folder for the files; ``explained`` in the working directory by default. It may be the films' own.
        method: Name in the registry of methods.
        threads: Threads of torch; None leaves torch's choice.
        dicom: Write a DICOM structured report of each film that is DICOM, too.

    Raises:
        UserError: As :class:`Explainer` does; or, after all others are written, films that could not be explained.
    """
    use_threads(threads)
    explainer = Explainer(checkpoint, method)
    results = Results(Path("explained") if out is None else out, dicom)
    print(NOTICE)
    problems: list[str] = []
    films = _read(images, problems)
    while batch := list(islice(films, explainer.batch_size)):
        for path, result in _explained(explainer, batch, problems):
            try:
                overlay = results.write(result, path, explainer)
            except Exception as error:
                problems.append(_problem(path, error))
                continue
            notes = f" Note: {'; '.join(result.film.notes)}." if result.film.notes else ""
            print(f"{printable(path)}: {result.sentence}{notes} ({printable(overlay)})", flush=True)
    results.write_summary()
    print(f"All films: {printable(results.folder / PAGE)}")
    if len(problems) == 1:
        raise UserError(problems[0])
    if problems:
        for problem in problems:
            print(f"error: {printable(problem)}", file=sys.stderr)
        raise UserError(f"{len(problems)} of {len(images)} films were not explained; each is named above.")


def _read(images: list[Path], problems: list[str]) -> Iterator[tuple[Path, Film]]:
    """The films that can be read, one after the other; what is wrong with the others goes to ``problems``."""
    for path in dict.fromkeys(images):
        try:
            film = read_film(path)
            height, width = film.grey.shape
            if min(width, height) < SMALLEST:
                raise UserError(f"The film {path} has {width} x {height} pixels: that is too small.")
            if is_own_overlay(path):
                raise UserError(f"The film {path} is an overlay that explain has drawn: leave it out.")
        except Exception as error:  # noqa: PERF203 - no film keeps the others from theirs
            problems.append(_problem(path, error))
        else:
            yield path, film


def _explained(
    explainer: Explainer, batch: list[tuple[Path, Film]], problems: list[str]
) -> Iterator[tuple[Path, Explanation]]:
    """Results of some films at once or, where that fails, of those on which it does not."""
    try:
        yield from zip((path for path, _ in batch), explainer([film for _, film in batch]), strict=True)
    except Exception as error:
        if len(batch) == 1:
            problems.append(_problem(batch[0][0], error))
            return
        for single in batch:
            yield from _explained(explainer, [single], problems)


def _problem(path: Path, error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    return f"The film {path} could not be explained ({type(error).__name__}: {error})."
