"""Which alerts begin and end, from what is so now and what was sent before. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from relay.config import Alerts
from relay.store import ReportState, TargetFigures
from relay.store.alert_state import Alert, ConditionKind

FLAPS_WITHIN = timedelta(minutes=10)  # what is back so soon after its end is not sent anew, unless it stays as long
AT_MOST_EVERY = timedelta(minutes=1)
SUMMARY_WITHIN = timedelta(hours=6)  # a relay that starts later than this sends none before the next day
UNNOTIFIED = 3  # calls without a notification: one may be a fault of the moment
STORE_DOWN_FOR = timedelta(seconds=20)  # one snapshot may fall into a moment in which another writes

Transition = Literal["firing", "more", "still", "resolved", "past", "paused", "gone"]
_OF_A_TARGET: tuple[ConditionKind, ...] = ("down", "misconfigured")  # one condition, that changes its face
SUMMARY: ConditionKind = "summary"  # under it is kept when the last one was sent
_NOTHING = Alert(kind=SUMMARY, name="")  # was said
_COUNTED: tuple[ConditionKind, ...] = ("dead", "unreadable", "missed")


class TargetStatus(TargetFigures, frozen=True, kw_only=True):
    since: datetime | None = None  #: when it stopped being open
    open_since: datetime | None = None  #: as far as was watched


class SourceStatus(Struct, frozen=True, kw_only=True):
    name: str
    zone: ZoneInfo
    last_at: datetime | None  #: of a notification
    watched_since: datetime  #: counts for one that has sent nothing yet
    unnotified: int = 0  #: calls of its report that began within the last hour, and after the last notification
    unnotified_since: datetime | None = None
    report: ReportState | None = None


class Snapshot(Struct, frozen=True, kw_only=True):
    now: datetime
    targets: tuple[TargetStatus, ...] = ()
    sources: tuple[SourceStatus, ...] = ()
    dead: Mapping[str, int] = {}  #: dead and held, by target
    unreadable: int = 0  #: notifications in quarantine
    missed: Mapping[str, Sequence[datetime]] = {}  #: since when clients wait for a call back, by source
    token_ends: Mapping[str, datetime] = {}  #: by target
    free_bytes: int | None = None  #: on the database's disk
    store_down_since: datetime | None = None  #: all else is not known then
    summary_at: datetime | None = None  #: the last moment for which a summary is wanted


class Condition(Struct, frozen=True, kw_only=True):
    """Something that is wrong."""

    kind: ConditionKind
    name: str = ""  #: the target or source
    since: datetime | None = None
    count: int = 0
    reason: str = ""
    zone: ZoneInfo | None = None  #: of the source's account; None: the relay's

    @property
    def key(self) -> str:
        return f"{'target' if self.kind in _OF_A_TARGET else self.kind} {self.name}".strip()


class Notice(Struct, frozen=True):
    """One line of what is sent."""

    transition: Transition
    condition: Condition


class Evaluation(Struct, frozen=True):
    notices: tuple[Notice, ...]
    with_summary: bool
    sent: dict[str, Alert]  #: the state when the notices have arrived
    unsent: dict[str, Alert]  #: the state when they have not


_Step = tuple[Notice | None, Alert | None]  # what to say of a condition, and what to remember of it


def evaluate(snapshot: Snapshot, state: Mapping[str, Alert], settings: Alerts) -> Evaluation:
    """Return what to send in one go: nothing within a minute of the last time, then with a later evaluation."""
    steps: dict[str, _Step] = {
        condition.key: _of_present(condition, state.get(condition.key), settings, snapshot.now)
        for condition in conditions(snapshot, settings)
    }
    for key in sorted(state.keys() - steps.keys() - _unknown(snapshot, settings, state)):
        steps[key] = _of_absent(state[key], snapshot)
    notices = tuple(notice for notice, _ in steps.values() if notice is not None)
    after = {**state, **{key: alert for key, (_, alert) in steps.items()}}
    sent = {key: alert for key, alert in after.items() if alert is not None}
    unsent = {**sent, **{notice.condition.key: _unsent(notice, state, sent) for notice in notices}}
    with_summary = _is_summary_due(snapshot, state.get(SUMMARY))
    if with_summary:
        sent[SUMMARY] = Alert(kind=SUMMARY, name="", last_sent=snapshot.now)
    ages = [_age(alert.last_sent, snapshot.now) for alert in state.values()]
    if (notices or with_summary) and any(timedelta(0) <= age < AT_MOST_EVERY for age in ages):
        return Evaluation((), False, unsent, unsent)
    return Evaluation(notices, with_summary, sent, unsent)


def summary_moment(at: time, zone: ZoneInfo, now: datetime) -> datetime:
    """Return when it was that time of the day in the zone for the last time."""
    local = now.astimezone(zone)
    today = datetime.combine(local.date(), at, zone)
    return today if today <= local else datetime.combine(local.date() - timedelta(days=1), at, zone)


def _is_summary_due(snapshot: Snapshot, before: Alert | None) -> bool:
    at = snapshot.summary_at
    if at is None or snapshot.now - at > SUMMARY_WITHIN:
        return False
    return before is None or before.last_sent is None or before.last_sent < at


def _of_present(condition: Condition, before: Alert | None, settings: Alerts, now: datetime) -> _Step:
    if before is not None and before.state == "resolved" and _age(before.resolved_at, now) <= FLAPS_WITHIN:
        return None, replace(before, state="firing", since=now)
    if transition := _transition(condition, before or _NOTHING, settings, now):
        kind, name, since, count = condition.kind, condition.name, condition.since, condition.count
        return Notice(transition, condition), Alert(kind=kind, name=name, since=since, count=count, last_sent=now)
    if before is not None and condition.kind in _COUNTED and condition.count < before.count:
        return None, replace(before, count=condition.count)  # some were replayed: more are counted from here
    return None, before


def _transition(condition: Condition, before: Alert, settings: Alerts, now: datetime) -> Transition | None:
    """Return what to say of a condition that is there."""
    since_sent, is_counted = _age(before.last_sent, now), condition.kind in _COUNTED
    more = condition.count - (before.count if before.is_known else 0)
    is_enough = more >= (1 if condition.kind == "missed" else settings.dead)  # each client who waits is told
    if before.is_known:
        if is_counted and is_enough:
            return "more"
        if condition.kind != before.kind and since_sent > FLAPS_WITHIN:
            return "firing"
        return "still" if since_sent >= settings.remind_after else None
    is_flapping = (
        before.state == "firing"
        and before.resolved_at is not None
        and _age(before.since, now) <= FLAPS_WITHIN
        and since_sent < settings.remind_after
    )
    return None if is_flapping or (is_counted and not is_enough) else "firing"


def _of_absent(before: Alert, snapshot: Snapshot) -> _Step:
    now = snapshot.now
    if before.state == "resolved":
        return None, None if _age(before.resolved_at, now) > FLAPS_WITHIN else before
    resolved = replace(before, state="resolved", resolved_at=now)
    if before.resolved_at is not None:  # that it was there again was never said
        return None, resolved
    condition = Condition(kind=before.kind, name=before.name, since=before.since)
    return Notice(_ending(before, snapshot), condition), replace(resolved, last_sent=now)


def _ending(before: Alert, snapshot: Snapshot) -> Transition:
    """Return how a condition ended: what is paused or removed has not come back."""
    if before.last_sent is None:
        return "past"
    states = {target.name: target.state for target in snapshot.targets}
    if before.kind in _OF_A_TARGET and states.get(before.name) == "paused":
        return "paused"
    names = {*states, *snapshot.dead, *(source.name for source in snapshot.sources)}
    return "gone" if before.name and before.name not in names else "resolved"


def _unsent(notice: Notice, state: Mapping[str, Alert], sent: Mapping[str, Alert]) -> Alert:
    """Return what to remember when a notice did not arrive: what was, or that its beginning is still to be told."""
    before = state.get(notice.condition.key)
    if before is None or (notice.transition == "firing" and before.resolved_at is not None):
        return replace(sent[notice.condition.key], last_sent=None)
    return before


def _age(moment: datetime | None, now: datetime) -> timedelta:
    """Return how long ago it was; forever for what never was."""
    return timedelta.max if moment is None else now - moment


# --- what is wrong


def conditions(snapshot: Snapshot, settings: Alerts) -> list[Condition]:
    """Return what is wrong now; of a store that is down nothing else is known."""
    down_since = snapshot.store_down_since
    if down_since is not None:
        is_told = settings.store_down and snapshot.now - down_since >= STORE_DOWN_FOR
        return [Condition(kind="store", since=down_since)] if is_told else []
    return [*_of_targets(snapshot, settings), *_of_sources(snapshot, settings), *_of_the_relay(snapshot, settings)]


def _unknown(snapshot: Snapshot, settings: Alerts, state: Mapping[str, Alert]) -> set[str]:
    """Return the keys of the alerts of which nobody can say now whether they are resolved."""
    if snapshot.store_down_since is not None:
        return set(state)
    down = {f"target {target.name}" for target in snapshot.targets if target.state in _OF_A_TARGET}
    queues = {f"backlog {target.name}" for target in snapshot.targets if _is_old(target, snapshot.now, settings)}
    silent = {f"silent {source.name}" for source in snapshot.sources if source.last_at is None}
    unnotified = {  # that there are no calls any more mends no notifications
        key
        for source in snapshot.sources
        if (alert := state.get(key := f"unnotified {source.name}")) is not None
        and alert.since is not None
        and (source.last_at is None or source.last_at < alert.since)
    }
    return {SUMMARY} | down | queues | silent | unnotified


def _of_targets(snapshot: Snapshot, settings: Alerts) -> Iterator[Condition]:
    for target in snapshot.targets:
        reason, since = target.reason or "", target.since or snapshot.now
        if target.state in _OF_A_TARGET and snapshot.now - since >= settings.down_for:
            kind: ConditionKind = "down" if target.state == "down" else "misconfigured"
            yield Condition(kind=kind, name=target.name, since=since, count=target.due, reason=reason)
        elif target.state == "open" and _is_old(target, snapshot.now, settings):
            opened = target.open_since or snapshot.now
            if snapshot.now - opened >= settings.backlog_older:  # one that is just back is given time to catch up
                yield Condition(kind="backlog", name=target.name, since=target.oldest_due_at, count=target.due)
    for name, count in snapshot.dead.items():
        if count:
            yield Condition(kind="dead", name=name, count=count)
    for name, ends in snapshot.token_ends.items():
        if ends - snapshot.now <= settings.token_ends_in:
            yield Condition(kind="token", name=name, since=ends)


def _is_old(target: TargetStatus, now: datetime, settings: Alerts) -> bool:
    return target.oldest_due_at is not None and now - target.oldest_due_at >= settings.backlog_older


def _of_sources(snapshot: Snapshot, settings: Alerts) -> Iterator[Condition]:
    for source in snapshot.sources:
        name, zone, report = source.name, source.zone, source.report
        now, since = snapshot.now.astimezone(zone), source.last_at or source.watched_since
        between = settings.working_hours.between  # only working time counts
        if settings.silent_for and between(since.astimezone(zone), now) >= settings.silent_for:
            yield Condition(kind="silent", name=name, since=since, zone=zone)
        if source.unnotified >= UNNOTIFIED:
            first = source.unnotified_since
            yield Condition(kind="unnotified", name=name, since=first, count=source.unnotified, zone=zone)
        if report is not None and report.state == "misconfigured":
            yield Condition(kind="report", name=name, since=report.checked_to, reason=report.reason or "", zone=zone)
        missed = snapshot.missed.get(name, ()) if settings.missed_for else ()
        waits = [at for at in missed if between(at.astimezone(zone), now) >= settings.missed_for]
        if waits:
            yield Condition(kind="missed", name=name, since=min(waits), count=len(waits), zone=zone)


def _of_the_relay(snapshot: Snapshot, settings: Alerts) -> Iterator[Condition]:
    if snapshot.unreadable:
        yield Condition(kind="unreadable", count=snapshot.unreadable)
    if snapshot.free_bytes is not None and snapshot.free_bytes < settings.disk_free:
        yield Condition(kind="disk", count=snapshot.free_bytes >> 20)
