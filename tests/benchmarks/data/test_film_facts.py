from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.data import film_facts as module
from benchmarks.data.film_facts import FilmFacts, annotation_digest, film_facts
from benchmarks.data.object_cxr import FaultyTableError
from benchmarks.data.records import Record

FILM = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)


def record(path: Path) -> Record:
    return Record(path.name, path, (), 2, path.parent / "test.csv")


def facts_of(*paths: Path, cache: Path) -> list[FilmFacts]:
    return [facts for _, facts in film_facts([record(path) for path in paths], cache)]


def test_facts_are_of_what_a_film_shows(tmp_path: Path) -> None:
    Image.fromarray(FILM).save(tmp_path / "a.png")
    Image.fromarray(FILM).save(tmp_path / "b.bmp")
    Image.fromarray(255 - FILM).save(tmp_path / "c.png")
    first, same, other = facts_of(*(tmp_path / name for name in ("a.png", "b.bmp", "c.png")), cache=tmp_path)
    assert (first.width, first.height) == (60, 40)
    assert first == same
    assert first.pixels != other.pixels


def test_a_film_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(FILM).save(tmp_path / "a.png")
    before = facts_of(tmp_path / "a.png", cache=tmp_path / "cache")
    monkeypatch.setattr(module, "read_annotated", lambda *_: pytest.fail("looked again"))
    assert facts_of(tmp_path / "a.png", cache=tmp_path / "cache") == before


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b'{"a": 1}', b"\xff", b"null", b'{"a": [1, 2]}'])
def test_damaged_facts_are_made_again(tmp_path: Path, damage: bytes) -> None:
    Image.fromarray(FILM).save(tmp_path / "a.png")
    before = facts_of(tmp_path / "a.png", cache=tmp_path / "cache")
    (tmp_path / "cache" / module.NAME).write_bytes(damage)
    assert facts_of(tmp_path / "a.png", cache=tmp_path / "cache") == before


def test_facts_in_other_columns_are_made_again(tmp_path: Path) -> None:
    Image.fromarray(FILM).save(tmp_path / "a.png")
    with closing(sqlite3.connect(tmp_path / module.NAME)) as known, known:
        known.execute("CREATE TABLE facts (file BLOB PRIMARY KEY, width INTEGER)")
    (facts,) = facts_of(tmp_path / "a.png", cache=tmp_path)
    assert (facts.width, facts.height) == (60, 40)


def test_a_fact_that_is_not_as_it_was_written_is_made_again(tmp_path: Path) -> None:
    Image.fromarray(FILM).save(tmp_path / "a.png")
    before = facts_of(tmp_path / "a.png", cache=tmp_path)
    with closing(sqlite3.connect(tmp_path / module.NAME)) as known, known:
        known.execute("UPDATE facts SET pixels = 'f' || substr(pixels, 2)")
        known.execute("UPDATE facts SET width = 61")
    assert facts_of(tmp_path / "a.png", cache=tmp_path) == before


def test_all_films_that_do_not_decode_are_told(tmp_path: Path) -> None:
    Image.fromarray(FILM).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no film")
    (tmp_path / "c.png").write_bytes(b"")
    with pytest.raises(FaultyTableError) as caught:
        facts_of(*(tmp_path / name for name in ("a.png", "b.png", "c.png")), cache=tmp_path / "cache")
    assert [fault.partition(": ")[0] for fault in caught.value.faults] == [f"{tmp_path / 'test.csv'}, row 2"] * 2


def test_another_film_of_the_same_size_is_another_set(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / split).mkdir()
        Image.fromarray(FILM).save(tmp_path / split / "a.bmp")
        (tmp_path / f"{split}.csv").write_text("image_name,annotation\na.bmp,\n")
    before = annotation_digest(tmp_path, None, tmp_path / "cache")
    assert annotation_digest(tmp_path, None, tmp_path / "another cache") == before
    size = (tmp_path / "train" / "a.bmp").stat().st_size
    Image.fromarray(FILM[::-1].copy()).save(tmp_path / "train" / "a.bmp")
    os.utime(tmp_path / "train" / "a.bmp", ns=(5, 5))
    assert (tmp_path / "train" / "a.bmp").stat().st_size == size
    assert annotation_digest(tmp_path, None, tmp_path / "cache") != before


def test_a_set_is_read_through_again_only_where_something_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / split).mkdir()
        Image.fromarray(FILM).save(tmp_path / split / "a.png")
        (tmp_path / f"{split}.csv").write_text("image_name,annotation\na.png,\n")
    before = annotation_digest(tmp_path, None, tmp_path / "cache")
    read: list[str] = []
    plain = module.read_split
    monkeypatch.setattr(module, "read_split", lambda root, split, limit: (read.append(split), plain(root, split))[1])
    assert annotation_digest(tmp_path, None, tmp_path / "cache") == before
    assert read == []
    os.utime(tmp_path / "dev" / "a.png", ns=(5, 5))  # the same film at another time
    assert annotation_digest(tmp_path, None, tmp_path / "cache") == before
    assert read == ["train", "dev", "test"]
    (tmp_path / "test.csv").write_text("image_name,annotation\na.png,0 1 1 9 9\n")
    assert annotation_digest(tmp_path, None, tmp_path / "cache") != before
    now = annotation_digest(tmp_path, None, tmp_path / "cache")
    for damage in ("{", (tmp_path / "cache" / module.SEEN).read_text().replace(now, now[::-1])):
        (tmp_path / "cache" / module.SEEN).write_text(damage)
        assert annotation_digest(tmp_path, None, tmp_path / "cache") == now
    (tmp_path / "train" / "a.png").unlink()
    with pytest.raises(FaultyTableError, match=r"train\.csv, row 2: the film .*a\.png is missing"):
        annotation_digest(tmp_path, None, tmp_path / "cache")
