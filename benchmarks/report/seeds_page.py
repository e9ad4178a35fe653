"""The page of several seeds: that of one run, with figures over all and without films, which each seed's page has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmarks.analysis.hierarchical import common_hits, drawn_means
from benchmarks.analysis.significance import neighbours, rank_intervals
from benchmarks.analysis.tallies import rows_at
from benchmarks.methods import METHODS
from benchmarks.metrics.pointing_game import PROTOCOLS, TOLERANCES
from benchmarks.report.page import described, page
from benchmarks.report.step_tables import consistency_data, measures_data, read_table
from benchmarks.report.verdict_tables import verdict_data
from benchmarks.run.config import Config
from benchmarks.run.files import write_text

NOTES = {
    "table-note": (
        "Share of films on which the map's maximum lies in, or near enough to, an annotated object: the mean over "
        "seeds. The whisker is its 95 % interval over films and seeds, the dashed line chance. A real difference from "
        "the best method is one that holds over seeds."
    ),
    "ranking-note": (
        "Mean accuracy over seeds with its interval over films and seeds. Between methods joined by a bar on the right "
        "no difference holds over seeds; the numbers are the ranks that a method takes on 95 % of the resamples."
    ),
    "intervals-note": (
        "95 % intervals over films and seeds: a resample draws the seeds, then the films, the same ones for every seed "
        "and method. What the draw of seeds changes is widened, as a few of them show less of their spread than there "
        "is."
    ),
    "differences-note": (
        "A difference holds over seeds when it has the same sign in every seed and the interval of its mean leaves out "
        "0. Intervals are not corrected for the number of pairs; differences.csv has all of them."
    ),
    "bars-note": "A bar joins neighbours of which no two have a difference that holds over seeds.",
}
"""In the place of what the page says of one run."""


def write_seeds_page(
    config: Config,
    scores: Sequence[pd.DataFrame],
    tables: dict[str, pd.DataFrame],
    chance: dict[str, float],
) -> None:
    """Write ``report.html`` into the folder of all seeds.

    Args:
        config: Of the seeds.
        scores: Rows of ``scores.parquet`` of each seed.
        tables: Those of :func:`benchmarks.report.over_seeds.report_seeds`, by the names of their files.
        chance: Chance level by tolerance.
    """
    table, pairs = tables["summary.csv"], tables["differences.csv"]
    names = [name for name in METHODS if name in set(table["method"])]
    rows, groups = [], []
    for (protocol, tolerance), hits in common_hits(scores, names).items():
        chosen = rows_at(table, protocol, tolerance).set_index("method")
        order = list(chosen["accuracy"].sort_values(ascending=False, kind="stable").index)
        by_pair = {(row.better, row.worse): row for row in rows_at(pairs, protocol, tolerance).itertuples()}
        places = [names.index(method) for method in order]
        low, high = rank_intervals(drawn_means([of_seed[:, places] for of_seed in hits], config.seed))
        for i, method in enumerate(order):
            row = chosen.loc[method, ["accuracy", "ci_low", "ci_high", "seconds_per_image"]].astype(float).round(6)
            rows.append(
                {
                    "method": method,
                    "protocol": protocol,
                    "tolerance": tolerance,
                    **row.to_dict(),
                    "best": order[0],
                    **_beside_the_best(by_pair.get((order[0], method))),
                    "rank_low": float(low[i]),
                    "rank_high": float(high[i]),
                }
            )
        holding = {(order.index(a), order.index(b)) for (a, b), pair in by_pair.items() if pair.holds}
        groups.append({"protocol": protocol, "tolerance": tolerance, "groups": neighbours(order, holding)})
    data = {
        "run": _about(config, tables["seeds.csv"], int(table["images"].iloc[0])),
        "protocols": list(PROTOCOLS)[::-1],
        "tolerances": list(TOLERANCES),
        "chance": chance,
        "methods": [described(METHODS[name]) for name in names],
        "rows": rows,
        "groups": groups,
        "verdicts": verdict_data(tables["summary_verdicts.csv"]),
        "breakdowns": {},
        "breakdown": [],
        "measures": measures_data(tables.get("measures.csv")),
        "froc": None,
        "localisation": [],
        "consistency": consistency_data(read_table(config.out, "consistency.csv")),
        "gallery": {"films": [], "side": 1, "ramp": "", "which": ""},
        "remarks": [
            ("Film by film", "Each seed has a page of its own, in its folder, which shows its films and maps.")
        ],
    }
    write_text(config.out / "report.html", page(data))


def _beside_the_best(pair: Any) -> dict[str, Any]:
    """What a row tells of the pair of the best method and its own; None for the best itself."""
    interval = (0.0, 0.0, 0.0) if pair is None else (pair.difference, pair.ci_low, pair.ci_high)
    differs = pair is not None and bool(pair.holds)
    return {"differs": differs, "p_holm": None, "difference": [round(float(x), 6) for x in interval]}


def _about(config: Config, seeds: pd.DataFrame, images: int) -> dict[str, Any]:
    low, high, missed = seeds["auc"].min(), seeds["auc"].max(), seeds["missed"].mean()
    return {
        "facts": f"{config.arch} at {config.image_size} x {config.image_size} px, trained {len(seeds)} times · "
        f"{images} annotated test films",
        "hit": "Each seed's maps explain the class that its own classifier predicts. The maximum is a hit in an "
        "annotation, or strictly closer to one than the tolerance.",
        "classifier": f"The {len(seeds)} classifiers have AUC {low:.3f} to {high:.3f} on the test films, and miss the "
        f"object on {100 * missed:.1f} % of the annotated films.",
        "unit": "film",
        "count": images,
        "notes": NOTES,
    }
