"""What ``evaluate`` takes: a network and annotations of anyone's."""

from __future__ import annotations

from typing import Any, get_args

from benchmarks.commands.options import add_command, add_devices, names, numbers, pairs, path
from benchmarks.run.choices import Explained, Outputs, ToleranceIn, Truth
from benchmarks.run.config import Scoring


def add_evaluate(commands: Any) -> None:
    """The parser of ``evaluate``."""
    command = add_command(commands, "evaluate", "play the game with a classifier, labels and annotations of your own")
    command.add_argument("--preset", choices=("shapes",), help="drawn pictures of several shapes, and their network")
    command.add_argument("--model", metavar="SPEC", help="FILE.py:FACTORY, timm:NAME, torchvision:NAME or hf:FOLDER")
    command.add_argument("--weights", metavar="FILE", help="state dict, .safetensors or by torch.save; or none")
    command.add_argument("--data", type=path, metavar="PATH", help="annotations: a file or a folder")
    command.add_argument("--images", type=path, metavar="DIR", help="default: beside the annotations")
    command.add_argument("--format", metavar="F", help="of the annotations; recognised where it is left out")
    command.add_argument("--columns", type=pairs, metavar="A=B,...", help="of boxes in a CSV: image=NAME, x1=NAME ...")
    command.add_argument("--check", action="store_true", help="say what is wrong with the data, and stop there")
    out = "default: runs/evaluate; of the preset runs/shapes, of other seeds runs/shapes_SEED"
    command.add_argument("--out", type=path, metavar="DIR", help=out)
    group = command.add_argument_group("the network, where its own configuration does not say or you know better")
    group.add_argument("--classes", type=names, metavar="A,B", help="names of its outputs in their order")
    group.add_argument("--outputs", choices=get_args(Outputs), help="one class an image, or several")
    group.add_argument("--image-size", type=int, metavar="PX", help="side of its input")
    group.add_argument("--channels", type=int, choices=(1, 3), help="grey or colour")
    group.add_argument("--mean", type=numbers, metavar="X,Y,Z", help="subtracted from the channels")
    group.add_argument("--std", type=numbers, metavar="X,Y,Z", help="the channels are divided by it")
    group.add_argument("--value-range", type=numbers, metavar="LOW,HIGH", help="of black and white; default: 0,1")
    group.add_argument("--resize", choices=("stretch", "shorter"), help="to a square, or the shorter side to its size")
    group.add_argument("--layers", type=names, metavar="A,B", help="that layer methods look at, from early to late")
    group = command.add_argument_group("the game")
    group.add_argument("--explain", choices=get_args(Explained), help="every class shown, or the predicted one")
    group.add_argument("--methods", type=names, metavar="A,B", help="methods or sets of methods; default: paper")
    group.add_argument("--truth", choices=get_args(Truth), help="the boxes of the annotations, or their true shapes")
    group.add_argument(
        "--tolerance-in", choices=get_args(ToleranceIn), help="pixels of the 600 frame, or of each image"
    )
    group.add_argument("--dev", type=path, metavar="PATH", help="other images, to tune the thresholds of masks on")
    group.add_argument("--dev-images", type=path, metavar="DIR", help="default: --images")
    group.add_argument("--grid", type=int, metavar="N", help="play the Grid Pointing Game of N x N images, too")
    group.add_argument("--keep-maps", action="store_true", help="keep all maps, in half precision")
    group.add_argument("--measure-films", type=int, metavar="N", help="most questions of further measures")
    budget = f"forward passes a method may spend; default: {Scoring.budget}"
    group.add_argument("--budget", type=int, metavar="N", help=budget)
    group.add_argument("--limit", type=int, metavar="N", help="most images, for a trial")
    group.add_argument("--seed", type=int, metavar="N", help="of random methods, of ties, and of the preset's network")
    size = f"questions per batch; default: {Scoring.score_batch_size}"
    group.add_argument("--score-batch-size", type=int, metavar="N", help=size)
    add_devices(command)
    command.add_argument("--quiet", action="store_true", help="no progress bar")
