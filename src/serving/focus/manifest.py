"""metadata.json: what an export was made from, what its columns are, what it adds up to, and what has changed since the last."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from ...common.errors import ConfigurationError
from ...common.names import REFUSED_EVENTS
from ..queries import Reader
from .declaration import ExportColumn, ExportSettings, Version
from .writing import File

NAME = "metadata.json"
_TYPES = {"string": "String", "timestamp": "Date/Time", "boolean": "Boolean", "bigint": "Integer"}
_REFUSED_EVENTS, _REFUSED_INVOICES, _RECONCILED = (
    REFUSED_EVENTS,
    "quarantine.billing_monthly",
    "gold.cost_billing_reconciliation",
)


def read(folder: Path) -> dict[str, Any]:
    """Return the manifest of the export in a folder, {} where there is none.

    Raises:
        ConfigurationError: it is damaged.
    """
    path = folder / NAME
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return told if told["periods"] is not None and told["selection"] else {}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigurationError(
            f"--out: {path} can't be read ({error.strerror}); check its owner and rights"
        ) from None
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: damaged ({error}); remove {folder} and export again") from None


def period(reader: Reader, files: Sequence[File]) -> dict[str, Any]:
    """Return what is said of a month: the publication that it comes from, and its files."""
    made_from = reader.publication
    return {
        "run_id": made_from.run_id,
        "load_id": made_from.load_id,
        "files": {file.path.name: file.described() for file in files},
    }


def build(
    reader: Reader,
    settings: ExportSettings,
    version: Version,
    org: str | None,
    laws: Mapping[str, Any],
    periods: Mapping[str, Any],
    before: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the manifest of an export; the same for the same publication, whenever it is made."""
    made_from = reader.publication
    publication = {
        "run_id": made_from.run_id,
        "published_at": made_from.published_at,
        "load_id": made_from.load_id,
        "as_of": str(reader.as_of) if reader.as_of else None,
    }
    in_order = dict(sorted(periods.items()))
    return {
        "FocusVersion": version,
        "DataGenerator": "cloudlake",
        "Schemas": [_schema(version, name, columns) for name, columns in settings.datasets(version).items()],
        "publication": publication,
        "selection": {"org": org},
        "laws": laws,
        "sums": _sums(in_order),
        "refused": _refused(reader, org),
        **({"criteria": list(settings.criteria)} if version == "1.2" else {}),
        "left_out": {}
        if settings.payment_terms or version == "1.2"
        else {"Invoice Detail": "export.payment_terms of conf/focus.yaml is not set"},
        "changes": _changes(before, publication, in_order),
        "periods": in_order,
    }


def _schema(version: Version, dataset: str, columns: Mapping[str, ExportColumn]) -> dict[str, Any]:
    """Return a data set's columns as FOCUS describes a schema; its id follows from what it says."""
    told = [_column(name, column) for name, column in columns.items()]
    digest = hashlib.sha256(json.dumps([version, dataset, told]).encode()).hexdigest()
    return {"Dataset": dataset, "SchemaId": digest[:16], "FocusVersion": version, "ColumnDefinition": told}


def _column(name: str, column: ExportColumn) -> dict[str, Any]:
    digits = re.fullmatch(r"decimal\((\d+),(\d+)\)", column.type)
    if digits:
        return {
            "ColumnName": name,
            "DataType": "Decimal",
            "NumericPrecision": int(digits[1]),
            "NumberScale": int(digits[2]),
        }
    return {"ColumnName": name, "DataType": "JSON" if name == "Tags" else _TYPES[column.type]}


def _sums(periods: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the charges of all periods add up to, invoiced and open apart."""
    totals: dict[str, dict[str, Any]] = {}
    for entry in periods.values():
        for name, file in entry["files"].items():
            if file["dataset"] == "Cost and Usage":
                total = totals.setdefault(name.partition(".")[0], {"rows": 0, "cost_usd": Decimal(0), "events": 0})
                total["rows"] += file["rows"]
                total["cost_usd"] += Decimal(file["cost_usd"])
                total["events"] += file["events"]
    return {kind: {**total, "cost_usd": format(total["cost_usd"], "f")} for kind, total in sorted(totals.items())}


def _refused(reader: Reader, org: str | None) -> dict[str, Any]:
    """Return what was refused by the time of the publication and is no charge, so is in no file.

    Of one organisation, the cost of its refused events alone: nobody reads another's from its export.
    """
    sql = f"SELECT CAST(coalesce(sum(refused_cost_usd), 0) AS DECIMAL(28, 6)) AS usd FROM {_RECONCILED} WHERE $org IS NULL OR org_id = $org"
    cost = {"events_cost_usd": format(reader.run(sql, {"org": org})["usd"].to_pylist()[0], "f")}
    if org is not None:
        return cost
    lake = reader.config.lake
    published_at = datetime.fromisoformat(reader.publication.published_at)
    counts = {}
    for name, kind in ((_REFUSED_EVENTS, "events"), (_REFUSED_INVOICES, "invoices")):
        counts[kind] = lake.count(name, "status", ["open"], version=lake.version_at(name, published_at))
    return {**counts, **cost}


def _changes(before: Mapping[str, Any], publication: Mapping[str, Any], periods: Mapping[str, Any]) -> dict[str, Any]:
    """Return which periods differ from the export of another publication that was there before."""
    if not before:
        return {}
    if before["publication"] == publication:
        return dict(before["changes"])
    old = before["periods"]
    told = {name: "gone" for name in old if name not in periods}
    for name, entry in periods.items():
        if name not in old:
            told[name] = "new"
        elif _digests(entry) != _digests(old[name]):
            told[name] = "changed"
    return {"since_run_id": before["publication"]["run_id"], "periods": dict(sorted(told.items()))}


def _digests(entry: Mapping[str, Any]) -> dict[str, str]:
    return {name: file["sha256"] for name, file in entry["files"].items()}
