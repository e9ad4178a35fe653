"""What ``benchmarks/speed/gpu.sh`` found on a GPU, as Markdown."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.run.text_tables import markdown_table


def section(run: Path) -> str:
    """The command, what was the same there as on a CPU, and what it cost.

    Args:
        run: Folder with its ``on_device.json``, ``steps.json``, ``passed.txt`` and ``busy.txt``; it need not exist.
    """
    lines = ["```console", "$ benchmarks/speed/gpu.sh", "```", ""]
    if not (run / "on_device.json").exists():
        return "\n".join([*lines, "No result of it is stored in this version."]) + "\n"
    found, steps = (json.loads((run / name).read_text(encoding="utf-8")) for name in ("on_device.json", "steps.json"))
    passed, busy = ((run / name).read_text(encoding="utf-8").strip("=\n ") for name in ("passed.txt", "busy.txt"))
    far = {
        dtype: max(largest for by_dtype in found["differences"].values() for largest in by_dtype[dtype].values())
        for dtype in ("float32", "float64")
    }
    waits = max(count for by_call in found["waits"].values() for count in by_call.values())
    trained, scored = (f"{steps[step]['wall']:.0f} s" for step in ("train", "score"))
    lines += [
        f"On one {found['device']}, torch {found['torch']}:",
        "",
        f"- The library's tests on extracts, aggregates, networks' traps, modes and precisions: {passed}.",
        "- All extracts and aggregates at the last layer, and the product of four layers, have the maps of a CPU,",
        f"  up to {far['float32']:.0e} of a map in float32 and {far['float64']:.0e} in float64 (Euclidean norms).",
        f"- In the same maps scoring finds the same points, and the same numbers up to {found['score']:.0e}.",
        f"- An attribution waits for the device {waits} time{'s' * (waits != 1)}, to learn what there is to warn of.",
        f"- One epoch of the paper's recipe (resnet34, 600 px, bf16-mixed) took {trained} with the start,",
        f"  scoring the set `fast` {scored}. From its first use in scoring on, the device was busy for {busy}.",
        "",
        f"Attributions of images of {found['image_size']} px, in multiples of inference. Where that takes a few",
        "milliseconds, Python does not keep up with the device:",
        "",
    ]
    head = ["network, images", "precision", "inference, ms", "NormGrad", "four layers", "Captum's Saliency"]
    rows = [
        [case.replace("batch ", ""), precision, f"{of['milliseconds']:.1f}"]
        + [f"{of['ratios'][call]:.2f}" for call in ("normgrad", "combined", "saliency")]
        for case, by_precision in found["times"].items()
        for precision, of in by_precision.items()
    ]
    return "\n".join([*lines, *markdown_table([head, *rows], left=(0, 1))]) + "\n"
