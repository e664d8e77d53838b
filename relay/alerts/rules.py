"""What is to be told, from what is so now and what was told before. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from relay.settings import Alerts

FLAPS_WITHIN = timedelta(minutes=10)  # what ends and is back so soon is not told anew
What = Literal["down", "misconfigured", "backlog", "dead", "silent", "token", "disk", "store"]


class TargetFact(Struct, frozen=True, kw_only=True):
    name: str
    state: str
    reason: str | None = None
    since: datetime | None = None
    due: int = 0
    oldest_due_at: datetime | None = None


class SourceFact(Struct, frozen=True, kw_only=True):
    name: str
    last_at: datetime  #: taken; or when the watch began, for one that has sent nothing yet
    zone: ZoneInfo


class Facts(Struct, frozen=True, kw_only=True):
    now: datetime
    targets: tuple[TargetFact, ...] = ()
    sources: tuple[SourceFact, ...] = ()
    dead: int = 0  #: with what is in quarantine
    warnings: tuple[tuple[str, str], ...] = ()  #: target, and what will need mending
    free_bytes: int | None = None
    store_is_up: bool = True


class Trouble(Struct, frozen=True, kw_only=True):
    what: What
    name: str = ""  #: the target or source
    since: datetime | None = None
    count: int = 0
    reason: str = ""

    @property
    def key(self) -> str:
        return f"{self.what} {self.name}".strip()


class Told(Struct, frozen=True, kw_only=True):
    """What people know of a trouble."""

    at: datetime  #: told, or reminded of
    over_at: datetime | None = None  #: told to be over; it may come back
    count: int = 0
    is_quiet: bool = False  #: back so soon that nothing was said


class Item(Struct, frozen=True):
    """One line of a message."""

    how: Literal["new", "more", "still", "over"]
    trouble: Trouble


class News(Struct, frozen=True):
    items: tuple[Item, ...]
    told: dict[str, Told]  #: what people know once they have read it


def troubles(facts: Facts, limits: Alerts) -> list[Trouble]:
    """What is wrong now."""
    if not facts.store_is_up:
        return [Trouble(what="store")]  # all else is not known
    return [
        *_of_targets(facts, limits), *_of_sources(facts, limits), *_of_the_rest(facts, limits),
    ]  # fmt: skip


def news(present: list[Trouble], told: Mapping[str, Told], limits: Alerts, now: datetime) -> News:
    """What to say of it, and what is known when it has been said."""
    items: list[Item] = []
    known = dict(told)
    for trouble in present:
        before = told.get(trouble.key)
        how, after = _of_present(trouble, before, limits, now)
        known[trouble.key] = after
        if how is not None:
            items.append(Item(how, trouble))
    keys = {trouble.key for trouble in present}
    for key, before in told.items():
        if key in keys:
            continue
        if before.over_at is None:
            what, _, name = key.partition(" ")
            if not before.is_quiet:
                items.append(Item("over", Trouble(what=what, name=name)))  # type: ignore[arg-type]  # as it was told
            known[key] = replace(before, over_at=now, is_quiet=False)
        elif now - before.over_at > FLAPS_WITHIN:
            del known[key]
    return News(tuple(items), known)


def _of_present(
    trouble: Trouble, before: Told | None, limits: Alerts, now: datetime
) -> tuple[Literal["new", "more", "still"] | None, Told]:
    fresh = Told(at=now, count=trouble.count)
    if before is None:
        return "new", fresh
    if before.over_at is not None:  # back again
        if now - before.over_at > FLAPS_WITHIN:
            return "new", fresh
        return None, replace(before, over_at=None, is_quiet=True, count=trouble.count)
    if before.is_quiet and now - before.at > FLAPS_WITHIN:  # it has stayed after all
        return "new", fresh
    if trouble.what == "dead" and trouble.count - before.count >= limits.dead:
        return "more", fresh
    if now - before.at >= limits.remind_after:
        return "still", fresh
    return None, replace(before, count=min(before.count, trouble.count))


def _of_targets(facts: Facts, limits: Alerts) -> Iterator[Trouble]:
    for target in facts.targets:
        lasts = facts.now - (target.since or facts.now)
        if target.state in ("down", "misconfigured") and lasts >= limits.down_for:
            what: What = "down" if target.state == "down" else "misconfigured"
            yield Trouble(what=what, name=target.name, since=target.since, count=target.due, reason=target.reason or "")
        elif (
            target.state == "open"
            and target.oldest_due_at is not None
            and facts.now - target.oldest_due_at >= limits.backlog_older
        ):
            yield Trouble(what="backlog", name=target.name, since=target.oldest_due_at, count=target.due)


def _of_sources(facts: Facts, limits: Alerts) -> Iterator[Trouble]:
    for source in facts.sources:
        worked = limits.working_hours.between(source.last_at.astimezone(source.zone), facts.now.astimezone(source.zone))
        if limits.silent_for and worked >= limits.silent_for:
            yield Trouble(what="silent", name=source.name, since=source.last_at)


def _of_the_rest(facts: Facts, limits: Alerts) -> Iterator[Trouble]:
    if facts.dead:
        yield Trouble(what="dead", count=facts.dead)
    for target, what in facts.warnings:
        yield Trouble(what="token", name=target, reason=what)
    if facts.free_bytes is not None and facts.free_bytes < limits.disk_free:
        yield Trouble(what="disk", count=facts.free_bytes >> 20)
