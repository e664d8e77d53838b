"""The schema's history, in numbered steps."""

from typing import Any

import sqlalchemy as sa

SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # only INTEGER is SQLite's own row number


def where(condition: str) -> dict[str, Any]:
    """Return what makes an index a partial one, for each engine."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
