"""The table of all attribution methods of the benchmark, read off its registry."""

from __future__ import annotations

FAMILIES = {
    "baseline": "Baselines, which know nothing of the network",
    "normgrad": "NormGrad",
    "cam": "Of one layer, the last block before pooling",
    "gradient": "Gradients of the input",
    "perturbation": "Changed films",
}


def table() -> str:
    """One table for each family, as Markdown."""
    from benchmarks.methods import METHODS, SETS

    parts = []
    for family, heading in FAMILIES.items():
        rows = [
            f"| `{method.name}` | {method.reduction} | {method.cost.replace('_', ' ')}{', random' * method.random} | "
            f"{', '.join(name for name in SETS if name in method.sets)} | `{method.source}` |"
            for method in METHODS.values()
            if method.family == family
        ]
        parts += [
            f"## {heading}", "",
            "| name | map | cost | sets | computed by |", "|---|---|---|---|---|", *rows, "",
        ]  # fmt: skip
    return "\n".join(parts)
