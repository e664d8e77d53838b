"""Commands that only look: events, show, explain, dead, missed, status."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import click
from msgspec import structs
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from relay.cli.options import as_json, as_moment, filters, open_relay, print_json, say, selection
from relay.errors import Conflict
from relay.i18n import Message, age, gettext, join, local, ngettext, said, took, translate
from relay.models import Delivery, Event
from relay.operations import explanations, missed_records, serializers, stats
from relay.operations.call_fields import call_fields
from relay.operations.filters import refuse_unknown
from relay.operations.stats import SourceStats
from relay.store import TargetFigures
from relay.wiring import Relay

Item = TypeVar("Item")

_LINES = 50
_MISSED_SINCE = timedelta(days=7)
_HEARTBEAT_LATE = timedelta(minutes=3)  # there is one a minute
_PIPE_WIDTH = 100
_WATCH_EVERY_S = 2.0
_STYLES = {  # by state of a target or an event
    "down": "red",
    "misconfigured": "red",
    "paused": "yellow",
    "removed": "dim",
    "quarantined": "red",
    "discarded": "dim",
}


@click.command()
@filters
@as_json
@click.option("--limit", type=int, help="Only the newest N (a table shows 50 unless told; 0: all).")
def events(json_lines: bool, limit: int | None, **options: Any) -> None:
    """Lists events, oldest first."""
    relay = open_relay()
    newest = limit if limit is not None else (None if json_lines else _LINES)
    listed = relay.store.queries.events(selection(relay, **options), newest=newest or None)
    if json_lines:
        print_json(map(serializers.event_record, listed))
        return

    def lines(event: Event) -> tuple[str, str, str]:
        client = (event.call.client_number if event.call else None) or "–"
        at = local(event.received_at, relay.settings.zone_of(event.source))
        state = "" if event.state == "accepted" else gettext(event.state)
        remarks = translate(event.problem or join(*event.notes) or _repeats(event))
        below = join(event.id, event.source, _call(event.session), state, remarks, by=" · ")
        return f"{at}  {_kind(event):<16}  {client}", below, _STYLES.get(event.state, "dim")

    _list(listed, lines, gettext("no events"))


@click.command()
@click.argument("id")
@as_json
def show(id: str, json_lines: bool) -> None:
    """Shows one event whole: what came, what was understood, each attempt, what was sent and answered."""
    relay = open_relay()
    event = relay.store.queries.event(id)
    deliveries = relay.store.queries.deliveries_of(event)
    if json_lines:
        print_json([serializers.whole_record(event, deliveries)])
        return
    console, zone = _console(), ZoneInfo(event.zone)
    table = _table("event", event.id)
    for name in ("source", "endpoint", "kind", "state", "session", "problem"):
        table.add_row(gettext(name), _cell(name, getattr(event, name), zone))
    table.add_row(gettext("accepted"), local(event.received_at, zone))
    for note in event.notes:
        table.add_row(gettext("note"), translate(note))
    if event.duplicate_count:
        table.add_row(gettext("repeats"), _repeats(event))
    console.print(table)
    console.print(gettext("came as:"), serializers.text(event.raw), sep="\n", markup=False, highlight=False)
    if event.edited is not None:
        console.print(gettext("mended to:"), serializers.text(event.edited), sep="\n", markup=False, highlight=False)
    if event.call is not None:
        table = _table("understood", "")
        for label, text in call_fields(event.call, zone):
            table.add_row(label, text)
        console.print(table)
    for delivery, attempts in deliveries:
        table = _table("delivery", delivery.id)
        for name, value in serializers.delivery_record(delivery).items():
            if value is not None and name not in ("id", "event"):
                table.add_row(gettext(name), _cell(name, value, zone))
        for attempt in attempts:
            status, reason = str(attempt.status or ""), translate(attempt.reason)
            answer = join(gettext(attempt.outcome), status, took(attempt.took_ms), reason, by="  ")
            table.add_row(f"{local(attempt.at, zone)} #{attempt.number}", answer)
        console.print(table)
        for exchange in (one for attempt in attempts for one in attempt.exchanges or ()):
            for text in (serializers.request_text(exchange), serializers.answer_text(exchange)):
                console.print(text, markup=False, highlight=False, soft_wrap=True)


@click.command()
@click.argument("id")
@as_json
def explain(id: str, json_lines: bool) -> None:
    """Says which rule of the source decides for an event at each target, by the present configuration."""
    relay = open_relay()
    event = relay.store.queries.event(id)
    explained = explanations.explain(relay, event)
    if json_lines:
        print_json(map(structs.asdict, explained))
        return
    table = _table("target", "gets it", "because", "set for this call")
    for explanation in explained:
        sets = ", ".join(f"{name} = {value}" for name, value in explanation.settings.items())
        takes = gettext("yes") if explanation.takes else gettext("no")
        table.add_row(explanation.target, takes, translate(explanation.why), sets or "–")
    if explained:
        _console().print(table)
    else:
        why = event.problem or Message("its source is not in the configuration any more")
        say("nothing to explain: %(why)s", why=why)


@click.command()
@filters
@as_json
def dead(json_lines: bool, **options: Any) -> None:
    """Lists the dead-letter queue: what was given up, what is held, what could not be read; with reasons."""
    relay = open_relay()
    letters = relay.store.queries.letters(selection(relay, **options))
    if json_lines:
        print_json(map(serializers.dead_letter_record, letters))
        return

    def lines(letter: Delivery | Event) -> tuple[str, str, str]:
        row = serializers.dead_letter_record(letter)
        tries = ngettext("%(count)s attempt", "%(count)s attempts", row["attempts"]) if row["attempts"] else ""
        below = join(letter.id, _call(letter.session), tries, translate(row["reason"] or ""), by=" · ")
        return f"{row['target'] or '–':<16} {_kind(letter):<16} {gettext(letter.state)}", below, "red"

    _list(letters, lines, gettext("the dead-letter queue is empty"))


@click.command()
@click.option("--source", help="Only this source.")
@click.option("--since", metavar="WHEN", help="Calls begun since: 24h, 2026-03-02; 7 days unless set.")
@click.option("--waiting", is_flag=True, help="Only clients who were not reached yet.")
@click.option("--csv", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write a table for Excel.")
@as_json
def missed(source: str | None, since: str | None, waiting: bool, file: Path | None, json_lines: bool) -> None:
    """Lists missed calls, the oldest first, and whether the client was reached later."""
    relay = open_relay()
    refuse_unknown(relay, None, source)
    now, settings = relay.clock(), relay.settings
    calls = missed_records.missed(
        relay,
        as_moment(since, settings.zone_of(source), "--since") or now - _MISSED_SINCE,
        source,
        only_waiting=waiting,
    )
    if file is not None:
        try:
            file.write_text(missed_records.as_csv(calls, settings.zone_of, now), encoding="utf-8")
        except OSError as exc:
            raise Conflict("%(file)s cannot be written: %(why)s", file=file, why=said(exc)) from exc
        click.echo(f"{file}: {len(calls)}")
    elif json_lines:
        print_json(map(missed_records.record, calls))
    elif calls:
        table = Table(*missed_records.heads(), box=None)
        for call in calls:
            cells = (cell or "–" for cell in missed_records.row(call, settings.zone_of(call.source), now))
            table.add_row(*cells, style="red" if call.waits else "")
        Console(markup=False).print(table)
    else:
        say("no missed calls")


@click.command()
@click.option("--target", help="Only this target.")
@click.option("--source", help="Only this source.")
@click.option("--watch", is_flag=True, help="Show it anew every two seconds, until Ctrl-C.")
@as_json
def status(target: str | None, source: str | None, watch: bool, json_lines: bool) -> None:
    """Shows how each target and each source is doing."""
    relay = open_relay()
    refuse_unknown(relay, target, source)
    while True:
        since = relay.clock() - timedelta(hours=24)
        targets = [] if source and not target else list(stats.targets(relay, since, target))
        sources = [] if target and not source else list(stats.sources(relay, since, source))
        if watch and not json_lines:
            click.clear()
        if json_lines:
            print_json(stats.target_record(relay, figures) for figures in targets)
            print_json(map(structs.asdict, sources))
        else:
            _print_status(relay, targets, sources)
        if not watch:
            return
        try:
            time.sleep(_WATCH_EVERY_S)
        except KeyboardInterrupt:  # how it is ended
            return


def _print_status(relay: Relay, targets: list[TargetFigures], sources: list[SourceStats]) -> None:
    """Print two tables that fit a terminal of 80 columns; below a row why it is not well, in full width."""
    console, now = _console(), relay.clock()

    def ago(at: datetime | None) -> str:
        return "–" if at is None else age(now - at)

    if targets:
        table = _table("target", "state", "waits", "oldest", "24 h", "dead letters")
        for row in targets:
            state = Text(gettext(row.state), style=_STYLES.get(row.state, "green"))
            dead = Text(str(row.dead), style="red" if row.dead else "")
            table.add_row(row.name, state, str(row.due), ago(row.oldest_due_at), str(row.delivered), dead)
        console.print(table)
    for row in targets:
        if text := row.reason or (row.last_error and Message("last error: %(text)s", text=row.last_error)):
            _print_below(console, f"{row.name}: {translate(text)}", _STYLES.get(row.state, "dim"))
    if sources:
        console.print()
        table = _table("source", "taken in 24 h", "last one", "refused")
        for each in sources:
            refused = ", ".join(f"{code}: {count}" for code, count in each.refused_24h.items())
            table.add_row(each.source, str(each.taken_24h), ago(each.last_taken_at), refused or "0")
        console.print(table)
    if relay.settings.alerts.heartbeat is not None:
        click.echo(_heartbeat(relay))
    for name, report in relay.store.reports.states().items():
        if report.state != "open" and report.reason and name in relay.settings.sources:
            text = gettext("%(source)s, UIS's report of calls: %(reason)s", source=name, reason=report.reason)
            _print_below(console, text, "yellow")
    for name, count in relay.store.reports.brought_since(now - timedelta(hours=24)).items():
        text = ngettext(
            "%(source)s: %(count)s call of 24 h was never notified; UIS's report brought it",
            "%(source)s: %(count)s calls of 24 h were never notified; UIS's report brought them",
            count,
            source=name,
        )
        _print_below(console, text, "yellow")
    for warning in relay.store.database.upkeep_warnings():
        _print_below(console, translate(warning), "yellow")


def _heartbeat(relay: Relay) -> str:
    at = relay.store.alert_state.last_heartbeat()
    if at is None:
        return gettext("Heartbeat: nobody has taken one yet; the log says why (alert.heartbeat_not_taken).")
    ago = relay.clock() - at
    if ago < _HEARTBEAT_LATE:
        return gettext("Heartbeat: taken %(ago)s ago.", ago=age(ago))
    return gettext("Heartbeat: not taken for %(ago)s; the log says why (alert.heartbeat_not_taken).", ago=age(ago))


# --- tables


def _list(items: Iterable[Item], lines: Callable[[Item], tuple[str, str, str]], nothing: str) -> None:
    """Print for each a line, and what belongs below it in its style."""
    console, is_empty = _console(), True
    for item in items:
        is_empty = False
        line, below, style = lines(item)
        console.print(line, soft_wrap=True, markup=False)
        _print_below(console, below, style)
    if is_empty:
        click.echo(nothing)


def _print_below(console: Console, text: str, style: str) -> None:
    """Print what belongs to the line above, as wide as the terminal is."""
    if text:
        console.print(Padding(Text(text, style=style), (0, 0, 0, 2)))


def _cell(name: str, value: Any, zone: ZoneInfo) -> str:
    """Return a value of a record as people read it."""
    if name in ("kind", "state") and value:
        return gettext(value)
    if value in (None, ""):
        return "–"
    if isinstance(value, datetime):
        return local(value, zone)
    return translate(value) if isinstance(value, str) else str(value)


def _kind(of: Event | Delivery) -> str:
    return gettext(of.kind) if of.kind else "–"


def _call(session: str | None) -> str:
    return gettext("call %(session)s", session=session) if session else ""


def _repeats(event: Event) -> str:
    times = event.duplicate_count + 1
    return ngettext("sent %(count)s time", "sent %(count)s times", times) if times > 1 else ""


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(gettext(heading) if heading else "", overflow="fold")
    return table


def _console() -> Console:
    """Return a console as wide as the terminal; in a pipe as wide as a usual one."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=_PIPE_WIDTH)
