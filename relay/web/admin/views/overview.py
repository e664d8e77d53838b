"""The overview: how each target and source is doing, and what happened in the last 24 hours."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from relay.clock import EPOCH
from relay.operations import stats
from relay.operations.filters import refuse_unknown
from relay.store import Hour
from relay.web.admin.context import relay, target_names, zone

_DAY = timedelta(hours=24)
_WIDTH, _HEIGHT, _GAP = 720, 140, 4  # of the chart
_SERIES = ("taken", "delivered", "dead")


def register(pages: Blueprint) -> None:
    pages.add_url_rule("/", "overview", overview)
    pages.add_url_rule("/targets/<name>/pause", "pause", pause, methods=["POST"])
    pages.add_url_rule("/targets/<name>/resume", "resume", resume, methods=["POST"])


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
