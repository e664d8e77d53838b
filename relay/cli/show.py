"""Commands that only look: events, show, dead, status."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import click
from msgspec import structs
from rich.console import Console
from rich.table import Table

from relay.cli.options import as_json, filters, open_relay, print_json, selection
from relay.i18n import Message, age, gettext, join, ngettext, took, translate
from relay.models import Event
from relay.operations import explanations, serializers, stats
from relay.operations.filters import refuse_unknown
from relay.wiring import Relay

_LINES = 50
_HEARTBEAT_LATE = timedelta(minutes=3)  # there is one a minute
_DEAD_COLUMNS = ("id", "target", "kind", "session", "state", "attempts", "reason")


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
        for event in listed:
            print_json(serializers.event_record(event))
        return
    zone = relay.settings.timezone
    table = _table("accepted", "id", "source", "kind", "state", "call", "client", "notes or problem")
    for event in listed:
        client = event.call.client_number if event.call else None
        remarks = translate(event.problem or join(*event.notes) or _repeats(event))
        accepted = _local(event.received_at, zone)
        table.add_row(
            accepted,
            event.id,
            event.source,
            gettext(event.kind) if event.kind else "–",
            gettext(event.state),
            event.session,
            client,
            remarks,
        )
    _print(table, gettext("no events"))


@click.command()
@click.argument("id")
@as_json
def show(id: str, json_lines: bool) -> None:
    """Shows one event whole: what came, what was understood, each delivery and each attempt."""
    relay = open_relay()
    event = relay.store.queries.event(id)
    deliveries = relay.store.queries.deliveries_of(event)
    if json_lines:
        print_json(serializers.whole_record(event, deliveries))
        return
    console, zone = _console(), ZoneInfo(event.zone)
    table = _table("event", event.id)
    for name in ("source", "endpoint", "kind", "state", "session", "problem"):
        table.add_row(gettext(name), translate(getattr(event, name) or "–"))
    table.add_row(gettext("accepted"), _local(event.received_at, zone))
    for note in event.notes:
        table.add_row(gettext("note"), translate(note))
    if event.duplicate_count:
        table.add_row(gettext("repeats"), _repeats(event))
    console.print(table)
    console.print(gettext("came as:"), serializers.text(event.raw), sep="\n", markup=False, highlight=False)
    if event.edited is not None:
        console.print(gettext("mended to:"), serializers.text(event.edited), sep="\n", markup=False, highlight=False)
    _print_call(console, event)
    for delivery, attempts in deliveries:
        table = _table("delivery", delivery.id)
        for name, value in serializers.delivery_record(delivery).items():
            if value is not None and name not in ("id", "event"):
                table.add_row(gettext(name), _cell(name, value, zone))
        for attempt in attempts:
            answer = (
                gettext(attempt.outcome),
                str(attempt.status or ""),
                took(attempt.took_ms),
                translate(attempt.reason),
            )
            table.add_row(f"{_local(attempt.at, zone)} #{attempt.number}", "  ".join(filter(None, answer)))
        console.print(table)


@click.command()
@click.argument("id")
@as_json
def explain(id: str, json_lines: bool) -> None:
    """Says which rule of the source decides for an event at each target, by the present configuration."""
    relay = open_relay()
    event = relay.store.queries.event(id)
    explained = explanations.explain(relay, event)
    if json_lines:
        for explanation in explained:
            print_json(structs.asdict(explanation))
        return
    table = _table("target", "gets it", "because", "set for this call")
    for explanation in explained:
        sets = ", ".join(f"{name} = {value}" for name, value in explanation.settings.items())
        takes = gettext("yes") if explanation.takes else gettext("no")
        table.add_row(explanation.target, takes, translate(explanation.why), sets or "–")
    why = event.problem or Message("its source is not in the configuration any more")
    _print(table, gettext("nothing to explain: %(why)s", why=why))


def _print_call(console: Console, event: Event) -> None:
    if event.call is None:
        return
    table = _table("understood", "")
    for name, value in serializers.event_record(event)["call"].items():
        if value not in (None, [], {}) and name != "notes":
            table.add_row(name, str(value))
    console.print(table)


@click.command()
@filters
@as_json
def dead(json_lines: bool, **options: Any) -> None:
    """Lists the dead-letter queue: what was given up, what is held, what could not be read; with reasons."""
    relay = open_relay()
    letters = relay.store.queries.dead_letters(selection(relay, **options))
    if json_lines:
        for letter in letters:
            print_json(serializers.dead_letter_record(letter))
        return
    table = _table(*_DEAD_COLUMNS)
    for letter in letters:
        row = serializers.dead_letter_record(letter)
        table.add_row(*(_cell(name, row[name], relay.settings.timezone) for name in _DEAD_COLUMNS))
    _print(table, gettext("the dead-letter queue is empty"))


@click.command()
@click.option("--target", help="Only this target.")
@click.option("--source", help="Only this source.")
@as_json
def status(target: str | None, source: str | None, json_lines: bool) -> None:
    """Shows how each target and each source is doing."""
    relay = open_relay()
    refuse_unknown(relay, target, source)
    since = relay.clock() - timedelta(hours=24)
    targets = [] if source and not target else list(stats.targets(relay, since, target))
    sources = [] if target and not source else list(stats.sources(relay, since, source))
    if json_lines:
        for record in (*targets, *sources):
            print_json(record)
        return
    _print_records(targets, relay)
    _print_records(sources, relay)
    if relay.settings.alerts.heartbeat is not None:
        click.echo(_heartbeat(relay))


def _heartbeat(relay: Relay) -> str:
    at = relay.store.alert_state.last_heartbeat()
    if at is None:
        return gettext("Heartbeat: nobody has taken one yet; the log says why (alert.heartbeat_not_taken).")
    ago = relay.clock() - at
    if ago < _HEARTBEAT_LATE:
        return gettext("Heartbeat: taken %(ago)s ago.", ago=age(ago))
    return gettext("Heartbeat: not taken for %(ago)s; the log says why (alert.heartbeat_not_taken).", ago=age(ago))


# --- tables


def _print_records(records: list[serializers.JSONDict], relay: Relay) -> None:
    if not records:
        return
    table = _table(*(name.replace("_", " ") for name in records[0]))
    for record in records:
        table.add_row(*(_cell(name, value, relay.settings.timezone) for name, value in record.items()))
    _console().print(table)


def _cell(name: str, value: Any, zone: ZoneInfo) -> str:
    """Return a value of a record as people read it."""
    if value in (None, "", {}):
        return "–"
    if name.endswith("_at"):
        return _local(datetime.fromisoformat(value), zone)
    if isinstance(value, dict):
        return ", ".join(f"{status}: {count}" for status, count in value.items())
    return (
        gettext(value) if name in ("state", "kind") else translate(str(value) if not isinstance(value, str) else value)
    )


def _repeats(event: Event) -> str:
    times = event.duplicate_count + 1
    return ngettext("sent %(count)s time", "sent %(count)s times", times) if times > 1 else ""


def _local(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(gettext(heading) if heading else "", overflow="fold")
    return table


def _print(table: Table, otherwise: str) -> None:
    if table.row_count:
        _console().print(table)
    else:
        click.echo(otherwise)


def _console() -> Console:
    """Return a console as wide as the terminal; in a pipe wide enough that an id is not broken."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)
