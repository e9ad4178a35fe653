from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.metrics.froc import RATES, sensitivities


def table(*rows: tuple[int, float, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["film", "score", "object"]).astype({"film": int, "score": float, "object": int})


def test_the_rates_are_the_challenges() -> None:
    assert RATES == (0.125, 0.25, 0.5, 1, 2, 4, 8)


def test_by_hand() -> None:
    # Two films, the second is clean; the first has three objects, one of which no peak finds.
    peaks = table((0, 0.9, 0), (1, 0.8, -1), (0, 0.7, 1), (1, 0.6, -1), (0, 0.5, -1), (1, 0.4, -1))
    # The first false positive brings 1/2 a film: above it is one object of three. The second brings 1: two of
    # three. The fourth brings 2, and 4 and 8 are never reached.
    expected = [1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3]
    np.testing.assert_allclose(sensitivities(peaks, [3, 0])[0], expected)


def test_several_peaks_in_one_annotation_count_once() -> None:
    once = table((0, 0.9, 0), (1, 0.5, -1), (0, 0.3, 1))
    again = table((0, 0.9, 0), (0, 0.8, 0), (0, 0.7, 0), (0, 0.6, 0), (1, 0.5, -1), (0, 0.3, 1), (0, 0.2, 0))
    for peaks in (once, again):
        np.testing.assert_allclose(sensitivities(peaks, [2, 0], rates=[0.5, 1, 2])[0], [1 / 2, 1, 1])


def test_the_best_peak_of_an_object_decides() -> None:
    peaks = table((0, 0.2, 0), (0, 0.5, -1), (0, 0.9, 0))
    np.testing.assert_allclose(sensitivities(peaks, [1], rates=[1])[0], [1])


def test_a_peak_in_two_annotations_finds_both() -> None:
    peaks = table((0, 0.9, 0), (0, 0.9, 1), (0, 0.5, -1))
    np.testing.assert_allclose(sensitivities(peaks, [2], rates=[1])[0], [1])


def test_false_positives_on_clean_films_count() -> None:
    found, false = (0, 0.5, 0), [(film, 0.8, -1) for film in (1, 2)]
    np.testing.assert_allclose(sensitivities(table(found), [1, 0, 0, 0], rates=[0.25])[0], [1])
    np.testing.assert_allclose(sensitivities(table(found, *false), [1, 0, 0, 0], rates=[0.25, 0.5, 1])[0], [0, 0, 1])


def test_ties_are_decided_against_the_detector() -> None:
    for rows in ([(0, 0.5, 0), (1, 0.5, -1)], [(1, 0.5, -1), (0, 0.5, 0)]):
        np.testing.assert_allclose(sensitivities(table(*rows), [1, 0], rates=[0.5, 1])[0], [0, 1])
    # Two false positives tie: the rate of 1/2 is reached at their score, not above it.
    peaks = table((0, 0.7, 0), (1, 0.6, -1), (1, 0.6, -1), (0, 0.6, 1))
    np.testing.assert_allclose(sensitivities(peaks, [2, 0], rates=[0.5, 1, 2])[0], [0.5, 0.5, 1])


def test_without_peaks_nothing_is_found() -> None:
    np.testing.assert_array_equal(sensitivities(table(), [2, 0])[0], np.zeros(7))


def test_films_without_any_object_have_no_sensitivity() -> None:
    assert np.isnan(sensitivities(table((0, 0.5, -1)), [0, 0])).all()


def literal(peaks: pd.DataFrame, objects: list[int], rates: tuple[float, ...]) -> list[float]:
    """Walk down the peaks as the challenge does; only for scores that do not tie."""
    found, false, readings = set(), 0, dict.fromkeys(rates)
    for row in peaks.sort_values("score", ascending=False).itertuples():
        if row.object >= 0:
            found.add((row.film, row.object))
        else:
            false += 1
        for rate in rates:
            if readings[rate] is None and false / len(objects) >= rate:
                readings[rate] = len(found) / sum(objects)
    return [len(found) / sum(objects) if readings[rate] is None else readings[rate] for rate in rates]


@pytest.mark.parametrize("seed", range(5))
def test_is_the_walk_down_the_peaks_also_for_films_drawn_again(seed: int) -> None:
    generator = np.random.default_rng(seed)
    objects = generator.integers(0, 4, 9).tolist()
    rows = [
        (film, generator.random(), int(generator.integers(0, count)) if count and generator.random() < 0.4 else -1)
        for film, count in enumerate(objects)
        for _ in range(12)
    ]
    peaks = table(*rows)
    np.testing.assert_allclose(sensitivities(peaks, objects)[0], literal(peaks, objects, RATES))

    draw = generator.multinomial(9, np.full(9, 1 / 9))
    # A film that is drawn twice is two films, whose peaks differ by less than any two others.
    copies = [film for film, times in enumerate(draw) for _ in range(times)]
    parts = [peaks[peaks["film"] == film].assign(film=number) for number, film in enumerate(copies)]
    repeated = pd.concat([part.assign(score=part["score"] - 1e-12 * part["film"]) for part in parts])
    drawn_objects = [objects[film] for film in copies]
    if sum(drawn_objects):
        expected = literal(repeated, drawn_objects, RATES)
        np.testing.assert_allclose(sensitivities(peaks, objects, [draw])[0], expected)
