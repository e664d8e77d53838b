"""What both engines are told of a partial index."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text


def where(condition: str) -> dict[str, Any]:
    """Return how `create_index` is told for which rows an index is."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}
