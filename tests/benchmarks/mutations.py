"""Damages bytes and text in ways that transfers, editors and attackers do."""

from __future__ import annotations

import numpy as np

INTERESTING = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
)
FRAGMENTS = (
    "nan", "inf", "-inf", "1e307", "-1e309", "1e-320", "0", "-0", "2", "3", ";", ";;", ",", '"', "\t", "\n", "\r", " ",
    "\0", "_", "0x10", "1_0", "\u0663", "\u00bd", "\ufeff", "\u202e", "\x1b[2J", "{}", "[]", "null", "true", "=1+1",
    "<b>", "..", "/", "a" * 300, "9" * 400,
)  # fmt: skip


def mutated(content: bytes, generator: np.random.Generator, most: int = 6) -> bytes:
    """A copy with up to ``most`` changes: bits, bytes, numbers, cuts, repetitions, insertions."""
    changed = bytearray(content)
    for _ in range(int(generator.integers(1, most + 1))):
        if not changed:
            break
        at = int(generator.integers(len(changed)))
        # Headers decide what becomes of the rest, so half of the changes are near the beginning.
        at = at % 200 if generator.random() < 0.5 else at
        length = int(generator.integers(1, 60))
        match int(generator.integers(7)):
            case 0:
                changed[at] ^= 1 << int(generator.integers(8))
            case 1:
                changed[at] = int(generator.integers(256))
            case 2:
                number = INTERESTING[int(generator.integers(len(INTERESTING)))]
                changed[at : at + len(number)] = number
            case 3:
                del changed[at:]
            case 4:
                del changed[at : at + length]
            case 5:
                changed[at:at] = changed[at : at + length]
            case _:
                changed[at:at] = generator.bytes(length)
    return bytes(changed)


def mutated_text(text: str, generator: np.random.Generator, most: int = 4) -> str:
    """A copy with up to ``most`` changes: letters that are left out, repeated or replaced by odd fragments."""
    for _ in range(int(generator.integers(1, most + 1))):
        at = int(generator.integers(len(text) + 1))
        fragment = FRAGMENTS[int(generator.integers(len(FRAGMENTS)))]
        length = int(generator.integers(0, 6))
        text = text[:at] + (fragment if generator.random() < 0.7 else text[at : at + length] * 2) + text[at + length :]
    return text
