"""The dead-letter queue: by what is wrong and one by one; replay and discard in two steps, the first says how many."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import datetime
from http import HTTPStatus
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from relay.i18n import gettext, said, translate
from relay.models import DEAD_LETTERS, KINDS, Delivery, Event
from relay.operations import actions, reason_groups
from relay.operations.filters import DISCARDABLE, REPLAYABLE, Chosen, choose
from relay.operations.reason_groups import ReasonGroup
from relay.store import Selection
from relay.web.admin.context import FILTERS, PAGE, before, filters, relay, selection, target_names

_STATES = (*DEAD_LETTERS, "quarantined")
_FILTERS = (*FILTERS, "reason")  #: the last is the pattern of a group, and chosen by its link
_ALLOWED = {"replay": REPLAYABLE, "discard": DISCARDABLE}


def register(pages: Blueprint) -> None:
    pages.add_url_rule("/dead", "dead", dead)
    pages.add_url_rule("/dead/<any(replay, discard):action>", "preview", preview, methods=["POST"])
    pages.add_url_rule("/dead/<any(replay, discard):action>/now", "change", change, methods=["POST"])


def dead() -> ResponseReturnValue:
    selected, reason = selection(_STATES), request.args.get("reason")
    page = reason_groups.page(relay(), selected, reason, next(iter(before(1)), None), PAGE)
    groups = reason_groups.group(relay().store.pages.dead_reasons(selected))
    if reason is not None:
        groups = [group for group in groups if group.pattern == reason]
    return render_template(
        "admin/dead.html",
        groups=groups,
        group_filters=_group_filters,
        count=sum(group.count for group in groups),
        letters=[_letter(letter, page.accepted_at) for letter in page.letters],
        next_before=page.next_before,
        filters=filters(_FILTERS),
        kinds=KINDS,
        states=_STATES,
        targets=target_names(),
        done=request.args.get("done"),
    )


def _group_filters(group: ReasonGroup) -> dict[str, str]:
    """Return the filters that choose a group."""
    of_target = {} if group.target is None else {"target": group.target}
    return {**of_target, "state": group.state, "reason": group.pattern}


def preview(action: str) -> ResponseReturnValue:
    """Show how many it would be, and which; nothing is changed yet."""
    return _preview(action, _chosen(action))


def _preview(action: str, chosen: Chosen, *, has_changed: bool = False) -> str:
    return render_template(
        "admin/preview.html",
        action=action,
        chosen=chosen,
        shown=_fingerprint(chosen),
        has_changed=has_changed,
        by_target=Counter(delivery.target for delivery in chosen.deliveries),
        filters=filters(_FILTERS),
        ids=request.form.getlist("id"),
        everything=request.form.get("everything"),
    )


def change(action: str) -> ResponseReturnValue:
    chosen = _chosen(action)
    fingerprint, ticked = _fingerprint(chosen), bool(request.form.getlist("id"))
    if request.form.get("shown", fingerprint if ticked else None) != fingerprint:  # nobody has looked at the others
        return _preview(action, chosen, has_changed=True), HTTPStatus.CONFLICT
    if action == "discard":
        done = gettext("Discarded: %(count)s.", count=actions.discard(relay(), chosen))
    else:
        replayed = actions.replay(relay(), chosen)
        done = gettext("Replayed: %(count)s.", count=replayed.count)
        if replayed.unreadable:
            done += " " + gettext("Still not readable: %(count)s; mend them.", count=len(replayed.unreadable))
    return redirect(url_for("admin.dead", done=done))


def _fingerprint(chosen: Chosen) -> str:
    """Return what differs when others are chosen, or one of them has been tried again meanwhile."""
    seen = [f"{delivery.id} {delivery.state} {delivery.attempts}" for delivery in chosen.deliveries]
    seen += [event.id for event in chosen.quarantined]
    return hashlib.sha256(" ".join(sorted(seen)).encode()).hexdigest()


def _chosen(action: str) -> Chosen:
    """Return the ticked ones, or with `everything` all that fit the filters. Raises BadRequest, NotFound."""
    selected = selection(_STATES)
    if not selected.ids and not request.form.get("everything"):
        raise BadRequest(gettext("Nothing was chosen. Tick something first."))
    if selected.ids:  # an id is a delivery's or an event's: what is ticked is meant, and nothing else
        selected = Selection(ids=selected.ids)
    try:
        chosen = choose(relay(), selected, _ALLOWED[action])
    except ValueError as exc:
        raise BadRequest(translate(said(exc))) from exc
    reason = None if selected.ids else request.form.get("reason")
    return chosen if reason is None else reason_groups.only(chosen, reason)


def _letter(letter: Delivery | Event, accepted_at: dict[str, datetime]) -> dict[str, Any]:
    """Return the row of a delivery, or of an event in quarantine, which stands for itself."""
    row = {name: getattr(letter, name) for name in ("id", "kind", "source", "session", "state")}
    row["reason"] = reason_groups.reason_of(letter)
    if isinstance(letter, Delivery):
        return {**row, "event": letter.event, "at": accepted_at[letter.event], "target": letter.target}
    return {**row, "event": letter.id, "at": letter.received_at, "target": None}
