from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.analysis.by_verdict import FOUND, MISSED, VERDICT_TABLE, by_verdict, missed_share
from benchmarks.report.verdict_tables import verdict_cells, verdict_data


def scores(marks: dict[str, str], said: str) -> pd.DataFrame:
    """Rows of one run whose methods hit the films marked 1, and whose classifier says 1, object, or 0 of each."""
    rows = [
        (f"{i}.png", method, protocol, 0.0 if mark == "1" else 99.0, "ok", 1, int(said[i]))
        for method, hits in marks.items()
        for protocol in ("paper", "fair")
        for i, mark in enumerate(hits)
    ]
    return pd.DataFrame(rows, columns=["image", "method", "protocol", "distance", "status", "label", "target"])


@pytest.fixture
def one() -> pd.DataFrame:
    return scores({"norm": "11101100", "guided": "11110000"}, said="11110001")


def test_accuracies_and_misses_by_hand(one: pd.DataFrame) -> None:
    table = by_verdict([one], 0, ["norm", "guided"])
    assert tuple(table.columns) == VERDICT_TABLE
    assert len(table) == 2 * 3 * 2 * 2
    rows = table.query("protocol == 'fair' and tolerance == 15").set_index(["method", "verdict"])
    # The classifier says object of films 0 to 3 and 7, and misses 4 to 6.
    assert rows.loc[("norm", FOUND), ["accuracy", "films", "misses"]].tolist() == pytest.approx([3 / 5, 5, 2])
    assert rows.loc[("norm", MISSED), ["accuracy", "films", "misses"]].tolist() == pytest.approx([2 / 3, 3, 1])
    assert rows.loc[("guided", MISSED), ["accuracy", "misses"]].tolist() == [0, 3]
    assert rows["share_of_misses"].to_dict() == pytest.approx(
        {("norm", FOUND): 2 / 3, ("norm", MISSED): 1 / 3, ("guided", FOUND): 1 / 4, ("guided", MISSED): 3 / 4}
    )
    # Wilson's intervals, by his formula: 3 of 5, and 0 of 3, of which a bootstrap would say 0 to 0.
    z = 1.959964
    middle, half = (0.6 + z**2 / 10) / (1 + z**2 / 5), z * np.sqrt(0.24 / 5 + z**2 / 100) / (1 + z**2 / 5)
    interval = rows.loc[("norm", FOUND), ["ci_low", "ci_high"]].tolist()
    assert interval == pytest.approx([middle - half, middle + half])
    assert rows.loc[("guided", MISSED), "ci_high"] == pytest.approx(z**2 / (3 + z**2))
    assert missed_share([one]) == [3 / 8]


def test_seeds_are_pooled_film_by_film(one: pd.DataFrame) -> None:
    """Each seed's classifier has verdicts of its own; a seed without a missed film says nothing of missed films."""
    never = scores({"norm": "00000000", "guided": "11111111"}, said="11111111")
    rows = by_verdict([one, never], 0, ["norm", "guided"]).query("protocol == 'fair' and tolerance == 0")
    rows = rows.set_index(["method", "verdict"])
    assert rows.loc[("norm", FOUND), ["accuracy", "films"]].tolist() == pytest.approx([3 / 13, 13])
    assert rows.loc[("norm", MISSED), ["accuracy", "films"]].tolist() == pytest.approx([2 / 3, 3])
    assert rows.loc[("norm", MISSED), "share_of_misses"] == pytest.approx(1 / 11)
    assert missed_share([one, never]) == [3 / 8, 0]


def test_no_film_of_a_verdict_is_no_figure() -> None:
    right = scores({"m": "1110", "all": "1111"}, said="1111")
    table = by_verdict([right], 0, ["m", "all"])
    missed = table[table["verdict"] == MISSED]
    assert missed["accuracy"].isna().all()
    assert (missed["films"] == 0).all()
    shares = missed.query("protocol == 'fair' and tolerance == 15").set_index("method")["share_of_misses"]
    assert shares["m"] == 0
    assert np.isnan(shares["all"])  # it has no miss
    cells = verdict_cells(table, "fair", ["m", "all"])
    assert cells[1][3:] == ["no film", "no film", "0"]
    assert cells[2][-1] == "none"
    entry = verdict_data(table)[0]
    assert entry["films"] == {"found": 4, "missed": 0}
    assert entry["values"]["all"]["missed"] == [None, None, None]
    assert entry["values"]["all"]["share"] is None
