"""Command line of the benchmark: ``python -m benchmarks COMMAND``; ``--help`` names the commands."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks.run.config import PRESETS, Config, make_config
from benchmarks.run.errors import UserError
from benchmarks.run.files import make_folder
from benchmarks.run.lock import only_one
from benchmarks.run.process import well_behaved

COMMANDS = {
    "run": "data, train, score, measure and report, one after the other; goes on where a stopped run stood",
    "data": "write the synthetic set, or check the annotations of --data",
    "train": "train the classifier and measure it on the test split",
    "score": "apply the attribution methods to the positive test films and keep one row per film and method",
    "measure": "take further measures of the maps on some test films: FROC, insertion, deletion, class sensitivity",
    "report": "make the table and the figures from the scores",
}


def build_parser() -> argparse.ArgumentParser:
    """The argument parser; settings that are not given are absent from its result."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Train a chest X-ray classifier and find out where its attribution maps point.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, description in COMMANDS.items():
        command = commands.add_parser(
            name, help=description, description=description[0].upper() + description[1:] + ".",
            argument_default=argparse.SUPPRESS,
        )  # fmt: skip
        _add_common(command)
        if name in ("run", "train"):
            _add_training(command)
        if name in ("run", "score", "measure", "report"):
            _add_scoring(command, saved="" if name == "run" else ", or what the run was started with")
        if name == "score":
            command.add_argument("--checkpoint", type=Path, metavar="RUN", help="score the classifier of this run")
        if name in ("run", "measure"):
            command.add_argument("--measure-films", type=int, metavar="N", help="most films of the step measure")
        if name in ("run", "train", "score", "measure"):
            _add_devices(command)
    _add_compare(commands)
    _add_evaluate(commands)
    _add_consistency(commands)
    _add_explain(commands)
    _add_speed(commands)
    _add_zoo(commands)
    _add_split(commands)
    return parser


def _add_compare(commands: Any) -> None:
    description = "put finished runs side by side, and say whether they rank the methods alike"
    command = commands.add_parser("compare", help=description, description=description.capitalize() + ".")
    command.add_argument("folders", type=Path, nargs="+", metavar="RUN", help="run directories with reports")
    command.add_argument("--out", type=Path, metavar="DIR", help="write comparison.md and comparison.csv there")
    command.add_argument(
        "--without", type=Path, metavar="CSV", help="leave out its films, as saved from report.html: unannotated.csv"
    )
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_evaluate(commands: Any) -> None:
    description = "play the game with a classifier, labels and annotations of your own"
    command = commands.add_parser(
        "evaluate", help=description, description=description.capitalize() + ".", argument_default=argparse.SUPPRESS
    )
    command.add_argument("--preset", choices=("shapes",), help="drawn pictures of several shapes, and their network")
    command.add_argument("--model", metavar="SPEC", help="FILE.py:FACTORY, timm:NAME, torchvision:NAME or hf:FOLDER")
    command.add_argument("--weights", metavar="FILE", help="state dict, .safetensors or by torch.save; or none")
    command.add_argument("--data", type=Path, metavar="PATH", help="annotations: a file or a folder")
    command.add_argument("--images", type=Path, metavar="DIR", help="default: beside the annotations")
    command.add_argument("--format", metavar="F", help="of the annotations; recognised where it is left out")
    command.add_argument("--columns", type=_pairs, metavar="A=B,...", help="of boxes in a CSV: image=NAME, x1=NAME ...")
    command.add_argument("--check", action="store_true", help="say what is wrong with the data, and stop there")
    command.add_argument("--out", type=Path, metavar="DIR", help="default: runs/evaluate, or runs/shapes")
    group = command.add_argument_group("the network, where its own configuration does not say or you know better")
    group.add_argument("--classes", type=_names, metavar="A,B", help="names of its outputs in their order")
    group.add_argument("--outputs", choices=("softmax", "sigmoid"), help="one class an image, or several")
    group.add_argument("--image-size", type=int, metavar="PX", help="side of its input")
    group.add_argument("--channels", type=int, choices=(1, 3), help="grey or colour")
    group.add_argument("--mean", type=_numbers, metavar="X,Y,Z", help="subtracted from the channels")
    group.add_argument("--std", type=_numbers, metavar="X,Y,Z", help="the channels are divided by it")
    group.add_argument("--value-range", type=_numbers, metavar="LOW,HIGH", help="of black and white; default: 0,1")
    group.add_argument("--resize", choices=("stretch", "shorter"), help="to a square, or the shorter side to its size")
    group.add_argument("--layers", type=_names, metavar="A,B", help="that layer methods look at, from early to late")
    group = command.add_argument_group("the game")
    group.add_argument("--explain", choices=("labelled", "predicted"), help="every class shown, or the predicted one")
    group.add_argument("--methods", type=_names, metavar="A,B", help="methods or sets of methods; default: paper")
    group.add_argument("--truth", choices=("box", "shape"), help="the boxes of the annotations, or their true shapes")
    group.add_argument("--tolerance-in", choices=("frame", "image"), help="pixels of the 600 frame, or of each image")
    group.add_argument("--dev", type=Path, metavar="PATH", help="other images, to tune the thresholds of masks on")
    group.add_argument("--dev-images", type=Path, metavar="DIR", help="default: --images")
    group.add_argument("--grid", type=int, metavar="N", help="play the Grid Pointing Game of N x N images, too")
    group.add_argument("--keep-maps", action="store_true", help="keep all maps, in half precision")
    group.add_argument("--measure-films", type=int, metavar="N", help="most questions of further measures")
    group.add_argument("--budget", type=int, metavar="N", help="forward passes a method may spend; default: 300")
    group.add_argument("--limit", type=int, metavar="N", help="most images, for a trial")
    group.add_argument("--seed", type=int, metavar="N", help="of random methods and of ties")
    group.add_argument("--score-batch-size", type=int, metavar="N", help="questions per batch; default: 16")
    _add_devices(command)
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_consistency(commands: Any) -> None:
    description = "say whether maps stay when smoothed, and change with random weights, other seeds and architectures"
    command = commands.add_parser(
        "consistency", help=description, description=description.capitalize() + ".", argument_default=argparse.SUPPRESS
    )
    command.add_argument("--checkpoint", type=Path, metavar="RUN", required=True, help="run directory")
    command.add_argument(
        "--others", type=Path, nargs="+", metavar="RUN", help="finished runs of other seeds and architectures"
    )
    command.add_argument("--methods", type=_names, metavar="A,B", help="default: those of the run that are not slow")
    command.add_argument("--films", type=int, metavar="N", help="annotated test films, evenly spaced; default: 32")
    command.add_argument("--data", type=Path, metavar="DIR", help="films, where they are not where the run found them")
    command.add_argument("--accelerator", metavar="A", help="auto, cpu, gpu ...")
    command.add_argument("--threads", type=int, metavar="N", help="threads of torch")
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_explain(commands: Any) -> None:
    description = "say whether films hold a foreign object, and show where"
    command = commands.add_parser(
        "explain", help=description,
        description=description.capitalize() + ". Research tool, not a medical device.",
        argument_default=argparse.SUPPRESS,
    )  # fmt: skip
    command.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="DICOM, PNG, JPEG, TIFF ...")
    command.add_argument("--checkpoint", type=Path, metavar="RUN", required=True, help="run with the classifier")
    command.add_argument("--out", type=Path, metavar="DIR", help="for overlays, JSON and table; default: explained")
    command.add_argument("--method", metavar="NAME", help="default: normgrad_conv1x1_combined_uniform")
    command.add_argument("--dicom", action="store_true", help="DICOM structured reports, too, of films that are DICOM")
    command.add_argument("--threads", type=int, metavar="N", help="threads of torch")
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_speed(commands: Any) -> None:
    description = "measure what an attribution costs in time and memory, beside inference and other packages"
    command = commands.add_parser(
        "speed", help=description, description=description.capitalize() + ".", argument_default=argparse.SUPPRESS
    )
    command.add_argument("--out", type=Path, default=Path("runs/speed"), metavar="DIR", help="default: runs/speed")
    command.add_argument("--networks", type=_names, metavar="A,B", help="the bounds are about the first")
    command.add_argument("--batch", type=int, metavar="N", help="images in a batch; default: 8")
    command.add_argument("--image-size", type=int, metavar="PX", help="default: 224")
    command.add_argument("--repeats", type=int, metavar="N", help="rounds of timing; default: 20")
    command.add_argument("--threads", type=int, metavar="N", help="threads of torch")
    command.add_argument("--quick", action="store_true", help="one network, small images and few rounds, for a trial")
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_zoo(commands: Any) -> None:
    description = "check the library on many architectures with random weights, beside other packages"
    command = commands.add_parser(
        "zoo", help=description, description=description.capitalize() + ".", argument_default=argparse.SUPPRESS
    )
    command.add_argument("--out", type=Path, default=Path("runs/zoo"), metavar="DIR", help="default: runs/zoo")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--only", type=_names, metavar="A,B", help="patterns of names, such as timm/vit_*")
    which.add_argument("--small", action="store_true", help="about thirty small ones of all kinds")
    command.add_argument("--seconds", type=float, metavar="S", help="most time for an architecture; default: 180")
    command.add_argument("--mib", type=float, metavar="MIB", help="most memory for an architecture; default: 8192")
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_split(commands: Any) -> None:
    description = "make a test split for films that have train and dev alone: new tables, no copies"
    command = commands.add_parser(
        "split", help=description, description=description.capitalize() + ".", argument_default=argparse.SUPPRESS
    )
    command.add_argument("--data", type=Path, metavar="DIR", required=True, help="films in Object-CXR layout")
    command.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the tables")
    command.add_argument("--of", choices=("train", "dev"), help="the split that gives films; default: dev")
    command.add_argument("--share", type=float, metavar="S", help="of its films; default: 0.5")
    command.add_argument("--patients", metavar="REGEX", help="finds the patient in a film's name; they stay together")
    command.add_argument("--seed", type=int, metavar="N", help="of the draw; default: 0")
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--preset", choices=sorted(PRESETS), help="default: synthetic; films with --data")
    command.add_argument("--out", type=Path, metavar="DIR", help="run directory; default: runs/PRESET")
    command.add_argument(
        "--data", type=Path, metavar="DIR", help="films in Object-CXR layout; default: a synthetic set"
    )
    command.add_argument("--data-seed", type=int, metavar="N", help="seed of the synthetic set")
    command.add_argument("--seed", type=int, metavar="N", help="seed of training and scoring")
    command.add_argument("--limit", type=int, metavar="N", help="films per split, for a trial")
    command.add_argument("--quiet", action="store_true", help="no progress bars")
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_training(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seeds", type=int, metavar="N", help="train and score N classifiers; figures are over all")
    command.add_argument("--arch", metavar="NAME", help="a torchvision classifier, or slim_resnet18")
    command.add_argument("--weights", metavar="W", help="imagenet, synthetic, none, a file or a run directory")
    command.add_argument("--image-size", type=int, metavar="PX", help="side of the network's input")
    command.add_argument("--epochs", type=int, metavar="N", help="passes over the training split")
    command.add_argument("--patience", type=int, metavar="N", help="stop after N epochs without a better dev AUC")
    command.add_argument("--lr", type=float, metavar="RATE", help="peak learning rate; large networks want a lower one")
    command.add_argument("--batch-size", type=int, metavar="N", help="films per training step, over all devices")


def _add_scoring(command: argparse.ArgumentParser, saved: str) -> None:
    command.add_argument(
        "--methods", type=_names, metavar="A,B", help=f"methods or sets of methods; default: paper{saved}"
    )
    command.add_argument("--truth", choices=("box", "shape"), help="the boxes of the annotations, or their true shapes")
    command.add_argument(
        "--budget", type=int, metavar="N", help=f"forward passes a method may spend on a film; default: 300{saved}"
    )
    command.add_argument("--allow-weak", action="store_true", help="score a classifier that guesses, too")
    command.add_argument("--score-batch-size", type=int, metavar="N", help="films per batch while scoring")


def _add_devices(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("devices and machines (Lightning's values)")
    group.add_argument("--accelerator", metavar="A", help="auto, cpu, gpu ...")
    group.add_argument("--devices", metavar="D", help="number of devices or processes per machine, or auto")
    group.add_argument("--num-nodes", type=int, metavar="N", help="number of machines")
    group.add_argument("--strategy", metavar="S", help="auto, ddp ...")
    group.add_argument("--threads", type=int, metavar="N", help="threads of torch")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(","))


def _pairs(text: str) -> dict[str, str]:
    return {part.partition("=")[0]: part.partition("=")[2] for part in text.split(",") if part}


def configure(command: str, settings: dict[str, Any]) -> Config:
    """Settings of a command: the preset's for ``run``, ``data`` and ``train``, the run directory's for the others.

    Raises:
        UserError: Settings that make no sense, or that differ from those of the run directory.
    """
    preset = _preset(settings)
    settings.pop("preset", None)
    if command in ("run", "data", "train"):
        return make_config(preset, settings)

    from benchmarks.data.open_run import open_existing

    return open_existing(settings.pop("out"), settings)


def _preset(settings: dict[str, Any]) -> str:
    """The preset that was asked for; films of the user's own ask for the recipe that is made for them."""
    return settings.get("preset") or ("films" if settings.get("data") else "synthetic")


def run_directory(command: str, settings: dict[str, Any]) -> Path:
    """The run directory that a command writes to."""
    usual = PRESETS[_preset(settings)]["out"]
    if settings.get("seeds", 1) > 1:
        usual = usual.with_name(f"{usual.name}_seeds")
    given = settings.get("out") or (None if command in ("run", "data", "train") else settings.get("checkpoint"))
    return Path(given or usual)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command line without the program's name; ``None`` takes ``sys.argv``.

    Returns:
        The exit code: 0, 2 after an error of the user or the machine, 130 after Ctrl-C or SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of films may hold what the console has no letter for
            stream.reconfigure(errors="backslashreplace")
    settings = vars(build_parser().parse_args(arguments))
    command, debug = settings.pop("command"), settings.pop("debug", False)
    try:
        with well_behaved():
            if command in TOOLS:
                TOOLS[command](**settings)
            else:
                _run_step(command, settings)
    except (UserError, OSError, KeyboardInterrupt) as error:
        if debug:
            raise
        if isinstance(error, KeyboardInterrupt):
            print("Stopped; the same command goes on from here.", file=sys.stderr)
            return 130
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run_step(command: str, settings: dict[str, Any]) -> None:
    """Run one of :data:`STEPS`, the only one that writes to its run directory."""
    out = settings["out"] = run_directory(command, settings)
    new = configure(command, settings) if command in ("run", "data", "train") else None
    if new or "checkpoint" in settings:
        make_folder(out)
    with _held(out, "report" if command == "report" else "results", command):
        config = new or configure(command, settings)
        if config.devices.threads is not None:
            import torch

            torch.set_num_threads(config.devices.threads)
        if config.seeds > 1:
            _each_seed(command, config)
        else:
            STEPS[command](config)


def _each_seed(command: str, config: Config) -> None:
    """Run one of :data:`STEPS` for every seed, and say what all of them say together."""
    from benchmarks.data.open_run import open_run

    if command in ("run", "train"):
        _data(config)
        open_run(config)
    seeds = config.of_each_seed()
    for number, one in enumerate(seeds, start=1):
        print(f"seed {one.seed}, {number} of {len(seeds)}: {one.out}", flush=True)
        make_folder(one.out)
        with _held(one.out, "report" if command == "report" else "results", command):
            if command not in ("run", "train"):
                open_run(one)
            STEPS[command](one)
    if command in ("run", "report"):
        from benchmarks.report.over_seeds import report_seeds
        from benchmarks.run.directory import process_rank

        if process_rank() == 0:
            with only_one(config.out, "report", command) if command == "run" else nullcontext():
                report_seeds(config)


def _held(out: Path, what: str, command: str) -> AbstractContextManager[None]:
    """The lock on a run directory; of several processes of one command, the first holds it for all."""
    from benchmarks.run.directory import process_rank

    return only_one(out, what, command) if process_rank() == 0 and out.is_dir() else nullcontext()


# Each step imports what it needs itself: `--help` and errors of the command line answer at once, without torch.
def _data(config: Config) -> None:
    from benchmarks.synthetic.prepare import prepare

    prepare(config)


def _train(config: Config) -> None:
    from benchmarks.classifier.train import train
    from benchmarks.data.open_run import open_run

    if not config.one_of_seeds:  # whose films are those of all
        _data(config)
    open_run(config)
    train(config)


def _score(config: Config) -> None:
    from benchmarks.classifier.worth import refuse_weak
    from benchmarks.scoring.score import score

    if not config.scoring.allow_weak:
        refuse_weak(config.classifier_dir)
    score(config)


def _measure(config: Config) -> None:
    from benchmarks.scoring.measure import measure

    measure(config)


def _report(config: Config) -> None:
    from benchmarks.report.assemble import report
    from benchmarks.run.directory import process_rank

    if process_rank() == 0:
        report(config)


def _run(config: Config) -> None:
    from benchmarks.report.assemble import is_current, results_digest
    from benchmarks.run.directory import process_rank

    for step in (_train, _score, _measure):
        step(config)
    if process_rank() == 0:
        with _held(config.out, "report", "run"):
            if is_current(config.out, results_digest(config)):
                print(f"{config.out}: report.html and the tables show these results already; nothing to do.")
            else:
                _report(config)


def _compare(folders: list[Path], out: Path | None, without: Path | None) -> None:
    from benchmarks.consistency.compare import compare

    compare(folders, out, without)


def _consistency(**settings: Any) -> None:
    from benchmarks.consistency.check import consistency

    with _held(settings["checkpoint"], "consistency", "consistency"):
        consistency(**settings)


def _evaluate(**settings: Any) -> None:
    from benchmarks.evaluation.command import evaluate_command

    evaluate_command(**settings)


def _speed(**settings: Any) -> None:
    from benchmarks.speed.suite import speed

    speed(**settings)


def _zoo(**settings: Any) -> None:
    from benchmarks.zoo.survey import zoo

    zoo(**settings)


def _explain(**settings: Any) -> None:
    from benchmarks.explain.explain_films import explain

    explain(**settings)


def _split(**settings: Any) -> None:
    from benchmarks.data.split_off import split_off

    split_off(**settings)


# Commands beside the steps of a run, with arguments of their own.
TOOLS: dict[str, Callable[..., None]] = {
    "compare": _compare,
    "evaluate": _evaluate,
    "consistency": _consistency,
    "explain": _explain,
    "speed": _speed,
    "zoo": _zoo,
    "split": _split,
}

STEPS: dict[str, Callable[[Config], None]] = {
    "run": _run,
    "data": _data,
    "train": _train,
    "score": _score,
    "measure": _measure,
    "report": _report,
}

if __name__ == "__main__":
    sys.exit(main())
