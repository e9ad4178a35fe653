"""The expected cost of explaining many films, worked out from the measurements of a stored run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from benchmarks.run.text_tables import markdown_table

FILMS = 100_000


def table(run: Path) -> str:
    """Minutes for :data:`FILMS` films by method, as Markdown, from the files of a run."""
    with (run / "summary.csv").open(newline="", encoding="utf-8") as stream:
        seconds = {row["method"]: float(row["seconds_per_image"]) for row in csv.DictReader(stream)}
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    rows = [
        [f"`{name}`", f"{1000 * each:.1f}", f"{each * FILMS / 60:.1f}"]
        for name, each in sorted(seconds.items(), key=lambda item: item[1])
    ]
    where = f"{environment['threads']} threads, accelerator `{environment['accelerator']}`"
    return "\n".join(
        [
            f"Worked out from the seconds per image of the stored run `{run.name}` (`{config['arch']}` at "
            f"{config['image_size']} x {config['image_size']}, {where}; see [](../benchmark.md) for its command), "
            f"times {FILMS:,}, for one process. Divide by the number of processes: batches are independent, "
            "and nothing is exchanged until the end.",
            "",
            *markdown_table([["method", "ms per film", "minutes"], *rows]),
            "",
        ]
    )
