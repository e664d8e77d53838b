"""Looks at the PostgreSQL server: what is wrong with the way it is set up, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from relay.clock import from_us
from relay.i18n import Message

_CLOCK_DIFFERS = timedelta(seconds=1)
_DEAD_ROWS = 50_000
_OLD_SNAPSHOT_S = 600
_AT_A_DEPLOYMENT = 2  # the old processes and the new ones, for a while

NOT_TOLD = Message(
    "not told: LISTEN brings nothing, as behind PgBouncer, so each process polls every 0.25 s; nothing is lost by it"
)
_ROOM = Message(
    "PostgreSQL: up to %(needed)s connections while a deployment runs the processes twice; "
    "there is room for %(room)s of %(limit)s"
)
_SERVER_TOO_LOW = Message(
    "the PostgreSQL server has too few connections: raise max_connections by %(more)s, or put PgBouncer in "
    "front (pool_mode = transaction)"
)
_ROLE_TOO_LOW = Message(
    "user %(user)s may have %(limit)s connections, too few: ALTER ROLE %(user)s CONNECTION LIMIT %(enough)s"
)
_DATABASE_TOO_LOW = Message(
    "database %(name)s takes %(limit)s connections, too few: ALTER DATABASE %(name)s CONNECTION LIMIT %(enough)s"
)

_settings = text(
    "SELECT current_setting('fsync'), current_setting('synchronous_commit'), "
    "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
)
_dead_rows = text(
    "SELECT relname, n_dead_tup FROM pg_stat_user_tables WHERE n_dead_tup > :most AND n_dead_tup > n_live_tup / 2"
)
_oldest_snapshot = text(
    """
    SELECT CAST(max(extract(epoch FROM clock_timestamp() - since)) AS bigint) FROM (
      SELECT xact_start AS since FROM pg_stat_activity
      WHERE backend_xmin IS NOT NULL AND datname = current_database()
      UNION ALL SELECT prepared FROM pg_prepared_xacts WHERE database = current_database()
    ) AS open
    """
)
# Without rights on other users' sessions their number is seen all the same.
_connections = text(
    """
    SELECT
      current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0),
      (SELECT sum(numbackends)::int FROM pg_stat_database),
      (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
      (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user),
      (SELECT datconnlimit FROM pg_database WHERE datname = current_database()),
      (SELECT numbackends FROM pg_stat_database WHERE datname = current_database()),
      (SELECT count(*) FROM pg_stat_activity
       WHERE usename = current_user AND datname = current_database() AND application_name LIKE 'relay%'),
      current_user, current_database()
    """
)


def start_warnings(connection: Connection, now: datetime) -> Iterator[str]:
    """Yield what makes this server lose notifications or tell another time."""
    fsync, synchronous_commit, server_us = connection.execute(_settings).one()
    if fsync != "on":
        yield Message("the PostgreSQL server runs with fsync = off: a power cut loses what was confirmed; set it on")
    if synchronous_commit == "off":
        yield Message(
            "the PostgreSQL server runs with synchronous_commit = off: a crash loses what was confirmed; "
            "ALTER ROLE … SET synchronous_commit = on for the relay's user"
        )
    difference = from_us(server_us) - now
    if abs(difference) > _CLOCK_DIFFERS:
        yield Message(
            "the clocks of this machine and of the PostgreSQL server differ by %(seconds)s s; "
            "let both follow a time server",
            seconds=f"{difference.total_seconds():.1f}",
        )


def upkeep_warnings(connection: Connection) -> Iterator[str]:
    """Yield what makes the tables grow and the searches slow."""
    for table, rows in connection.execute(_dead_rows, {"most": _DEAD_ROWS}):
        text = Message(
            "%(table)s has %(rows)s dead rows: VACUUM %(table)s by hand, and see why autovacuum does not keep up"
        )
        yield text.fill(table=table, rows=rows)
    age_s = connection.execute(_oldest_snapshot).scalar()
    if age_s is not None and age_s > _OLD_SNAPSHOT_S:
        yield Message(
            "a transaction has been open for %(age)s: until it ends no dead row is removed; find it in "
            "pg_stat_activity or pg_prepared_xacts (the oldest xmin)",
            age=timedelta(seconds=age_s),
        )


def connection_remarks(connection: Connection, needed: int) -> Iterator[str]:
    """Yield what the processes need, of which together hold `needed` connections, and which limit is too low for it."""
    needed *= _AT_A_DEPLOYMENT
    server, in_server, role, in_role, database, in_database, ours, user, name = connection.execute(_connections).one()
    room = server - (in_server - ours)
    yield _ROOM.fill(needed=needed, room=room, limit=server)
    if room < needed:
        yield _SERVER_TOO_LOW.fill(more=needed - room)
    if 0 <= role < (enough := needed + in_role - ours):
        yield _ROLE_TOO_LOW.fill(user=user, limit=role, enough=enough)
    if 0 <= database < (enough := needed + in_database - ours):
        yield _DATABASE_TOO_LOW.fill(name=name, limit=database, enough=enough)
