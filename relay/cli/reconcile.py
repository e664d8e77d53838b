"""`relay reconcile`: compares UIS's report of calls with the store, and brings what is missing."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from functools import partial

import click
from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from relay.cli.options import as_moment, open_relay
from relay.errors import NotFound, RelayError
from relay.i18n import gettext, ngettext, said, translate
from relay.operations.filters import refuse_unknown
from relay.reports.reconciler import Findings, Missing, Reconciler
from relay.wiring import Relay


@click.command()
@click.option("--source", help="Only of this source.")
@click.option("--since", metavar="WHEN", help="Calls begun since: 24h, 2026-03-02. Unless set: since the last time.")
@click.option("--until", metavar="WHEN", help="Calls that began before.")
@click.option("--dry-run", is_flag=True, help="Only say what is missing.")
def reconcile(source: str | None, since: str | None, until: str | None, dry_run: bool) -> None:
    """Brings the calls of UIS's report whose notification never came.

    Reads the report by [sources.NAME.report] once, also while the relay runs. A call whose end is known is left
    alone, however often this is run.
    """
    relay = open_relay()
    chosen = _chosen(relay, source)
    states, now, zone = relay.store.reports.states(), relay.clock(), relay.settings.zone_of(source)
    begins, ends = as_moment(since, zone, "--since"), as_moment(until, zone, "--until") or now
    kept_from = now - relay.settings.storage.keep_delivered
    if begins is not None and begins >= ends:
        raise click.BadParameter(gettext("must be before --until"), param_hint="--since")
    if begins is not None and begins < kept_from:
        day = f"{kept_from.astimezone(zone):%Y-%m-%d}"
        text = gettext("the store keeps calls since %(day)s; older ones would be brought twice", day=day)
        raise click.BadParameter(text, param_hint="--since")
    failed = False
    for name, reconciler in chosen.items():
        first = begins or reconciler.span(states.get(name), relay.settings.storage.keep_delivered)[0]
        if first >= ends:
            raise click.BadParameter(
                gettext("is before everything that is compared; give --since too"), param_hint="--until"
            )
        try:
            with _progress(name) as progress:
                findings = reconciler.run(first, ends, dry_run=dry_run, progress=partial(progress.advance, TaskID(0)))
        except RelayError as exc:
            click.echo(f"{name}: {translate(said(exc))}", err=True)
            failed = True
        else:
            _show(name, findings, dry_run)
    sys.exit(int(failed))


def _chosen(relay: Relay, source: str | None) -> dict[str, Reconciler]:
    refuse_unknown(relay, None, source)
    chosen = {name: each for name, each in relay.reports.reconcilers.items() if source in (None, name)}
    if not chosen:
        raise NotFound("no report is configured: set [sources.NAME.report] with a key of the Data API")
    return chosen


def _progress(name: str) -> Progress:
    columns = (TextColumn(name), TextColumn("{task.completed}"), TimeElapsedColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    progress.add_task(name)
    return progress


def _show(name: str, findings: Findings, dry_run: bool) -> None:
    calls = [each for each in findings.missing if not each.is_record]
    records = len(findings.missing) - len(calls)
    click.echo(
        f"{name}: "
        + ngettext("%(count)s call compared", "%(count)s calls compared", findings.compared)
        + ", "
        + ngettext("%(count)s was missing", "%(count)s were missing", len(calls))
        + ", "
        + ngettext("%(count)s recording was missing", "%(count)s recordings were missing", records)
        + (gettext(", could not be read: %(count)s", count=findings.unreadable) if findings.unreadable else "")
        + (gettext("; nothing was brought (--dry-run)") if dry_run and findings.missing else "")
    )
    if calls:
        Console(markup=False).print(_table(calls))


def _table(calls: Iterable[Missing]) -> Table:
    """Return how many were missing on each line and day, by the account's clock."""
    counts = Counter((each.call.line, f"{each.call.began_at:%Y-%m-%d}") for each in calls)
    days = sorted({day for _, day in counts})
    table = Table(gettext("line"), *days, box=None)
    for line in sorted({line for line, _ in counts}):
        table.add_row(line or "–", *(str(counts[line, day] or "") for day in days))
    return table
