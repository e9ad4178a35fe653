"""``python -m benchmarks zoo``: check the library on every architecture, and go on where a stopped run stood."""

from __future__ import annotations

import fnmatch
import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import normgrad_attr
from benchmarks.run.directory import version
from benchmarks.run.errors import UserError
from benchmarks.run.files import make_folder, write_json, write_text
from benchmarks.run.stored import read_json
from benchmarks.zoo.architecture import PIP, Architecture
from benchmarks.zoo.by_configuration import BY_CONFIGURATION
from benchmarks.zoo.by_name import BY_NAME
from benchmarks.zoo.isolation import processes, run_isolated
from benchmarks.zoo.zoo_tables import markdown, print_summary, status, verdict_of

ARCHITECTURES: dict[str, Architecture] = {one.key: one for one in (*BY_NAME, *BY_CONFIGURATION)}

#: About thirty that take two minutes together and are of as many kinds as possible.
SMALL = (
    "timm/test_*", "timm/resnet10t", "timm/vit_tiny_patch16_224", "timm/pvt_v2_b0", "timm/efficientvim_m1",
    "timm/mixer_s32_224", "timm/csatv2", "torchvision/MaxVit", "torchvision/mobilenet_v3_small", "transformers/Beit*",
    "transformers/CLIP*", "transformers/ConvNextF*", "transformers/Dinov2W*", "transformers/Hiera*",
    "transformers/Segformer*", "transformers/Swin*", "transformers/VideoMAE*", "transformers/AST*",
    "transformers/Bert*", "monai/UNet*", "monai/SwinUNETR, 2-D", "monai/ViT, 3-D", "torchxrayvision/*",
    "segmentation_models_pytorch/Unet",
)  # fmt: skip

#: What the other packages take seconds to import.
_IMPORTED_BY_PEERS = ("captum.attr", "pytorch_grad_cam", "torchcam.methods")


def zoo(
    out: Path, *, only: Sequence[str] | None = None, small: bool = False, seconds: float = 180, mib: float = 8192
) -> None:
    """Check the library on architectures, and write ``zoo.json`` and ``zoo.md``.

    Args:
        out: Folder for the results. Those in it that this version of library, packages and checks gave are kept, but
            for those that a limit or a fault stopped.
        only: Patterns of names, as in ``timm/vit_*``; default: all.
        small: Only those of :data:`SMALL`.
        seconds: Most time for an architecture.
        mib: Most memory for it.

    Raises:
        UserError: No architecture has such a name, none can be run here, a limit that nothing keeps, a folder that
            cannot be written, or something is wrong or crashed.
    """
    for name, most in (("seconds", seconds), ("mib", mib)):
        if not most > 0:
            raise UserError(f"--{name} is {most:g}: it must be above 0.")
    chosen = select(only or (SMALL if small else ("*",)))
    for reason in sorted({one.missing for one in chosen if one.missing is not None}):
        print(f"left out: {reason}", file=sys.stderr)
    chosen = [one for one in chosen if one.missing is None]
    if not chosen:
        raise UserError("none of the packages of these architectures is installed: pip install -e '.[zoo]'")
    make_folder(out)  # a folder that cannot be written is not to be found behind the first architecture
    store = out / "zoo.json"
    stored: dict[str, dict[str, Any]] = read_json(store)["architectures"] if store.exists() else {}
    digests = {package: _digest(package) for package in {one.package for one in ARCHITECTURES.values()}}
    current = {
        key: f"{digests[one.package]} {one.kind} {one.size} {one.other_size}" for key, one in ARCHITECTURES.items()
    }
    records = {key: record for key, record in stored.items() if record.get("digest") == current.get(key)}
    packages = sorted({one.package for one in chosen})
    context = processes(["benchmarks.zoo.survey", "benchmarks.zoo.examine", *_IMPORTED_BY_PEERS, *packages])
    for number, one in enumerate(chosen, start=1):
        if "stopped" not in records.get(one.key, {"stopped": "before it was begun"}):
            continue
        found = run_isolated(context, examine_by_name, (one.key,), seconds, mib)
        records[one.key] = {"digest": current[one.key], **found}
        records = {key: records[key] for key in ARCHITECTURES if key in records}
        of = sorted({ARCHITECTURES[key].package for key in records})
        write_json(store, {"versions": _versions(of), "architectures": records})
        print(f"{number}/{len(chosen)} {one.key}: {status(records[one.key])}", file=sys.stderr, flush=True)
    write_text(out / "zoo.md", markdown(read_json(store)))
    shown = {one.key: records[one.key] for one in chosen}
    print_summary(shown)
    bad = [key for key, record in shown.items() if is_bad(record)]
    if bad:
        raise UserError(
            f"{len(bad)} of {len(shown)} are wrong, crashed or changed, such as {bad[0]}: see {out / 'zoo.md'}"
        )


def is_bad(record: dict[str, Any]) -> bool:
    """Whether the library did on an architecture what it must never do."""
    verdicts = {verdict_of(record, column) for column in ("suggest_layers", "normgrad", "combined", "explain")}
    return bool(verdicts & {"wrong", "crash"}) or bool(record.get("changed"))


def select(patterns: Sequence[str]) -> list[Architecture]:
    """Architectures whose name fits one of the patterns, in the order of the table.

    Raises:
        UserError: A pattern that fits none.
    """
    for pattern in patterns:
        if not fnmatch.filter(ARCHITECTURES, pattern):
            raise UserError(f"no architecture of the zoo is named {pattern!r}: names are such as 'timm/vit_*'")
    return [one for key, one in ARCHITECTURES.items() if any(fnmatch.fnmatchcase(key, p) for p in patterns)]


def examine_by_name(key: str) -> Iterator[dict[str, Any]]:
    """:func:`~benchmarks.zoo.examine.examine`, imported where it runs and told the name alone."""
    from benchmarks.zoo.examine import examine

    yield from examine(ARCHITECTURES[key])


def _digest(package: str) -> str:
    """Of what all records of a package depend on: the library, the checks and the installed versions."""
    here = Path(__file__).parent
    harness = [here / f"{name}.py" for name in ("examine", "truth", "verdicts", "peers", "architecture")]
    digest = hashlib.sha256()
    for path in (*sorted(Path(normgrad_attr.__file__).parent.glob("*.py")), *harness):
        digest.update(path.read_bytes())
    digest.update(repr(_versions([package])).encode())
    return digest.hexdigest()[:12]


def _versions(packages: Sequence[str]) -> dict[str, str]:
    names = dict.fromkeys(["torch", "captum", "grad-cam", "torchcam", *(PIP.get(name, name) for name in packages)])
    found = {"normgrad-attr": version("normgrad_attr"), **{name: version(name) for name in names}}
    return {name: number for name, number in found.items() if number is not None}  # some of those beside are not there
