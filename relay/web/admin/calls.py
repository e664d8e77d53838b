"""Calls: found by phone, session or time; one of them as a time line of notifications and what became of each."""

from __future__ import annotations

from urllib.parse import quote, unquote

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.routing import BaseConverter

from relay.errors import NotFound
from relay.web.admin.context import PAGE, before, context, selection
from relay.web.admin.i18n import gettext

_FILTERS = ("phone", "session", "source", "since", "until")


def register(pages: Blueprint) -> None:
    pages.add_url_rule("/calls", "calls", calls)
    pages.add_url_rule("/calls/<source>/<session:session>", "call", call)


class SessionInPath(BaseConverter):
    """Whatever a call is named with is one step of the path: a `/` does not end it, and `..` leads nowhere."""

    def to_python(self, value: str) -> str:
        return unquote(value)

    def to_url(self, value: str) -> str:
        once = quote(value, safe="").replace(".", "%2E")
        return quote(once, safe="")  # what servers and browsers undo, and then what `to_python` undoes


def calls() -> ResponseReturnValue:
    known = context()
    page = known.relay.store.pages.calls(selection(()), before(), PAGE)
    given = {name: value for name in _FILTERS if (value := request.args.get(name, "").strip())}
    return render_template(
        "admin/calls.html", calls=page.calls, next_before=page.next_before, zone=known.zone, given=given,
        sources=list(known.relay.settings.sources),
    )  # fmt: skip


def call(source: str, session: str) -> ResponseReturnValue:
    """Raises NotFound for a call that nobody has told of."""
    known = context()
    said = known.relay.store.pages.events_of_call(source, session)
    if not said:
        raise NotFound(gettext("There is no call %(session)s.", session=session))
    rows = [(event, known.relay.store.queries.deliveries_of(event)) for event in said]
    targets = list(dict.fromkeys(delivery.target for _, parts in rows for delivery, _ in parts))
    lines = [(event, {delivery.target: (delivery, tries) for delivery, tries in parts}) for event, parts in rows]
    return render_template(
        "admin/call.html", session=session, source=source, lines=lines, targets=targets, first=said[0], zone=known.zone
    )
