"""A bundle for Superset: every published table as a dataset, described as its contract does, and a dashboard over some of them.

Made from conf/ and charts.yaml at each call, so it can't be stale. Its uuids come from names: importing it again makes nothing
twice. It holds no password: Superset asks for it. docs/postgresql.md says how it is imported.

    .venv/bin/python integrations/superset/bundle.py --out cloudlake-superset.zip --database postgresql+psycopg2://USER:XXXXXXXXXX@HOST:5432/DATABASE
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import uuid
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from cloudlake.common.config import Config, load_config
from cloudlake.common.contracts.table import Registry, Table
from cloudlake.common.errors import ConfigurationError, did_you_mean
from cloudlake.serving.postgres.statements import RUN, RUN_COMMENT, postgres_type

CHARTS = Path(__file__).with_name("charts.yaml")
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "cloudlake.superset")
DATABASE = "postgresql+psycopg2://reporting:XXXXXXXXXX@localhost:5432/analytics"
"""The ten X are how Superset writes a password that it must be told when it imports."""
TYPES = ("Dashboard", "assets")
"""What the page and the command `import-dashboards` take (the dashboard and what it needs; what is there already stays), and
what POST /api/v1/assets/import/ takes (all of it; what is there is overwritten)."""
VERSION = "1.0.0"
FOLDER = "cloudlake"
"""The one folder of the bundle, as Superset's own exports have it."""
TEMPORAL = ("date", "timestamp")
KINDS = {
    "number": "big_number",
    "area": "echarts_area",
    "bars": "echarts_timeseries_bar",
    "lines": "echarts_timeseries_line",
    "pie": "pie",
    "table": "table",
}
HEIGHTS = {"number": 20, "table": 56}
"""Of a chart, by kind, in units of the dashboard's grid; the others have 44."""
Body = dict[str, Any]


def files(config: Config, database: str = DATABASE, charts: Path = CHARTS, kind: str = TYPES[0]) -> dict[str, str]:
    """Return the bundle: the name of each file → its YAML.

    Raises:
        ConfigurationError: a chart names a table or a column that no contract has; all such faults at once.
    """
    declared = yaml.safe_load(charts.read_text(encoding="utf-8"))
    faults = _faults(declared, config.registry)
    if faults:
        raise ConfigurationError([f"{charts.name}: {fault}" for fault in faults])
    schema = config.settings.postgres.schema_name
    bodies: dict[str, Body] = {
        "metadata.yaml": {"version": VERSION, "type": kind, "timestamp": "2025-01-01T00:00:00+00:00"},
        "databases/cloudlake.yaml": _database(database),
    }
    for table in config.registry.layer("gold", "serving"):
        metrics = _metrics(declared["charts"], table.name)
        bodies[f"datasets/cloudlake/{table.short_name}.yaml"] = _dataset(table, schema, metrics)
    for name, chart in declared["charts"].items():
        bodies[f"charts/{name}.yaml"] = _chart(name, chart, config.registry)
    bodies[f"dashboards/{declared['slug']}.yaml"] = _dashboard(declared, config.registry)
    return {
        f"{FOLDER}/{name}": yaml.safe_dump(body, sort_keys=False, allow_unicode=True) for name, body in bodies.items()
    }


def _faults(declared: Body, registry: Registry) -> list[str]:
    tables = {table.name: table for table in registry.layer("gold", "serving")}
    faults = []
    for name, chart in [*declared["charts"].items(), *declared["filters"].items()]:
        table = tables.get(chart["table"])
        if table is None:
            faults.append(f"{name}: '{chart['table']}' is no published table{did_you_mean(chart['table'], tables)}")
            continue
        faults += [
            f"{name}: '{column}' is no column of {table.name}{did_you_mean(column, table.columns)}"
            for column in sorted(_named(chart) - set(table.columns))
        ]
        if chart.get("kind", "pie") not in KINDS:
            faults.append(f"{name}: there is no kind '{chart['kind']}'{did_you_mean(chart['kind'], KINDS)}")
    shown = [name for row in declared["rows"] for name in row]
    if sorted(shown) != sorted(declared["charts"]):
        faults.append(
            f"rows: each chart once; found {', '.join(sorted(set(shown) ^ set(declared['charts']))) or 'one twice'}"
        )
    return faults


def _named(chart: Body) -> set[str]:
    """Return the columns that a chart, or a filter, is made of."""
    told = [
        chart.get("x"),
        chart.get("where"),
        chart.get("order"),
        chart.get("column"),
        *chart.get("by", ()),
        *chart.get("columns", ()),
    ]
    found = {name for name in told if name}
    for expression in chart.get("metrics", {}).values():
        found |= set(
            re.findall(r"(?<![:\w])[a-z_][a-z0-9_]*", expression)
        )  # functions are in capitals, and a type stands after ::
    return found


def _uuid(*names: str) -> str:
    return str(uuid.uuid5(NAMESPACE, "/".join(names)))


def _database(address: str) -> Body:
    return {
        "database_name": "cloudlake",
        "sqlalchemy_uri": address,
        "expose_in_sqllab": True,
        "allow_run_async": False,
        "allow_ctas": False,
        "allow_cvas": False,
        "allow_dml": False,
        "extra": {"allows_virtual_table_explore": True},
        "uuid": _uuid("database"),
        "version": VERSION,
    }


def _metrics(charts: Mapping[str, Body], table: str) -> dict[str, str]:
    """Return what the charts measure of a table, and its rows."""
    found = {"rows": "COUNT(*)"}
    for chart in charts.values():
        if chart["table"] == table:
            found |= chart.get("metrics", {})
    return found


def _dataset(table: Table, schema: str, metrics: Mapping[str, str]) -> Body:
    columns = [_column(name, column.type, column.description) for name, column in table.columns.items()]
    dates = [name for name, column in table.columns.items() if column.type in TEMPORAL]
    in_key = [name for name in dates if name in table.key]
    return {
        "table_name": table.short_name,
        "schema": schema,
        "catalog": None,
        "sql": None,
        "main_dttm_col": (in_key or dates or [None])[0],
        "description": f"{table.description} {table.grain}.",
        "columns": [*columns, _column(RUN, "string", RUN_COMMENT)],
        "metrics": [
            {"metric_name": n, "verbose_name": n.replace("_", " "), "expression": e, "d3format": None}
            for n, e in metrics.items()
        ],
        "uuid": _uuid("dataset", table.name),
        "database_uuid": _uuid("database"),
        "version": VERSION,
    }


def _column(name: str, declared: str, description: str) -> Body:
    kind = postgres_type(declared)
    plain = kind != "jsonb" and not kind.endswith("[]")
    return {
        "column_name": name,
        "type": kind.upper(),
        "description": description,
        "is_dttm": declared in TEMPORAL,
        "is_active": True,
        "groupby": plain,
        "filterable": plain,
        "expression": None,
        "python_date_format": None,
    }


def _chart(name: str, chart: Body, registry: Registry) -> Body:
    viz = "big_number_total" if chart["kind"] == "number" and "x" not in chart else KINDS[chart["kind"]]
    shared: Body = {"viz_type": viz, "adhoc_filters": _conditions(chart), "row_limit": 10_000}
    shape = _SHAPES.get(chart["kind"], _over_time)
    return {
        "slice_name": chart["title"],
        "description": None,
        "viz_type": viz,
        "params": shared | shape(chart, registry[chart["table"]]),
        "query_context": None,
        "cache_timeout": None,
        "uuid": _uuid("chart", name),
        "dataset_uuid": _uuid("dataset", chart["table"]),
        "version": VERSION,
    }


def _number(chart: Body, table: Table) -> Body:
    told: Body = {"metric": next(iter(chart["metrics"])), "y_axis_format": _format(chart), "header_font_size": 0.3}
    if "x" not in chart:
        return told
    return told | {
        "x_axis": chart["x"],
        "time_grain_sqla": "P1D",
        "aggregation": "sum",
        "show_trend_line": True,
        "start_y_axis_at_zero": True,
    }


def _pie(chart: Body, table: Table) -> Body:
    return {
        "metric": next(iter(chart["metrics"])),
        "groupby": chart["by"],
        "donut": True,
        "label_type": "key_value",
        "number_format": _format(chart),
        "labels_outside": True,
        "outerRadius": 55,
        "innerRadius": 30,
        "show_legend": False,
    }


def _rows(chart: Body, table: Table) -> Body:
    amounts = [name for name in chart["columns"] if table.columns[name].type.startswith(("decimal", "double"))]
    return {
        "query_mode": "raw",
        "all_columns": chart["columns"],
        "order_by_cols": [json.dumps([chart["order"], False])],
        "page_length": 10,
        "row_limit": 200,
        "show_cell_bars": False,
        "table_timestamp_format": "%Y-%m-%d",
        "column_config": {name: {"d3NumberFormat": ",.2f"} for name in amounts},
    }


def _over_time(chart: Body, table: Table) -> Body:
    is_stacked = chart["kind"] == "area" or (chart["kind"] == "bars" and "by" in chart)
    return {
        "x_axis": chart["x"],
        "time_grain_sqla": chart["grain"],
        "metrics": list(chart["metrics"]),
        "groupby": chart.get("by", []),
        "show_legend": True,
        "rich_tooltip": True,
        "y_axis_format": _format(chart),
        "x_axis_time_format": "%Y-%m" if chart["grain"] == "P1M" else "%Y-%m-%d",
    } | ({"stack": "Stack"} if is_stacked else {})


def _format(chart: Body) -> str:
    return str(chart.get("format", ",.0f"))


_SHAPES: dict[str, Callable[[Body, Table], Body]] = {"number": _number, "pie": _pie, "table": _rows}


def _conditions(chart: Body) -> list[Body]:
    found: list[Body] = []
    if "x" in chart:  # without it a range of time on the dashboard would not reach the chart
        found.append(
            {
                "clause": "WHERE",
                "comparator": "No filter",
                "expressionType": "SIMPLE",
                "operator": "TEMPORAL_RANGE",
                "subject": chart["x"],
            }
        )
    if "where" in chart:
        found.append({"clause": "WHERE", "expressionType": "SQL", "sqlExpression": chart["where"]})
    return found


def _dashboard(declared: Body, registry: Registry) -> Body:
    numbers = {name: place for place, name in enumerate(declared["charts"], start=1)}
    position: Body = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
        "GRID_ID": {"type": "GRID", "id": "GRID_ID", "parents": ["ROOT_ID"], "children": []},
        "HEADER_ID": {"type": "HEADER", "id": "HEADER_ID", "meta": {"text": declared["title"]}},
    }
    for place, names in enumerate(declared["rows"]):
        row = f"ROW-{place}"
        position["GRID_ID"]["children"].append(row)
        position[row] = {
            "type": "ROW",
            "id": row,
            "parents": ["ROOT_ID", "GRID_ID"],
            "children": [f"CHART-{n}" for n in names],
            "meta": {"background": "BACKGROUND_TRANSPARENT"},
        }
        for name in names:
            chart = declared["charts"][name]
            meta = {
                "chartId": numbers[name],
                "uuid": _uuid("chart", name),
                "sliceName": chart["title"],
                "width": chart.get("width", 12 // len(names)),
                "height": HEIGHTS.get(chart["kind"], 44),
            }
            position[f"CHART-{name}"] = {
                "type": "CHART",
                "id": f"CHART-{name}",
                "parents": ["ROOT_ID", "GRID_ID", row],
                "children": [],
                "meta": meta,
            }
    filters = [_filter(name, told, declared, registry, numbers) for name, told in declared["filters"].items()]
    return {
        "dashboard_title": declared["title"],
        "slug": declared["slug"],
        "description": None,
        "css": "",
        "published": True,
        "uuid": _uuid("dashboard"),
        "version": VERSION,
        "position": position,
        "metadata": {
            "native_filter_configuration": filters,
            "color_scheme": "supersetColors",
            "label_colors": declared["colours"],
            "refresh_frequency": 0,
            "cross_filters_enabled": True,
        },
    }


def _filter(name: str, told: Body, declared: Body, registry: Registry, numbers: Mapping[str, int]) -> Body:
    """Return a filter of the dashboard; charts of tables without its column are left out of its scope."""
    charts = declared["charts"].items()
    reached = [numbers[n] for n, chart in charts if told["column"] in registry[chart["table"]].columns]
    return {
        "id": f"NATIVE_FILTER-{name}",
        "name": told["title"],
        "type": "NATIVE_FILTER",
        "filterType": "filter_select",
        "description": "",
        "targets": [{"column": {"name": told["column"]}, "datasetUuid": _uuid("dataset", told["table"])}],
        "scope": {"rootPath": ["ROOT_ID"], "excluded": sorted(set(numbers.values()) - set(reached))},
        "chartsInScope": reached,
        "controlValues": {
            "multiSelect": True,
            "enableEmptyFilter": False,
            "defaultToFirstItem": False,
            "inverseSelection": False,
            "searchAllOptions": True,
        },
        "defaultDataMask": {"extraFormData": {}, "filterState": {}, "ownState": {}},
        "cascadeParentIds": [],
        "tabsInScope": [],
    }


def write(target: Path, found: Mapping[str, str]) -> None:
    """Write the zip file, the same bytes for the same bundle."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        for name, body in found.items():
            made.writestr(zipfile.ZipInfo(name, (2025, 1, 1, 0, 0, 0)), body, zipfile.ZIP_DEFLATED)


def main() -> int:
    """Write the bundle; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="the zip file")
    parser.add_argument(
        "--database",
        default=DATABASE,
        help="where Superset finds PostgreSQL; XXXXXXXXXX for the password (default: %(default)s)",
    )
    parser.add_argument(
        "--type", choices=TYPES, default=TYPES[0], help="assets: for POST /api/v1/assets/import/, which overwrites"
    )
    parser.add_argument("--conf", help="the folder of declarations (default: conf/)")
    options = parser.parse_args()
    try:
        found = files(load_config(options.conf), options.database, kind=options.type)
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    write(Path(options.out), found)
    print(f"wrote {options.out}: {len(found)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
