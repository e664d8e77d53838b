"""The command that erases what is kept of one person: forget."""

from __future__ import annotations

from collections.abc import Iterator

import click

from relay.cli.options import open_relay, say
from relay.errors import Conflict, StoreError
from relay.i18n import gettext, ngettext
from relay.operations.actions import broken_off
from relay.store import Traces
from relay.uis import phones
from relay.wiring import Relay

_DIGITS_MIN = 10  # fewer are a part of other people's numbers too
_WIPE_TIMEOUT_S = 10.0


@click.command()
@click.option("--phone", required=True, help="The whole number, as anybody would write it.")
@click.option("--dry-run", is_flag=True, help="Only say what is kept.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(phone: str, dry_run: bool, yes: bool) -> None:
    """Erases a person's data by the phone number: the calls with it, whole; all else that mentions it."""
    digits = phones.significant_digits(phone)
    if len(digits) < _DIGITS_MIN:
        raise click.BadParameter(gettext("write the whole number, with the code of its city"), param_hint="--phone")
    relay = open_relay()
    traces = relay.store.erasure.find(digits)
    for line in _described(traces):
        click.echo(line)
    if not dry_run:
        if not traces.is_empty and not yes:
            click.confirm(gettext("Forget all of it? It cannot be brought back."), abort=True)
        _erase(relay, traces)
    for copy in _left_to_the_operator(relay):
        click.echo(copy)


def _described(traces: Traces) -> Iterator[str]:
    """Yield first what an operator might want to deliver before."""
    if traces.is_empty:
        yield gettext("Nothing is kept of this number.")
        return
    for target, states in traces.undelivered.items():
        counts = ", ".join(f"{gettext(state)}: {count}" for state, count in states.items())
        yield gettext("Not delivered yet, and never will be: %(target)s: %(states)s", target=target, states=counts)
    if traces.own_lines:
        yield ngettext(
            "Is this a number of your own? It is the line or the employee's in %(count)s notification.",
            "Is this a number of your own? It is the line or the employee's in %(count)s notifications.",
            traces.own_lines,
        )
    yield gettext("Calls: %(count)s", count=len(traces.calls) - traces.unreadable)
    yield gettext("Notifications: %(count)s, of them not readable: %(bad)s", count=traces.events, bad=traces.unreadable)
    yield gettext("Deliveries: %(count)s, attempts: %(attempts)s", count=traces.deliveries, attempts=traces.attempts)
    if traces.mentions:
        tables = ", ".join(f"{table}: {count}" for table, count in traces.mentions.items())
        yield gettext("Other rows that mention it, which will lose the number alone: %(tables)s", tables=tables)


def _erase(relay: Relay, traces: Traces) -> None:
    """Raises Conflict when something has to wait."""
    try:
        erased = relay.store.erasure.erase(traces)
    except StoreError as exc:
        raise broken_off(exc, 0, traces.events) from exc
    is_wiped = relay.store.database.wipe_deleted(_WIPE_TIMEOUT_S)
    if not traces.is_empty:
        say(
            "Forgotten: notifications: %(count)s; the number was taken out of other rows: %(masked)s",
            count=erased.events,
            masked=erased.masked,
        )
    if erased.being_sent:
        raise Conflict(
            "being sent just now, and kept: notifications: %(count)s; run the same command again in a minute",
            count=erased.being_sent,
        )
    if not is_wiped and relay.settings.storage.is_file:
        raise Conflict("somebody reads the database, and its journal still holds it; run the same command again")


def _left_to_the_operator(relay: Relay) -> Iterator[str]:
    for copy in relay.store.database.copies():
        yield gettext("A copy that may hold it; delete it yourself: %(file)s", file=copy)
    yield gettext("Copies made elsewhere (relay backup, pg_dump) and the CRMs themselves are yours to clean.")
    if not relay.settings.storage.is_file:
        yield gettext("PostgreSQL overwrites deleted rows by and by; VACUUM FULL of its tables does it at once.")
