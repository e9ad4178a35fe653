"""Makes a test split for a set that has none, as the public Object-CXR: new tables for the same films."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.data.annotations import format_annotation
from benchmarks.data.kinds import write_kinds
from benchmarks.data.object_cxr import read_split, split_tables
from benchmarks.data.records import Record
from benchmarks.run.errors import UserError
from benchmarks.run.files import filled_folder, write_rows


def split_off(
    data: Path, out: Path, of: str = "dev", share: float = 0.5, patients: str | None = None, seed: int = 0
) -> None:
    """Write tables of three splits, whose test films are drawn from ``train`` or ``dev``; the others stay as they are.

    Nothing is copied: ``out/images`` is a link to ``data``. Each class gives the same share.

    Args:
        data: A set in Object-CXR layout with train and dev.
        out: Folder of the new set, or of one that was begun and stopped.
        of: The split that gives the films, ``"train"`` or ``"dev"``.
        share: Of its films.
        patients: Regular expression that finds the patient in a film's name (its first group, or all that it matches);
            films of one patient stay together. Without it every film counts as a patient.
        seed: Of the draw.

    Raises:
        UserError: There is a test split already, the set cannot be read or divided so, or no link can be made.
    """
    if any(path.is_file() for path in split_tables(data, "test")):
        raise UserError(f"{data} has a test split already: use it.")
    if not 0 < share < 1:
        raise UserError(f"--share is {share}: it must be between 0 and 1.")
    if seed < 0:
        raise UserError(f"--seed is {seed}: it must be at least 0.")
    splits = {split: read_split(data, split) for split in ("train", "dev")}
    names = {split: [_patient(record, patients) for record in records] for split, records in splits.items()}
    drawn = _draw(splits[of], names[of], share, seed)
    parts = {**splits, "test": [record for record, yes in zip(splits[of], drawn, strict=True) if yes]}
    parts[of] = [record for record, yes in zip(splits[of], drawn, strict=True) if not yes]
    with filled_folder(out, f"--out: {out} holds something already: choose another folder."):
        try:
            (out / "images").symlink_to(data.resolve(), target_is_directory=True)
        except OSError as error:
            raise UserError(f"{out / 'images'} cannot be made a link to the films ({error.strerror}).") from None
        for split, records in parts.items():
            _write(out / f"{split}.csv", records, data)
            print(f"{split}: {len(records)} films, {sum(record.label for record in records)} with objects")
    if patients is not None:  # without them a name says nothing: each split may number its films from 1 on
        other = {"train": "dev", "dev": "train"}[of]
        both = {name for name, yes in zip(names[of], drawn, strict=True) if yes}.intersection(names[other])
        if both:
            print(f"note: {len(both)} patients of test are in {other} too, such as {min(both)}.")


def _patient(record: Record, patients: str | None) -> str:
    if patients is None:
        return record.name
    try:
        found = re.search(patients, record.name)
    except re.error as error:
        raise UserError(f"--patients: {patients!r} is no regular expression ({error}).") from None
    patient = found and found[1 if found.re.groups else 0]
    if not patient:  # nor does a group that matched nothing tell patients apart
        raise UserError(f"--patients: {patients!r} finds no patient in {record.name} ({record.where}).")
    return patient


def _draw(records: Sequence[Record], names: Sequence[str], share: float, seed: int) -> list[bool]:
    """Which records go to the test split: whole patients, a share of those with and of those without objects."""
    of_patient: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        of_patient[name].append(index)
    drawn = [False] * len(records)
    generator = np.random.default_rng(seed)
    for label in (False, True):
        some = sorted(n for n, films in of_patient.items() if any(records[i].label for i in films) == label)
        films = sum(len(of_patient[name]) for name in some)
        taken = 0
        for place in generator.permutation(len(some)):
            if taken < share * films:
                for index in of_patient[some[place]]:
                    drawn[index] = True
                taken += len(of_patient[some[place]])
    for part in (True, False):
        if {record.label for record, yes in zip(records, drawn, strict=True) if yes == part} != {0, 1}:
            raise UserError(
                f"{len(records)} films of {len(of_patient)} patients cannot be divided by {share} so that both parts "
                "hold films with objects and without."
            )
    return drawn


def _write(table: Path, records: Sequence[Record], data: Path) -> None:
    names = [record.path.relative_to(data).as_posix() for record in records]
    known = [
        (name, record.shapes)
        for name, record in zip(names, records, strict=True)
        if record.shapes and all(shape.content for shape in record.shapes)
    ]
    if known:
        write_kinds(table, known)
    rows = ((name, format_annotation(record.shapes)) for name, record in zip(names, records, strict=True))
    write_rows(table, ("image_path", "annotation"), rows)
