"""Deletes what has been kept for long enough, a few rows at a time, and gives the space back.

A batch of 25 events keeps the write lock for some milliseconds; hundreds would make notifications wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from sqlalchemy import Connection

from relay.clock import to_us
from relay.store import call_progress
from relay.store.engine import PAGE, PATIENT_TIMEOUT_S, Database
from relay.store.statement import Statement
from relay.store.tables import DEAD, UNFINISHED

_BATCH = 25

_page = Statement(
    f"""
    SELECT events.seq, events.state, events.received_at,
      coalesce(max(delivered_at), 0), coalesce(max(tried_at), 0),
      coalesce(sum(CASE WHEN {UNFINISHED} THEN 1 ELSE 0 END), 0), coalesce(sum(CASE WHEN {DEAD} THEN 1 ELSE 0 END), 0)
    FROM events LEFT JOIN deliveries ON deliveries.event_seq = events.seq
    WHERE events.seq > :after GROUP BY events.seq ORDER BY events.seq LIMIT {PAGE}
    """
)
_waiting = Statement(f"SELECT event_seq FROM deliveries WHERE event_seq IN :seqs AND {UNFINISHED}")
_calls = Statement("SELECT source, coalesce(session, id) FROM events WHERE seq IN :seqs")
_delete_attempts = Statement(
    "DELETE FROM attempts WHERE delivery_seq IN (SELECT seq FROM deliveries WHERE event_seq IN :seqs)"
)
_page_of_exchanges = Statement(
    f"""
    SELECT attempts.seq, at, exchanges IS NOT NULL AND state IN ('delivered', 'expired', 'discarded')
    FROM attempts JOIN deliveries ON deliveries.seq = delivery_seq
    WHERE attempts.seq > :after ORDER BY attempts.seq LIMIT {PAGE}
    """
)
_forget_exchanges = Statement("UPDATE attempts SET exchanges = NULL WHERE seq IN :seqs")
_delete_deliveries = Statement("DELETE FROM deliveries WHERE event_seq IN :seqs")
_delete_events = Statement("DELETE FROM events WHERE seq IN :seqs")


def prune(
    database: Database, delivered_before: datetime, dead_before: datetime, should_stop: Callable[[], bool]
) -> int:
    """How many events were deleted. `should_stop` is asked between batches; True: that is enough for now.

    What waits is never deleted. What an operator should look at goes when nothing has happened to it since
    `dead_before`, all else when nothing has since `delivered_before`.
    """
    deleted = 0
    for seqs in _outdated(database, to_us(delivered_before), to_us(dead_before)):
        for start in range(0, len(seqs), _BATCH):
            with database.write(PATIENT_TIMEOUT_S) as connection:
                deleted += _delete(connection, seqs[start : start + _BATCH])
            if should_stop():
                return deleted
    while database.give_space_back(PATIENT_TIMEOUT_S) and not should_stop():
        pass
    return deleted


def forget_exchanges(database: Database, before: datetime, should_stop: Callable[[], bool]) -> int:
    """Forget what was sent and answered before then, of deliveries that nobody needs to look at; return of how many."""
    border, deleted = to_us(before), 0
    for page in database.pages(lambda connection, after: _page_of_exchanges.rows(connection, after=after)):
        seqs = [seq for seq, at, may_go in page if may_go and at < border]
        if seqs:
            with database.write(PATIENT_TIMEOUT_S) as connection:
                deleted += _forget_exchanges.run(connection, seqs=seqs)
        if all(at >= border for _, at, _ in page) or should_stop():
            break
    return deleted


def _outdated(database: Database, delivered_before: int, dead_before: int) -> Iterator[list[int]]:
    """By page, in the order of acceptance, up to where everything is younger."""
    for page in database.pages(lambda connection, after: _page.rows(connection, after=after)):
        chosen = []
        for seq, state, received_at, delivered_at, tried_at, waiting, dead in page:
            before = dead_before if dead or state == "quarantined" else delivered_before
            if not waiting and max(received_at, delivered_at, tried_at) < before:
                chosen.append(seq)
        if chosen:
            yield chosen
        if page and page[-1][2] >= max(delivered_before, dead_before):
            return


def _delete(connection: Connection, seqs: Sequence[int]) -> int:
    """Those of them that still do not wait: a replay may have come between."""
    waiting = {seq for (seq,) in _waiting.rows(connection, seqs=seqs)}
    return delete(connection, [seq for seq in seqs if seq not in waiting])


def delete(connection: Connection, seqs: Sequence[int]) -> int:
    """Delete these events with all that came of them; return how many. What was done for a call goes with its last."""
    calls = _calls.rows(connection, seqs=seqs)
    _delete_attempts.run(connection, seqs=seqs)
    _delete_deliveries.run(connection, seqs=seqs)
    deleted = _delete_events.run(connection, seqs=seqs)
    call_progress.forget(connection, [(source, session) for source, session in calls])
    return deleted
