"""Takes a notification: parses it, recognises a duplicate, stores event and deliveries in one commit.

Knows neither Flask nor how targets are reached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from zoneinfo import ZoneInfo

import structlog
from msgspec import Struct
from msgspec.structs import replace

from relay import routing
from relay.clock import Clock, new_id
from relay.config import Settings, Source
from relay.delivery.lane import Lanes
from relay.errors import MalformedEvent, StoreError
from relay.i18n import Message, said
from relay.models import CallEvent, Event, Kind
from relay.store import AddsTo, ClaimedDelivery, InsertResult, NewEvent, Reacceptance, Route, Store, slot
from relay.uis import parser
from relay.uis.normalise import normalise

log = structlog.get_logger("relay.intake")

NO_TAKER = Message("no target takes events of this kind")
_BESIDE = "parameters in the address: "


class Receipt(Struct, frozen=True):
    """What the sender is told, after the commit."""

    status: str  #: accepted | duplicate | quarantined
    event: str
    source: str
    endpoint: str
    kind: Kind | None = None
    session: str | None = None
    slot: int = 0  #: of the call: whose lane it is of each target
    problem: str | None = None
    targets: tuple[str, ...] = ()  #: whose lanes may find something due
    claimed: tuple[ClaimedDelivery, ...] = ()  #: for the threads that were reserved


class ParseResult(Struct, frozen=True):
    """Says what could be made of a body: a call, or the problem with it."""

    call: CallEvent | None
    problem: str | None
    notes: tuple[str, ...]


def parse(raw: bytes, *, is_query: bool, endpoint: str, zone: ZoneInfo, beside: bytes = b"") -> ParseResult:
    """Parse a body, with the query `beside` it. Never raises: what came with the right secret is not thrown away."""
    try:
        call = normalise(parser.read(raw, is_query=is_query), endpoint, zone, beside=parser.read_beside(beside))
    except MalformedEvent as exc:
        return ParseResult(None, said(exc), _kept(beside))
    except Exception as exc:  # a fault of ours must not cost the event: it waits for the repaired program
        log.exception("intake.reader_failed")
        problem = Message(
            "the relay's reader failed on it (%(name)s); please report this body", name=type(exc).__name__
        )
        return ParseResult(None, problem, _kept(beside))
    return ParseResult(call, None, call.notes)


class Intake:
    def __init__(self, settings: Settings, store: Store, clock: Clock, lanes: Lanes) -> None:
        self._settings, self._store, self._clock, self._lanes = settings, store, clock, lanes

    def accept(self, source: Source, endpoint: str, raw: bytes, *, is_query: bool, beside: bytes = b"") -> Receipt:
        """Store one notification; return after the commit. Secrets are masked in `raw` and in the query `beside` it.

        When the sender has its answer, the receipt has to be given to `dispatch`.
        Raises StoreBusy when the commit was not confirmed in time, StoreError when it failed.
        """
        parsed = parse(raw, is_query=is_query, endpoint=endpoint, zone=source.timezone, beside=beside)
        routes, notes = self._routes(source, parsed)
        event = self._event(source, endpoint, raw, parsed, notes, is_query=is_query)
        self._tell_clicks(source, parsed.call)
        call_slot = slot(source.name, event.session)
        new = NewEvent(event, source.duplicate_window, routes, call_slot, _adds_to(source, parsed.call))
        return _receipt(self._add(new), new)

    def accept_reported(self, source: Source, raw: bytes, note: str) -> Receipt:
        """Store what UIS's report says of a call, as the notification that never came; nothing when it is known.

        Its id is made of source, call and kind: however often it is brought, it is stored once. The receipt is to be
        given to `dispatch`. Raises MalformedEvent and StoreError.
        """
        parsed = parse(raw, is_query=False, endpoint="rec", zone=source.timezone)
        if parsed.call is None:
            raise MalformedEvent(parsed.problem or "")
        self._tell_clicks(source, parsed.call)
        routes, notes = self._routes(source, parsed)
        event = self._event(source, "rec", raw, parsed, (*notes, note), is_query=False)
        key = f"{source.name}\x00{parsed.call.session_id}\x00{parsed.call.kind}".encode()
        event_id = f"report-{hashlib.blake2b(key, digest_size=12).hexdigest()}"
        event = replace(event, id=event_id, origin="report")
        new = NewEvent(event, timedelta(0), routes, slot(source.name, event.session))
        return _receipt(self._store.inbox.add_reported(new), new)

    def _tell_clicks(self, source: Source, call: CallEvent | None) -> None:
        """Say that a click's call has begun, before a lane can see the event: Bitrix24 has it registered already.

        The notification counts for more: where this cannot be stored, it is.
        """
        if source.calls is None or call is None or not call.external_id or not call.session_id:
            return
        try:
            if not self._store.clicks.notified(source.name, call.external_id, call.session_id):
                log.warning("click.registered_twice", source=source.name, session=call.session_id)
        except StoreError as exc:
            log.warning("click.not_recorded", source=source.name, session=call.session_id, reason=str(exc))

    def _event(
        self, source: Source, endpoint: str, raw: bytes, parsed: ParseResult, notes: tuple[str, ...], *, is_query: bool
    ) -> Event:
        call, received_at = parsed.call, self._clock()
        return Event(
            id=new_id(received_at),
            source=source.name,
            endpoint=endpoint,
            kind=call.kind if call else None,
            state="accepted" if call else "quarantined",
            session=call.session_id if call else None,
            received_at=received_at,
            raw=raw,
            is_query_string=is_query,
            zone=source.timezone.key,
            call=call,
            problem=parsed.problem,
            notes=notes,
        )

    def dispatch(self, receipt: Receipt) -> None:
        """Give what was stored to the lanes of this process; another process finds it by itself."""
        self._lanes.dispatch(receipt.claimed, receipt.targets, receipt.slot)
        level = log.info if receipt.problem is None else log.warning
        level(
            f"notification.{receipt.status}",
            source=receipt.source,
            endpoint=receipt.endpoint,
            event_id=receipt.event,
            kind=receipt.kind,
            session=receipt.session,
            problem=receipt.problem,
        )

    def _add(self, new: NewEvent) -> InsertResult:
        """Where a lane has an idle thread, its delivery is claimed in the event's own commit."""
        epochs = self._lanes.reserve([route.target for route in new.routes], new.slot)
        claimed: set[str] = set()
        try:
            if epochs:
                routes = tuple(replace(route, epoch=epochs.get(route.target)) for route in new.routes)
                new = replace(new, routes=routes)
            stored = self._store.inbox.add(new)
            claimed = {one.delivery.target for one in stored.claimed}
            return stored
        finally:
            self._lanes.release(epochs.keys() - claimed, new.slot)

    def reprocess(self, event: Event, edited: bytes | None = None) -> ParseResult:
        """Parse a quarantined event anew, as it is or as the operator mended it, and deliver it if that succeeds.

        An event that is still not readable stays as it is; the returned `problem` says why.
        """
        source = self._settings.sources.get(event.source)
        zone = ZoneInfo(event.zone) if source is None else source.timezone
        parsed = parse(
            event.body if edited is None else edited,
            is_query=event.is_query_string and edited is None,
            endpoint=event.endpoint,
            zone=zone,
            beside=_beside(event.notes),
        )
        if parsed.call is None:
            return parsed
        if source is not None:
            self._tell_clicks(source, parsed.call)
        routes, notes = self._routes(source, parsed)
        if edited is not None:
            notes = (*notes, Message("mended by the operator"))
        reacceptance = Reacceptance(
            event=event,
            call=parsed.call,
            edited=edited,
            routes=routes,
            notes=notes,
            now=self._clock(),
            adds_to=_adds_to(source, parsed.call),
        )
        if not self._store.operator.reaccept(reacceptance):
            return ParseResult(None, Message("it is no longer quarantined: somebody else has dealt with it"), ())
        return parsed

    def _routes(self, source: Source | None, parsed: ParseResult) -> tuple[tuple[Route, ...], tuple[str, ...]]:
        """Return where the event goes, and its notes with why it does not go elsewhere."""
        if source is None or parsed.call is None:
            return (), parsed.notes
        targets = [self._settings.targets[name] for name in source.targets]
        taking = [target for target in targets if parsed.call.kind in target.events]
        notes = parsed.notes if taking else (*parsed.notes, NO_TAKER)
        if source.rules:
            facts = routing.facts((parsed.call,))
            decisions = {target.name: routing.decide(source.rules, target.name, facts) for target in taking}
            taking = [target for target in taking if decisions[target.name].takes]
            skipped = [(name, decision.number) for name, decision in decisions.items() if not decision.takes]
            notes += tuple(
                Message("rule %(number)s: not for %(target)s", number=number, target=name) for name, number in skipped
            )
        return tuple(Route(one.name, one.order == "call", call_gap=one.call_gap) for one in taking), notes


def adds(late: CallEvent, brought: CallEvent) -> bool:
    """Does a notification that came after all say something that UIS's report of the call did not?"""
    names = ("record_link", "lost_reason", "extension", "employee_number", "employee_ids", "contact_id", "external_id")
    return any(getattr(late, name) and not getattr(brought, name) for name in names)


def _receipt(stored: InsertResult, new: NewEvent) -> Receipt:
    event = new.event
    if stored.duplicate:
        return Receipt("duplicate", stored.event, event.source, event.endpoint, session=event.session)
    if event.call is None:
        return Receipt("quarantined", stored.event, event.source, event.endpoint, problem=event.problem)
    claimed_for = {one.delivery.target for one in stored.claimed}
    return Receipt(
        "accepted",
        stored.event,
        event.source,
        event.endpoint,
        event.kind,
        event.session,
        new.slot,
        targets=tuple(route.target for route in new.routes if route.target not in claimed_for),
        claimed=stored.claimed,
    )


def _kept(beside: bytes) -> tuple[str, ...]:
    """Return the note that keeps the query beside a body that waits to be mended."""
    return (_BESIDE + beside.decode("latin-1"),) if beside else ()


def _beside(notes: Iterable[str]) -> bytes:
    """Return the query that such a note keeps."""
    kept = (note.removeprefix(_BESIDE) for note in notes if note.startswith(_BESIDE))
    return next(kept, "").encode("latin-1")


def _adds_to(source: Source | None, call: CallEvent | None) -> AddsTo | None:
    """Return the question whether it adds to what UIS's report has brought, for the end of a call."""
    if source is None or source.report is None or call is None or call.kind not in ("finished", "lost"):
        return None
    return partial(adds, call)
