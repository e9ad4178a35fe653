"""Commands beside the steps of a run: what each takes, and the function that it calls.

Each imports that function itself: ``--help`` and errors of the command line answer at once, without torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.commands.evaluate_options import add_evaluate
from benchmarks.commands.options import add_command, names, path
from benchmarks.run.lock import only_one


def add_tools(commands: Any) -> None:
    """The parsers of the commands."""
    _add_compare(commands)
    add_evaluate(commands)
    _add_consistency(commands)
    _add_explain(commands)
    _add_speed(commands)
    _add_zoo(commands)
    _add_split(commands)


def _add_compare(commands: Any) -> None:
    command = add_command(
        commands, "compare", "put finished runs side by side, and say whether they rank the methods alike"
    )
    command.add_argument("folders", type=path, nargs="+", metavar="RUN", help="run directories with reports")
    command.add_argument("--out", type=path, metavar="DIR", help="write comparison.md and comparison.csv there")
    command.add_argument(
        "--without", type=path, metavar="CSV", help="leave out its films, as saved from report.html: unannotated.csv"
    )


def _compare(**settings: Any) -> None:
    from benchmarks.consistency.compare import compare

    compare(**settings)


def _add_consistency(commands: Any) -> None:
    command = add_command(
        commands,
        "consistency",
        "say whether maps stay when smoothed, and change with random weights, other seeds and architectures",
    )
    command.add_argument("--checkpoint", type=path, metavar="RUN", required=True, help="run directory")
    command.add_argument(
        "--others", type=path, nargs="+", metavar="RUN", help="finished runs of other seeds and architectures"
    )
    command.add_argument("--methods", type=names, metavar="A,B", help="default: those of the run that are not slow")
    command.add_argument("--films", type=int, metavar="N", help="annotated test films, evenly spaced; default: 32")
    command.add_argument("--data", type=path, metavar="DIR", help="films, where they are not where the run found them")
    command.add_argument("--accelerator", metavar="A", help="auto, cpu, gpu ...")
    command.add_argument("--threads", type=int, metavar="N", help="threads of torch")
    command.add_argument("--quiet", action="store_true", help="no progress bar")


def _consistency(**settings: Any) -> None:
    from benchmarks.consistency.check import consistency

    with only_one(settings["checkpoint"], "consistency", "consistency"):
        consistency(**settings)


def _add_explain(commands: Any) -> None:
    command = add_command(
        commands,
        "explain",
        "say whether films hold a foreign object, and show where",
        more=" Research tool, not a medical device.",
    )
    command.add_argument("images", type=path, nargs="+", metavar="IMAGE", help="DICOM, PNG, JPEG, TIFF ...")
    command.add_argument("--checkpoint", type=path, metavar="RUN", required=True, help="run with the classifier")
    command.add_argument("--out", type=path, metavar="DIR", help="for overlays, JSON and table; default: explained")
    command.add_argument("--method", metavar="NAME", help="default: normgrad_conv1x1_combined_uniform")
    command.add_argument("--dicom", action="store_true", help="DICOM structured reports, too, of films that are DICOM")
    command.add_argument("--threads", type=int, metavar="N", help="threads of torch")


def _explain(**settings: Any) -> None:
    from benchmarks.explain.explain_films import explain

    explain(**settings)


def _add_speed(commands: Any) -> None:
    command = add_command(
        commands, "speed", "measure what an attribution costs in time and memory, beside inference and other packages"
    )
    command.add_argument("--out", type=path, default=Path("runs/speed"), metavar="DIR", help="default: runs/speed")
    command.add_argument("--networks", type=names, metavar="A,B", help="the bounds are about the first")
    command.add_argument("--batch", type=int, metavar="N", help="images in a batch; default: 8")
    command.add_argument("--image-size", type=int, metavar="PX", help="default: 224")
    command.add_argument("--repeats", type=int, metavar="N", help="rounds of timing; default: 20")
    command.add_argument("--threads", type=int, metavar="N", help="threads of torch")
    command.add_argument("--quick", action="store_true", help="one network, small images and few rounds, for a trial")


def _speed(**settings: Any) -> None:
    from benchmarks.speed.suite import speed

    speed(**settings)


def _add_zoo(commands: Any) -> None:
    command = add_command(
        commands, "zoo", "check the library on many architectures with random weights, beside other packages"
    )
    command.add_argument("--out", type=path, default=Path("runs/zoo"), metavar="DIR", help="default: runs/zoo")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--only", type=names, metavar="A,B", help="patterns of names, such as timm/vit_*")
    which.add_argument("--small", action="store_true", help="about thirty small ones of all kinds")
    command.add_argument("--seconds", type=float, metavar="S", help="most time for an architecture; default: 180")
    command.add_argument("--mib", type=float, metavar="MIB", help="most memory for an architecture; default: 8192")


def _zoo(**settings: Any) -> None:
    from benchmarks.zoo.survey import zoo

    zoo(**settings)


def _add_split(commands: Any) -> None:
    command = add_command(
        commands, "split", "make a test split for films that have train and dev alone: new tables, no copies"
    )
    command.add_argument("--data", type=path, metavar="DIR", required=True, help="films in Object-CXR layout")
    command.add_argument("--out", type=path, metavar="DIR", required=True, help="folder for the tables")
    command.add_argument("--of", choices=("train", "dev"), help="the split that gives films; default: dev")
    command.add_argument("--share", type=float, metavar="S", help="of its films; default: 0.5")
    command.add_argument("--patients", metavar="REGEX", help="finds the patient in a film's name; they stay together")
    command.add_argument("--seed", type=int, metavar="N", help="of the draw; default: 0")


def _split(**settings: Any) -> None:
    from benchmarks.data.split_off import split_off

    split_off(**settings)


def _evaluate(**settings: Any) -> None:
    from benchmarks.evaluation.command import evaluate_command

    evaluate_command(**settings)


TOOLS: dict[str, Callable[..., None]] = {
    "compare": _compare,
    "evaluate": _evaluate,
    "consistency": _consistency,
    "explain": _explain,
    "speed": _speed,
    "zoo": _zoo,
    "split": _split,
}
