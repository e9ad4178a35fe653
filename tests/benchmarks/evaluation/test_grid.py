"""The table of the Grid Pointing Game, from rows as a store keeps them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from scipy.stats import binomtest

from benchmarks.evaluation.grid import GridStore, read_grids


def test_a_map_that_is_not_finite_has_no_energy_and_hits_nothing(tmp_path: Path) -> None:
    job = SimpleNamespace(method_facts=lambda method: {"method": method})
    energies = {"0": (0.5, None, 0.25, 0.75), "1": (1.0, 0.5, 0.75, 1.0)}
    with closing(GridStore(tmp_path / "grid.sqlite", job.method_facts)) as store:
        for batch, (image, values) in enumerate(energies.items()):
            rows = [
                {"image": image, "method": "a", "cell": cell, "energy": energy, "hit": int(energy is not None),
                 "difull": energy}
                for cell, energy in enumerate(values)
            ]  # fmt: skip
            store.write_unit(batch, "a", {"grids": rows})
    (row,) = read_grids(SimpleNamespace(out=tmp_path, seed=0), job, 2, ["a"]).itertuples()
    assert row.energy == pytest.approx(4.75 / 7)
    # Of two grids, one alone is drawn in half of the resamples.
    assert (row.energy_low, row.energy_high) == pytest.approx((1.5 / 3, 3.25 / 4))
    wilson = binomtest(7, 8).proportion_ci(method="wilson")
    assert (row.maximum, row.maximum_low, row.maximum_high) == pytest.approx((7 / 8, wilson.low, wilson.high))
    assert (row.difull, row.chance, row.grids) == pytest.approx((4.75 / 7, 0.25, 2))
