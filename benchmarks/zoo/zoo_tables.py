"""The tables of a survey: what works, by package and by architecture, and the other packages beside it."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

from rich.console import Console

from benchmarks.run.text_tables import markdown_table, terminal_table
from benchmarks.zoo.peers import PEERS
from benchmarks.zoo.verdicts import COLUMNS, LIBRARY_STAGES

Record = dict[str, Any]

_ORDER = ("right", "refused", "unproved", "wrong", "crash", "stopped", "not run")


def verdict_of(record: Record, column: str) -> str:
    """One of ``_ORDER``: also ``stopped`` for a limit reached in the library, and ``not run`` for what came after.

    Nothing for what was not asked: ``explain`` is for images.
    """
    if column in record:
        return str(record[column]["verdict"])
    suggested = record.get("suggest_layers", {}).get("verdict", "right")
    if suggested != "right":
        return str(suggested)
    if "stopped" not in record:
        return ""
    if record.get("stage") in LIBRARY_STAGES:
        return "stopped" if record["stopped"].startswith("the limit") else "crash"
    return "not run"


def status(record: Record) -> str:
    """A record in a line."""
    parts = [f"{title} {verdict_of(record, column)}" for column, title in COLUMNS.items()
             if verdict_of(record, column)]  # fmt: skip
    if record.get("changed"):
        parts.append(f"changed: {', '.join(record['changed'])}")
    if "stopped" in record:
        parts.append(f"stopped while {record.get('stage', 'starting')}: {record['stopped']}")
    return "; ".join(parts)


def by_package(records: dict[str, Record]) -> list[list[str]]:
    """How many architectures of each package work, a header first and the sum last."""
    columns = list(COLUMNS)
    rows = [["package", "networks", *(COLUMNS[column] for column in columns)]]
    packages = dict.fromkeys(key.partition("/")[0] for key in records)
    for package in (*packages, *(["all"] if len(packages) > 1 else [])):
        own = [record for key, record in records.items() if package in ("all", key.partition("/")[0])]
        counts = [Counter(verdict_of(record, column) for record in own) for column in columns]
        rows.append([package, str(len(own)), *(", ".join(f"{c[v]} {v}" for v in _ORDER if c[v]) for c in counts)])
    return rows


def beside_peers(records: dict[str, Record]) -> list[list[str]]:
    """The packages on the same layers, with nothing said: right, silently wrong, no map; and what they leave behind."""
    judged = [r for r in records.values() if verdict_of(r, "normgrad") in ("right", "refused", "wrong", "crash")
              and None not in r.get("channels", [None]) and all(key in r for key in PEERS)]  # fmt: skip
    rows = [["on the first and last suggested layer", "right", "silently wrong", "no map", "changes the model"]]
    for key, title in (("normgrad", "**NormGrad**"), *((key, title) for key, (title, _) in PEERS.items())):
        counts = Counter(verdict_of(r, key) for r in judged)
        changed = sum(bool(r.get("changed" if key == "normgrad" else f"{key}_changed")) for r in judged)
        without = counts["refused"] + counts["fail"] + counts["crash"]
        rows.append([title, *(str(n) for n in (counts["right"], counts["wrong"], without, changed))])
    return rows


def by_architecture(records: dict[str, Record]) -> list[list[str]]:
    """A row for each architecture."""
    columns = list(COLUMNS)
    head = ["architecture", "input", "suggested layers", *(COLUMNS[c] for c in columns), "cost", "combined", "forwards"]
    rows = [[*head, *(title for title, _ in PEERS.values())]]
    for key, record in records.items():
        layers = record.get("layers") or []
        rows.append([
            f"`{key.partition('/')[2]}`",
            "x".join(map(str, record.get("input", [])[1:])),
            f"`{layers[0]}` to `{layers[-1]}`" if len(layers) > 1 else "".join(f"`{name}`" for name in layers),
            *(verdict_of(record, column) for column in columns),
            *(f"{record[cost]:.2f}" if cost in record else "" for cost in ("cost", "cost_combined")),
            f"{record['forwards']:g}" if "forwards" in record else "",
            *(record.get(key, {}).get("verdict", "") for key in PEERS),
        ])  # fmt: skip
    return rows


def remarks(records: dict[str, Record]) -> list[str]:
    """What is behind each verdict that is not ``right``, as list items."""
    lines = []
    for key, record in records.items():
        told: dict[str, list[str]] = {}
        for column in ("suggest_layers", *COLUMNS):
            if record.get(column, {}).get("detail"):
                told.setdefault(record[column]["detail"], []).append(
                    f"{COLUMNS.get(column, column)} {record[column]['verdict']}"
                )
        for detail, columns in told.items():
            lines.append(f"- `{key}`, {', '.join(columns)}: {_quoted(detail)}")
        if record.get("constant"):
            lines.append(f"- `{key}`: the map of {', '.join(record['constant'])} is constant")
        if record.get("changed"):
            lines.append(f"- `{key}`: {', '.join(record['changed'])} changed")
        if "stopped" in record:
            lines.append(f"- `{key}` stopped while {record.get('stage', 'starting')}: {_quoted(record['stopped'])}")
    return lines


def _quoted(text: str) -> str:
    """Words of others, in which nothing is markup."""
    return f"`{text.replace('`', chr(39))}`"


def markdown(content: dict[str, Any]) -> str:
    """The whole survey as Markdown; sections of the second level."""
    records = content["architectures"]
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    costs = [(record["cost"], record["cost_combined"]) for record in records.values() if "cost_combined" in record]
    lines = ["# The zoo", "", f"{len(records)} architectures with random weights; {versions}.", ""]
    lines += markdown_table(by_package(records), left=(0, 2, 3, 4))
    if costs:
        last, several = (f"{statistics.median(column):.2f}" for column in zip(*costs, strict=True))
        lines += [
            "",
            f"Median processor time, in inferences: {last} for a map of the last layer, {several} for the combined.",
        ]
    lines += ["", "## Beside other packages", "", *markdown_table(beside_peers(records))]
    for package in dict.fromkeys(key.partition("/")[0] for key in records):
        own = {key: record for key, record in records.items() if key.partition("/")[0] == package}
        lines += ["", f"## {package}", "", *markdown_table(by_architecture(own), left=(0, 1, 2))]
    if remarks(records):
        lines += ["", "## What is not right, and why", "", *remarks(records)]
    return "\n".join(lines) + "\n"


def print_summary(records: dict[str, Record]) -> None:
    """The two small tables, for the terminal."""
    console = Console()
    console.print(terminal_table("Works with", by_package(records), footer=True))
    rows = [[name.strip("*"), *counts] for name, *counts in beside_peers(records)]  # bold is for Markdown
    console.print(terminal_table("Beside other packages", rows))
