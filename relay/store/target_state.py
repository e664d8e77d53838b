"""How a target is, whether the operator holds its queue, and the time that does not count for ages."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from relay.clock import from_us, to_us
from relay.models import Standstill, TargetHealth
from relay.store import leases
from relay.store.statement import Hot
from relay.store.tables import standstills, targets

_MOMENTS = ("since", "probe_at", "asked_until", "forbidden_since")
_save = Hot(
    update(targets)
    .where(targets.c.name == bindparam("target"), targets.c.epoch == bindparam("of"))
    .values({name: bindparam(f"{name}_") for name in ("state", "reason", "probes", *_MOMENTS)})
)
_load = Hot(
    select(targets.c.state, targets.c.reason, targets.c.probes, *(targets.c[name] for name in _MOMENTS))
    .where(targets.c.name == bindparam("target"))
)  # fmt: skip
_orders = Hot(
    select(targets.c.paused_at, targets.c.resumes).where(targets.c.name == bindparam("target"))
)  # fmt: skip


class OperatorFlags(Struct, frozen=True):
    """What the operator wants of a lane."""

    paused: bool = False
    resumes: int = 0  #: has moved: probe at once


def load(connection: Connection, target: str) -> TargetHealth:
    found = _load.first(connection, target=target)
    if found is None:
        return TargetHealth()
    state, reason, probes, *moments = found
    known = {name: None if us is None else from_us(us) for name, us in zip(_MOMENTS, moments, strict=True)}
    return TargetHealth(state=state, reason=reason, probes=probes, **known)


def save(connection: Connection, target: str, epoch: int, health: TargetHealth) -> None:
    """Only under the lane's present epoch."""
    moments = {name: getattr(health, name) for name in _MOMENTS}
    _save.run(
        connection, target=target, of=epoch, state_=health.state, reason_=health.reason, probes_=health.probes,
        **{f"{name}_": None if at is None else to_us(at) for name, at in moments.items()},
    )  # fmt: skip


def orders(connection: Connection, target: str) -> OperatorFlags:
    found = _orders.first(connection, target=target)
    return OperatorFlags() if found is None else OperatorFlags(found[0] is not None, found[1])


def pause(connection: Connection, target: str, now: datetime) -> bool:
    """False: it was paused already."""
    leases.ensure(connection, target)
    statement = update(targets).where(targets.c.name == target, targets.c.paused_at.is_(None))
    if not connection.execute(statement.values(paused_at=to_us(now))).rowcount:
        return False
    connection.execute(insert(standstills).values(target=target, began_at=to_us(now), ended_at=None))
    return True


def resume(connection: Connection, target: str, now: datetime) -> bool:
    """Asks for a probe at once. False: it was not paused."""
    leases.ensure(connection, target)
    connection.execute(update(targets).where(targets.c.name == target).values(resumes=targets.c.resumes + 1))
    was_paused = update(targets).where(targets.c.name == target, targets.c.paused_at.is_not(None))
    if not connection.execute(was_paused.values(paused_at=None)).rowcount:
        return False
    going_on = update(standstills).where(standstills.c.target == target, standstills.c.ended_at.is_(None))
    connection.execute(going_on.values(ended_at=to_us(now)))
    return True


def load_standstills(connection: Connection, target: str) -> tuple[Standstill, ...]:
    statement = select(standstills.c.began_at, standstills.c.ended_at).where(standstills.c.target == target)
    found = connection.execute(statement.order_by(standstills.c.seq))
    return tuple(Standstill(from_us(began), None if ended is None else from_us(ended)) for began, ended in found)


def add_standstill(connection: Connection, target: str, began: datetime, ended: datetime) -> None:
    connection.execute(insert(standstills).values(target=target, began_at=to_us(began), ended_at=to_us(ended)))


def forget_standstills(connection: Connection, before: datetime) -> None:
    """Those that ended before any event that is kept was taken."""
    connection.execute(delete(standstills).where(standstills.c.ended_at < to_us(before)))
