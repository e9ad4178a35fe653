"""What the report of an evaluation is about, in words."""

from __future__ import annotations

from typing import Protocol

import pandas as pd

from benchmarks.evaluation.questions import DIFFICULT_SHARE, Asked
from benchmarks.formats.labelled import LabelledSet
from benchmarks.metrics.frame import FRAME
from benchmarks.report.results import Results
from benchmarks.report.subject import Subject, spoken
from benchmarks.run.config import Config
from benchmarks.run.text_tables import counted

BREAKDOWNS = {
    "target": "class that the maps explain, which differ on the images that the network gets wrong",
    "class": "class that is asked for",
    "difficult": (
        f"TorchRay's difficult questions: the class covers less than {100 * DIFFICULT_SHARE:.0f} % of the image, and "
        "the image shows another class too"
    ),
    "probability": "what the network gives to the class that is asked for",
}
DIFFERENCES = (
    "McNemar's exact test of each method against the best on the same questions, corrected by Holm for the number of "
    "methods, at 5 %. Questions of one image are no witnesses of their own, so they change sides together; all "
    "questions count alike, whatever their class. The best is chosen on the same questions, so that among many methods "
    "that are equally good one seems to differ from it more often than that. "
    "“None shown” means that these questions show no difference, not that there is none."
)


class Answers(Protocol):
    """What is known of an evaluation, as :class:`benchmarks.evaluation.result.Evaluation` has it."""

    @property
    def config(self) -> Config: ...  # noqa: D102
    @property
    def asked(self) -> Asked: ...  # noqa: D102
    @property
    def data(self) -> LabelledSet: ...  # noqa: D102
    @property
    def results(self) -> Results: ...  # noqa: D102
    @property
    def told(self) -> list[str]: ...  # noqa: D102
    @property
    def questions(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def weighed(self) -> pd.DataFrame | None: ...  # noqa: D102
    @property
    def mean_over_classes(self) -> bool: ...  # noqa: D102
    @property
    def localisation(self) -> pd.DataFrame: ...  # noqa: D102


def subject_of(result: Answers) -> Subject:
    """Questions about images, and the words for them."""
    pixels = "pixels of the image as it is" if result.asked.own_pixels else f"pixels of a frame of {FRAME} x {FRAME}"
    model, questions = result.asked.model, result.questions
    images, classes = questions["file"].nunique(), questions["class"].nunique()
    size = f"{model.name} at {model.shape[2]} x {model.shape[1]} px"
    each = "each " if len(questions) > 1 else ""
    asked = counted(len(questions), "question")
    count = f"{asked}, {each}a class and an image that shows it, about {counted(images, 'image')}"
    kinds = counted(classes, "class", "classes")
    mean = "the mean over classes" if result.mean_over_classes else "that over images"
    explained = "that is asked for" if result.mean_over_classes else "that the network predicts"
    verdicts = result.results.verdicts
    names = model.classes or tuple(map(str, range(int(verdicts["target"].max()) + 1)))
    said = spoken(verdicts, names)
    if result.mean_over_classes:
        shares = dict(zip(verdicts["image"], verdicts["label_probability"], strict=True))
        said = {name: f"the network gives the class {100 * share:.1f} %" for name, share in shares.items()}
    return Subject(
        title=f"Pointing Game on {asked}",
        facts=(
            f"{size} · {result.data.source.name} ({result.data.format}) · {count}; {kinds} · hit: the "
            f"annotated {result.config.scoring.truth}, in {pixels}"
        ),
        lines=[
            f"Network {size}. {count}; {kinds}. Accuracy is {mean}; tolerances are in {pixels}.",
            *result.told,
        ],
        hit=(
            f"The map for the class {explained} is stretched onto the frame, and its maximum is one point. It is a "
            f"hit in an annotation of the class, or strictly closer to one than the tolerance, in {pixels}. "
            f"Accuracy is {mean}; by class it is in the breakdown."
        ),
        unit="question",
        groups=_groups(result),
        breakdowns=BREAKDOWNS,
        verdicts=said,
        content={
            "classifier": None,
            "model": model.name,
            "data": result.data.source.name,
            "format": result.data.format,
            "explain": result.asked.explain,
            "questions": len(questions),
            "classes": sorted(questions["class"].unique()),
        },
        questions=result.weighed,
        localisation=result.localisation,
        notes={"differences-note": DIFFERENCES},
        mean=", in the mean over classes" if result.mean_over_classes else "",
        remarks=[("Data", text) for text in result.told],
    )


def _groups(result: Answers) -> pd.DataFrame:
    """By question one column a breakdown."""
    questions = result.questions
    shares = result.results.verdicts.set_index("image")["label_probability"].reindex(questions.index)
    names = questions["class"]
    return pd.DataFrame(
        {
            "class": pd.Categorical(names, list(dict.fromkeys(names)), ordered=True),
            "difficult": pd.Categorical.from_codes(
                (~questions["difficult"]).astype(int), ["difficult", "not difficult"], ordered=True
            ),
            "probability": pd.Categorical.from_codes(
                (shares < 0.5).astype(int), ["at least 50 %", "below 50 %"], ordered=True
            ),
        },
        index=questions.index,
    )
