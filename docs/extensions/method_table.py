"""The table of all attribution methods of the benchmark, read off its registry."""

from __future__ import annotations

from benchmarks.methods import METHODS, SETS
from benchmarks.run.text_tables import markdown_table

FAMILIES = {
    "baseline": "Baselines, which know nothing of the network",
    "normgrad": "NormGrad",
    "cam": "Of one layer, the last block before pooling",
    "gradient": "Gradients of the input",
    "perturbation": "Changed films",
}


def table() -> str:
    """One table for each family, as Markdown."""
    parts = []
    for family, heading in FAMILIES.items():
        rows = [["name", "map", "cost", "sets", "computed by"]]
        for method in (method for method in METHODS.values() if method.family == family):
            cost = f"{method.cost.replace('_', ' ')}{', random' * method.random}"
            sets = ", ".join(name for name in SETS if name in method.sets)
            rows.append([f"`{method.name}`", method.reduction, cost, sets, f"`{method.source}`"])
        parts += [f"## {heading}", "", *markdown_table(rows, left=range(5)), ""]
    return "\n".join(parts)
