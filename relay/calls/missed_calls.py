"""Finds the calls that a client made in vain, and whether somebody talked to him later. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from relay.calls.history import digits_of_client
from relay.calls.summary import CallSummary
from relay.models import ToldCall
from relay.uis.normalise import beginning_of

_GOES_ON = timedelta(minutes=10)  # so long a talk hides other calls whose end was not told: it may never be
_LONGEST_S = 7 * 86_400  # of a call


class Contact(Struct, frozen=True, kw_only=True):
    """The talk in which a client was reached."""

    session: str
    at: datetime
    is_call_back: bool  #: we called him; else he called again
    employee: str | None  #: name or extension


class MissedCall(Struct, frozen=True, kw_only=True):
    source: str
    session: str
    began_at: datetime
    client: str | None  #: None: withheld, nobody can call back
    line: str | None
    employee: str | None  #: whom it rang at last: name or extension
    tries: int = 0  #: calls to the client since, that he did not take
    reached: Contact | None = None

    @property
    def waits(self) -> bool:
        """Is there somebody to call back who was not reached yet?"""
        return self.reached is None and self.client is not None


class _Read(Struct, frozen=True):
    """A call with what is asked of it here."""

    call: ToldCall
    summary: CallSummary
    began_at: datetime
    talked_at: datetime | None  #: None: there was no talk
    ended_at: datetime


def missed_calls(calls: Iterable[ToldCall]) -> list[MissedCall]:
    """Return those missed, in order, without colleagues' own; a talk counts for all earlier calls of its client."""
    of_client: dict[tuple[str, str | None], list[_Read]] = defaultdict(list)
    for each in sorted(map(_read, calls), key=lambda read: read.began_at):
        of_client[each.call.source, digits_of_client(each.summary.client)].append(each)
    missed: list[MissedCall] = []
    for (_, client), reads in of_client.items():
        if client is not None:
            missed += _of_client(reads)
        else:
            missed += [_missed(read, None, []) for read in reads if read.summary.is_missed]  # withheld numbers
    return sorted(missed, key=lambda call: call.began_at)


def waiting_clients(missed: Iterable[MissedCall]) -> dict[str, list[datetime]]:
    """Return for each source when the clients who wait for a call back called first."""
    first: dict[tuple[str, str | None], datetime] = {}
    for call in missed:
        if call.waits:
            first.setdefault((call.source, digits_of_client(call.client)), call.began_at)
    by_source: dict[str, list[datetime]] = defaultdict(list)
    for (source, _), at in first.items():
        by_source[source].append(at)
    return by_source


def _read(call: ToldCall) -> _Read:
    summary = CallSummary(call.events)
    began_at = next((at for event in call.events if (at := beginning_of(event, call.first_at))), call.first_at)
    if summary.result is None:
        return _Read(call, summary, began_at, began_at if summary.is_answered else None, began_at + _GOES_ON)
    finished_at = max((event.finished_at for event in call.events if event.finished_at), default=began_at)
    length = _span(max(event.total_seconds or 0 for event in call.events))
    ended_at = max(finished_at, began_at + length)
    is_talk = summary.result.result == "talked"
    talked_at = max(began_at, ended_at - _span(summary.result.seconds)) if is_talk else None
    return _Read(call, summary, began_at, talked_at, ended_at)


def _span(seconds: int) -> timedelta:
    """Return it, for any number that an event may hold."""
    return timedelta(seconds=min(seconds, _LONGEST_S))


def _of_client(reads: Sequence[_Read]) -> Iterator[MissedCall]:
    """Yield a client's missed calls; his calls in the order they began."""
    talks = deque(read for read in reads if read.talked_at is not None)
    vain = [read.began_at for read in reads if read.summary.is_ours and read.talked_at is None]
    for read in reads:
        if read.summary.is_missed:
            while talks and talks[0].began_at < read.began_at and talks[0].ended_at <= read.began_at:
                talks.popleft()
            yield _missed(read, talks[0] if talks else None, vain)


def _missed(read: _Read, talk: _Read | None, vain: Sequence[datetime]) -> MissedCall:
    """`vain`: when calls to the client began that he did not take."""
    at = None if talk is None or talk.talked_at is None else max(talk.talked_at, read.began_at)
    reached = None
    if at is not None and talk is not None:
        is_ours, who = talk.summary.is_ours, talk.summary.employee or talk.summary.extension
        reached = Contact(session=talk.call.session, at=at, is_call_back=is_ours, employee=who)
    return MissedCall(
        source=read.call.source,
        session=read.call.session,
        began_at=read.began_at,
        client=read.summary.client,
        line=read.summary.line,
        employee=read.summary.employee or read.summary.extension,
        tries=max(0, (len(vain) if at is None else bisect_left(vain, at)) - bisect_right(vain, read.began_at)),
        reached=reached,
    )
