"""The dead-letter queue: filters, and replay and discard in two steps, the first of which says how many."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from relay.models import DEAD_LETTERS, KINDS, Delivery, Event
from relay.operations import actions
from relay.operations.filters import DISCARDABLE, REPLAYABLE, Chosen, choose
from relay.store import Selection
from relay.web.admin.context import PAGE, before, context, selection
from relay.web.admin.i18n import gettext

STATES = (*DEAD_LETTERS, "quarantined")
_FILTERS = ("target", "source", "kind", "state", "session", "phone", "since", "until")
_ALLOWED = {"replay": REPLAYABLE, "discard": DISCARDABLE}


def register(pages: Blueprint) -> None:
    pages.add_url_rule("/dead", "dead", dead)
    pages.add_url_rule("/dead/<any(replay, discard):action>", "preview", preview, methods=["POST"])
    pages.add_url_rule("/dead/<any(replay, discard):action>/now", "change", change, methods=["POST"])


def dead() -> ResponseReturnValue:
    known = context()
    page = known.relay.store.pages.dead_letters(selection(STATES), before(), PAGE)
    return render_template(
        "admin/dead.html",
        letters=[_letter(found, page.accepted_at) for found in page.letters],
        next_before=page.next_before,
        zone=known.zone,
        given=_given(),
        kinds=KINDS,
        states=STATES,
        targets=_targets(),
        sources=list(known.relay.settings.sources),
        done=request.args.get("done"),
    )


def preview(action: str) -> ResponseReturnValue:
    """How many it would be, and which; nothing is changed yet."""
    chosen = _chosen(action)
    by_target: dict[str, int] = {}
    for delivery in chosen.deliveries:
        by_target[delivery.target] = by_target.get(delivery.target, 0) + 1
    return render_template(
        "admin/preview.html", action=action, chosen=chosen, by_target=by_target, given=_given(),
        ids=request.form.getlist("id"), everything=request.form.get("everything"),
    )  # fmt: skip


def change(action: str) -> ResponseReturnValue:
    relay, chosen = context().relay, _chosen(action)
    if action == "discard":
        done = gettext("Discarded: %(count)s.", count=actions.discard(relay, chosen))
    else:
        replayed = actions.replay(relay, chosen)
        done = gettext("Replayed: %(count)s.", count=replayed.count)
        if replayed.unreadable:
            done += " " + gettext("Still not readable: %(count)s; mend them.", count=len(replayed.unreadable))
    return redirect(url_for("admin.dead", done=done))


def _chosen(action: str) -> Chosen:
    """The ticked ones, or with `everything` all that fit the filters. Raises BadRequest, NotFound."""
    wanted = selection(STATES)
    if not wanted.ids and not request.form.get("everything"):
        raise BadRequest(gettext("Nothing was chosen. Tick something first."))
    if wanted.ids:  # an id is a delivery's or an event's: what is ticked is meant, and nothing else
        wanted = Selection(ids=wanted.ids)
    try:
        return choose(context().relay, wanted, _ALLOWED[action])
    except ValueError as exc:
        raise BadRequest(str(exc)) from exc


def _letter(found: Delivery | Event, accepted_at: dict[str, datetime]) -> dict[str, Any]:
    if isinstance(found, Delivery):
        return {
            "id": found.id, "event": found.event, "at": accepted_at[found.event],
            "target": found.target, "kind": found.kind,
            "source": found.source, "session": found.session, "state": found.state, "reason": found.reason,
        }  # fmt: skip
    return {
        "id": found.id, "event": found.id, "at": found.received_at, "target": None, "kind": found.kind,
        "source": found.source, "session": found.session, "state": found.state, "reason": found.problem,
    }  # fmt: skip


def _given() -> dict[str, str]:
    return {name: value for name in _FILTERS if (value := request.values.get(name, "").strip())}


def _targets() -> list[str]:
    return context().relay.store.queries.target_names(context().relay.settings.targets)
