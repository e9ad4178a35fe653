"""Does a map follow the weights or the picture: what is left of it when all weights are drawn anew."""

from __future__ import annotations

import math

import pandas as pd

from benchmarks.consistency.variants import ALL, CHANCE, HEAD, TRAINED
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL, MAIN_TOLERANCE
from benchmarks.run.text_tables import markdown_table, with_interval, within

WEIGHTS, PICTURE, BOTH, NEITHER = "weights", "picture", "both", "neither"
RULES = {
    WEIGHTS: "with all weights drawn anew, it is not shown to hit more often than chance",
    PICTURE: "with all weights drawn anew, it hits more often than chance, and not shown to hit less often than before",
    BOTH: "with all weights drawn anew, it hits less often than before, but more often than chance",
    NEITHER: "it is not shown to hit more often than chance with the trained weights either",
}
"""Each about the 95 % interval of an accuracy, or of the difference of two."""
FOLLOWS_COLUMNS = ("method", "trained", "drawn_anew", "correlation_head", "correlation_all", "follows")


def follows(table: pd.DataFrame) -> pd.DataFrame:
    """What the maps of each method follow.

    Args:
        table: ``consistency.csv``.

    Returns:
        The columns of :data:`FOLLOWS_COLUMNS`, the best method with trained weights first: ``trained`` and
        ``drawn_anew`` are accuracies as (value, low, high), the correlations with the trained network's map are those
        after the head and after all weights were drawn anew, NaN where there are none, ``follows`` is a key of
        :data:`RULES`.
    """
    drawn = table[table["check"] == "randomised"].set_index(["method", "variant", "measure"])
    chance = drawn["value"].get((CHANCE, TRAINED, "accuracy"))
    cells = {key: (row["value"], row["ci_low"], row["ci_high"]) for key, row in drawn.iterrows()}
    rows = []
    for method in table["method"].unique():
        trained, anew = cells.get((method, TRAINED, "accuracy")), cells.get((method, ALL, "accuracy"))
        if chance is None or trained is None or anew is None:
            continue
        correlations = [cells.get((method, variant, "rank_correlation"), (math.nan,))[0] for variant in (HEAD, ALL)]
        fell = cells[method, ALL, "accuracy_difference"][2] < 0
        if trained[1] <= chance:
            verdict = NEITHER
        elif anew[1] <= chance:
            verdict = WEIGHTS
        else:
            verdict = BOTH if fell else PICTURE
        rows.append((method, trained, anew, *correlations, verdict))
    rows.sort(key=lambda row: -row[1][0])
    return pd.DataFrame(rows, columns=list(FOLLOWS_COLUMNS))


def follows_section(table: pd.DataFrame) -> list[str]:
    """Lines of Markdown on what the maps follow; none where that was not asked.

    Args:
        table: ``consistency.csv``.
    """
    verdicts = follows(table)
    if verdicts.empty:
        return []
    (chance,) = table.loc[table["method"] == CHANCE, "value"]
    head = ["method", "follows", "accuracy, trained", "accuracy, all weights drawn anew"]
    rows = [[*head, "rank correlation, head drawn anew", "rank correlation, all weights"]]
    for row in verdicts.itertuples():
        accuracies = [with_interval(cell, 1, 100) for cell in (row.trained, row.drawn_anew)]
        correlations = [
            "undefined" if pd.isna(value) else f"{value:.2f}" for value in (row.correlation_head, row.correlation_all)
        ]
        rows.append([str(row.method), str(row.follows), *accuracies, *correlations])
    found = set(verdicts["follows"])
    return [
        f"Accuracy in percent, by protocol `{MAIN_PROTOCOL}` {within(MAIN_TOLERANCE)}; a random point scores "
        f"{100 * chance:.1f}.",
        "",
        *(f"- **{name}**: {rule}." for name, rule in RULES.items() if name in found),
        "",
        *markdown_table(rows, left=(0, 1)),
        "",
    ]
