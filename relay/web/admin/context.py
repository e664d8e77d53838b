"""What the views of the page share: the relay, the filters of a request, the moments of an account's zone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

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


def zone() -> ZoneInfo:
    """Return the zone of the account, in which the page shows its times."""
    return relay().settings.timezone


def filters(names: Iterable[str]) -> dict[str, str]:
    """Return the filters of the request that are filled, as they were typed."""
    return {name: value for name in names if (value := request.values.get(name, "").strip())}


def target_names() -> list[str]:
    """Return the configured targets, then those of former days that the store still has."""
    return relay().store.queries.target_names(relay().settings.targets)


def selection(states: tuple[str, ...]) -> Selection:
    """Read the filters of a query or form; `states` are those that may be asked for. Raises BadRequest."""
    values = filters(FILTERS)
    kind, state = values.get("kind"), values.get("state")
    if kind is not None and kind not in KINDS:
        raise BadRequest(gettext("There is no such choice."))
    if state is not None and state not in states:
        raise BadRequest(gettext("There is no such choice."))
    return Selection(
        ids=tuple(request.values.getlist("id")),
        target=values.get("target"),
        source=values.get("source"),
        kind=kind,
        session=values.get("session"),
        phone=values.get("phone"),
        since=moment_of(values.get("since")),
        until=moment_of(values.get("until")),
        states=(state,) if state else (),
    )


def before() -> int | None:
    """Return the key that the page of a list begins before."""
    text = request.args.get("before", "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest(gettext("There is no such choice."))
    return int(text) if text else None


def moment_of(text: str | None) -> datetime | None:
    """Return the moment that a field has, by the account's clock. Raises BadRequest."""
    if text is None:
        return None
    try:
        return when(text, zone(), relay().clock())
    except ValueError as exc:
        raise BadRequest(translate(said(exc))) from exc
