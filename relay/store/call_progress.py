"""A call as a whole: what UIS has said of it, and what has been done for it at a target that takes several steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from msgspec import MsgspecError, Struct, json
from sqlalchemy import Connection

from relay.clock import from_us, to_us
from relay.errors import OwnershipLost
from relay.models import CallEvent, Delivery, Event, ToldCall
from relay.store.engine import PATIENT_TIMEOUT_S, Database
from relay.store.group_commit import GroupCommit
from relay.store.statement import Row, Statement

_decoder = json.Decoder(CallEvent)
_call_events = Statement(
    """
    SELECT call FROM events
    WHERE source = :source AND session = :session AND seq <= :last AND state = 'accepted' ORDER BY seq
    """
)
_call_event = Statement("SELECT call FROM events WHERE seq = :last")
_select = Statement("SELECT done FROM call_links WHERE target = :target AND source = :source AND session = :session")
_upsert = Statement(
    """
    INSERT INTO call_links (target, source, session, done, task_of)
    VALUES (:target, :source, :session, :done, :task_of)
    ON CONFLICT (target, source, session) DO UPDATE SET done = :done, task_of = :task_of
    """
)
_open_tasks = Statement(
    "SELECT session, done FROM call_links WHERE target = :target AND source = :source AND task_of = :client"
)
_of_client = Statement(
    """
    SELECT source, session, received_at, call FROM events
    WHERE source = :source AND state = 'accepted' AND session IN (
      SELECT session FROM events  -- of all sources, so that SQLite goes by the time
      WHERE coalesce(began_at, received_at) >= :since AND phones LIKE :phone
      UNION SELECT session FROM call_links WHERE target = :target AND source = :source AND task_of = :client
    ) ORDER BY seq
    """
)
_has_epoch = Statement("SELECT 1 FROM leases WHERE target = :target AND epoch = :epoch")
_tie = Statement(
    """
    INSERT INTO call_links (target, source, session, done) VALUES (:target, :source, :session, :done)
    ON CONFLICT (target, source, session) DO NOTHING
    """
)
_forget = Statement(
    """
    DELETE FROM call_links WHERE source = :source AND session = :session
      AND NOT EXISTS (SELECT 1 FROM events WHERE source = :source AND (events.session = :session OR id = :session))
    """
)


class CallProgress(Struct, frozen=True):
    """What has just been done for a delivery's call."""

    delivery: Delivery
    epoch: int  #: of the lane, when the delivery was claimed
    done: dict[str, Any]


class Calls:
    """What a lane needs to know of a call besides the delivery. Raises StoreError."""

    def __init__(self, database: Database, commits: GroupCommit) -> None:
        self._database, self._commits = database, commits

    def history(self, of: Delivery | Event) -> tuple[CallEvent, ...]:
        """Return everything that UIS had said of the call up to this event, or this delivery's, in order."""
        last = of.event_seq if isinstance(of, Delivery) else of.seq
        if of.session is None:
            rows = self._database.rows(_call_event, last=last)
        else:
            rows = self._database.rows(_call_events, source=of.source, session=of.session, last=last)
        return tuple(_decoder.decode(call) for (call,) in rows if call is not None)

    def of_client(self, delivery: Delivery, client: str, since: datetime) -> list[ToldCall]:
        """Return a client's calls that began since then or have an open task, whole: also what was said later."""
        which = {"client": client, "phone": f"%{client}%", "since": to_us(since)}
        return told_calls(self._database.rows(_of_client, source=delivery.source, target=delivery.target, **which))

    def open_tasks(self, delivery: Delivery, client: str) -> dict[str, str]:
        """Return the open tasks about a client at the delivery's target, by the session of their call."""
        rows = self._database.rows(_open_tasks, target=delivery.target, source=delivery.source, client=client)
        return {session: str(json.decode(done)["task"]) for session, done in rows}

    def progress(self, delivery: Delivery) -> dict[str, Any]:
        """Return what has been done for the call at the delivery's target."""
        with self._database.read() as connection:
            return _progress(connection, delivery)

    def save_progress(self, delivery: Delivery, epoch: int, done: dict[str, Any]) -> None:
        """Add to what has been done for the call; on disk when it returns.

        Raises OwnershipLost when the lane has another epoch by now: then it is another's to say what was done.
        """
        if not self._commits.run(
            _save_all, CallProgress(delivery, epoch, done), PATIENT_TIMEOUT_S, alone_for=(f"target:{delivery.target}",)
        ):
            raise OwnershipLost("another process has the lane of %(target)s by now", target=delivery.target)


def told_calls(rows: Iterable[Row]) -> list[ToldCall]:
    """Return the calls that these rows tell of: source, session, acceptance and words of each notification."""
    told: dict[tuple[str, str], list[tuple[int, CallEvent]]] = {}
    for source, session, received_us, said in rows:
        with contextlib.suppress(MsgspecError):  # a row that somebody else has damaged costs no other
            told.setdefault((source, session), []).append((received_us, _decoder.decode(said)))
    return [
        ToldCall(source, session, from_us(of_call[0][0]), tuple(call for _, call in of_call))
        for (source, session), of_call in told.items()
        if of_call
    ]


def _progress(connection: Connection, delivery: Delivery) -> dict[str, Any]:
    row = _select.first(connection, **_key(delivery))
    return {} if row is None else dict(json.decode(row[0]))


def _save_all(connection: Connection, batch: Sequence[CallProgress]) -> list[bool]:
    """Add to what has been done: what is not named stays. False: the lane has been taken over since."""
    return [_save(connection, progress) for progress in batch]


def _save(connection: Connection, progress: CallProgress) -> bool:
    delivery = progress.delivery
    if not _has_epoch.rows(connection, target=delivery.target, epoch=progress.epoch):
        return False
    done = {**_progress(connection, delivery), **progress.done}
    _upsert.run(connection, **_key(delivery), done=json.encode(done).decode(), task_of=done.get("task_of"))
    return True


def tie(connection: Connection, target: str, source: str, session: str, **done: Any) -> bool:
    """Say what a target has for a call itself, before the first notification is delivered; False: it came too late."""
    values = {"target": target, "source": source, "session": session}
    return bool(_tie.run(connection, **values, done=json.encode(done).decode()))


def forget(connection: Connection, calls: Iterable[tuple[str, str]]) -> None:
    """Delete what was done for these calls (source, session or event id), where no event of them is left."""
    for source, session in set(calls):
        _forget.run(connection, source=source, session=session)


def _key(delivery: Delivery) -> dict[str, str]:
    return {"target": delivery.target, "source": delivery.source, "session": delivery.session or delivery.event}
