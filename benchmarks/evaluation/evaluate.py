"""Play the Pointing Game with a network and annotated images from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from torch import nn

from benchmarks.evaluation.grid import GridGame, GridStep
from benchmarks.evaluation.kept_maps import FOLDER
from benchmarks.evaluation.measuring import EvaluationMeasureStep
from benchmarks.evaluation.network_verdicts import look
from benchmarks.evaluation.own_methods import own_methods, register_all
from benchmarks.evaluation.play import DEV, SCORES, play
from benchmarks.evaluation.questions import Asked, ask
from benchmarks.evaluation.reopen import write_finished
from benchmarks.evaluation.result import Evaluation, GridEvaluation
from benchmarks.evaluation.step import EvaluationStep
from benchmarks.formats.labelled import LabelledImage, LabelledSet
from benchmarks.formats.load import load_dataset
from benchmarks.formats.matching import match_categories
from benchmarks.methods import select_methods
from benchmarks.methods.layer_choice import named_layers
from benchmarks.models import OpenModel, load_model, open_model
from benchmarks.run.choices import Explained, Outputs, ToleranceIn
from benchmarks.run.config import CACHE, EVALUATION, OPEN, Config, check
from benchmarks.run.devices import in_full, use_threads
from benchmarks.run.errors import UserError
from benchmarks.run.files import make_folder, refuse_folder_of_others
from benchmarks.run.lock import only_one
from benchmarks.run.process import process_rank
from benchmarks.run.text_tables import counted
from benchmarks.scoring.job import evenly_spaced

Images = list[LabelledImage]
OWN = {EVALUATION, *(f"{step.name}.sqlite" for step in (EvaluationStep, EvaluationMeasureStep, GridStep))}
"""Files by one of which the folder of an evaluation is known."""


@in_full()
def evaluate(
    model: nn.Module | OpenModel | str,
    data: LabelledSet | Path | str,
    methods: Iterable[Any] | Mapping[str, Any] = ("paper",),
    preprocess: Any = None,
    *,
    out: Path | str = "runs/evaluate",
    explain: Explained = "labelled",
    classes: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    truth: str = "shape",
    tolerance_in: ToleranceIn = "frame",
    limit: int | None = None,
    dev: LabelledSet | Path | str | None = None,
    grid: int | None = None,
    keep_maps: bool = False,
    weights: str | Path | None = None,
    outputs: Outputs | None = None,
    preparation: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Evaluation | GridEvaluation:
    """Say where the maps of a network point, on annotated images.

    Scores of each method and question are kept in ``out`` as soon as they are there, so that the same call goes on
    where a stopped one stood; what a score depends on decides whether it is computed anew.

    Args:
        model: Any classifier, as of :func:`~benchmarks.models.opened_model.open_model`, or a word as of
            :func:`~benchmarks.models.specification.load_model`. A network is put into eval mode and moved to the device
            that computes.
        data: Annotated images, or where :func:`~benchmarks.formats.load.load_dataset` finds some.
        methods: Names or sets of the suite's methods, functions (model, images, targets) to maps, and Captum's
            attribution objects; or any of these by a name.
        preprocess: From a PIL image to the network's input, float ``(C, H, W)``; it must keep the whole image. Without
            any, the configuration of the network decides, as of :func:`~benchmarks.models.opened_model.open_model`.
        out: Folder for results and report.
        explain: ``"labelled"`` for every class that an image is annotated with, which makes the accuracy the mean over
            classes; ``"predicted"`` for the class that the network predicts, for images of one class.
        classes: Names of the network's outputs in their order, by the names of the data.
        layers: Names of the layers that layer methods look at, from early to late, the last for methods that look at
            one. By default the paper's for torchvision's ResNets, else those of :func:`normgrad_attr.suggest_layers`.
        truth: ``"shape"`` for annotated outlines, ``"box"`` for the boxes around them.
        tolerance_in: ``"frame"`` for pixels of a frame of 600 x 600, ``"image"`` for those of each image as it is, as
            TorchRay and CheXlocalize have them.
        limit: Most images, evenly spaced, for a trial.
        dev: Other images, on which the thresholds of the measure ``tuned_iou`` are chosen.
        grid: Cells in a row and in a column of the Grid Pointing Game, which is played beside, on images of one label.
            A set without annotated objects is played so alone.
        keep_maps: Keep the maps of all methods and questions, see :meth:`benchmarks.evaluation.result.Evaluation.maps`.
        weights: As of :func:`~benchmarks.models.specification.load_model`.
        outputs: ``"softmax"`` or ``"sigmoid"``, where the network's configuration does not say.
        preparation: ``size``, ``mean``, ``std``, ``channels``, ``value_range``, ``resize`` of
            :class:`~benchmarks.models.preparation.Preparation`, where they differ from the network's configuration.
        **settings: ``seed``, ``budget``, ``score_batch_size``, ``measure_films`` (most questions of measures that take
            further passes), ``accelerator``, ``devices``, ``num_nodes``,
            ``strategy``, ``threads``, ``quiet``, as on the command line.

    Returns:
        ``table``, ``by_class``, ``significance``, ``measures`` (pandas), and ``report(path)``.

    Raises:
        UserError: Model, data and methods do not fit together: one sentence, before anything is computed.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from torchvision.models import resnet18
        >>> with TemporaryDirectory() as folder:  # doctest: +SKIP
        ...     result = evaluate(resnet18(num_classes=2), "instances.json", ["grad_cam"], classes=["cat", "dog"])
        ...     print(result.table)
    """
    _check_arguments(explain, tolerance_in, grid, limit)
    names, own = own_methods([methods] if isinstance(methods, str) else methods)
    select_methods([name for name in names if name not in {method.name for method in own}] or ["paper"])
    opened = _opened(model, preprocess, classes, weights, outputs, dict(preparation or {}))
    config = _config(Path(out), names, truth, opened, settings)
    use_threads(config.devices.threads)
    found = data if isinstance(data, LabelledSet) else load_dataset(data)
    sets = [found]
    told = list(found.remarks)
    if opened.classes is None:
        raise UserError(
            "the model does not say what its outputs are: name them in their order with --classes, by the names of the "
            f"data ({', '.join(found.categories)})."
        )
    matched, sentence = match_categories(found, opened.classes)
    told += [sentence] if sentence else []
    chosen = named_layers(opened.network, [f"{opened.inside}{name}" for name in layers]) if layers else None
    game = None
    if grid is not None:
        single = [image for image in found.images if len(image.labels) == 1 and image.labels[0] in matched]
        game = GridGame(opened, evenly_spaced(single, limit), matched, grid, chosen)
    asked = tuning = None
    images, without = _shown(found, matched, limit)
    others: tuple[Images, Images] = ([], [])
    if images or game is None:
        asked = Asked(opened, ask(images, matched, explain), explain, chosen, tolerance_in == "image")
        told += _told_of(asked, images, matched)
        if dev is not None:
            sets.append(dev if isinstance(dev, LabelledSet) else load_dataset(dev))
            tuning, others = _tuning(sets[1], asked, limit)
    if process_rank() == 0 and not config.quiet:
        print(*told, sep="\n")
    if (config.out / "config.json").exists():
        raise UserError(f"{config.out} holds a run, with a classifier of its own: choose another --out.")
    _refuse_files_of_others(config.out, sets)
    make_folder(config.out)
    with only_one(config.out, "results", "evaluate"):
        asking = asked or game
        assert asking is not None
        register_all(own, asking.job(config))
        verdicts = {}
        if asked is not None:
            verdicts[SCORES] = look(opened, images, without, matched, config)
        if tuning is not None:
            verdicts[DEV] = look(opened, *others, matched, config)
        played = play(config, asked, tuning, game, verdicts, keep_maps=keep_maps)
        if process_rank() == 0:
            write_finished(config, played, opened, found, told, own)
        return played.result(config, found, told)


def _check_arguments(explain: str, tolerance_in: str, grid: int | None, limit: int | None) -> None:
    for flag, value, known in (("--explain", explain, Explained), ("--tolerance-in", tolerance_in, ToleranceIn)):
        if value not in get_args(known):
            raise UserError(f"{flag} is {value!r}: choose {' or '.join(get_args(known))}.")
    if grid is not None and not 2 <= grid <= 4:
        raise UserError(f"--grid is {grid}: it must be 2, 3 or 4.")
    if limit is not None and limit < 1:
        raise UserError(f"--limit is {limit}: it must be at least 1.")


def _told_of(asked: Asked, images: Images, matched: Mapping[str, int]) -> list[str]:
    """How many questions there are, and how many are none though the class is there."""
    about = len({question.path for question in asked.questions})
    told = [f"{counted(len(asked.questions), 'question')} about {counted(about, 'image')}."]
    there = sum(len({found.category for found in image.objects} & matched.keys()) for image in images)
    if unasked := there - len(asked.questions):
        told.append(f"{counted(unasked, 'class', 'classes')} of images not asked for: all objects are difficult.")
    return told


def _refuse_files_of_others(out: Path, sets: Sequence[LabelledSet]) -> None:
    """Refuse a folder of files that are not an evaluation's, or are of its data."""
    if not out.is_dir():
        return
    # One that was stopped early has left no more than its cache and the folder for maps.
    early = {CACHE, FOLDER} if (out / CACHE).exists() else set()
    refuse_folder_of_others(out, OWN, early, "an evaluation")
    for data in sets:
        folders = {image.path.parent for image in data.images}
        folders.add(data.source if data.source.is_dir() else data.source.parent)
        if out.resolve() in {folder.resolve() for folder in folders}:
            raise UserError(
                f"{out} holds files of the data {data.source}, which results may replace: choose another --out."
            )


def _shown(data: LabelledSet, matched: Mapping[str, int], limit: int | None) -> tuple[Images, Images]:
    """Images with an object that the network knows, and without; evenly spaced where there are more than wanted."""
    images: tuple[Images, Images] = ([], [])
    for image in data.images:
        images[not any(of.category in matched for of in image.objects)].append(image)
    return evenly_spaced(images[0], limit), evenly_spaced(images[1], limit)


def _tuning(data: LabelledSet, asked: Asked, limit: int | None) -> tuple[Asked, tuple[Images, Images]]:
    """Questions on which thresholds are tuned, about other images than those of the game; their images, and others."""
    matched, _ = match_categories(data, asked.model.classes or ())
    images = _shown(data, matched, limit)
    questions = ask(images[0], matched, asked.explain)
    played = {question.path.resolve() for question in asked.questions}
    for question in questions:
        if question.path.resolve() in played:
            raise UserError(f"--dev has the image {question.path} of --data: thresholds are tuned on other images.")
    return replace(asked, questions=questions), images


def _opened(
    model: Any, preprocess: Any, classes: Sequence[str] | None, weights: Any, outputs: Outputs | None, preparation: Any
) -> OpenModel:
    if isinstance(model, OpenModel):
        return model
    if isinstance(model, str):
        return load_model(model, weights, classes=classes, outputs=outputs, **preparation)
    if not isinstance(model, nn.Module):
        raise UserError(f"model is {type(model).__name__}: give a torch.nn.Module or a word such as timm:resnet18.")
    return open_model(model, preprocess, classes=classes, outputs=outputs, **preparation)


def _config(out: Path, names: tuple[str, ...], truth: str, model: OpenModel, settings: dict[str, Any]) -> Config:
    if not model.same_size:
        settings = {**settings, "score_batch_size": 1}
    try:
        fixed: dict[str, Any] = {"preset": OPEN, "out": out, "methods": names, "truth": truth, "arch": model.name}
        config = Config().replace(**fixed, image_size=max(32, *model.shape[1:]), **settings)
    except TypeError as error:
        raise UserError(f"evaluate does not know a setting: {error}.") from None
    check(config)
    return config
