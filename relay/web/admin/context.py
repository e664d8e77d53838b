"""What the views of the page share: the relay, the filters of a request, the moments of an account's zone."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from flask import current_app, request
from werkzeug.exceptions import BadRequest

from relay.models import KINDS
from relay.operations.filters import when
from relay.store import Selection
from relay.wiring import Relay

EXTENSION = "relay"
PAGE = 50


class AdminContext:
    def __init__(self, relay: Relay) -> None:
        self.relay = relay

    @property
    def zone(self) -> ZoneInfo:
        return self.relay.settings.timezone


def context() -> AdminContext:
    found: AdminContext = current_app.extensions[EXTENSION]
    return found


def selection(states: tuple[str, ...]) -> Selection:
    """The filters of the request's query or form; `states` are those that may be asked for. Raises BadRequest."""
    values = request.values
    kind = values.get("kind") or None
    if kind is not None and kind not in KINDS:
        raise BadRequest(f"there is no kind {kind!r}")
    state = values.get("state") or None
    if state is not None and state not in states:
        raise BadRequest(f"there is no state {state!r} here")
    return Selection(
        ids=tuple(values.getlist("id")), target=values.get("target") or None, source=values.get("source") or None,
        kind=kind, session=(values.get("session") or "").strip() or None,
        phone=(values.get("phone") or "").strip() or None, since=_moment("since"), until=_moment("until"),
        states=(state,) if state else (),
    )  # fmt: skip


def before() -> int | None:
    """The key that the page begins before."""
    given = request.args.get("before", "")
    if given and not (given.isascii() and given.isdigit() and len(given) < 19):
        raise BadRequest("`before` must be a number")
    return int(given) if given else None


def _moment(name: str) -> datetime | None:
    given = (request.values.get(name) or "").strip()
    if not given:
        return None
    try:
        return when(given, context().zone, context().relay.clock())
    except ValueError as exc:
        raise BadRequest(str(exc)) from exc
