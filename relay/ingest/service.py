"""Takes a notification: reads it, recognises a repeat, stores event and deliveries in one commit.

Knows neither Flask nor how targets are reached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol
from zoneinfo import ZoneInfo

import structlog
from msgspec import Struct
from msgspec.structs import replace

from relay import routing
from relay.clock import Clock
from relay.config import Settings, Source
from relay.errors import MalformedEvent
from relay.models import CallEvent, Event, Kind
from relay.store import ClaimedDelivery, InsertResult, NewEvent, Reacceptance, Route, Store
from relay.uis import parser
from relay.uis.normalise import normalise

log = structlog.get_logger("relay.intake")

NO_TAKER = "no target takes events of this kind"
_BESIDE = "parameters in the address: "


class Receipt(Struct, frozen=True):
    """What the sender is told, after the commit."""

    status: str  #: accepted | duplicate | quarantined
    event: str
    source: str
    endpoint: str
    kind: Kind | None = None
    session: str | None = None
    problem: str | None = None
    targets: tuple[str, ...] = ()  #: whose lanes may find something due
    claimed: tuple[ClaimedDelivery, ...] = ()  #: claimed already, for hands that were promised


class ParseResult(Struct, frozen=True):
    """What could be made of a body: a call, or the problem with it."""

    call: CallEvent | None
    problem: str | None
    notes: tuple[str, ...]


def parse(raw: bytes, *, is_query: bool, endpoint: str, zone: ZoneInfo, beside: bytes = b"") -> ParseResult:
    """Never raises: a body that came with the right secret is never thrown away. `beside`: the query beside a body."""
    try:
        call = normalise(parser.read(raw, is_query=is_query), endpoint, zone, beside=parser.read_beside(beside))
    except MalformedEvent as exc:
        return ParseResult(None, str(exc), _kept(beside))
    except Exception as exc:  # a fault of ours must not cost the event: it waits for the repaired program
        log.exception("intake.reader_failed")
        problem = f"the relay's reader failed on it ({type(exc).__name__}); please report this body"
        return ParseResult(None, problem, _kept(beside))
    return ParseResult(call, None, call.notes)


class SlotReservations(Protocol):
    """Whoever delivers in this process."""

    def reserve(self, targets: Iterable[str]) -> dict[str, int]:
        """Promises a free hand where there is one: the epoch to claim the delivery under, by target."""

    def release(self, targets: Iterable[str]) -> None:
        """What was promised is not needed."""

    def begin(self, jobs: Iterable[ClaimedDelivery]) -> None:
        """The promised hands get to work."""

    def wake(self, targets: Iterable[str]) -> None:
        """Something new is due for these targets."""


class Intake:
    def __init__(self, settings: Settings, store: Store, clock: Clock, hands: SlotReservations) -> None:
        self._settings, self._store, self._clock, self._hands = settings, store, clock, hands

    def accept(self, source: Source, endpoint: str, raw: bytes, *, is_query: bool, beside: bytes = b"") -> Receipt:
        """Stores one notification; returns after the commit. Secrets are masked in `raw` and in the query `beside` it.

        When the sender has its answer, the receipt has to be given to `pass_on`.
        Raises StoreBusy when the commit was not confirmed in time, StoreError when it failed.
        """
        understood = parse(raw, is_query=is_query, endpoint=endpoint, zone=source.timezone, beside=beside)
        routes, notes = self._routes(source, understood)
        stored = self._add(
            NewEvent(
                source=source.name, endpoint=endpoint, raw=raw, is_query=is_query, zone=source.timezone.key,
                digest=_digest(source.name, endpoint, raw), call=understood.call, problem=understood.problem,
                notes=notes, received_at=self._clock(), duplicate_window=source.duplicate_window,
                routes=routes,
            )
        )  # fmt: skip
        return _receipt(stored, understood, routes, source.name, endpoint)

    def dispatch(self, receipt: Receipt) -> None:
        """What was taken goes to whoever delivers in this process; another process finds it by itself."""
        self._hands.begin(receipt.claimed)
        self._hands.wake(receipt.targets)
        level = log.info if receipt.problem is None else log.warning
        level(
            f"notification.{receipt.status}", source=receipt.source, endpoint=receipt.endpoint,
            event_id=receipt.event, kind=receipt.kind, session=receipt.session, problem=receipt.problem,
        )  # fmt: skip

    def _add(self, new: NewEvent) -> InsertResult:
        """Where a lane has a free hand, its delivery is claimed in the event's own commit."""
        promised = self._hands.reserve([route.target for route in new.routes])
        taken: set[str] = set()
        try:
            if promised:
                routes = tuple(replace(one, epoch=promised.get(one.target)) for one in new.routes)
                new = replace(new, routes=routes)
            stored = self._store.inbox.add(new)
            taken = {job.delivery.target for job in stored.claimed}
            return stored
        finally:
            self._hands.release(promised.keys() - taken)

    def reprocess(self, event: Event, edited: bytes | None = None) -> ParseResult:
        """Reads a quarantined event anew, as it is or as the operator mended it, and delivers it if that succeeds.

        An event that is still not readable stays as it is; the returned `problem` says why.
        """
        source = self._settings.sources.get(event.source)
        zone = ZoneInfo(event.zone) if source is None else source.timezone
        text = event.body if edited is None else edited
        is_query = event.is_query_string and edited is None
        understood = parse(text, is_query=is_query, endpoint=event.endpoint, zone=zone, beside=_beside(event.notes))
        if understood.call is None:
            return understood
        routes, notes = self._routes(source, understood)
        admitted = self._store.operator.reaccept(
            Reacceptance(
                event=event, call=understood.call, edited=edited, routes=routes, now=self._clock(),
                notes=(*notes, "mended by the operator") if edited is not None else notes,
            )
        )  # fmt: skip
        if not admitted:
            return ParseResult(None, "it is no longer quarantined: somebody else has dealt with it", ())
        return understood

    def _routes(self, source: Source | None, understood: ParseResult) -> tuple[tuple[Route, ...], tuple[str, ...]]:
        if source is None or understood.call is None:
            return (), understood.notes
        kind = understood.call.kind
        targets = [self._settings.targets[name] for name in source.targets]
        taking = [target for target in targets if kind in target.events]
        notes = understood.notes if taking else (*understood.notes, NO_TAKER)
        if source.rules:
            of = routing.facts((understood.call,))
            decisions = {target.name: routing.decide(source.rules, target.name, of) for target in taking}
            taking = [target for target in taking if decisions[target.name].takes]
            notes += tuple(
                f"rule {decision.number}: not for {name}" for name, decision in decisions.items() if not decision.takes
            )
        routes = (Route(one.name, one.order == "call", call_gap=one.call_gap) for one in taking)
        return tuple(routes), notes


def _receipt(
    stored: InsertResult, understood: ParseResult, routes: tuple[Route, ...], source: str, endpoint: str
) -> Receipt:
    call = understood.call
    session = call.session_id if call else None
    if stored.duplicate:
        return Receipt("duplicate", stored.event, source, endpoint, session=session)
    if call is None:
        return Receipt("quarantined", stored.event, source, endpoint, problem=understood.problem)
    taken = {job.delivery.target for job in stored.claimed}
    others = tuple(route.target for route in routes if route.target not in taken)
    return Receipt(
        "accepted", stored.event, source, endpoint, call.kind, session, targets=others, claimed=stored.claimed
    )


def _kept(beside: bytes) -> tuple[str, ...]:
    """Return the note that keeps the query beside a body that waits to be mended."""
    return (_BESIDE + beside.decode("latin-1"),) if beside else ()


def _beside(notes: Iterable[str]) -> bytes:
    """Return the query that such a note keeps."""
    kept = (note.removeprefix(_BESIDE) for note in notes if note.startswith(_BESIDE))
    return next(kept, "").encode("latin-1")


def _digest(source: str, endpoint: str, raw: bytes) -> int:
    """Finds what may be repeated: source, endpoint and the exact body. Never the call: it has several events.

    64 bits, signed as a database has them: a random key spoils fewer pages the smaller it is.
    """
    digest = hashlib.blake2b(b"\x00".join((source.encode(), endpoint.encode(), raw)), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
