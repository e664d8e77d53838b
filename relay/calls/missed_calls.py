"""Finds the calls that a client made in vain, and whether somebody talked to him later. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from relay.calls.summary import CallSummary, summarise
from relay.models import CallEvent, ToldCall

_NUMBER_MIN = 7  # digits: what has fewer is a colleague's extension
_LONGEST_S = 7 * 86_400  # of a call
_NEVER = datetime.max.replace(tzinfo=UTC)


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
    ended_at: datetime  #: of one that goes on: never


def missed_calls(calls: Iterable[ToldCall]) -> list[MissedCall]:
    """Return those that were missed, in the order they began; a talk counts for all earlier calls of its client.

    Calls of colleagues among themselves are left out.
    """
    of_client: dict[tuple[str, str | None], list[_Read]] = defaultdict(list)
    for each in sorted(map(_read, calls), key=lambda read: read.began_at):
        of_client[each.call.source, _digits(each.summary.client)].append(each)
    missed = [
        _missed(read, [] if client is None else reads)
        for (_, client), reads in of_client.items()
        for read in reads
        if read.summary.is_missed and (client is None or len(client) >= _NUMBER_MIN)
    ]
    return sorted(missed, key=lambda call: call.began_at)


def digits_of_client(number: str | None) -> str | None:
    """Return the digits that a client is known by; None: it is a colleague, or the number was withheld."""
    digits = _digits(number)
    return digits if digits is not None and len(digits) >= _NUMBER_MIN else None


def waiting_clients(missed: Iterable[MissedCall]) -> dict[str, list[datetime]]:
    """Return for each source when the clients who wait for a call back called first."""
    first: dict[tuple[str, str | None], datetime] = {}
    for call in missed:
        if call.waits:
            first.setdefault((call.source, call.client), call.began_at)
    by_source: dict[str, list[datetime]] = defaultdict(list)
    for (source, _), at in first.items():
        by_source[source].append(at)
    return by_source


def _read(call: ToldCall) -> _Read:
    summary = summarise(call.events)
    began_at = summary.began_at or call.first_at
    is_over = summary.result is not None
    answered = any(event.kind == "answered" for event in call.events)
    finished_at = max((event.finished_at for event in call.events if event.finished_at), default=began_at)
    ended_at = max(finished_at, began_at + _length(call.events)) if is_over else _NEVER
    talked_at = began_at if answered and not is_over else None
    if summary.result is not None and summary.result.result == "talked":
        talked_at = max(began_at, ended_at - _span(summary.result.seconds))
    return _Read(call, summary, began_at, talked_at, ended_at)


def _length(events: Iterable[CallEvent]) -> timedelta:
    return _span(max((event.total_seconds or 0 for event in events), default=0))


def _span(seconds: int) -> timedelta:
    """Return it, for any number that an event may hold."""
    return timedelta(seconds=min(seconds, _LONGEST_S))


def _missed(read: _Read, of_client: list[_Read]) -> MissedCall:
    talks = [
        (max(other.talked_at, read.began_at), other)
        for other in of_client
        if other.talked_at is not None and other.ended_at > read.began_at and other is not read
    ]
    at, talk = min(talks, key=lambda each: each[0], default=(None, None))
    reached = None
    if at is not None and talk is not None:
        is_out, who = talk.summary.direction == "out", talk.summary.employee or talk.summary.extension
        reached = Contact(session=talk.call.session, at=at, is_call_back=is_out, employee=who)
    return MissedCall(
        source=read.call.source,
        session=read.call.session,
        began_at=read.began_at,
        client=read.summary.client,
        line=read.summary.line,
        employee=read.summary.employee or read.summary.extension,
        tries=sum(_is_try(other, read.began_at, at) for other in of_client),
        reached=reached,
    )


def _is_try(other: _Read, since: datetime, until: datetime | None) -> bool:
    is_in_vain = other.summary.direction == "out" and other.talked_at is None
    return is_in_vain and other.began_at > since and (until is None or other.began_at < until)


def _digits(number: str | None) -> str | None:
    return None if number is None else "".join(filter(str.isdigit, number))
