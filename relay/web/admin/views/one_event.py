"""One event: what came, what was understood, what became of it; and the mending of one in quarantine."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from msgspec.structs import replace
from werkzeug.exceptions import BadRequest

from relay.errors import Conflict
from relay.i18n import gettext
from relay.intake.service import parse
from relay.models import Event, Exchange
from relay.observability.logging import hide_links
from relay.operations import serializers
from relay.operations.call_fields import call_fields
from relay.operations.explanations import Explanation, explain
from relay.operations.next_attempt import next_attempt
from relay.web.admin.context import relay

_BODY_MAX = 1024 * 1024


def register(pages: Blueprint) -> None:
    pages.add_url_rule("/events/<event_id>", "event", event)
    pages.add_url_rule("/events/<event_id>/edit", "edit", edit, methods=["GET", "POST"])


def event(event_id: str) -> ResponseReturnValue:
    store, event = relay().store, relay().store.queries.event(event_id)
    zone, shows_links = ZoneInfo(event.zone), request.args.get("links") == "shown"
    deliveries = store.queries.deliveries_of(event)
    of_call = store.pages.call(event.source, event.session).deliveries if event.session else []
    raw, understood = serializers.text(event.raw), call_fields(event.call, zone)
    edited = None if event.edited is None else serializers.text(event.edited)
    kept = {
        delivery.seq: tuple(one for attempt in attempts for one in attempt.exchanges or ())
        for delivery, attempts in deliveries
    }
    hidden = {seq: tuple(map(_without_links, exchanges)) for seq, exchanges in kept.items()}
    texts = (raw, edited or "", *(text for _, text in understood))
    return render_template(
        "admin/event.html",
        event=event,
        deliveries=deliveries,
        waits={delivery.id: next_attempt(relay(), delivery, of_call) for delivery, _ in deliveries},
        exchanges={
            seq: list(map(_exchange, exchanges)) for seq, exchanges in (kept if shows_links else hidden).items()
        },
        zone=zone,
        raw=raw,
        edited=edited,
        understood=understood,
        explained=_explained(event),
        has_links=hidden != kept or any(hide_links(text) != text for text in texts),
        shows_links=shows_links,
    )


def _exchange(one: Exchange) -> tuple[str, str, int, str | None]:
    """Return what the page shows of it: request, answer, how long it took, and the command that repeats it."""
    return serializers.request_text(one), serializers.answer_text(one), one.took_ms, serializers.curl_command(one)


def _without_links(exchange: Exchange) -> Exchange:
    """Return it with only the hosts of links; a body that had any is no longer the one that was sent."""
    body = hide_links(exchange.body)
    return replace(
        exchange,
        body=body,
        is_cut=exchange.is_cut or body != exchange.body,
        answer=hide_links(exchange.answer),
        answer_headers={name: hide_links(value) for name, value in exchange.answer_headers.items()},
    )


def _explained(event: Event) -> list[Explanation]:
    """Explain only where the source has rules: else there is nothing to ask about."""
    source = relay().settings.sources.get(event.source)
    return explain(relay(), event) if source is not None and source.rules else []


def edit(event_id: str) -> ResponseReturnValue:
    """Show what would be understood of the body before it is saved. Raises Conflict when it is no longer waiting."""
    event = relay().store.queries.event(event_id)
    zone = ZoneInfo(event.zone)
    if event.state != "quarantined":
        raise Conflict("Only an event in quarantine can be mended; this one is not any more.")
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
