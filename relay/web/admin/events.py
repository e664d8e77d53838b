"""One event whole: what came, what was understood, what became of it; and the mending of one in quarantine."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from relay.errors import Conflict
from relay.ingest.service import ParseResult, parse
from relay.models import CallEvent, Event
from relay.operations import serializers
from relay.operations.explanations import Explanation, explain
from relay.web.admin.context import context
from relay.web.admin.i18n import gettext, moment

_BODY_MAX = 1024 * 1024


def register(pages: Blueprint) -> None:
    pages.add_url_rule("/events/<wanted>", "event", event)
    pages.add_url_rule("/events/<wanted>/edit", "edit", edit, methods=["GET", "POST"])


def event(wanted: str) -> ResponseReturnValue:
    found = context().relay.store.queries.event(wanted)
    return render_template(
        "admin/event.html", event=found,
        deliveries=context().relay.store.queries.deliveries_of(found),
        zone=ZoneInfo(found.zone),
        raw=serializers.text(found.raw), edited=None if found.edited is None else serializers.text(found.edited),
        understood=_understood(found.call, ZoneInfo(found.zone)), explained=_explained(found),
        shows_links=request.args.get("links") == "shown",
    )  # fmt: skip


def _explained(found: Event) -> list[Explanation]:
    """Only where the source has rules: else there is nothing to ask about."""
    source = context().relay.settings.sources.get(found.source)
    return explain(context().relay, found) if source is not None and source.rules else []


def edit(wanted: str) -> ResponseReturnValue:
    """Shows what would be understood of the body before it is saved. Raises Conflict when it is no longer waiting."""
    found = context().relay.store.queries.event(wanted)
    zone = ZoneInfo(found.zone)
    if found.state != "quarantined":
        raise Conflict(gettext("Only an event in quarantine can be mended; this one is not any more."))
    body = request.form.get("body") if request.method == "POST" else serializers.text(found.body)
    if body is None or len(body) > _BODY_MAX:
        raise BadRequest(gettext("The body is missing, or too long."))
    text = body.replace("\r\n", "\n")  # what a browser makes of the lines
    if request.form.get("do") == "save":
        understood = context().relay.intake.reprocess(found, text.encode())
        if understood.call is not None:
            return redirect(url_for("admin.event", wanted=found.id))
    else:
        understood = _as_it_would_be(found, text)
    return render_template(
        "admin/edit.html", event=found, body=text, problem=understood.problem, notes=understood.notes,
        kind=understood.call.kind if understood.call else None,
        understood=_understood(understood.call, zone), raw=serializers.text(found.raw), zone=zone,
    )  # fmt: skip


def _as_it_would_be(found: Event, text: str) -> ParseResult:
    return parse(text.encode(), is_query=False, endpoint=found.endpoint, zone=ZoneInfo(found.zone))


def _understood(call: CallEvent | None, zone: ZoneInfo) -> list[tuple[str, str]]:
    """Names and values of what was said; times in the account's zone."""
    if call is None:
        return []
    said = {name: getattr(call, name) for name in CallEvent.__struct_fields__ if name != "notes"}
    return [(name, _in_words(value, zone)) for name, value in said.items() if value not in (None, (), {})]


def _in_words(value: object, zone: ZoneInfo) -> str:
    if isinstance(value, datetime):
        return moment(value, zone)
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
