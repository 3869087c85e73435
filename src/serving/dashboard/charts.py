"""Charts as values: ECharts' options from answers. Colours, fonts and number formats are the page's (static/dashboard.js)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from .asking import Answer
from .formats import is_count, label, shown
from .model import Chart

_FEW_POINTS = 12
"""Of more points the last one is so near the edge that its label needs room beside it."""
SEVERITIES = ("critical", "high", "medium", "low")


def series_chart(
    answer: Answer,
    title: str,
    along: str,
    values: Mapping[str, str] | Sequence[str],
    *,
    kind: str = "line",
    stack: bool = False,
    area: bool = False,
    empty: str = "",
    **look: Any,
) -> Chart:
    """Draw columns of an answer over one of its columns; `values` maps column to the name in the legend."""
    names = dict(values) if isinstance(values, Mapping) else {value: label(value) for value in values}
    axis = [_point(row[along], along) for row in answer.rows]
    series = [
        _series(name, [_plain(row[column]) for row in answer.rows], kind, stack, area) for column, name in names.items()
    ]
    first = next(iter(names))
    return _finished(answer, title, along, axis, series, answer.unit(first), empty, look)


def grouped_chart(
    answer: Answer,
    title: str,
    along: str,
    group: str,
    value: str,
    *,
    kind: str = "line",
    stack: bool = False,
    area: bool = False,
    empty: str = "",
    **look: Any,
) -> Chart:
    """Draw one column of an answer over another, a series for each value of a third; a missing point of a stack is 0."""
    axis = list(dict.fromkeys(_point(row[along], along) for row in answer.rows))
    found: dict[str, dict[str, Any]] = {}
    for row in answer.rows:
        found.setdefault(shown(row[group]), {})[_point(row[along], along)] = _plain(row[value])
    missing = 0 if stack else None
    series = [
        _series(name, [points.get(at, missing) for at in axis], kind, stack, area)
        for name, points in sorted(found.items(), key=lambda item: _rank(item[0]))
    ]
    return _finished(answer, title, along, axis, series, answer.unit(value), empty, look, value)


def ranked_chart(
    answer: Answer, title: str, name: str, value: str, *, most: int = 12, empty: str = "", **look: Any
) -> Chart:
    """Draw the first rows of an answer as bars, the first on top."""
    axis = [shown(row[name], name=name) for row in answer.rows[:most]]
    series = [_series(label(value), [_plain(row[value]) for row in answer.rows[:most]], "bar", False, False)]
    look = {"height": max(160, 26 * len(axis) + 70)} | look
    return _finished(answer, title, name, axis, series, answer.unit(value), empty, look, value, sideways=True)


def waterfall_chart(answer: Answer, title: str, name: str, value: str, *, empty: str = "", **look: Any) -> Chart:
    """Draw steps from the first row's value to the last row's: what lies between adds to it or takes from it."""
    axis = [label(shown(row[name])) for row in answer.rows]
    amounts = [_plain(row[value]) or 0 for row in answer.rows]
    low, more, less, whole = [], [], [], []
    level = 0.0
    for position, amount in enumerate(amounts):
        is_total = position in (0, len(amounts) - 1)
        start = 0.0 if is_total else level
        level = amount if is_total else level + amount
        low.append(min(start, level))
        more.append(amount if amount >= 0 and not is_total else None)
        less.append(-amount if amount < 0 and not is_total else None)
        whole.append(level if is_total else None)
    hidden = {"itemStyle": {"color": "transparent", "decal": {"color": "transparent"}}, "silent": True, "tooltip": {"show": False}}
    series = [
        _series("from", low, "bar", True, False) | hidden,
        _series("total", whole, "bar", True, False) | {"itemStyle": {"color": "@total"}},
        _series("more", more, "bar", True, False) | {"itemStyle": {"color": "@up"}},
        _series("less", less, "bar", True, False) | {"itemStyle": {"color": "@down"}},
    ]
    look = {"height": 26 * len(axis) + 110} | look
    chart = _finished(answer, title, name, axis, series, answer.unit(value), empty, look, value, sideways=True)
    if chart.option:
        chart.option["legend"]["data"] = ["total", "more", "less"]
    rows = [[at, shown(row[value], answer.unit(value))] for at, row in zip(axis, answer.rows, strict=True)]
    return Chart(**{**vars(chart), "header": [label(name), label(value)], "rows": rows})


def _rank(name: str) -> tuple[int, str]:
    """Sort by name, severities by gravity."""
    return (SEVERITIES.index(name) if name in SEVERITIES else -1, name)


def _series(name: str, data: list[Any], kind: str, stack: bool, area: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "type": kind, "data": data}
    if stack:
        found["stack"] = "all"
    if area:
        found["areaStyle"] = {"opacity": 0.75 if stack else 0.2}
    if kind == "line":
        found |= {"symbolSize": 5, "showSymbol": len(data) <= 31, "lineStyle": {"width": 1 if stack else 2}}
    else:
        found["barMaxWidth"] = 36
    return found


def _finished(
    answer: Answer,
    title: str,
    along: str,
    axis: Sequence[str],
    series: Sequence[dict[str, Any]],
    unit: str,
    empty: str,
    look: Mapping[str, Any],
    value: str = "",
    sideways: bool = False,
) -> Chart:
    """Return the chart with its axes and its table of numbers; one where every value is unknown is empty."""
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    about = {key: look[key] for key in ("lead", "wide", "height") if key in look}
    if answer.failure or all(point is None for one in series for point in one["data"]):
        return Chart(name, title, answer.source, empty=empty or answer.hint, failure=answer.failure, **about)
    said = look.get("y") or label(value or series[0]["name"])
    categories, values = _axes(look.get("x") or label(along), axis, said, unit, sideways)
    many = len(series) > 1
    right = 40 if len(axis) > _FEW_POINTS and not sideways else 24
    option = {
        "animation": False,
        "aria": {"enabled": True, "label": {"description": f"{title}: {len(axis)} points from {axis[0]} to {axis[-1]}."}},
        "grid": {"left": 12, "right": right, "top": 60 if many else 36, "bottom": 36, "containLabel": True},
        "tooltip": {"trigger": "axis", "confine": True, "unit": unit},
        "legend": {"show": many, "type": "scroll", "top": 0},
        "xAxis": values if sideways else categories,
        "yAxis": categories if sideways else values,
        "series": list(series),
    }
    header = [label(along), *(one["name"] for one in series)]
    rows = [[at, *(shown(one["data"][i], unit) for one in series)] for i, at in enumerate(axis)]
    return Chart(name, title, answer.source, option, header, rows, **about)


def _axes(
    along: str, axis: Sequence[str], said: str, unit: str, sideways: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the axis of the categories and that of the values, named, the latter with its unit."""
    unit_said = "%" if unit == "fraction" else "" if is_count(unit) or unit == "h" else unit
    categories: dict[str, Any] = {"type": "category", "data": list(axis), "name": along, "nameLocation": "middle", "nameGap": 30}
    values: dict[str, Any] = {"type": "value", "name": f"{said}, {unit_said}" if unit_said else said, "unit": unit}
    if sideways:
        categories |= {"inverse": True, "nameLocation": "start", "nameGap": 12}
        values |= {"nameLocation": "middle", "nameGap": 30}
    else:
        values["nameTextStyle"] = {"align": "left"}
    return categories, values


def _point(value: Any, column: str) -> str:
    if isinstance(value, datetime):
        return f"{value:%m-%d %H:%M}"
    return shown(value, name=column) if isinstance(value, date) or value is None else str(value)


def _plain(value: Any) -> Any:
    """Return a number as JSON has it; ECharts draws doubles."""
    return value if value is None or isinstance(value, int) else float(value)
