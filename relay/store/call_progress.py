"""A call as a whole: what UIS has said of it, and what has been done for it at a target that takes several steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete, exists, literal_column, or_, select
from sqlalchemy.dialects.sqlite import insert

from relay.errors import OwnershipLost
from relay.models import CallEvent, Delivery, Event
from relay.store.group_commit import GroupCommit
from relay.store.sqlite.database import PATIENT_TIMEOUT_S, Database
from relay.store.statement import Hot
from relay.store.tables import call_links, events, targets

_calls = msgspec.json.Decoder(CallEvent)
_said = Hot(
    select(events.c.call)
    .where(
        events.c.source == bindparam("source"), events.c.session == bindparam("session"),
        events.c.seq <= bindparam("last"), events.c.state == literal_column("'accepted'"),
    )
    .order_by(events.c.seq)
)  # fmt: skip
_own = Hot(select(events.c.call).where(events.c.seq == bindparam("last")))
_done = Hot(
    select(call_links.c.done).where(
        call_links.c.target == bindparam("target"), call_links.c.source == bindparam("source"),
        call_links.c.session == bindparam("session"),
    )
)  # fmt: skip

_is_current = Hot(
    select(targets.c.name).where(targets.c.name == bindparam("target"), targets.c.epoch == bindparam("epoch"))
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

    def history(self, delivery: Delivery) -> tuple[CallEvent, ...]:
        """Return everything that UIS had said of the call up to this delivery's event, in the order of acceptance."""
        with self._database.read() as connection:
            return _history(connection, delivery.source, delivery.session, delivery.event_seq)

    def history_of_event(self, event: Event) -> tuple[CallEvent, ...]:
        """Return everything that UIS had said of the event's call up to it, in the order of acceptance."""
        with self._database.read() as connection:
            return _history(connection, event.source, event.session, event.seq)

    def progress(self, delivery: Delivery) -> dict[str, Any]:
        """Return what has been done for the call at the delivery's target."""
        with self._database.read() as connection:
            return _progress(connection, delivery)

    def save_progress(self, delivery: Delivery, epoch: int, done: dict[str, Any]) -> None:
        """Add to what has been done for the call; on disk when it returns.

        Raises OwnershipLost when the lane has another epoch by now: then it is another's to say what was done.
        """
        if not self._commits.run(_save_all, CallProgress(delivery, epoch, done), PATIENT_TIMEOUT_S):
            raise OwnershipLost(f"another process has the lane of {delivery.target} by now")


def _history(connection: Connection, source: str, session: str | None, last: int) -> tuple[CallEvent, ...]:
    """Everything that UIS had said of the call up to this event (its seq), in the order of acceptance."""
    if session is None:
        found = _own.rows(connection, last=last)
    else:
        found = _said.rows(connection, source=source, session=session, last=last)
    return tuple(_calls.decode(call) for (call,) in found if call is not None)


def _progress(connection: Connection, delivery: Delivery) -> dict[str, Any]:
    """What has been done for the call at the delivery's target."""
    found = _done.first(connection, target=delivery.target, source=delivery.source, session=_session(delivery))
    return {} if found is None else dict(msgspec.json.decode(found[0]))


def _save_all(connection: Connection, batch: Sequence[CallProgress]) -> list[bool]:
    """Adds to what has been done: what is not named stays. False: the lane has been taken over since."""
    return [_save(connection, progress) for progress in batch]


def _save(connection: Connection, progress: CallProgress) -> bool:
    if not _is_current.rows(connection, target=progress.delivery.target, epoch=progress.epoch):
        return False
    text = msgspec.json.encode({**_progress(connection, progress.delivery), **progress.done}).decode()
    delivery = progress.delivery
    key = {"target": delivery.target, "source": delivery.source, "session": _session(delivery)}
    statement = insert(call_links).values(**key, done=text)
    connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_={"done": text}))
    return True


def forget(connection: Connection, calls: Iterable[tuple[str, str]]) -> None:
    """What was done for these calls (source, session or event id), where no event of them is left."""
    for source, session in set(calls):
        of_call = events.c.source == source, or_(events.c.session == session, events.c.id == session)
        statement = delete(call_links).where(call_links.c.source == source, call_links.c.session == session)
        connection.execute(statement.where(~exists().where(*of_call)))


def _session(delivery: Delivery) -> str:
    return delivery.session or delivery.event
