"""Erases what is kept of one person, by the phone number: the events that hold it, with all that came of them.

A call's other events go too, unless they name another client. What else mentions the number keeps all but the number.
Rows go whole, as retention deletes them: a body without its number could still be replayed, and would be wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from msgspec import Struct, json
from sqlalchemy import Column, Connection, LargeBinary, Table, Text, select, tuple_, update

from relay.errors import StoreError
from relay.models import CallEvent
from relay.store import call_order, retention
from relay.store.call_order import OrderKey
from relay.store.engine import PAGE, PATIENT_TIMEOUT_S, Repository
from relay.store.spelling import MASK, mask, mentions
from relay.store.statement import Statement
from relay.store.tables import DEAD, UNFINISHED, admin_sessions, events, metadata, tokens

_BATCH = 25  # events in one transaction: the notifications of a running relay go on meanwhile
_decoder = json.Decoder(CallEvent)

_texts_of_events = Statement(
    f"""
    SELECT seq, source, coalesce(session, id), state, raw, edited, call, problem, notes FROM events
    WHERE seq > :after ORDER BY seq LIMIT {PAGE}
    """
)
_of_call = Statement("SELECT seq, call FROM events WHERE source = :source AND session = :session")
_waiting = Statement(
    f"SELECT target, state, count(*) FROM deliveries WHERE event_seq IN :seqs AND ({UNFINISHED} OR {DEAD}) "
    "GROUP BY target, state"
)
_deliveries = Statement("SELECT seq FROM deliveries WHERE event_seq IN :seqs")
_attempts = Statement("SELECT seq FROM attempts WHERE delivery_seq IN :seqs")
_sending = Statement("SELECT 1 FROM deliveries WHERE event_seq IN :seqs AND state = 'sending'")
_ordered = Statement(
    f"""
    SELECT DISTINCT target, source, session FROM deliveries
    WHERE event_seq IN :seqs AND ordered AND session IS NOT NULL AND {UNFINISHED}
    """
)

_WITHOUT_PHONES = {events, tokens, admin_sessions}
"""Events go whole; the others hold secrets, which are not touched."""
_NAMES = {"id", "event", "target", "source", "session", "kind", "state", "outcome", "owner", "what", "name"}
"""Columns of words that the relay or the operator has made."""
_EMPTY = {"{": "{}", "[": "[]"}  # JSON stays JSON

CallKey = tuple[str, str]
"""Source and session of a call, or the id of an event without one."""


class Traces(Struct, frozen=True):
    """What is kept of a person."""

    digits: str  #: the significant ones of the number
    calls: Mapping[CallKey, tuple[int, ...]]  #: the seqs of the events that are to go, by call
    deliveries: int
    attempts: int
    unreadable: int  #: events in quarantine
    undelivered: Mapping[str, Mapping[str, int]]  #: how many deliveries are not delivered, by target and state
    own_lines: int  #: events that have it as a virtual number or an employee's
    mentions: Mapping[str, int]  #: rows that only mention it, by table

    @property
    def events(self) -> int:
        return sum(map(len, self.calls.values()))

    @property
    def is_empty(self) -> bool:
        return not self.calls and not self.mentions


class Erased(Struct, frozen=True):
    events: int
    being_sent: int  #: events that are kept until the request for them has ended
    masked: int  #: other rows


class Erasure(Repository):
    def find(self, digits: str) -> Traces:
        """Read everything that is kept; takes some seconds for a million events."""
        calls, unreadable, own_lines = self._calls(digits)
        seqs = [seq for each in calls.values() for seq in each]
        deliveries, attempts, undelivered = self._deliveries_of(seqs)
        own = {"deliveries": {(seq,) for seq in deliveries}, "attempts": {(seq,) for seq in attempts}}
        found: Counter[str] = Counter()
        for table, key, _ in self._mentions(digits):
            is_own = key in own.get(table.name, ()) or (table.name == "call_links" and key[1:] in calls)
            found[table.name] += not is_own
        return Traces(digits, calls, len(deliveries), len(attempts), unreadable, undelivered, own_lines, +found)

    def erase(self, traces: Traces) -> Erased:
        """Delete the events, a few calls in each transaction, then mask what only mentions the number.

        Raises StoreError that says how many events are gone; what is left is found and deleted by the next time.
        """
        erased = being_sent = 0
        try:
            for batch in _batches(traces.calls.values()):
                with self._database.write(PATIENT_TIMEOUT_S) as connection:
                    sending = [seqs for seqs in batch if _sending.rows(connection, seqs=seqs)]
                    gone = sum(_erase_call(connection, seqs) for seqs in batch if seqs not in sending)
                erased, being_sent = erased + gone, being_sent + sum(map(len, sending))
            return Erased(erased, being_sent, self._mask(traces.digits))
        except StoreError as exc:
            exc.changed = erased
            raise

    def _mask(self, digits: str) -> int:
        """Take the number out of what only mentions it; return of how many rows."""
        masked = 0
        for table, key, texts in self._mentions(digits):
            is_as_seen = [table.c[column] == text for column, text in texts.items()]  # a lane may have written since
            values = {column: _without(text, digits) for column, text in texts.items()}
            if "external_id" in values:  # must differ from all others of its source
                values["external_id"] = f"forgotten-{key[0]}"
            of_row = tuple_(*table.primary_key.columns) == tuple_(*key)
            with self._database.write(PATIENT_TIMEOUT_S) as connection:
                masked += connection.execute(update(table).where(of_row, *is_as_seen).values(values)).rowcount
        return masked

    def _calls(self, digits: str) -> tuple[dict[CallKey, tuple[int, ...]], int, int]:
        calls: dict[CallKey, set[int]] = {}
        unreadable = own_lines = 0
        pages = self._database.pages(lambda connection, after: _texts_of_events.rows(connection, after=after))
        for seq, source, session, state, *texts in chain.from_iterable(pages):
            if any(mentions(text, digits) for text in texts):
                calls.setdefault((source, session), set()).add(seq)
                unreadable += state == "quarantined"
                call = None if texts[2] is None else _decoder.decode(texts[2])
                own_lines += call is not None and any(
                    mentions(number, digits) for number in (call.virtual_number, call.employee_number)
                )
        with self._database.read() as connection:
            for (source, session), seqs in calls.items():
                seqs |= {
                    seq
                    for seq, call in _of_call.rows(connection, source=source, session=session)
                    if call is not None and not _decoder.decode(call).client_number
                }
        return {key: tuple(sorted(seqs)) for key, seqs in calls.items()}, unreadable, own_lines

    def _deliveries_of(self, seqs: Sequence[int]) -> tuple[list[int], list[int], dict[str, dict[str, int]]]:
        deliveries: list[int] = []
        attempts: list[int] = []
        undelivered: dict[str, Counter[str]] = {}
        with self._database.read() as connection:
            for start in range(0, len(seqs), PAGE):
                chunk = seqs[start : start + PAGE]
                of_chunk = [seq for (seq,) in _deliveries.rows(connection, seqs=chunk)]
                deliveries += of_chunk
                attempts += [seq for (seq,) in _attempts.rows(connection, seqs=of_chunk)]
                for target, state, count in _waiting.rows(connection, seqs=chunk):
                    undelivered.setdefault(target, Counter())[state] += count
        return deliveries, attempts, {target: dict(states) for target, states in undelivered.items()}

    def _mentions(self, digits: str) -> Iterator[tuple[Table, tuple[Any, ...], dict[str, Any]]]:
        """Yield the table, the key and the texts of each row that mentions the number."""
        for table in metadata.sorted_tables:
            columns = [column for column in table.c if may_mention(column)]
            if table in _WITHOUT_PHONES or not columns:
                continue
            keys = list(table.primary_key.columns)
            for row in self._rows(keys, columns):
                key, texts = tuple(row[: len(keys)]), zip(columns, row[len(keys) :], strict=True)
                mentioning = {column.key: text for column, text in texts if mentions(text, digits)}
                if mentioning:
                    yield table, key, mentioning

    def _rows(self, keys: list[Column[Any]], columns: list[Column[Any]]) -> Iterator[Any]:
        statement = select(*keys, *columns).order_by(*keys).limit(PAGE)

        def fetch(connection: Connection, after: Sequence[Any] | None) -> Sequence[Any]:
            beyond = [tuple_(*keys) > tuple_(*after)] if after else []
            return connection.execute(statement.where(*beyond)).all()

        return chain.from_iterable(self._database.pages(fetch, None, lambda row: row[: len(keys)]))


def may_mention(column: Column[Any]) -> bool:
    """May words of others stand in the column?"""
    return isinstance(column.type, (Text, LargeBinary)) and not column.primary_key and column.name not in _NAMES


def _without(text: Any, digits: str) -> Any:
    """Return a text of the store without the number; empty where only so nothing of it is left."""
    if isinstance(text, bytes):
        return _without(text.decode("utf-8", "surrogateescape"), digits).encode("utf-8", "surrogateescape")
    masked = mask(text, digits)
    return _EMPTY.get(text[:1], MASK) if mentions(masked, digits) else masked


def _batches(calls: Iterable[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """Yield some calls at a time. None is parted: what is left of it would get its turn, and be sent."""
    batch: list[tuple[int, ...]] = []
    for seqs in calls:
        if batch and sum(map(len, batch)) + len(seqs) > _BATCH:
            yield batch
            batch = []
        batch.append(seqs)
    if batch:
        yield batch


def _erase_call(connection: Connection, seqs: Sequence[int]) -> int:
    """Delete these events of a call, and let pass whoever waited behind them."""
    keys = [OrderKey(*each) for each in _ordered.rows(connection, seqs=seqs)]
    erased = retention.delete(connection, seqs)
    call_order.promote_next(connection, keys)
    return erased
