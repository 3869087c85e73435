"""Who was erased: persons known by keyed hashes only, so that landing can't bring them back unseen.

The key of the hashes is the environment variable CLOUDLAKE_ERASURE_KEY; where it is not set, one that the lake makes for
itself when the first person is erased (`<lake>/ops/erasure.key`, readable by its owner only).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from .config import Config
from .errors import ConfigurationError

ERASURES = "ops.erasures"
REASON = "erased"
"""What ops.reconciliation calls rows of erased persons."""
KEY = "CLOUDLAKE_ERASURE_KEY"
SOURCE, USER_KEY = "users", "user_id"
_ADDRESS = re.compile(r"[^\s,;:\"'<>()\[\]{}|\\]+@[^\s,;:\"'<>()\[\]{}|\\]+")
_PROOF = "persons who were erased"
"""What the record keeps a hash of, so that another key is noticed."""


@dataclass(frozen=True)
class Erased:
    """The persons that were erased."""

    secret: bytes
    users: frozenset[str]
    addresses: frozenset[str]
    rows: Counter[str]
    """Delivery → rows that were taken out of bronze."""

    def hash_of(self, text: str) -> str:
        """Return the keyed hash by which a key or an address is known."""
        return hash_of(self.secret, text)

    def split(self, rows: pa.Table) -> tuple[pa.Table, int]:
        """Return the rows of a delivery of users without those of erased persons, and how many these are.

        A line that has no key to be read is one of them where an address of theirs stands in it.
        """
        if not self.users or USER_KEY not in rows.column_names:
            return rows, 0
        keys = rows[USER_KEY].to_pylist()
        lines = rows["_corrupt_record"].to_pylist() if "_corrupt_record" in rows.column_names else [None] * len(keys)
        keep = [not (self._is_erased(key) or self._names_one(line)) for key, line in zip(keys, lines, strict=True)]
        return rows.filter(pa.array(keep, pa.bool_())), len(keep) - sum(keep)

    def _is_erased(self, key: str | None) -> bool:
        return key is not None and self.hash_of(key.strip()) in self.users

    def _names_one(self, line: str | None) -> bool:
        return line is not None and any(self.hash_of(one) in self.addresses for one in addresses_in(line))


NOBODY = Erased(b"", frozenset(), frozenset(), Counter())


def hash_of(secret: bytes, text: str) -> str:
    """Return the keyed hash of a key, or of an address, whatever its case."""
    return hmac.new(secret, text.lower().encode(), hashlib.sha256).hexdigest()


def addresses_in(text: str) -> list[str]:
    """Return what stands in a text and may be an address, in lower case."""
    return [found.strip(".").lower() for found in _ADDRESS.findall(text)]


def secret_of(config: Config, *, make: bool = False) -> bytes:
    """Return the key of the hashes; with `make`, one is made where there is none.

    Raises:
        ConfigurationError: there is none.
    """
    given = os.environ.get(KEY)
    if given:
        return given.encode()
    file = config.lake.root / "ops" / "erasure.key"
    if not file.exists():
        if not make:
            raise ConfigurationError(
                f"{ERASURES} knows persons who were erased, and neither {KEY} nor {file} says by which key; set the variable to "
                "the key that they were erased with, or landing could bring them back. Nothing was started."
            )
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".draft")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
            handle.write(secrets.token_hex(32))
        os.replace(draft, file)
    return file.read_text(encoding="ascii").strip().encode()


def erased_in(config: Config, source: str = SOURCE) -> Erased:
    """Return the persons that were erased from a source; nobody where none was.

    Raises:
        ConfigurationError: the key at hand is not the one they were erased with.
    """
    rows: list[dict[str, Any]] = config.lake.rows(ERASURES) if source == SOURCE else []
    if not rows:
        return NOBODY
    secret = secret_of(config)
    if any(row["key_check"] != hash_of(secret, _PROOF) for row in rows):
        raise ConfigurationError(
            f"{KEY}: it is not the key that persons in {ERASURES} were erased with; set it to that one, or landing could bring "
            "them back. Nothing was started."
        )
    taken: Counter[str] = Counter()
    for row in rows:
        taken.update(json.loads(row["deliveries"] or "{}"))
    addresses = frozenset(one for row in rows for one in row["addresses"] or ())
    return Erased(secret, frozenset(row["erasure_id"] for row in rows), addresses, taken)


def erasure_row(
    secret: bytes, user: str, addresses: Iterable[str], deliveries: Counter[str], status: str, **known: Any
) -> dict[str, Any]:
    """Return the row of ops.erasures that says that a person is being, or was, erased; it names nobody."""
    return {
        "erasure_id": hash_of(secret, user),
        "key_check": hash_of(secret, _PROOF),
        "addresses": sorted(hash_of(secret, one) for one in addresses),
        "deliveries": json.dumps(deliveries, sort_keys=True),
        "status": status,
        **known,
    }
