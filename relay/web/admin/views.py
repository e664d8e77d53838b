"""The views of the page: the overview, the dead-letter queue, calls, and one event whole."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

from flask import Blueprint, Flask, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest
from werkzeug.routing import BaseConverter

from relay.clock import EPOCH
from relay.errors import Conflict, NotFound
from relay.i18n import field_label, gettext, moment
from relay.ingest.service import parse
from relay.models import DEAD_LETTERS, KINDS, CallEvent, Delivery, Event
from relay.operations import actions, serializers, stats
from relay.operations.explanations import Explanation, explain
from relay.operations.filters import DISCARDABLE, REPLAYABLE, Chosen, choose, refuse_unknown
from relay.store import Hour, Selection
from relay.web.admin.context import FILTERS, PAGE, before, filters, relay, selection, target_names, zone

_DAY = timedelta(hours=24)
_WIDTH, _HEIGHT, _GAP = 720, 140, 4  # of the overview's chart
_SERIES = ("taken", "delivered", "dead")
_STATES = (*DEAD_LETTERS, "quarantined")
_ALLOWED = {"replay": REPLAYABLE, "discard": DISCARDABLE}
_BODY_MAX = 1024 * 1024


def register(app: Flask, pages: Blueprint) -> None:
    app.url_map.converters["session"] = SessionInPath
    pages.add_url_rule("/", "overview", overview)
    pages.add_url_rule("/targets/<name>/pause", "pause", pause, methods=["POST"])
    pages.add_url_rule("/targets/<name>/resume", "resume", resume, methods=["POST"])
    pages.add_url_rule("/dead", "dead", dead)
    pages.add_url_rule("/dead/<any(replay, discard):action>", "preview", preview, methods=["POST"])
    pages.add_url_rule("/dead/<any(replay, discard):action>/now", "change", change, methods=["POST"])
    pages.add_url_rule("/calls", "calls", calls)
    pages.add_url_rule("/calls/<source>/<session:session>", "call", call)
    pages.add_url_rule("/events/<event_id>", "event", event)
    pages.add_url_rule("/events/<event_id>/edit", "edit", edit, methods=["GET", "POST"])


class SessionInPath(BaseConverter):
    """Whatever a call is named with is one step of the path: a `/` does not end it, and `..` leads nowhere."""

    def to_python(self, value: str) -> str:
        return unquote(value)

    def to_url(self, value: str) -> str:
        once = quote(value, safe="").replace(".", "%2E")
        return quote(once, safe="")  # what servers and browsers undo, and then what `to_python` undoes


# --- the overview: how each target and source is doing, and what happened in the last 24 hours


def overview() -> ResponseReturnValue:
    now = relay().clock()
    targets = [_target(record, now) for record in stats.targets(relay(), now - _DAY)]
    return render_template(
        "admin/overview.html",
        targets=targets,
        sources=[_source(record) for record in stats.sources(relay(), now - _DAY)],
        zone=zone(),
        chart=_chart(now),
        dead=sum(target["dead"] for target in targets) + relay().store.pages.quarantined(),
    )


def pause(name: str) -> ResponseReturnValue:
    refuse_unknown(relay(), name, None)
    relay().store.targets.pause(name, relay().clock())
    return redirect(url_for("admin.overview"))


def resume(name: str) -> ResponseReturnValue:
    refuse_unknown(relay(), name, None)
    relay().store.targets.resume(name, relay().clock())
    return redirect(url_for("admin.overview"))


def _target(record: dict[str, Any], now: datetime) -> dict[str, Any]:
    oldest = record["oldest_due_at"] and datetime.fromisoformat(record["oldest_due_at"])
    is_unwell = record["state"] in ("down", "misconfigured")
    since = relay().store.targets.health(record["target"]).since if is_unwell else None
    return {**record, "oldest": None if oldest is None else now - oldest, "since": since}


def _source(record: dict[str, Any]) -> dict[str, Any]:
    last = record["last_taken_at"] and datetime.fromisoformat(record["last_taken_at"])
    return {**record, "last": last, "refused": sum(record["refused_24h"].values())}


def _chart(now: datetime) -> dict[str, Any]:
    """Return the bars of each hour: places and sizes in the picture's own units."""
    hours = relay().store.pages.hours(relay().settings.sources, target_names(), now - timedelta(hours=23), now)
    most = max([1, *(max(hour.taken, hour.delivered, hour.dead) for hour in hours)])
    slot = _WIDTH / len(hours)
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "most": most,
        "totals": {name: sum(getattr(hour, name) for hour in hours) for name in _SERIES},
        "hours": [_bars(hour, place * slot, slot, most) for place, hour in enumerate(hours)],
    }


def _bars(hour: Hour, left: float, slot: float, most: int) -> dict[str, Any]:
    width = (slot - _GAP) / len(_SERIES)
    bars = []
    for place, name in enumerate(_SERIES):
        count = getattr(hour, name)
        size = count and max(2.0, count / most * _HEIGHT)  # what happened at all must be seen
        x, y = left + place * width, _HEIGHT - size
        bars.append({"name": name, "x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": f"{size:.1f}"})
    at = (EPOCH + timedelta(hours=hour.at)).astimezone(zone())
    return {"at": f"{at:%H:00}", "bars": bars, "x": f"{left:.1f}", **{name: getattr(hour, name) for name in _SERIES}}


# --- the dead-letter queue: replay and discard in two steps, the first of which says how many


def dead() -> ResponseReturnValue:
    page = relay().store.pages.dead_letters(selection(_STATES), before(), PAGE)
    return render_template(
        "admin/dead.html",
        letters=[_letter(letter, page.accepted_at) for letter in page.letters],
        next_before=page.next_before,
        zone=zone(),
        filters=filters(FILTERS),
        kinds=KINDS,
        states=_STATES,
        targets=target_names(),
        sources=list(relay().settings.sources),
        done=request.args.get("done"),
    )


def preview(action: str) -> ResponseReturnValue:
    """Show how many it would be, and which; nothing is changed yet."""
    chosen = _chosen(action)
    return render_template(
        "admin/preview.html",
        action=action,
        chosen=chosen,
        by_target=Counter(delivery.target for delivery in chosen.deliveries),
        filters=filters(FILTERS),
        ids=request.form.getlist("id"),
        everything=request.form.get("everything"),
    )


def change(action: str) -> ResponseReturnValue:
    chosen = _chosen(action)
    if action == "discard":
        done = gettext("Discarded: %(count)s.", count=actions.discard(relay(), chosen))
    else:
        replayed = actions.replay(relay(), chosen)
        done = gettext("Replayed: %(count)s.", count=replayed.count)
        if replayed.unreadable:
            done += " " + gettext("Still not readable: %(count)s; mend them.", count=len(replayed.unreadable))
    return redirect(url_for("admin.dead", done=done))


def _chosen(action: str) -> Chosen:
    """Return the ticked ones, or with `everything` all that fit the filters. Raises BadRequest, NotFound."""
    selected = selection(_STATES)
    if not selected.ids and not request.form.get("everything"):
        raise BadRequest(gettext("Nothing was chosen. Tick something first."))
    if selected.ids:  # an id is a delivery's or an event's: what is ticked is meant, and nothing else
        selected = Selection(ids=selected.ids)
    try:
        return choose(relay(), selected, _ALLOWED[action])
    except ValueError as exc:
        raise BadRequest(str(exc)) from exc


def _letter(letter: Delivery | Event, accepted_at: dict[str, datetime]) -> dict[str, Any]:
    """Return the row of a delivery, or of an event in quarantine, which stands for itself."""
    row = {name: getattr(letter, name) for name in ("id", "kind", "source", "session", "state")}
    if isinstance(letter, Delivery):
        at = accepted_at[letter.event]
        return {**row, "event": letter.event, "at": at, "target": letter.target, "reason": letter.reason}
    return {**row, "event": letter.id, "at": letter.received_at, "target": None, "reason": letter.problem}


# --- calls: found by phone, session or time; one as a time line of notifications and what became of each


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


# --- one event: what came, what was understood, what became of it; and the mending of one in quarantine


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
        understood=_fields(event.call, zone),
        explained=_explained(event),
        shows_links=request.args.get("links") == "shown",
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
        understood=_fields(result.call, zone),
        raw=serializers.text(event.raw),
        zone=zone,
    )


def _fields(call: CallEvent | None, zone: ZoneInfo) -> list[tuple[str, str]]:
    """Return the names and values of what was understood; times in the account's zone."""
    if call is None:
        return []
    values = {name: getattr(call, name) for name in CallEvent.__struct_fields__ if name != "notes"}
    return [
        (field_label(name), _in_words(value, zone)) for name, value in values.items() if value not in (None, (), {})
    ]


def _in_words(value: object, zone: ZoneInfo) -> str:
    if isinstance(value, datetime):
        return moment(value, zone)
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    return ", ".join(map(str, value)) if isinstance(value, tuple) else gettext(str(value))
