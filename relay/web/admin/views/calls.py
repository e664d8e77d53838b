"""Calls: found by phone, session or time; one as a time line of notifications and what became of each."""

from __future__ import annotations

from urllib.parse import quote, unquote

from flask import Blueprint, Flask, render_template
from flask.typing import ResponseReturnValue
from werkzeug.routing import BaseConverter

from relay.errors import NotFound
from relay.i18n import gettext
from relay.web.admin.context import PAGE, before, filters, relay, selection, zone


def register(app: Flask, pages: Blueprint) -> None:
    app.url_map.converters["session"] = SessionInPath
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
    page = relay().store.pages.calls(selection(()), before(), PAGE)
    return render_template(
        "admin/calls.html",
        calls=page.calls,
        next_before=page.next_before,
        zone=zone(),
        filters=filters(("phone", "session", "source", "since", "until")),
        sources=list(relay().settings.sources),
    )


def call(source: str, session: str) -> ResponseReturnValue:
    """Show the events of a call. Raises NotFound for a call that nobody has told of."""
    events = relay().store.pages.events_of_call(source, session)
    if not events:
        raise NotFound(gettext("There is no call %(session)s.", session=session))
    rows = [(event, relay().store.queries.deliveries_of(event)) for event in events]
    return render_template(
        "admin/call.html",
        session=session,
        source=source,
        lines=[(event, {delivery.target: (delivery, tries) for delivery, tries in parts}) for event, parts in rows],
        targets=list(dict.fromkeys(delivery.target for _, parts in rows for delivery, _ in parts)),
        first=events[0],
        zone=zone(),
    )
