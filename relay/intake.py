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

from relay import rules
from relay.errors import MalformedEvent
from relay.events import CallEvent, Event, Kind
from relay.settings import Settings, Source
from relay.store import Admission, Consignee, Job, NewEvent, Store, Stored
from relay.times import Clock
from relay.uis import body
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
    jobs: tuple[Job, ...] = ()  #: claimed already, for hands that were promised


class Understood(Struct, frozen=True):
    """What could be made of a body: a call, or the problem with it."""

    call: CallEvent | None
    problem: str | None
    notes: tuple[str, ...]


def understand(raw: bytes, *, is_query: bool, endpoint: str, zone: ZoneInfo, beside: bytes = b"") -> Understood:
    """Never raises: a body that came with the right secret is never thrown away. `beside`: the query beside a body."""
    try:
        call = normalise(body.read(raw, is_query=is_query), endpoint, zone, beside=body.read_beside(beside))
    except MalformedEvent as exc:
        return Understood(None, str(exc), _kept(beside))
    except Exception as exc:  # a fault of ours must not cost the event: it waits for the repaired program
        log.exception("intake.reader_failed")
        problem = f"the relay's reader failed on it ({type(exc).__name__}); please report this body"
        return Understood(None, problem, _kept(beside))
    return Understood(call, None, call.notes)


class Hands(Protocol):
    """Whoever delivers in this process."""

    def reserve(self, targets: Iterable[str]) -> dict[str, int]:
        """Promises a free hand where there is one: the epoch to claim the delivery under, by target."""

    def release(self, targets: Iterable[str]) -> None:
        """What was promised is not needed."""

    def begin(self, jobs: Iterable[Job]) -> None:
        """The promised hands get to work."""

    def wake(self, targets: Iterable[str]) -> None:
        """Something new is due for these targets."""


class Intake:
    def __init__(self, settings: Settings, store: Store, clock: Clock, hands: Hands) -> None:
        self._settings, self._store, self._clock, self._hands = settings, store, clock, hands

    def accept(self, source: Source, endpoint: str, raw: bytes, *, is_query: bool, beside: bytes = b"") -> Receipt:
        """Stores one notification; returns after the commit. Secrets are masked in `raw` and in the query `beside` it.

        When the sender has its answer, the receipt has to be given to `pass_on`.
        Raises StoreBusy when the commit was not confirmed in time, StoreError when it failed.
        """
        understood = understand(raw, is_query=is_query, endpoint=endpoint, zone=source.timezone, beside=beside)
        consignees, notes = self._consignees(source, understood)
        stored = self._add(
            NewEvent(
                source=source.name, endpoint=endpoint, raw=raw, is_query=is_query, zone=source.timezone.key,
                digest=_digest(source.name, endpoint, raw), call=understood.call, problem=understood.problem,
                notes=notes, received_at=self._clock(), duplicate_window=source.duplicate_window,
                consignees=consignees,
            )
        )  # fmt: skip
        return _receipt(stored, understood, consignees, source.name, endpoint)

    def pass_on(self, receipt: Receipt) -> None:
        """What was taken goes to whoever delivers in this process; another process finds it by itself."""
        self._hands.begin(receipt.jobs)
        self._hands.wake(receipt.targets)
        level = log.info if receipt.problem is None else log.warning
        level(
            f"notification.{receipt.status}", source=receipt.source, endpoint=receipt.endpoint,
            event_id=receipt.event, kind=receipt.kind, session=receipt.session, problem=receipt.problem,
        )  # fmt: skip

    def _add(self, new: NewEvent) -> Stored:
        """Where a lane has a free hand, its delivery is claimed in the event's own commit."""
        promised = self._hands.reserve([consignee.target for consignee in new.consignees])
        taken: set[str] = set()
        try:
            if promised:
                consignees = tuple(replace(one, epoch=promised.get(one.target)) for one in new.consignees)
                new = replace(new, consignees=consignees)
            stored = self._store.add(new)
            taken = {job.delivery.target for job in stored.jobs}
            return stored
        finally:
            self._hands.release(promised.keys() - taken)

    def readmit(self, event: Event, edited: bytes | None = None) -> Understood:
        """Reads a quarantined event anew, as it is or as the operator mended it, and delivers it if that succeeds.

        An event that is still not readable stays as it is; the returned `problem` says why.
        """
        source = self._settings.sources.get(event.source)
        zone = ZoneInfo(event.zone) if source is None else source.timezone
        text = event.body if edited is None else edited
        is_query = event.query and edited is None
        understood = understand(
            text, is_query=is_query, endpoint=event.endpoint, zone=zone, beside=_beside(event.notes)
        )
        if understood.call is None:
            return understood
        consignees, notes = self._consignees(source, understood)
        admitted = self._store.admit(
            Admission(
                event=event, call=understood.call, edited=edited, consignees=consignees, now=self._clock(),
                notes=(*notes, "mended by the operator") if edited is not None else notes,
            )
        )  # fmt: skip
        if not admitted:
            return Understood(None, "it is no longer quarantined: somebody else has dealt with it", ())
        return understood

    def _consignees(
        self, source: Source | None, understood: Understood
    ) -> tuple[tuple[Consignee, ...], tuple[str, ...]]:
        if source is None or understood.call is None:
            return (), understood.notes
        kind = understood.call.kind
        targets = [self._settings.targets[name] for name in source.targets]
        taking = [target for target in targets if kind in target.events]
        notes = understood.notes if taking else (*understood.notes, NO_TAKER)
        if source.rules:
            of = rules.facts((understood.call,))
            decisions = {target.name: rules.decide(source.rules, target.name, of) for target in taking}
            taking = [target for target in taking if decisions[target.name].takes]
            notes += tuple(
                f"rule {decision.number}: not for {name}" for name, decision in decisions.items() if not decision.takes
            )
        consignees = (Consignee(one.name, one.order == "call", call_gap=one.call_gap) for one in taking)
        return tuple(consignees), notes


def _receipt(
    stored: Stored, understood: Understood, consignees: tuple[Consignee, ...], source: str, endpoint: str
) -> Receipt:
    call = understood.call
    session = call.session_id if call else None
    if stored.duplicate:
        return Receipt("duplicate", stored.event, source, endpoint, session=session)
    if call is None:
        return Receipt("quarantined", stored.event, source, endpoint, problem=understood.problem)
    taken = {job.delivery.target for job in stored.jobs}
    others = tuple(consignee.target for consignee in consignees if consignee.target not in taken)
    return Receipt("accepted", stored.event, source, endpoint, call.kind, session, targets=others, jobs=stored.jobs)


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
