"""The overview: what is wrong, how each target and source is doing, and what happened in the last 24 hours."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from msgspec import structs

from relay.operations import stats
from relay.operations.filters import refuse_unknown
from relay.operations.troubles import troubles
from relay.store import Hours, TargetFigures
from relay.uis import cabinet
from relay.web.admin.context import relay, target_names

_DAY = timedelta(hours=24)
_HEIGHT, _BAR, _SLOT = 28, 4, 5  # of the small charts, in their own units


def register(pages: Blueprint) -> None:
    pages.add_url_rule("/", "overview", overview)
    pages.add_url_rule("/targets/<name>/pause", "pause", pause, methods=["POST"])
    pages.add_url_rule("/targets/<name>/resume", "resume", resume, methods=["POST"])


def overview() -> ResponseReturnValue:
    now = relay().clock()
    targets, sources = list(stats.targets(relay(), now - _DAY)), list(stats.sources(relay(), now - _DAY))
    hours = relay().store.pages.hours(relay().settings.sources, target_names(), now - timedelta(hours=23), now)
    return render_template(
        "admin/overview.html",
        troubles=troubles(relay(), targets),
        targets=[_target(target, hours, now) for target in targets],
        sources=[(source, _chart({"taken": hours.taken[source.source]})) for source in sources],
        brought=relay().store.reports.brought_since(now - _DAY),
        first_addresses=_first_addresses() if all(source.last_taken_at is None for source in sources) else [],
        hours=_table(hours),
        now=now,
    )


def _first_addresses() -> list[str]:
    """Return where the first notifications are to be sent to."""
    sources = relay().settings.sources.values()
    endpoints = dict.fromkeys(one.endpoint for one in cabinet.NOTIFICATIONS)
    return [
        cabinet.address(request.host_url, source.path, endpoint, has_secret=bool(source.secrets))
        for source in sources
        for endpoint in endpoints
    ]


def pause(name: str) -> ResponseReturnValue:
    refuse_unknown(relay(), name, None)
    relay().store.targets.pause(name, relay().clock())
    return redirect(url_for("admin.overview"))


def resume(name: str) -> ResponseReturnValue:
    refuse_unknown(relay(), name, None)
    relay().store.targets.resume(name, relay().clock())
    return redirect(url_for("admin.overview"))


def _target(figures: TargetFigures, hours: Hours, now: datetime) -> dict[str, Any]:
    name, store, target = figures.name, relay().store, relay().settings.targets.get(figures.name)
    is_unwell = figures.state in ("down", "misconfigured")
    return {
        **structs.asdict(figures),
        "kind": target and target.kind,
        "since": store.targets.health(name).since if is_unwell else None,
        "delay": stats.delay(store.pages.delays(name, now - _DAY)),
        "chart": _chart({"delivered": hours.delivered[name], "dead": hours.dead[name]}),
    }


def _chart(series: dict[str, list[int]]) -> dict[str, Any]:
    """Return the bars of each hour, one series upon the other."""
    sums = [sum(counts) for counts in zip(*series.values(), strict=True)]
    most = max(1, *sums)
    bars = []
    ground = [float(_HEIGHT)] * len(sums)
    for name, counts in series.items():
        for place, count in enumerate(counts):
            if count:
                size = max(1.5, count / most * _HEIGHT)  # what happened at all must be seen
                ground[place] = max(0.0, ground[place] - size)
                bars.append({"name": name, "x": place * _SLOT, "y": f"{ground[place]:.1f}", "height": f"{size:.1f}"})
    totals = {name: sum(counts) for name, counts in series.items()}
    return {"width": len(sums) * _SLOT, "height": _HEIGHT, "bar": _BAR, "bars": bars, "totals": totals}


def _table(hours: Hours) -> list[dict[str, Any]]:
    """Return the sums over all sources and targets by the hour."""
    series = {"taken": hours.taken, "delivered": hours.delivered, "dead": hours.dead}
    return [
        {"at": at, **{name: sum(counts[place] for counts in by_name.values()) for name, by_name in series.items()}}
        for place, at in enumerate(hours.begin)
    ]
