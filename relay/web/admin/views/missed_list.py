"""The missed calls, and whether the client was reached later; as a page and as a table for Excel."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response, render_template
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from relay.calls.missed_calls import MissedCall
from relay.i18n import gettext
from relay.operations import missed_records
from relay.web.admin.context import filters, relay, zone

_DAYS = ("1", "7", "31")
_SHOWN_MAX = 500


def register(pages: Blueprint) -> None:
    pages.add_url_rule("/missed", "missed", missed)
    pages.add_url_rule("/missed.csv", "missed_csv", missed_csv)


def missed() -> ResponseReturnValue:
    asked, now = filters(("source", "days", "show")), relay().clock()
    calls = _chosen(asked)[::-1]
    return render_template(
        "admin/missed.html",
        calls=[(call, missed_records.became(call, now)) for call in calls[:_SHOWN_MAX]],
        more=max(0, len(calls) - _SHOWN_MAX),
        filters=asked,
        days=_DAYS,
        sources=list(relay().settings.sources),
        zone=zone(),
    )


def missed_csv() -> ResponseReturnValue:
    text = missed_records.as_csv(_chosen(filters(("source", "days", "show"))), zone(), relay().clock())
    headers = {"Content-Disposition": "attachment; filename=missed.csv"}
    return Response(text, content_type="text/csv; charset=utf-8", headers=headers)


def _chosen(asked: dict[str, str]) -> list[MissedCall]:
    """Raises BadRequest."""
    days, show = asked.get("days", "7"), asked.get("show")
    if days not in _DAYS or show not in (None, "waiting"):
        raise BadRequest(gettext("There is no such choice."))
    since = relay().clock() - timedelta(days=int(days))
    return missed_records.missed(relay(), since, asked.get("source"), only_waiting=show == "waiting")
