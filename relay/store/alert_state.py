"""What was sent of each alert, by channel: a restart sends nothing twice.

The table's columns are older than the words of this module; `_to_alert` and `_to_row` are all that knows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct
from sqlalchemy import RowMapping, delete, insert, select

from relay.clock import EPOCH, from_us, to_us
from relay.store.engine import OWN_ROWS, Repository
from relay.store.statement import Statement
from relay.store.tables import alerts

_HEARTBEAT = "heartbeat"
_last_heartbeat = Statement("SELECT at FROM heartbeats WHERE name = :name")

ConditionKind = Literal[
    "down",
    "misconfigured",
    "backlog",
    "dead",
    "unreadable",
    "silent",
    "unnotified",
    "report",
    "missed",
    "token",
    "disk",
    "store",
    "summary",
]


class Alert(Struct, frozen=True, kw_only=True):
    """What a channel's readers know of a condition."""

    kind: ConditionKind
    name: str  #: the target or source, where there is one
    state: Literal["firing", "resolved"] = "firing"
    since: datetime | None = None  #: when it began; with `resolved_at`: when it began again
    count: int = 0  #: that was sent
    last_sent: datetime | None = None  #: None: no message of it has arrived
    resolved_at: datetime | None = None  #: they know that it ended then; it may have begun again

    @property
    def is_known(self) -> bool:
        """Do the readers know that it is firing?"""
        return self.state == "firing" and self.last_sent is not None and self.resolved_at is None


class AlertStateStore(Repository):
    def load(self, channel: str) -> dict[str, Alert]:
        """Return the alerts of a channel by the key of their condition."""
        with self._database.read() as connection:
            rows = connection.execute(select(alerts).where(alerts.c.channel == channel)).mappings().all()
        return {row["key"]: _to_alert(row) for row in rows}

    def save(self, channel: str, state: Mapping[str, Alert]) -> None:
        """Replace all alerts of a channel: there are few."""
        rows = [{"channel": channel, "key": key, **_to_row(alert)} for key, alert in state.items()]
        with self._database.write(alone_for=OWN_ROWS) as connection:
            connection.execute(delete(alerts).where(alerts.c.channel == channel))
            if rows:
                connection.execute(insert(alerts), rows)

    def heartbeat_taken(self, now: datetime) -> None:
        """Keep when somebody else has last heard that the relay is well."""
        self._database.prove_writable(now, name=_HEARTBEAT)

    def last_heartbeat(self) -> datetime | None:
        row = self._database.first(_last_heartbeat, name=_HEARTBEAT)
        return None if row is None else from_us(row[0])


def _to_alert(row: RowMapping) -> Alert:
    over_at, back_at = _moment(row["over_at"]), _moment(row["back_at"])
    return Alert(
        kind=row["what"],
        name=row["name"],
        state="resolved" if over_at is not None and back_at is None else "firing",
        since=back_at or _moment(row["since"]),
        count=row["count"],
        last_sent=None if row["is_unsaid"] else from_us(row["at"]),
        resolved_at=over_at or back_at,  # older rows forgot the end when the condition began again
    )


def _to_row(alert: Alert) -> dict[str, Any]:
    is_back = alert.state == "firing" and alert.resolved_at is not None
    return {
        "what": alert.kind,
        "name": alert.name,
        "at": to_us(alert.last_sent or EPOCH),
        "since": _us(alert.since),
        "count": alert.count,
        "over_at": _us(alert.resolved_at),
        "back_at": _us(alert.since) if is_back else None,
        "is_unsaid": alert.last_sent is None,
    }


def _moment(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)
