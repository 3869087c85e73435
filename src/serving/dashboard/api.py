"""The JSON API as a document: OpenAPI 3.1, made from the queries' declarations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..queries import Column, Filter, Query

FORMATS = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
"""What an answer can be had as: ?format=NAME, or the Accept header."""


@dataclass(frozen=True)
class Described:
    """A query as its documentation shows it."""

    name: str
    title: str
    description: str
    filters: Sequence[Filter]
    columns: Sequence[Column]
    example: str
    """Parameters of a request that can be tried as it stands, "" where none are needed."""


def described(queries: Mapping[str, Query]) -> list[Described]:
    """Return what a reader of the documentation needs to know of each query."""
    found = []
    for query in queries.values():
        filters = list(query.filters.values())
        needed = [f"{one.name}={one.name.upper()}" for one in filters if one.needed]
        example = f"?{'&'.join(needed)}" if needed else ""
        found.append(
            Described(query.name, query.title, query.description, filters, list(query.columns.values()), example)
        )
    return found


def openapi(queries: Sequence[Described]) -> dict[str, Any]:
    """Return the description of every named query as a path, for programs."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cloudlake",
            "version": "1",
            "description": "The named queries of the platform. Each answer is of one publication; its ETag changes with the "
            "publication and with what the stream has brought since. Decimals in JSON are numbers with all their digits: read "
            "them as decimals to keep them.",
        },
        "paths": {f"/api/v1/query/{query.name}": {"get": _operation(query)} for query in queries},
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
            },
        },
    }


def _operation(query: Described) -> dict[str, Any]:
    chosen = {"name": "format", "in": "query", "description": "What to answer in",
              "schema": {"type": "string", "enum": [*FORMATS], "default": "json"}}  # fmt: skip
    return {
        "operationId": query.name,
        "summary": query.title,
        "description": query.description,
        "parameters": [*(_parameter(one) for one in query.filters), chosen],
        "responses": {
            "200": {
                "description": "The rows",
                "headers": {
                    "ETag": {"schema": {"type": "string"}, "description": "Changes with the publication and the stream"}
                },
                "content": {
                    "application/json": {"schema": _answer(query)},
                    "text/csv": {"schema": {"type": "string"}},
                    "application/vnd.apache.parquet": {"schema": {"type": "string", "contentEncoding": "binary"}},
                },
            },
            "304": {"description": "Nothing has changed since the ETag in If-None-Match"},
            **{code: _error(said) for code, said in _ERRORS.items()},
        },
    }


_ERRORS = {
    "400": "A filter is wrong; the message says which, and names the nearest value",
    "401": "The server asks for a token",
    "503": "There is no answer now: nothing is published, or a table cannot be read",
}


def _error(said: str) -> dict[str, Any]:
    return {"description": said, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}


def _parameter(one: Filter) -> dict[str, Any]:
    schema: dict[str, Any] = _FILTER_TYPES.get(one.type, {"type": "string"}) | {}
    bounds = {"default": one.default, "minimum": one.least, "maximum": one.most, "enum": list(one.choices) or None}
    schema |= {key: value for key, value in bounds.items() if value is not None}
    return {
        "name": one.name,
        "in": "query",
        "required": bool(one.needed),
        "description": one.description,
        "schema": schema,
    }


_FILTER_TYPES: Mapping[str, dict[str, Any]] = {
    "date": {"type": "string", "format": "date"},
    "month": {"type": "string", "format": "date"},
    "whole": {"type": "integer"},
}


def _answer(query: Described) -> dict[str, Any]:
    row = {"type": "object", "properties": {column.name: _column(column) for column in query.columns}}
    return {
        "type": "object",
        "properties": {
            "query": {"type": "string"},
            "as_of": {"type": ["string", "null"], "format": "date"},
            "title": {"type": "string"},
            "publication": {
                "type": "object",
                "properties": {"run_id": {"type": "string"}, "published_at": {"type": "string", "format": "date-time"}},
            },
            "filters": {"type": "object"},
            "columns": {"type": "array", "items": {"type": "object"}},
            "empty_hint": {"type": ["string", "null"]},
            "rows": {"type": "array", "items": row},
        },
    }


def _column(column: Column) -> dict[str, Any]:
    unit = f" ({column.unit})" if column.unit else ""
    return {**_json_type(column.type), "description": f"{column.description}{unit}"}


def _json_type(declared: str) -> dict[str, Any]:
    kind = declared.replace("<", "(").partition("(")[0].lower()
    known: Mapping[str, dict[str, Any]] = {
        "bigint": {"type": ["integer", "null"]}, "int": {"type": ["integer", "null"]}, "integer": {"type": ["integer", "null"]},
        "double": {"type": ["number", "null"]}, "boolean": {"type": ["boolean", "null"]},
        "decimal": {"type": ["number", "null"], "format": "decimal"},
        "date": {"type": ["string", "null"], "format": "date"}, "timestamp": {"type": ["string", "null"], "format": "date-time"},
        "array": {"type": ["array", "null"]}, "struct": {"type": ["object", "null"]}, "map": {"type": ["object", "null"]},
    }  # fmt: skip
    return known.get(kind, {"type": ["string", "null"]})
