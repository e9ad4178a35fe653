"""Options that several commands take, and how values of several parts are written."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from benchmarks.run.choices import Truth
from benchmarks.run.config import Scoring
from benchmarks.run.presets import PRESETS


def path(text: str) -> Path:
    """A path, with ``~/`` as the shell would have it.

    Raises:
        argparse.ArgumentTypeError: Nothing is given, as by a variable of the shell that is not set.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty: name a file or a folder")
    return Path(text).expanduser() if text.startswith("~/") else Path(text)


def add_command(commands: Any, name: str, description: str, more: str = "") -> Any:
    """A command, with what it does in the list and as sentences in its own help; what is not given is no setting."""
    sentence = f"{description[0].upper()}{description[1:]}.{more}"
    return commands.add_parser(name, help=description, description=sentence, argument_default=argparse.SUPPRESS)


def add_common(command: argparse.ArgumentParser) -> None:
    """Of all steps of a run."""
    command.add_argument("--preset", choices=sorted(PRESETS), help="default: synthetic; films with --data")
    command.add_argument("--out", type=path, metavar="DIR", help="run directory; default: runs/PRESET")
    command.add_argument(
        "--data", type=path, metavar="DIR", help="films in Object-CXR layout; default: a synthetic set"
    )
    command.add_argument("--data-seed", type=int, metavar="N", help="seed of the synthetic set")
    command.add_argument("--seed", type=int, metavar="N", help="seed of training and scoring")
    command.add_argument("--limit", type=int, metavar="N", help="films per split, for a trial")
    command.add_argument("--quiet", action="store_true", help="no progress bars")


def add_training(command: argparse.ArgumentParser) -> None:
    """Of the steps that train."""
    command.add_argument("--seeds", type=int, metavar="N", help="train and score N classifiers; figures are over all")
    command.add_argument("--arch", metavar="NAME", help="a torchvision classifier, or slim_resnet18")
    command.add_argument("--weights", metavar="W", help="imagenet, synthetic, none, a file or a run directory")
    command.add_argument("--image-size", type=int, metavar="PX", help="side of the network's input")
    command.add_argument("--epochs", type=int, metavar="N", help="passes over the training split")
    command.add_argument("--patience", type=int, metavar="N", help="stop after N epochs without a better dev AUC")
    command.add_argument("--lr", type=float, metavar="RATE", help="peak learning rate; large networks want a lower one")
    command.add_argument("--batch-size", type=int, metavar="N", help="films per training step, over all devices")
    command.add_argument("--precision", metavar="P", help="32-true, bf16-mixed or 16-mixed (Lightning's values)")


def add_scoring(command: argparse.ArgumentParser, saved: str) -> None:
    """Of the steps that look at maps; ``saved`` says what else a default may be."""
    command.add_argument(
        "--methods", type=names, metavar="A,B", help=f"methods or sets of methods; default: paper{saved}"
    )
    command.add_argument("--truth", choices=get_args(Truth), help="the boxes of the annotations, or their true shapes")
    command.add_argument(
        "--budget",
        type=int,
        metavar="N",
        help=f"forward passes a method may spend on a film; default: {Scoring.budget}{saved}",
    )
    command.add_argument("--score-batch-size", type=int, metavar="N", help="films per batch while scoring")


def add_devices(command: argparse.ArgumentParser) -> None:
    """Where to compute."""
    group = command.add_argument_group("devices and machines (Lightning's values)")
    group.add_argument("--accelerator", metavar="A", help="auto, cpu, gpu ...")
    group.add_argument("--devices", metavar="D", help="number of devices or processes per machine, or auto")
    group.add_argument("--num-nodes", type=int, metavar="N", help="number of machines")
    group.add_argument("--strategy", metavar="S", help="auto, ddp ...")
    group.add_argument("--threads", type=int, metavar="N", help="threads of torch")


def names(text: str) -> tuple[str, ...]:
    """``A,B`` as names."""
    return tuple(name for name in text.split(",") if name)


def numbers(text: str) -> tuple[float, ...]:
    """``X,Y`` as numbers."""
    return tuple(float(number) for number in text.split(","))


def pairs(text: str) -> dict[str, str]:
    """``A=B,C=D`` as a dictionary.

    Raises:
        ArgumentTypeError: A name stands there twice.
    """
    found: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name in found:
            raise argparse.ArgumentTypeError(f"{name} is given twice, as {found[name]} and as {value}: give it once")
        found[name] = value
    return found
