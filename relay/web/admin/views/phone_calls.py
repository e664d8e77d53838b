"""Calls: found by phone, session, employee or time; one as a time line; those that were missed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from relay.calls.missed_calls import MissedCall
from relay.calls.summary import CallSummary
from relay.errors import NotFound
from relay.i18n import gettext
from relay.models import Delivery, DeliveryState, Event
from relay.operations import missed_records
from relay.operations.next_attempt import next_attempt
from relay.store import CallSearch, Place, StoredCall
from relay.web.admin.context import PAGE, before, chosen, filters, moment_of, relay

_FILTERS = ("q", "source", "since", "until", "show")
_TEXT_MAX = 100
_DAYS = ("1", "7", "31")  # of which missed calls are shown
_MISSED_MAX = 500
_SESSION_MIN = 6  # digits of UIS's; what is shorter may be meant as a part of a number
_WORST_FIRST: tuple[DeliveryState, ...] = ("dead", "held", "sending", "due", "expired", "discarded", "delivered")
_ENDS = ("lost", "finished")
_SILENT_FOR = timedelta(hours=2)  # a call whose end has not come by then: nobody will tell of it


def register(pages: Blueprint) -> None:
    pages.add_url_rule("/calls", "calls", calls)
    pages.add_url_rule("/calls/<source>/<session:session>", "call", call)
    pages.add_url_rule("/missed", "missed", missed)
    pages.add_url_rule("/missed.csv", "missed_csv", missed_csv)


def calls() -> ResponseReturnValue:
    asked = filters(_FILTERS)
    if (known := _known(asked.get("q", ""))) is not None:
        return redirect(url_for("admin.call", source=known, session=asked["q"]))
    begins = Place(*key) if (key := before(2)) else None
    keeps = _is_missed if asked.get("show") == "missed" else bool  # there is no call without events
    page = relay().store.pages.calls(_search(asked), keeps, begins, PAGE)
    place = page.next_before
    return render_template(
        "admin/calls.html",
        calls=[_row(call) for call in page.calls],
        next_before=place and f"{place.began_us}-{place.seq}",
        searched_to=page.searched_to,
        filters=asked,
        days=_days(asked),
    )


def _known(text: str) -> str | None:
    """Return the source of the call that is named so in full."""
    if len(text) < _SESSION_MIN:
        return None
    sources = relay().settings.sources
    return next((source for source in sources if relay().store.pages.call(source, text).events), None)


def call(source: str, session: str) -> ResponseReturnValue:
    """Show the events of a call. Raises NotFound for a call that nobody has told of."""
    call = relay().store.pages.call(source, session)
    if not call.events:
        raise NotFound(gettext("There is no call %(session)s.", session=session))
    rows = [(event, relay().store.queries.deliveries_of(event)) for event in call.events]
    waits = {delivery.id: next_attempt(relay(), delivery, call.deliveries) for delivery in call.deliveries}
    return render_template(
        "admin/call.html",
        session=session,
        source=source,
        call=_row(call),
        lines=[(event, {delivery.target: (delivery, tries) for delivery, tries in parts}) for event, parts in rows],
        targets=list(dict.fromkeys(delivery.target for _, parts in rows for delivery, _ in parts)),
        waits=waits,
    )


def missed() -> ResponseReturnValue:
    asked, now = filters(("source", "days", "show")), relay().clock()
    calls = _missed_calls(asked)[::-1]
    return render_template(
        "admin/missed.html",
        calls=[(call, missed_records.became(call, now)) for call in calls[:_MISSED_MAX]],
        more=max(0, len(calls) - _MISSED_MAX),
        filters=asked,
        days=_DAYS,
    )


def missed_csv() -> ResponseReturnValue:
    text = missed_records.as_csv(
        _missed_calls(filters(("source", "days", "show"))), relay().settings.zone_of, relay().clock()
    )
    headers = {"Content-Disposition": "attachment; filename=missed.csv"}
    return Response(text, content_type="text/csv; charset=utf-8", headers=headers)


def _missed_calls(asked: dict[str, str]) -> list[MissedCall]:
    """Raises BadRequest."""
    days, show = chosen(asked.get("days"), _DAYS) or "7", chosen(asked.get("show"), ("waiting",))
    since = relay().clock() - timedelta(days=int(days))
    return missed_records.missed(relay(), since, asked.get("source"), only_waiting=show is not None)


def _search(asked: dict[str, str]) -> CallSearch:
    """Raises BadRequest."""
    show = chosen(asked.get("show"), ("missed", "undelivered"))
    return CallSearch(
        text=asked.get("q", "")[:_TEXT_MAX],
        source=asked.get("source"),
        since=moment_of(asked.get("since")),
        until=moment_of(asked.get("until")),
        kinds=_ENDS if show == "missed" else (),
        is_undelivered=show == "undelivered",
    )


def _days(asked: dict[str, str]) -> list[tuple[str, str]]:
    """Return the names and addresses of the days that people ask about, with the other filters as they are."""
    today = relay().clock().astimezone(relay().settings.zone_of(asked.get("source"))).date()
    others = {name: value for name, value in asked.items() if name not in ("since", "until")}
    days = ((gettext("Today"), today), (gettext("Yesterday"), today - timedelta(days=1)))
    spans = [(name, {"since": f"{day}T00:00", "until": f"{day + timedelta(days=1)}T00:00"}) for name, day in days]
    return [(name, f"{url_for('admin.calls')}?{urlencode(others | span)}") for name, span in spans]


def _is_missed(events: list[Event]) -> bool:
    return _summary(events).is_missed


def _summary(events: list[Event]) -> CallSummary:
    return CallSummary(tuple(event.call for event in events if event.call is not None))


def _row(call: StoredCall) -> dict[str, Any]:
    first, summary = call.events[0], _summary(call.events)
    return {
        "source": first.source,
        "session": first.session,
        "began_at": summary.started_at or first.received_at,
        "summary": summary,
        "ending": _ending(summary, relay().clock() - call.events[-1].received_at),
        "reason": summary.result and summary.result.reason,
        "marks": _marks(call.deliveries),
    }


def _ending(summary: CallSummary, silent_for: timedelta) -> str:
    """Return in a few words how a call ended."""
    result = summary.result
    if result is None:
        return gettext("in progress") if silent_for < _SILENT_FOR else gettext("its end was not notified")
    if result.result == "talked":
        minutes, seconds = divmod(result.seconds, 60)
        return gettext("talked %(span)s", span=f"{minutes}:{seconds:02d}")
    if result.result == "declined":
        return gettext("hung up by the employee")
    if not summary.is_ours:
        return gettext("missed")
    return {
        "missed": gettext("nobody answered"),
        "busy": gettext("busy"),
        "wrong_number": gettext("wrong number"),
        "unavailable": gettext("not available"),
    }.get(result.result, gettext("no talk"))


def _marks(deliveries: Iterable[Delivery]) -> list[tuple[str, DeliveryState]]:
    """Return of each target the state of what went worst there."""
    states: dict[str, DeliveryState] = {}
    for delivery in deliveries:
        states[delivery.target] = min(states.get(delivery.target, "delivered"), delivery.state, key=_WORST_FIRST.index)
    return sorted(states.items())
