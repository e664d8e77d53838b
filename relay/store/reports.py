"""How far UIS's report of calls was read for each source, and what the store knows of the calls in it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct, json

from relay.clock import from_us, to_us
from relay.models import CallEvent, Words
from relay.store.engine import OWN_ROWS, Repository
from relay.store.statement import RowMapper, Statement
from relay.store.tables import IS_END, REPORTED, reports

_save = Statement(
    """
    INSERT INTO reports (source, began_at, checked_to, ran_at, state, reason)
    VALUES (:source, :began_at, :checked_to, :ran_at, :state, :reason)
    ON CONFLICT (source) DO UPDATE SET
      checked_to = CASE WHEN reports.checked_to > excluded.checked_to THEN reports.checked_to
        ELSE excluded.checked_to END,
      ran_at = excluded.ran_at, state = excluded.state, reason = excluded.reason
    """
)
_ends = Statement(
    f"""
    SELECT session, call FROM events
    WHERE source = :source AND session IN :sessions
      AND (kind = 'recorded' OR {IS_END})
    """
)
_brought = Statement(
    f"""
    SELECT source, count(*) FROM events WHERE {REPORTED} AND kind = 'finished' AND received_at >= :since
    GROUP BY source
    """
)
_unnotified = Statement(
    f"""
    SELECT count(*), min(began_at) FROM events
    WHERE {REPORTED} AND source = :source AND kind = 'finished' AND received_at >= :since AND began_at > :since
    """
)
_CHUNK = 500  # sessions in one question


class ReportState(Struct, frozen=True, kw_only=True):
    """How the reading of a source's report stands."""

    source: str
    began_at: datetime  #: what came before was never the relay's to bring
    checked_to: datetime  #: all calls that ended before are in the store
    ran_at: datetime
    state: Literal["open", "later", "misconfigured"] = "open"
    reason: Words | None = None


_STATE = RowMapper(ReportState, reports)
_load = Statement(f"SELECT {_STATE.sql} FROM reports")


class KnownCall(Struct, frozen=True):
    """What the store has of a call's end."""

    has_end: bool
    has_record: bool


class Reports(Repository):
    def states(self) -> dict[str, ReportState]:
        """Return how each source's report stands; none for one that was never read."""
        return {state.source: state for state in map(_STATE.value, self._database.rows(_load))}

    def save(self, state: ReportState) -> None:
        """Keep how it stands; `checked_to` never goes back, and `began_at` stays what it was first."""
        with self._database.write(alone_for=OWN_ROWS) as connection:
            _save.run(connection, **_STATE.row(state))

    def known(self, source: str, sessions: Sequence[str]) -> dict[str, KnownCall]:
        """Return what is known of the end of these calls; nothing for a call whose end never came."""
        known: dict[str, KnownCall] = {}
        for start in range(0, len(sessions), _CHUNK):
            chunk = list(sessions[start : start + _CHUNK])
            for session, text in self._database.rows(_ends, source=source, sessions=chunk):
                call = json.decode(text, type=CallEvent)
                before = known.get(session, KnownCall(False, False))
                known[session] = KnownCall(
                    before.has_end or call.kind != "recorded", before.has_record or call.record_link is not None
                )
        return known

    def brought_since(self, since: datetime) -> dict[str, int]:
        """Return by source how many calls the report brought whose notification never came."""
        return {source: int(count) for source, count in self._database.rows(_brought, since=to_us(since))}

    def unnotified(self, source: str, since: datetime) -> tuple[int, datetime | None]:
        """Return how many calls that began since then the report brought, and when the first of them began."""
        [(count, first)] = self._database.rows(_unnotified, source=source, since=to_us(since))
        return int(count), None if first is None else from_us(first)
