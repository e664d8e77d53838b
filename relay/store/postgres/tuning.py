"""What the PostgreSQL server is asked to do for our tables."""

from __future__ import annotations

# Fixed thresholds: a share of a large table is much, and what waits is always a small part of it. Rows that change
# find room on their own page, so that no index has to change.
STORAGE = (
    "CREATE SEQUENCE IF NOT EXISTS events_seq_seq OWNED BY events.seq",
    *(
        f"ALTER TABLE {table} SET (fillfactor = {fill}, autovacuum_vacuum_scale_factor = 0, "
        f"autovacuum_vacuum_threshold = {rows}, autovacuum_vacuum_insert_scale_factor = 0, "
        f"autovacuum_vacuum_insert_threshold = {rows * 10}, autovacuum_analyze_scale_factor = 0, "
        f"autovacuum_analyze_threshold = {rows})"
        for table, fill, rows in (
            ("events", 85, 5_000),
            ("deliveries", 75, 5_000),
            ("attempts", 100, 10_000),
            ("call_links", 75, 5_000),
            ("targets", 70, 500),
            ("leases", 70, 500),
            ("heartbeats", 70, 500),
        )
    ),
)
