"""The published tables in PostgreSQL, for BI tools."""

from .publishing import Published, publish

__all__ = ["Published", "publish"]
