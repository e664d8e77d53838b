"""What is to be told, from what is so now and what people have been told before. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from relay.config import Alerts

FLAPS_WITHIN = timedelta(minutes=10)  # what is back so soon after its end is not told anew, unless it stays as long
AT_MOST_EVERY = timedelta(minutes=1)
STORE_DOWN_FOR = timedelta(seconds=20)  # one look may fall into a moment in which another writes

ConditionKind = Literal["down", "misconfigured", "backlog", "dead", "unreadable", "silent", "token", "disk", "store"]
Transition = Literal["new", "more", "still", "over", "past", "paused", "gone"]
_TARGET: tuple[ConditionKind, ...] = ("down", "misconfigured")  # one trouble, that changes its face
_LETTERS: tuple[ConditionKind, ...] = ("dead", "unreadable")  # told by number


class TargetFact(Struct, frozen=True, kw_only=True):
    name: str
    state: str
    reason: str | None = None
    since: datetime | None = None  #: when it stopped being open
    open_since: datetime | None = None  #: as far as was watched
    due: int = 0
    oldest_due_at: datetime | None = None


class SourceFact(Struct, frozen=True, kw_only=True):
    name: str
    zone: ZoneInfo
    last_at: datetime | None  #: taken
    watched_since: datetime  #: counts for one that has sent nothing yet


class Snapshot(Struct, frozen=True, kw_only=True):
    now: datetime
    targets: tuple[TargetFact, ...] = ()
    sources: tuple[SourceFact, ...] = ()
    dead: Mapping[str, int] = {}  #: dead and held, by target
    unreadable: int = 0  #: notifications in quarantine
    token_ends: Mapping[str, datetime] = {}  #: by target
    free_bytes: int | None = None  #: on the database's disk
    store_down_since: datetime | None = None  #: all else is not known then


class Condition(Struct, frozen=True, kw_only=True):
    what: ConditionKind
    name: str = ""  #: the target or source
    since: datetime | None = None
    count: int = 0
    reason: str = ""
    zone: ZoneInfo | None = None  #: of the source's account; None: the relay's

    @property
    def key(self) -> str:
        return f"{'target' if self.what in _TARGET else self.what} {self.name}".strip()


class Told(Struct, frozen=True, kw_only=True):
    """What people know of a trouble."""

    what: ConditionKind
    name: str
    at: datetime  #: when something was said of it
    since: datetime | None = None
    count: int = 0
    over_at: datetime | None = None  #: it is over; it may come back
    back_at: datetime | None = None  #: it came back so soon that nothing was said
    is_unsaid: bool = False  #: they know nothing yet: it could not be told


class Message(Struct, frozen=True):
    """One line of a message."""

    how: Transition
    trouble: Condition


class Evaluation(Struct, frozen=True):
    items: tuple[Message, ...]
    told: dict[str, Told]  #: what people know when they have read it
    missed: dict[str, Told]  #: what they know when it did not reach them


class _Step(NamedTuple):
    """What a look makes of one trouble."""

    how: Transition | None  #: None: there is nothing to say
    trouble: Condition | None
    told: Told | None  #: None: it need not be remembered any more


def news(facts: Snapshot, told: Mapping[str, Told], limits: Alerts) -> Evaluation:
    """What to say in one message. Nothing within a minute of the last one: it is said with a later look."""
    steps = {trouble.key: _of_present(trouble, told.get(trouble.key), limits, facts.now)
             for trouble in troubles(facts, limits)}  # fmt: skip
    for key in sorted(told.keys() - steps.keys() - _unknown(facts, limits, told)):
        steps[key] = _of_absent(told[key], facts)
    items = tuple(
        Message(how, trouble) for how, trouble, _ in steps.values() if how is not None and trouble is not None
    )
    known = {**told, **{key: step.told for key, step in steps.items()}}
    after = {key: each for key, each in known.items() if each is not None}
    missed = _missed(items, told, after)
    if items and _has_just_spoken(told, facts.now):
        return Evaluation((), missed, missed)
    return Evaluation(items, after, missed)


def _of_present(trouble: Condition, before: Told | None, limits: Alerts, now: datetime) -> _Step:
    fresh = Told(what=trouble.what, name=trouble.name, at=now, since=trouble.since, count=trouble.count)
    if before is None or before.is_unsaid or before.over_at is not None or before.back_at is not None:
        return _of_unknown(trouble, before, fresh, limits)
    how: Transition | None = None
    if trouble.what in _LETTERS and trouble.count - before.count >= limits.dead:
        how = "more"
    elif trouble.what != before.what and now - before.at > FLAPS_WITHIN:
        how = "new"
    elif now - before.at >= limits.remind_after:
        how = "still"
    if how is not None:
        return _Step(how, trouble, fresh)
    fewer = trouble.what in _LETTERS and trouble.count < before.count  # some were replayed: more are counted from here
    return _Step(None, None, replace(before, count=trouble.count) if fewer else before)


def _of_unknown(trouble: Condition, before: Told | None, fresh: Told, limits: Alerts) -> _Step:
    """People do not know that it is so, or not that it is so again."""
    now = fresh.at
    if before is not None and before.over_at is not None and now - before.over_at <= FLAPS_WITHIN:
        return _Step(None, None, replace(before, over_at=None, back_at=now))
    if before is not None and before.back_at is not None:
        waits = now - before.back_at <= FLAPS_WITHIN and now - before.at < limits.remind_after
    else:
        waits = False
    if waits or (trouble.what in _LETTERS and trouble.count < limits.dead):
        return _Step(None, None, before)
    return _Step("new", trouble, fresh)


def _of_absent(before: Told, facts: Snapshot) -> _Step:
    trouble, now = Condition(what=before.what, name=before.name, since=before.since), facts.now
    if before.over_at is not None:
        return _Step(None, None, None if now - before.over_at > FLAPS_WITHIN else before)
    if before.back_at is not None:
        return _Step(None, None, replace(before, over_at=now, back_at=None))
    over = replace(before, at=now, over_at=now, is_unsaid=False)
    return _Step("past" if before.is_unsaid else _ending(before, facts), trouble, over)


def _ending(before: Told, facts: Snapshot) -> Transition:
    """What is paused or removed has not come back."""
    states = {target.name: target.state for target in facts.targets}
    if before.what in _TARGET and states.get(before.name) == "paused":
        return "paused"
    names = {*states, *facts.dead, *(source.name for source in facts.sources)}
    return "gone" if before.name and before.name not in names else "over"


def _missed(items: tuple[Message, ...], told: Mapping[str, Told], after: Mapping[str, Told]) -> dict[str, Told]:
    """As `after`, but of what the items say people know nothing; what is new to them waits to be told."""
    found = dict(after)
    for item in items:
        key = item.trouble.key
        before = told.get(key)
        if item.how == "new" and (before is None or before.over_at is not None or before.back_at is not None):
            found[key] = replace(after[key], is_unsaid=True)
        elif before is not None:
            found[key] = before
    return found


def _has_just_spoken(told: Mapping[str, Told], now: datetime) -> bool:
    return any(timedelta(0) <= now - known.at < AT_MOST_EVERY for known in told.values() if not known.is_unsaid)


# --- what is wrong


def troubles(facts: Snapshot, limits: Alerts) -> list[Condition]:
    """What is wrong now. When the store is down, nothing else is known."""
    down_since = facts.store_down_since
    if down_since is not None:
        lasts = facts.now - down_since >= STORE_DOWN_FOR
        return [Condition(what="store", since=down_since)] if lasts and limits.store_down else []
    return [*_of_targets(facts, limits), *_of_letters(facts), *_of_sources(facts, limits), *_of_the_rest(facts, limits)]


def _unknown(facts: Snapshot, limits: Alerts, told: Collection[str]) -> set[str]:
    """Of what cannot be said now whether it is over."""
    if facts.store_down_since is not None:
        return set(told)
    down = {f"target {target.name}" for target in facts.targets if target.state in _TARGET}
    queues = {f"backlog {target.name}" for target in facts.targets if _is_old(target, facts.now, limits)}
    return down | queues | {f"silent {source.name}" for source in facts.sources if source.last_at is None}


def _of_targets(facts: Snapshot, limits: Alerts) -> Iterator[Condition]:
    for target in facts.targets:
        reason, since = target.reason or "", target.since or facts.now
        if target.state in _TARGET and facts.now - since >= limits.down_for:
            what: ConditionKind = "down" if target.state == "down" else "misconfigured"
            yield Condition(what=what, name=target.name, since=since, count=target.due, reason=reason)
        elif target.state == "open" and _is_old(target, facts.now, limits):
            opened = target.open_since or facts.now
            if facts.now - opened >= limits.backlog_older:  # one that is just back is given time to catch up
                yield Condition(what="backlog", name=target.name, since=target.oldest_due_at, count=target.due)


def _is_old(target: TargetFact, now: datetime, limits: Alerts) -> bool:
    return target.oldest_due_at is not None and now - target.oldest_due_at >= limits.backlog_older


def _of_letters(facts: Snapshot) -> Iterator[Condition]:
    for target, count in facts.dead.items():
        if count:
            yield Condition(what="dead", name=target, count=count)
    if facts.unreadable:
        yield Condition(what="unreadable", count=facts.unreadable)


def _of_sources(facts: Snapshot, limits: Alerts) -> Iterator[Condition]:
    for source in facts.sources:
        since = source.last_at or source.watched_since
        worked = limits.working_hours.between(since.astimezone(source.zone), facts.now.astimezone(source.zone))
        if limits.silent_for and worked >= limits.silent_for:
            yield Condition(what="silent", name=source.name, since=since, zone=source.zone)


def _of_the_rest(facts: Snapshot, limits: Alerts) -> Iterator[Condition]:
    for target, ends in facts.token_ends.items():
        if ends - facts.now <= limits.token_ends_in:
            yield Condition(what="token", name=target, since=ends)
    if facts.free_bytes is not None and facts.free_bytes < limits.disk_free:
        yield Condition(what="disk", count=facts.free_bytes >> 20)
