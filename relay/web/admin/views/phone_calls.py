"""Calls: found by phone, session or time; one as a time line of notifications and what became of each."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from relay.errors import NotFound
from relay.i18n import gettext
from relay.web.admin.context import PAGE, before, filters, relay, selection, zone


def register(pages: Blueprint) -> None:
    pages.add_url_rule("/calls", "calls", calls)
    pages.add_url_rule("/calls/<source>/<session:session>", "call", call)


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
