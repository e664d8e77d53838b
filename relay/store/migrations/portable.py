"""What both engines are told in their own ways."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from relay.store.tables import SEQ

__all__ = ["SEQ", "where"]


def where(condition: str) -> dict[str, Any]:
    """Return how `create_index` is told for which rows an index is."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}
