"""One event: what came, what was understood, what became of it; and the mending of one in quarantine."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from relay.errors import Conflict
from relay.i18n import gettext
from relay.ingest.service import parse
from relay.models import Event
from relay.operations import serializers
from relay.operations.call_fields import call_fields
from relay.operations.explanations import Explanation, explain
from relay.web.admin.context import relay

_BODY_MAX = 1024 * 1024


def register(pages: Blueprint) -> None:
    pages.add_url_rule("/events/<event_id>", "event", event)
    pages.add_url_rule("/events/<event_id>/edit", "edit", edit, methods=["GET", "POST"])


def event(event_id: str) -> ResponseReturnValue:
    event = relay().store.queries.event(event_id)
    zone = ZoneInfo(event.zone)
    return render_template(
        "admin/event.html",
        event=event,
        deliveries=relay().store.queries.deliveries_of(event),
        zone=zone,
        raw=serializers.text(event.raw),
        edited=None if event.edited is None else serializers.text(event.edited),
        understood=call_fields(event.call, zone),
        explained=_explained(event),
        exchanges=_exchanges(event),
        shows_links=request.args.get("links") == "shown",
    )


def _exchanges(event: Event) -> dict[int, list[tuple[str, str]]]:
    """Return the requests of each delivery's last attempt with their answers, by the delivery's seq."""
    kept = relay().store.queries.exchanges_of(event)
    return {
        seq: [(serializers.request_text(one), serializers.answer_text(one)) for one in each.exchanges]
        for seq, each in kept.items()
    }


def _explained(event: Event) -> list[Explanation]:
    """Explain only where the source has rules: else there is nothing to ask about."""
    source = relay().settings.sources.get(event.source)
    return explain(relay(), event) if source is not None and source.rules else []


def edit(event_id: str) -> ResponseReturnValue:
    """Show what would be understood of the body before it is saved. Raises Conflict when it is no longer waiting."""
    event = relay().store.queries.event(event_id)
    zone = ZoneInfo(event.zone)
    if event.state != "quarantined":
        raise Conflict(gettext("Only an event in quarantine can be mended; this one is not any more."))
    body = request.form.get("body") if request.method == "POST" else serializers.text(event.body)
    if body is None or len(body) > _BODY_MAX:
        raise BadRequest(gettext("The body is missing, or too long."))
    text = body.replace("\r\n", "\n")  # what a browser makes of the lines
    if request.form.get("do") == "save":
        result = relay().intake.reprocess(event, text.encode())
        if result.call is not None:
            return redirect(url_for("admin.event", event_id=event.id))
    else:
        result = parse(text.encode(), is_query=False, endpoint=event.endpoint, zone=zone)
    return render_template(
        "admin/edit.html",
        event=event,
        body=text,
        problem=result.problem,
        notes=result.notes,
        kind=result.call.kind if result.call else None,
        understood=call_fields(result.call, zone),
        raw=serializers.text(event.raw),
        zone=zone,
    )
