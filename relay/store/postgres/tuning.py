"""What the PostgreSQL server is asked to do for our tables, and what is wrong with the way it is set up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from relay.clock import from_us

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

_CLOCK_DIFFERS = timedelta(seconds=1)
_DEAD_ROWS = 50_000
_OLD_SNAPSHOT_S = 600

_settings = text(
    "SELECT current_setting('fsync'), current_setting('synchronous_commit'), "
    "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
)
_dead_rows = text(
    "SELECT relname, n_dead_tup FROM pg_stat_user_tables WHERE n_dead_tup > :most AND n_dead_tup > n_live_tup / 2"
)
_oldest_snapshot = text(
    "SELECT CAST(max(extract(epoch FROM clock_timestamp() - xact_start)) AS bigint) "
    "FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND datname = current_database()"
)


def start_warnings(connection: Connection, now: datetime) -> Iterator[str]:
    """Yield what makes this server lose notifications or tell another time."""
    fsync, synchronous_commit, server_us = connection.execute(_settings).one()
    if fsync != "on":
        yield "the PostgreSQL server runs with fsync = off: a power cut loses what was confirmed; set it on"
    if synchronous_commit == "off":
        yield (
            "the PostgreSQL server runs with synchronous_commit = off: a crash loses what was confirmed; "
            "ALTER ROLE … SET synchronous_commit = on for the relay's user"
        )
    difference = from_us(server_us) - now
    if abs(difference) > _CLOCK_DIFFERS:
        yield (
            f"the clocks of this machine and of the PostgreSQL server differ by {difference.total_seconds():.1f} s; "
            "let both follow a time server"
        )


def upkeep_warnings(connection: Connection) -> Iterator[str]:
    """Yield what makes the tables grow and the searches slow."""
    for table, rows in connection.execute(_dead_rows, {"most": _DEAD_ROWS}):
        yield f"{table} has {rows} dead rows: VACUUM {table} by hand, and see why autovacuum does not keep up"
    age_s = connection.execute(_oldest_snapshot).scalar()
    if age_s is not None and age_s > _OLD_SNAPSHOT_S:
        yield f"a transaction has been open for {age_s // 60} min: until it ends no dead row is removed"
