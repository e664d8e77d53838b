"""Commands that hold a target's queue, and those that keep the store: pause, resume, prune, backup, restore."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from relay import config
from relay.cli.options import open_relay, say
from relay.clock import now_utc
from relay.errors import ConfigError, StoreError
from relay.operations.filters import refuse_unknown
from relay.store import Store
from relay.store.postgres.copy import copy_store
from relay.store.sqlite.backup import KEPT_FOR, back_up
from relay.store.sqlite.database import SqliteDatabase
from relay.store.sqlite.restore import restore as put_in_place
from relay.store.tables import VERSION


@click.command()
@click.argument("target")
def pause(target: str) -> None:
    """Holds a target's queue: nothing more is sent to it, and what waits does not grow older."""
    relay = open_relay()
    refuse_unknown(relay, target, None)
    if relay.store.targets.pause(target, relay.clock()):
        say("%(target)s is paused; `relay resume %(target)s` lets it go on", target=target)
    else:
        say("%(target)s was paused already", target=target)


@click.command()
@click.argument("target")
def resume(target: str) -> None:
    """Lets a target's queue go on; a target that is down or misconfigured is asked again at once."""
    relay = open_relay()
    refuse_unknown(relay, target, None)
    if relay.store.targets.resume(target, relay.clock()):
        say("%(target)s goes on", target=target)
    else:
        say("%(target)s was not paused; it is asked again at once", target=target)


@click.command()
def prune() -> None:
    """Deletes what has been kept for long enough (keep_delivered, keep_dead); the running relay does it every hour."""
    relay = open_relay()
    deleted = relay.housekeeping.prune()
    kept = relay.settings.storage
    say(
        "deleted %(count)s events; delivered ones are kept for %(delivered_days)s days, dead letters for %(dead_days)s",
        count=deleted,
        delivered_days=kept.keep_delivered.days,
        dead_days=kept.keep_dead.days,
    )


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(file: Path) -> None:
    """Makes a consistent copy of the database into FILE, also while the relay runs, and checks it."""
    relay = open_relay()
    count = back_up(_sqlite(relay.store, "pg_dump").path, file).events
    size = f"{file.stat().st_size / 1e6:.1f}"
    say("%(file)s: %(count)s events, %(size)s MB, checked", file=file, count=count, size=size)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def restore(file: Path) -> None:
    """Puts the copy FILE in the database's place, while the relay is stopped; the former database is kept."""
    database = _sqlite(Store(config.read().storage.url), "pg_restore")
    done = put_in_place(database, file, now_utc())
    say("%(path)s: %(events)s events from %(file)s, checked", path=database.path, events=done.content.events, file=file)
    if done.former is not None:
        say("the former database is kept as %(former)s, for %(days)s days", former=done.former, days=KEPT_FOR.days)
    if done.stray_journal is not None:
        journal = done.stray_journal
        say("a journal that was not the former database's is kept as %(stray_journal)s", stray_journal=journal)
    if (version := done.content.version) != VERSION:
        say(
            "it is of version %(version)s: the relay brings it to %(newest)s at its start",
            version=version,
            newest=VERSION,
        )


def _sqlite(store: Store, instead: str) -> SqliteDatabase:
    """Raises StoreError for a database that is no file."""
    if not isinstance(store.database, SqliteDatabase):
        raise StoreError(
            "%(name)s is a PostgreSQL database: use %(instead)s", name=store.database.name, instead=instead
        )
    return store.database


def _show_progress(bar: Progress, tasks: dict[str, TaskID], table: str, done: int, total: int) -> None:
    if table not in tasks:
        tasks[table] = bar.add_task(table, total=total)
    bar.update(tasks[table], completed=done)


@click.command()
@click.argument("sqlite_url")
@click.argument("postgres_url")
@click.option("--overwrite", is_flag=True, help="Delete what stands in the PostgreSQL database, and begin anew.")
def copy(sqlite_url: str, postgres_url: str, overwrite: bool) -> None:
    """Copies the store SQLITE_URL into the PostgreSQL database POSTGRES_URL, while the relay is stopped.

    What was broken off goes on when the same command is run again.
    """
    if not sqlite_url.startswith("sqlite:///"):
        raise ConfigError("the first address is no SQLite address: write sqlite:///relay.db")
    if not postgres_url.startswith(config.POSTGRES):
        raise ConfigError("the second address is no PostgreSQL address: write postgres://user:password@host/name")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with closing(Store(sqlite_url)) as source, closing(Store(postgres_url)) as destination, Progress(*columns) as bar:
        report = partial(_show_progress, bar, {})
        counts = copy_store(_sqlite(source, "pg_dump"), destination.database, now_utc(), report, overwrite=overwrite)
    click.echo(f"{destination.database.name}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
