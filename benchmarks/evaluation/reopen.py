"""A finished evaluation in its folder: what lies beside the results, so that they are read without the network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from benchmarks.data.annotations import Shape
from benchmarks.evaluation.network_verdicts import Verdicts
from benchmarks.evaluation.play import DEV, GRID, MEASURES, SCORES, Played
from benchmarks.evaluation.questions import Asked, AskedImages, Question
from benchmarks.evaluation.result import Evaluation, GridEvaluation
from benchmarks.formats.labelled import LabelledImage, LabelledObject, LabelledSet
from benchmarks.formats.run_lengths import RunLengths
from benchmarks.methods import METHODS, Method, register, select_methods
from benchmarks.models import OpenModel, Preparation
from benchmarks.run.config import EVALUATION, Config, from_dict
from benchmarks.run.directory import EVALUATION_REMEDY, evaluated
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_json, write_text
from benchmarks.run.stored import DamagedError, Evaluated
from benchmarks.scoring.job import Job, evenly_spaced
from benchmarks.scoring.unit_store import EVERY

QUESTIONS = "questions.json"
_OWN = ("title", "family", "reduction", "cost", "source")


def write_finished(
    config: Config, played: Played, model: OpenModel, data: LabelledSet, told: Sequence[str], own: Sequence[Method]
) -> None:
    """Write ``evaluation.json`` (settings, and what results depend on) and ``questions.json`` (what was asked).

    Args:
        config: Where to, and the settings.
        played: What was played.
        model: The network.
        data: The set.
        told: What was noticed on the way.
        own: Methods of the user's.
    """
    scoring, asked = config.scoring, played.asked
    questions = asked.questions if asked else []
    record = {
        "model": model.name,
        "input": list(model.shape),
        "preparation": repr(model.prepare),
        "outputs": model.outputs,
        "classes": list(model.classes or ()),
        "data": str(data.source.absolute()),
        "format": data.format,
        "images": len({question.image.name for question in questions}),
        "questions": len(questions),
        "explain": asked.explain if asked else None,
        "tolerance_in": "image" if asked and asked.own_pixels else "frame",
        "truth": scoring.truth,
        "methods": list(scoring.methods),
        "layers": list(asked.layers.combined) if asked and asked.layers else None,
        "budget": scoring.budget,
        "seed": config.seed,
        "grid": played.side,
        "told": list(told),
        "own_methods": {method.name: {part: getattr(method, part) for part in _OWN} for method in own},
        "settings": config.to_dict(),
        "facts": {name: _facts(job, config) for name, job in played.jobs.items()},
    }
    said = {name: verdicts.plain() for name, verdicts in played.verdicts.items()}
    write_text(config.out / QUESTIONS, json.dumps({**_plain(questions), "dev": dict(played.dev), "verdicts": said}))
    write_json(config.out / EVALUATION, record)


def _facts(job: Job, config: Config) -> dict[str, dict[str, str]]:
    """What the rows of all methods depend on, under :data:`EVERY`, and what those of one depend on beside."""
    methods = select_methods(config.scoring.methods)
    own = {method.name: job.method_facts(method.name).items() - job.facts.items() for method in methods}
    return {EVERY: job.facts, **{name: dict(sorted(facts)) for name, facts in own.items()}}


def _plain(questions: Sequence[Question]) -> dict[str, Any]:
    """Questions and their images as JSON values."""
    images = list({question.path: question.image for question in questions}.values())
    number = {image.path: i for i, image in enumerate(images)}
    return {
        "images": [
            {
                "name": image.name,
                "path": str(image.path.absolute()),
                "labels": image.labels,
                "size": image.size,
                "where": image.where,
                "objects": [
                    [found.category, found.difficult, found.crowd, [_plain_shape(shape) for shape in found.shapes]]
                    for found in image.objects
                ],
            }
            for image in images
        ],
        "questions": [[number[of.path], of.category, of.label, of.name] for of in questions],
    }


def _plain_shape(shape: Shape | RunLengths) -> list[Any]:
    if isinstance(shape, Shape):
        return [shape.kind, shape.points, shape.content]
    return [shape.height, shape.width, shape.counts, shape.column_major]


class Absent(nn.Module):
    """In the place of a network that is not here."""

    def forward(self, images: Tensor) -> Tensor:
        """Give no scores."""
        raise UserError("The network of this evaluation is not here.")


@dataclass
class StoredJob(Job):
    """What results were computed for, without what computed them.

    Attributes:
        known: What rows depended on, as of ``facts`` in ``evaluation.json``.
    """

    known: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    explains: ClassVar[bool] = False

    def method_facts(self, name: str) -> dict[str, str]:
        """What the rows of a method depended on, by name."""
        return {**self.known[EVERY], **self.known.get(name, {})}


def open_evaluation(folder: Path, methods: Sequence[str] = ()) -> Evaluation | GridEvaluation:
    """Read a finished evaluation from its folder; neither the network nor the annotations are needed.

    Args:
        folder: That ``evaluate`` wrote.
        methods: Names or sets of those that are wanted; by default all that were asked for.

    Returns:
        The result, as ``evaluate`` returned it. Maps are those that were kept or drawn before.

    Raises:
        UserError: There is none, or none that is whole.
    """
    record = evaluated(folder)
    _check_played(record, folder / EVALUATION)
    config = from_dict(record.settings, folder / EVALUATION).replace(out=folder)
    for name, parts in record.own_methods.items():
        if name not in METHODS:
            title, family, reduction, cost, source = (parts[part] for part in _OWN)
            register(Method(name, title, _not_here, family, reduction, cost, source=source))
    if methods:
        config = config.replace(methods=tuple(methods))
    try:
        stored = json.loads((folder / QUESTIONS).read_bytes())
        questions, dev = _questions(stored), {str(name): str(of) for name, of in stored["dev"].items()}
        verdicts = {str(name): Verdicts.of(plain) for name, plain in stored["verdicts"].items()}
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DamagedError(f"{folder / QUESTIONS} is gone or damaged ({error}): {EVALUATION_REMEDY}.") from None
    network = Absent()
    model = OpenModel(network, Preparation(), record.input, record.classes, record.outputs, name=record.model)
    asked = None
    if record.explain is not None:
        asked = Asked(model, questions, record.explain, None, record.tolerance_in == "image")
    films = AskedImages(questions, max(record.input[1:]), "", colour=record.input[0] == 3)
    jobs: dict[str, Job] = {}
    for name, facts in record.facts.items():
        positions = list(range(len(dev) if name == DEV else len(questions)))
        if name == MEASURES:
            positions = evenly_spaced(positions, config.scoring.measure_films)
        jobs[name] = StoredJob(
            network, "", films, positions, config.scoring, config.seed, torch.device("cpu"), outputs=record.outputs,
            explain=record.explain or "labelled", shape=record.input, own_pixels=record.tolerance_in == "image",
            known=facts,
        )  # fmt: skip
    data = LabelledSet((), (), record.format, record.data)
    return Played(asked, jobs, dev, record.grid, verdicts).result(config, data, record.told)


def _check_played(record: Evaluated, path: Path) -> None:
    """Refuse a record of nothing that was played, or without what its results depend on.

    Raises:
        DamagedError: It is such.
    """
    played = [] if record.explain is None else [SCORES, MEASURES]
    played += [] if record.grid is None else [GRID]
    if not played:
        raise DamagedError(f"{path} is damaged (neither explain nor grid says what was played): {EVALUATION_REMEDY}.")
    for name in played:
        if EVERY not in record.facts.get(name, {}):
            raise DamagedError(f"{path} is damaged (facts lacks {name}): {EVALUATION_REMEDY}.")


def _not_here(context: Any) -> Any:
    raise UserError("a method of the user's, which is not here")


def _questions(stored: Any) -> list[Question]:
    images = [
        LabelledImage(
            one["name"], Path(one["path"]), tuple(_object(*of) for of in one["objects"]), tuple(one["labels"]),
            (one["size"][0], one["size"][1]), one["where"],
        )
        for one in stored["images"]
    ]  # fmt: skip
    return [Question(images[number], category, label, name) for number, category, label, name in stored["questions"]]


def _object(category: str, difficult: bool, crowd: bool, shapes: list[list[Any]]) -> LabelledObject:
    return LabelledObject(category, tuple(_shape(*parts) for parts in shapes), difficult, crowd)


def _shape(first: Any, second: Any, third: Any, fourth: Any = None) -> Shape | RunLengths:
    if isinstance(first, str):
        return Shape(first, tuple((x, y) for x, y in second), third)
    return RunLengths(tuple(third), first, second, fourth)
