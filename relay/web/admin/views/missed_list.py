"""The missed calls, and whether the client was reached later; as a page and as a table for Excel."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response, render_template
from flask.typing import ResponseReturnValue

from relay.calls.missed_calls import MissedCall
from relay.operations import missed_records
from relay.web.admin.context import chosen, filters, relay, zone

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
    )


def missed_csv() -> ResponseReturnValue:
    text = missed_records.as_csv(_chosen(filters(("source", "days", "show"))), zone(), relay().clock())
    headers = {"Content-Disposition": "attachment; filename=missed.csv"}
    return Response(text, content_type="text/csv; charset=utf-8", headers=headers)


def _chosen(asked: dict[str, str]) -> list[MissedCall]:
    """Raises BadRequest."""
    days, show = chosen(asked.get("days"), _DAYS) or "7", chosen(asked.get("show"), ("waiting",))
    since = relay().clock() - timedelta(days=int(days))
    return missed_records.missed(relay(), since, asked.get("source"), only_waiting=show is not None)
