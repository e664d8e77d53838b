"""The dead-letter queue by what is wrong: one cause is one group, however many calls it has cost."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import datetime

from msgspec import Struct

from relay.i18n import translate
from relay.models import Delivery, Event
from relay.operations.filters import Chosen
from relay.store import DeadLetterPage, ReasonCount, Selection
from relay.wiring import Relay

BLANK = "…"
NOTHING = "–"  #: a pattern is never empty: an empty filter means all
_PARTS = 500  # letters read at a time
_VARYING = re.compile(
    r"""
    \b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b  # UUID
    | \b(?=[0-9a-f]*\d)[0-9a-f]{12,}\b                                # another id
    | \+?\d+(?:[.,:-]\d+)*                                            # number, date, time, phone
    """,
    re.VERBOSE | re.IGNORECASE,
)
_STATUS = re.compile(r"[45]\d\d")


class ReasonGroup(Struct, frozen=True, kw_only=True):
    """The dead letters of a target that are in a state for one reason."""

    target: str | None  #: none for events in quarantine
    state: str
    pattern: str  #: what their reasons have in common
    text: str  #: the same for people: the reason itself where it is one and the same
    count: int
    oldest: datetime  #: when the first of their events was accepted
    newest: datetime


def pattern(reason: str | None) -> str:
    """Return a reason without what differs from call to call: numbers and ids; an HTTP status stays."""
    return _VARYING.sub(lambda match: match[0] if _STATUS.fullmatch(match[0]) else BLANK, reason or NOTHING)


def group(counts: list[ReasonCount]) -> list[ReasonGroup]:
    """Return the groups, the largest first."""
    alike: defaultdict[tuple[str | None, str, str], list[ReasonCount]] = defaultdict(list)
    for each in counts:
        alike[each.target, each.state, pattern(each.reason)].append(each)
    groups = [
        ReasonGroup(
            target=target,
            state=state,
            pattern=common,
            text=_text(of_group),
            count=sum(each.count for each in of_group),
            oldest=min(each.oldest for each in of_group),
            newest=max(each.newest for each in of_group),
        )
        for (target, state, common), of_group in alike.items()
    ]
    return sorted(groups, key=lambda each: (-each.count, each.target or "", each.pattern))


def _text(of_group: list[ReasonCount]) -> str:
    first = of_group[0].reason or NOTHING
    return first if all(each.reason == first for each in of_group) else pattern(translate(first))


def page(relay: Relay, selection: Selection, common: str | None, before: int | None, count: int) -> DeadLetterPage:
    """Return a page of the queue; with a pattern only of those whose reasons have it."""
    if common is None:
        return relay.store.pages.dead_letters(selection, before, count)
    letters: list[Delivery | Event] = []
    accepted_at: dict[str, datetime] = {}
    while True:
        part = relay.store.pages.dead_letters(selection, before, _PARTS)
        letters += [letter for letter in part.letters if pattern(reason_of(letter)) == common]
        accepted_at |= part.accepted_at
        if part.next_before is None or len(letters) >= count:
            return DeadLetterPage(letters, accepted_at, part.next_before)
        before = part.next_before


def only(chosen: Chosen, common: str) -> Chosen:
    """Return those of the chosen whose reasons have a pattern."""
    return Chosen(
        [delivery for delivery in chosen.deliveries if pattern(delivery.reason) == common],
        [event for event in chosen.quarantined if pattern(event.problem) == common],
    )


def reason_of(letter: Delivery | Event) -> str | None:
    return letter.reason if isinstance(letter, Delivery) else letter.problem
