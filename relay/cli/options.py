"""What the commands share: their filters, the relay that they work on, and JSON on standard output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import click

from relay import config, wiring
from relay.clock import iso, now_utc
from relay.config.types import rate
from relay.i18n import gettext, said, set_zone, translate
from relay.models import DELIVERY_STATES, EVENT_STATES, KINDS
from relay.operations.filters import refuse_unknown, when
from relay.operations.serializers import JSONDict
from relay.store import Selection, migrate
from relay.wiring import Relay

F = TypeVar("F", bound=Callable[..., Any])

_STATES = tuple(dict.fromkeys((*DELIVERY_STATES, *EVENT_STATES)))
_FILTERS = (
    click.option("--target", help="Only of this target."),
    click.option("--source", help="Only from this source."),
    click.option("--kind", type=click.Choice(KINDS), help="Only events of this kind."),
    click.option("--session", help="Only of this call (call_session_id)."),
    click.option("--phone", help="Only of calls with this number, or a part of it."),
    click.option("--since", metavar="WHEN", help="Accepted since: 2h, 3d, 2026-03-02, 2026-03-02T09:30."),
    click.option("--until", metavar="WHEN", help="Accepted before."),
    click.option(
        "--state", "states", multiple=True, type=click.Choice(_STATES), help="Only in this state; repeatable."
    ),
)


def open_relay() -> Relay:
    """Return the relay on an existing database. Raises ConfigError or StoreError."""
    relay = wiring.Relay(config.read())
    set_zone(relay.settings.timezone)
    migrate.expect_current(relay.store.database)
    return relay


def filters(command: F) -> F:
    """Add the filter options; the command takes them as keywords and hands them to `selection`."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def as_json(command: F) -> F:
    return click.option("--json", "json_lines", is_flag=True, help="One JSON object a line.")(command)


def say(text: str, /, *, err: bool = False, **values: Any) -> None:
    click.echo(gettext(text, **values), err=err)


def print_json(records: Iterable[JSONDict]) -> None:
    for record in records:
        click.echo(json.dumps(record, ensure_ascii=False, default=iso).encode("utf-8", "replace").decode())


def selection(relay: Relay, ids: tuple[str, ...] = (), **options: Any) -> Selection:
    """Return the filters as the store takes them. Raises NotFound for a target or source that nobody knows."""
    refuse_unknown(relay, options["target"], options["source"])
    zone = relay.settings.zone_of(options["source"])
    times = {name: as_moment(options[name], zone, f"--{name}") for name in ("since", "until")}
    return Selection(ids=ids, **{**options, **times, "states": tuple(options["states"])})


def as_moment(text: str | None, zone: ZoneInfo, option: str) -> datetime | None:
    """Read what an option gives, as `2h` or a date; raises BadParameter."""
    if text is None:
        return None
    try:
        return when(text, zone, now_utc())
    except ValueError as exc:
        raise click.BadParameter(translate(said(exc)), param_hint=option) from exc


def per_second(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """Read a rate, as the callback of an option; a number alone is one a second."""
    if text is None:
        return None
    try:
        return rate(text if "/" in text else f"{text}/s").per_second
    except ValueError as exc:
        raise click.BadParameter(translate(said(exc))) from exc


def counted(counts: Mapping[str, int]) -> str:
    """Return how many there are of each state."""
    parts = (
        gettext("%(count)s %(state)s", count=count, state=gettext(state)) for state, count in sorted(counts.items())
    )
    return ", ".join(parts)
