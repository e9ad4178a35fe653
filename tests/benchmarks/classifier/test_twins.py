from __future__ import annotations

import numpy as np
import pytest

from benchmarks.classifier.twins import draw_twins

SIZE = 96
LABELS = np.array([0, 1, 1, 0, 1, 1])


@pytest.fixture
def films() -> np.ndarray:
    """Even films, each of its own grey."""
    return np.repeat(np.array([90, 0, 0, 120, 0, 0], dtype=np.uint8), SIZE**2).reshape(6, SIZE, SIZE)


def twins(films: np.ndarray, indices: range, seed: tuple[int, ...] = (0, 0), **how: float) -> np.ndarray:
    return draw_twins(films, LABELS, np.array(indices), seed=seed, **{"share": 1.0, "contrast": 4.0, **how})


def test_a_twin_is_a_clean_film_of_the_batch_with_something_on_it(films: np.ndarray) -> None:
    drawn = twins(films, range(6))

    assert (drawn[LABELS == 0] == films[LABELS == 0]).all()
    for film in drawn[LABELS == 1]:
        greys, counts = np.unique(film, return_counts=True)
        background = greys[counts.argmax()]
        assert background in (90, 120)
        assert film.max() > background + 10
        assert film.min() >= background - 1, "objects take light away, they never add any"


def test_share_of_the_replaced(films: np.ndarray) -> None:
    replaced = [
        (twins(films, range(start, start + 6), share=0.25)[LABELS == 1] > 0).any((1, 2)).sum()
        for start in range(0, 600, 6)
    ]
    assert abs(sum(replaced) / 400 - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 400)
    assert (twins(films, range(6), share=0.0) == films).all()


def test_a_stronger_contrast_is_seen_better(films: np.ndarray) -> None:
    def mean_rise(contrast: float) -> float:
        drawn = twins(films, range(6), contrast=contrast)[LABELS == 1].astype(float)
        rises = [film[film > np.median(film) + 2].mean() - np.median(film) for film in drawn]
        return float(np.mean(rises))

    assert mean_rise(8) > mean_rise(2) > mean_rise(1)


def test_seed_and_position_are_the_only_chance(films: np.ndarray) -> None:
    once = twins(films, range(6))
    assert (twins(films, range(6)) == once).all()
    assert (twins(films, range(6), seed=(0, 1)) != once).any()
    assert (twins(films, range(6, 12)) != once).any()


def test_a_batch_without_clean_films_stays() -> None:
    films = np.full((2, SIZE, SIZE), 100, dtype=np.uint8)
    drawn = draw_twins(films, np.array([1, 1]), np.array([0, 1]), seed=(0,), share=1.0, contrast=4.0)
    assert (drawn == films).all()
