"""What the views of the page share: the relay, the filters of a request, the moments that are typed in."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from flask import current_app, request
from werkzeug.exceptions import BadRequest

from relay.i18n import gettext, said, translate
from relay.models import KINDS
from relay.operations.filters import when
from relay.store import Selection
from relay.wiring import Relay

EXTENSION = "relay"
PAGE = 50
FILTERS = ("target", "source", "kind", "state", "session", "phone", "since", "until")


def relay() -> Relay:
    """Return the relay whose page this is."""
    own: Relay = current_app.extensions[EXTENSION]
    return own


def filters(names: Iterable[str]) -> dict[str, str]:
    """Return the filters of the request that are filled, as they were typed."""
    return {name: value for name in names if (value := request.values.get(name, "").strip())}


def target_names() -> list[str]:
    """Return the configured targets, then those of former days that the store still has."""
    return relay().store.queries.target_names(relay().settings.targets)


def selection(states: tuple[str, ...]) -> Selection:
    """Read the filters of a query or form; `states` are those that may be asked for. Raises BadRequest."""
    values = filters(FILTERS)
    state = chosen(values.get("state"), states)
    return Selection(
        ids=tuple(request.values.getlist("id")),
        kind=chosen(values.get("kind"), KINDS),
        target=values.get("target"),
        source=values.get("source"),
        session=values.get("session"),
        phone=values.get("phone"),
        since=moment_of(values.get("since")),
        until=moment_of(values.get("until")),
        states=(state,) if state else (),
    )


def chosen(value: str | None, choices: Collection[str]) -> str | None:
    """Return what was chosen, if anything was. Raises BadRequest for what is no choice."""
    if value is not None and value not in choices:
        raise BadRequest(gettext("There is no such choice."))
    return value


def before(numbers: int) -> tuple[int, ...]:
    """Return the key that the page of a list begins before, of so many numbers; empty for the first page."""
    parts = request.args["before"].split("-") if request.args.get("before") else []
    is_key = len(parts) == numbers and all(part.isascii() and part.isdigit() and len(part) < 19 for part in parts)
    if parts and not is_key:
        raise BadRequest(gettext("There is no such choice."))
    return tuple(map(int, parts))


def moment_of(text: str | None) -> datetime | None:
    """Return the moment that a field has, by the clock of the source that is asked for. Raises BadRequest."""
    if text is None:
        return None
    try:
        return when(text, relay().settings.zone_of(request.values.get("source")), relay().clock())
    except ValueError as exc:
        raise BadRequest(translate(said(exc))) from exc
