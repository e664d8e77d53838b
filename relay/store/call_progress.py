"""A call as a whole: what UIS has said of it, and what has been done for it at a target that takes several steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete, exists, literal_column, or_, select
from sqlalchemy.dialects.sqlite import insert

from relay.models import CallEvent, Delivery
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


def said(connection: Connection, source: str, session: str | None, last: int) -> tuple[CallEvent, ...]:
    """Everything that UIS had said of the call up to this event (its seq), in the order of acceptance."""
    if session is None:
        found = _own.rows(connection, last=last)
    else:
        found = _said.rows(connection, source=source, session=session, last=last)
    return tuple(_calls.decode(call) for (call,) in found if call is not None)


def done(connection: Connection, delivery: Delivery) -> dict[str, Any]:
    """What has been done for the call at the delivery's target."""
    found = _done.first(connection, target=delivery.target, source=delivery.source, session=_session(delivery))
    return {} if found is None else dict(msgspec.json.decode(found[0]))


def remember(connection: Connection, batch: Sequence[CallProgress]) -> list[bool]:
    """Adds to what has been done: what is not named stays. False: the lane has been taken over since."""
    return [_remember_one(connection, memo) for memo in batch]


def _remember_one(connection: Connection, memo: CallProgress) -> bool:
    if not _is_current.rows(connection, target=memo.delivery.target, epoch=memo.epoch):
        return False
    text = msgspec.json.encode({**done(connection, memo.delivery), **memo.done}).decode()
    key = {"target": memo.delivery.target, "source": memo.delivery.source, "session": _session(memo.delivery)}
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
