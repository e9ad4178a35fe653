from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.formats.run_lengths import RunLengths, compress, decompress

MASK = np.array([[0, 1, 1, 0], [0, 1, 0, 0], [1, 1, 0, 0]], dtype=bool)
SMALL = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def test_a_run_goes_down_a_column_or_along_a_row() -> None:
    """One mask, counted out by hand both ways."""
    down = RunLengths((2, 4, 2, 0, 0, 0, 4), 3, 4, column_major=True)
    np.testing.assert_array_equal(RunLengths((2, 5, 5), 3, 4, column_major=True).mask[:, 1], [True] * 3)
    np.testing.assert_array_equal(down.mask[:, 0], [False, False, True])
    along = RunLengths((1, 2, 2, 1, 2, 2, 2), 3, 4, column_major=False)
    np.testing.assert_array_equal(along.mask, MASK)
    np.testing.assert_array_equal(RunLengths((2, 5, 5), 3, 4).mask, [[0, 1, 1, 0], [0, 1, 0, 0], [1, 1, 0, 0]])


@given(SMALL)
def test_a_mask_comes_back(mask: np.ndarray) -> None:
    along = RunLengths.of(mask)
    np.testing.assert_array_equal(along.mask, mask)
    turned = RunLengths(RunLengths.of(mask.T).counts, *mask.shape, column_major=True)
    np.testing.assert_array_equal(turned.mask, mask)
    rows, columns = np.nonzero(mask)
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if mask.any() else (0, 0, 0, 0)
    assert along.box == turned.box == expected


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 0, 0]], dtype=bool)
    pieces = RunLengths.of(mask).components()
    assert [piece.box for piece in pieces] == [(0, 0, 2, 2), (3, 0, 4, 2), (0, 3, 2, 4)]
    np.testing.assert_array_equal(sum(piece.mask.astype(int) for piece in pieces), mask)


@given(st.lists(st.integers(0, 10**6), max_size=20))
def test_compressed_counts_come_back(counts: list[int]) -> None:
    assert decompress(compress(counts)) == tuple(counts)


def test_compressed_counts_are_those_of_coco() -> None:
    """By hand: 52 is 10100 and 1, low piece first; the fourth count is a difference of -50, so 01110 and 11110."""
    assert compress([52]) == chr(48 + 0b110100) + chr(48 + 0b000001)
    assert compress([0, 60, 7, 10]) == "0" + chr(48 + 0b111100) + "1" + "7" + chr(48 + 0b101110) + chr(48 + 0b011110)


@given(SMALL)
def test_pycocotools_reads_and_writes_the_same(mask: np.ndarray) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    written = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    ours = RunLengths(decompress(written["counts"].decode()), *written["size"])
    np.testing.assert_array_equal(ours.mask, mask)
    assert compress(ours.counts) == written["counts"].decode()
    x, y, width, height = coco.toBbox(written)
    assert ours.box == (x, y, x + width, y + height)


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [((3, 4), "hold 7 pixels where 2 rows of 3 are 6"), ((3, -1, 4), "the negative count -1")],
)
def test_counts_that_do_not_fill_the_image_are_refused(counts: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        RunLengths(counts, 2, 3)


@pytest.mark.parametrize(("text", "sentence"), [("1 2", "hold ' '"), ("1é", "hold 'é'"), ("oooo", "middle of a count")])
def test_letters_that_are_no_counts_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        decompress(text)
    with pytest.raises(ValueError, match="hold 'o'"):
        decompress("o" * 40)
