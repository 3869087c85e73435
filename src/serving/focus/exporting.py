"""From one publication to a folder of FOCUS files and a manifest, which take the place of the ones before in one step."""

from __future__ import annotations

import difflib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ...common.config import Config
from ...common.errors import CloudlakeError, ConfigurationError, QualityGateError, did_you_mean
from ...common.lake.duck import text_of
from ..queries import Reader, open_reader
from . import manifest
from .declaration import ExportColumn, ExportSettings, Version, load_export
from .placing import replacing
from .writing import CHARGES, LINES, Form, Writer


@dataclass(frozen=True)
class Selection:
    """What to export: a version of FOCUS, the form of its files, months from one to another, one organisation."""

    version: Version
    form: Form = "parquet"
    first: date | None = None
    last: date | None = None
    org: str | None = None


def export_focus(config: Config, out: Path, selection: Selection) -> dict[str, Any]:
    """Write `<out>/focus/<version>/` and return its manifest.

    The chosen months are written anew, all of them where none are chosen; months outside `first` to `last` that are
    there stay as they are.

    Raises:
        ConfigurationError: an organisation or months without charges, or a folder that can't be written or holds another
            selection.
        QualityGateError: the publication breaks a law.
        CloudlakeError: nothing is published, or the disk is full; the export that was there stays.
    """
    settings = load_export(config.conf)
    target = out.absolute() / "focus" / selection.version
    with open_reader(config, alone=True) as reader:
        reader.require([CHARGES, LINES])
        months = _months(reader, selection)
        try:
            with replacing(target) as folder:
                before = manifest.read(target)
                _require_same_selection(target, before, selection)
                spill = folder.with_name(f"{folder.name}.spill")
                _limit(reader, settings, spill)
                try:
                    return _export(reader, settings, selection, months, target, folder, before)
                finally:
                    shutil.rmtree(spill, ignore_errors=True)
        except OSError as error:
            raise CloudlakeError(f"{target}: {_why(error)}; nothing was exported, and what was there stays") from None


def _export(
    reader: Reader,
    settings: ExportSettings,
    selection: Selection,
    months: list[date],
    target: Path,
    folder: Path,
    before: Mapping[str, Any],
) -> dict[str, Any]:
    laws = _laws(reader)
    datasets = settings.datasets(selection.version)
    red_lines = settings.red_lines if selection.version == "1.2" else {}
    writer = Writer(reader, selection.form, settings.constants(), red_lines, selection.org)
    periods = _keep(target, folder, before, selection)
    for month in months:
        written = folder / str(month)
        written.mkdir()
        periods[str(month)] = manifest.period(reader, _files(writer, written, month, datasets))
    told = manifest.build(reader, settings, selection.version, selection.org, laws, periods, before)
    (folder / manifest.NAME).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return told


def _files(writer: Writer, folder: Path, month: date, datasets: Mapping[str, Mapping[str, ExportColumn]]) -> list[Any]:
    files = list(writer.charges(folder, month, datasets["Cost and Usage"]))
    if "Invoice Detail" in datasets:
        files += writer.invoice_detail(folder, month, datasets["Invoice Detail"])
    if "Billing Period" in datasets:
        files += writer.billing_period(folder, month, datasets["Billing Period"], writer.reader.as_of)
    return files


def _limit(reader: Reader, settings: ExportSettings, spill: Path) -> None:
    reader.connection.execute(f"SET temp_directory = {text_of(str(spill))}")
    reader.connection.execute(f"SET memory_limit = '{settings.memory_limit}'")


def _months(reader: Reader, selection: Selection) -> list[date]:
    """Return the chosen months that have charges.

    Raises:
        ConfigurationError: there are none; with every fault.
    """
    first, last, org = selection.first, selection.last, selection.org
    faults = []
    if first and last and first > last:
        faults.append(f"--from {first:%Y-%m} is after --to {last:%Y-%m}")
    known = reader.run(f"SELECT DISTINCT org_id FROM {CHARGES}")["org_id"].to_pylist()
    if org is not None and org not in known:
        near = difflib.get_close_matches(org, known, n=1, cutoff=0.6)
        faults.append(f"--org {org}: there are no charges of such an organisation{did_you_mean(org, near)}")
        org = None
    parameters = {"org": org}
    sql = f"SELECT DISTINCT billing_month FROM {CHARGES} WHERE $org IS NULL OR org_id = $org ORDER BY ALL"
    there = reader.run(sql, parameters)["billing_month"].to_pylist()
    chosen = [month for month in there if (not first or month >= first) and (not last or month <= last)]
    if not chosen and not faults:
        span = f"charges are there from {there[0]:%Y-%m} to {there[-1]:%Y-%m}" if there else "there are no charges yet"
        asked = " ".join(f"{name} {month:%Y-%m}" for name, month in (("--from", first), ("--to", last)) if month)
        faults.append(f"{asked or 'export'}: no charges in these months; {span}")
    if faults:
        raise ConfigurationError(faults)
    return chosen


def _require_same_selection(target: Path, before: Mapping[str, Any], selection: Selection) -> None:
    """Check that the folder is empty or holds an export of the same organisations.

    Raises:
        ConfigurationError: it does not, and what is there would be lost.
    """
    if not before and target.exists() and any(target.iterdir()):
        raise ConfigurationError(
            f"--out: {target} holds something else than an export (no {manifest.NAME}); name another folder"
        )
    if before and before["selection"]["org"] != selection.org:
        there = before["selection"]["org"] or "all organisations"
        raise ConfigurationError(f"--out: {target} holds an export of {there}; name another folder, or remove that one")


def _keep(target: Path, folder: Path, before: Mapping[str, Any], selection: Selection) -> dict[str, Any]:
    """Take over the months that are not asked for from the export that is there."""
    kept = {}
    for name, entry in before.get("periods", {}).items():
        month = date.fromisoformat(name)
        if (selection.first and month < selection.first) or (selection.last and month > selection.last):
            shutil.copytree(target / name, folder / name, copy_function=_linked)
            kept[name] = entry
    return kept


def _linked(source: str, copy: str) -> None:
    """Give a file, which is never changed, a second name; where the file system has only one for each, a copy."""
    try:
        os.link(source, copy)
    except OSError:
        shutil.copyfile(source, copy)


def _laws(reader: Reader) -> dict[str, dict[str, str]]:
    """Return the laws of gold.focus_charges with what was measured now.

    Raises:
        QualityGateError: one is broken, though the publication is in force; with all of them.
    """
    rules = reader.config.registry[CHARGES].expectations
    laws = {}
    faults = []
    for name, rule in rules.items():
        if not name.startswith("law_"):
            continue
        found = reader.run(str(rule.measure))[0].to_pylist()[0]
        laws[name] = {"says": rule.description, "found": format(found, "f")}
        if found:
            faults.append(f"{name}: {rule.description}: found {found}, expected 0; nothing was exported")
    if faults:
        raise QualityGateError(faults if len(faults) == 1 else "\n".join(faults))
    return laws


def _why(error: OSError) -> str:
    text = error.strerror or str(error)
    if "No space left" in text:
        return "the disk is full; free space and export again"
    return text
