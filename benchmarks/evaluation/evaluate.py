"""Play the Pointing Game with a network and annotated images from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.evaluation.own_methods import own_methods, register_all
from benchmarks.evaluation.questions import ask
from benchmarks.evaluation.result import Evaluation
from benchmarks.evaluation.step import Asked, EvaluationStep
from benchmarks.formats.labelled import LabelledSet
from benchmarks.formats.load import load_dataset
from benchmarks.formats.matching import match_categories
from benchmarks.methods import select_methods
from benchmarks.methods.layer_choice import named_layers
from benchmarks.models import OpenModel, load_model, open_model
from benchmarks.run.config import OPEN, Config, check
from benchmarks.run.directory import process_rank
from benchmarks.run.errors import UserError
from benchmarks.run.files import make_folder, write_json
from benchmarks.run.lock import only_one

EXPLAIN = ("labelled", "predicted")


def evaluate(
    model: nn.Module | OpenModel | str,
    data: LabelledSet | Path | str,
    methods: Iterable[Any] | Mapping[str, Any] = ("paper",),
    preprocess: Any = None,
    *,
    out: Path | str = "runs/evaluate",
    explain: str = "labelled",
    classes: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    truth: str = "shape",
    limit: int | None = None,
    weights: str | Path | None = None,
    outputs: str | None = None,
    preparation: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Evaluation:
    """Say where the maps of a network point, on annotated images.

    Scores of each method and question are kept in ``out`` as soon as they are there, so that the same call goes on
    where a stopped one stood; what a score depends on decides whether it is computed anew.

    Args:
        model: Any classifier, as of :func:`benchmarks.models.open_model`, or a word as of
            :func:`benchmarks.models.load_model`.
        data: Annotated images, or where :func:`benchmarks.load_dataset` finds some.
        methods: Names or sets of the suite's methods, functions (model, images, targets) to maps, and Captum's
            attribution objects; or any of these by a name.
        preprocess: From a PIL image to the network's input, float ``(C, H, W)``; it must keep the whole image. Without
            any, the configuration of the network decides, as of :func:`benchmarks.models.open_model`.
        out: Folder for results and report.
        explain: ``"labelled"`` for every class that an image is annotated with, which makes the accuracy the mean over
            classes; ``"predicted"`` for the class that the network predicts, for images of one class.
        classes: Names of the network's outputs in their order, by the names of the data.
        layers: Names of the layers that layer methods look at, from early to late, the last for methods that look at
            one. By default the paper's for torchvision's ResNets, else those of :func:`normgrad_attr.suggest_layers`.
        truth: ``"shape"`` for annotated outlines, ``"box"`` for the boxes around them.
        limit: Most images, evenly spaced, for a trial.
        weights: As of :func:`benchmarks.models.load_model`.
        outputs: ``"softmax"`` or ``"sigmoid"``, where the network's configuration does not say.
        preparation: ``size``, ``mean``, ``std``, ``channels``, ``value_range``, ``resize`` of
            :class:`benchmarks.models.Preparation`, where they differ from the network's configuration.
        **settings: ``seed``, ``budget``, ``score_batch_size``, ``accelerator``, ``devices``, ``num_nodes``,
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
    if explain not in EXPLAIN:
        raise UserError(f"--explain is {explain!r}: choose labelled or predicted.")
    names, own = own_methods([methods] if isinstance(methods, str) else methods)
    select_methods([name for name in names if name not in {method.name for method in own}] or ["paper"])
    opened = _opened(model, preprocess, classes, weights, outputs, dict(preparation or {}))
    config = _config(Path(out), names, truth, opened, settings)
    found = data if isinstance(data, LabelledSet) else load_dataset(data)
    told = list(found.remarks)
    if opened.classes is None:
        raise UserError(
            "the model does not say what its outputs are: name them in their order with --classes, by the names of the "
            f"data ({', '.join(found.categories)})."
        )
    matched, sentence = match_categories(found, opened.classes)
    told += [sentence] if sentence else []
    images = [image for image in found.images if any(of.category in matched for of in image.objects)]
    if limit is not None:
        images = images[:: max(1, -(-len(images) // limit))]
    questions = ask(images, matched, explain)
    inside = [f"{opened.inside}{name}" for name in layers or ()]
    asked = Asked(opened, questions, explain, named_layers(opened.network, inside) if layers else None)
    if process_rank() == 0 and not config.quiet:
        print(*told, f"{len(questions)} questions about {len(images)} images.", sep="\n")
    make_folder(config.out)
    with only_one(config.out, "results", "evaluate") if process_rank() == 0 else nullcontext():
        job = asked.job(config)
        register_all(own, job)
        select_methods(names)
        write_json(config.out / "evaluation.json", _record(config, asked, found))
        EvaluationStep(asked).run(config)
        return Evaluation.read(config, asked, asked.job(config), found, told)


def _opened(
    model: Any, preprocess: Any, classes: Sequence[str] | None, weights: Any, outputs: str | None, preparation: Any
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


def _record(config: Config, asked: Asked, data: LabelledSet) -> dict[str, Any]:
    """What was asked, for people who find the folder."""
    model, scoring = asked.model, config.scoring
    return {
        "model": model.name,
        "input": list(model.shape),
        "preparation": repr(model.prepare),
        "outputs": model.outputs,
        "classes": list(model.classes or ()),
        "data": str(data.source.absolute()),
        "format": data.format,
        "images": len({question.image.name for question in asked.questions}),
        "questions": len(asked.questions),
        "explain": asked.explain,
        "truth": scoring.truth,
        "methods": list(scoring.methods),
        "layers": list(asked.layers.combined) if asked.layers else None,
        "budget": scoring.budget,
        "seed": config.seed,
    }
