"""Seeded draws: exact shares, identifiers, spellings, and a permutation of any size."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from math import isqrt

_GOLDEN = 0x9E3779B1  # odd, so multiplying by it is one-to-one modulo 2**32


def stream(seed: int, name: str) -> random.Random:
    """A source of randomness of its own for each table, so that one does not disturb the other."""
    return random.Random(f"{seed}:{name}")


def identifier(prefix: str, seed: int, number: int) -> str:
    """An identifier such as `org_9e3779b1`, another one for each number."""
    return f"{prefix}_{(number * _GOLDEN + seed * 7919) & 0xFFFFFFFF:08x}"


def exactly(rng: random.Random, rows: int, share: float) -> list[bool]:
    """One boolean a row, of which just this share is true, in random order."""
    chosen = int(share * rows + 0.5)
    marks = [True] * chosen + [False] * (rows - chosen)
    rng.shuffle(marks)
    return marks


def shared(rng: random.Random, rows: int, shares: Mapping[str, float]) -> list[str]:
    """One value a row, each with its share of the rows (relative to the sum of shares), in random order."""
    total, reached, values = sum(shares.values()), 0.0, list[str]()
    for value, share in shares.items():
        reached += share
        values += [value] * (int(reached / total * rows + 0.5) - len(values))
    rng.shuffle(values)
    return values


def owners(rng: random.Random, rows: int, orgs: Sequence[str]) -> list[str]:
    """An organisation for each row: each has one while there are rows, the rest is dealt at random."""
    dealt = list(orgs[:rows]) + rng.choices(orgs, k=max(0, rows - len(orgs)))
    rng.shuffle(dealt)
    return dealt


def day_between(rng: random.Random, first: date, last: date) -> date:
    """A day from first to last, both included; `first` where last is before it."""
    return first + timedelta(days=rng.randint(0, max(0, (last - first).days)))


def spellings(value: str) -> list[str]:
    """Other ways to write a name: case, surrounding blanks, and `_`, blank or `-` between the words."""
    words = value.replace("_", "-").split("-")
    written = [
        value.upper(),
        f" {value} ",
        value.title(),
        "_".join([words[0].upper(), *(word.title() for word in words[1:])]),
        " ".join(words),
        "-".join(word.title() for word in words),
    ]
    return [text for text in dict.fromkeys(written) if text != value]


def quoted(text: str) -> str:
    """The text as JSON."""
    return json.dumps(text, ensure_ascii=False)


class Permutation:
    """A random order of 0 ... size-1 in memory that grows with the square root of size.

    A Feistel network on a square grid just larger than size; what falls outside is sent through again.
    """

    def __init__(self, size: int, rng: random.Random) -> None:
        """Draw the round tables."""
        self.size = size
        self._side = isqrt(size - 1) + 1
        self._rounds = [[rng.randrange(self._side) for _ in range(self._side)] for _ in range(4)]

    def __call__(self, position: int) -> int:
        """The number at this position."""
        side = self._side
        first, second, third, fourth = self._rounds
        while True:
            left, right = divmod(position, side)
            left = (left + first[right]) % side
            right = (right + second[left]) % side
            left = (left + third[right]) % side
            right = (right + fourth[left]) % side
            position = left * side + right
            if position < self.size:
                return position
