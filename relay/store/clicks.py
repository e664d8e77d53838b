"""Calls that somebody asked for by a click: on disk before UIS is asked, so that none is placed twice."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from relay.clock import to_us
from relay.models import Click
from relay.store import call_progress
from relay.store.engine import PATIENT_TIMEOUT_S, WRITE_TIMEOUT_S, Repository
from relay.store.statement import ManyRows, Statement
from relay.store.tables import CLICK, clicks

_find = Statement(f"SELECT {CLICK.sql} FROM clicks WHERE source = :source AND external_id = :external_id")
_count = Statement("SELECT count(*) FROM clicks WHERE at > :since AND source = :source")
_insert = ManyRows.insert(clicks, without=("seq",), returning="seq")
_finish = Statement(
    """
    UPDATE clicks SET state = :state, session = :session, error = :error, reason = :reason
    WHERE seq = :seq AND state = 'unclear'
    """
)
_recent = Statement(f"SELECT {CLICK.sql} FROM clicks ORDER BY at DESC LIMIT :most")
_outdated = Statement("SELECT seq, source, session FROM clicks WHERE at < :before ORDER BY at LIMIT 500")
_delete = Statement("DELETE FROM clicks WHERE seq IN :seqs")


class Clicks(Repository):
    def begin(self, click: Click, *, most: int, since: datetime) -> tuple[Click | None, bool]:
        """Keep a click, on disk when it returns; return it, and whether it is new.

        One of this id that stands there already is returned as it is. None: there were too many since.
        """
        with self._database.write(alone_for=(f"clicks:{click.source}",)) as connection:
            row = _find.first(connection, source=click.source, external_id=click.external_id)
            if row is not None:
                return CLICK.value(row), False
            [(count,)] = _count.rows(connection, source=click.source, since=to_us(since))
            if count >= most:
                return None, False
            [(seq,)] = _insert.rows(connection, [CLICK.row(click)])
        return replace(click, seq=seq), True

    def finish(self, click: Click, timeout_s: float = PATIENT_TIMEOUT_S) -> bool:
        """Keep what UIS answered, and tell the Bitrix24 that has registered the call its session; False: too late."""
        locks = [f"clicks:{click.source}", *([f"target:{click.target}"] if click.target else [])]
        with self._database.write(timeout_s, alone_for=locks) as connection:
            values = CLICK.row(click)
            ended = {name: values[name] for name in ("seq", "state", "session", "error", "reason")}
            if not _finish.run(connection, **ended) or click.target is None or click.session is None:
                return True
            return call_progress.tie(connection, click.target, click.source, click.session, call_id=click.external_id)

    def notified(self, source: str, external_id: str, session: str) -> bool:
        """Take note that a click's call has begun, where the answer was lost or is slower than the notification; False
        as `finish`. The notification waits for it.
        """
        row = self._database.first(_find, source=source, external_id=external_id)
        if row is None or (click := CLICK.value(row)).state != "unclear":
            return True
        started = replace(click, state="started", session=session, error=None, reason=None)
        return self.finish(started, WRITE_TIMEOUT_S)

    def recent(self, most: int) -> list[Click]:
        """Return the latest, the newest first."""
        return [CLICK.value(row) for row in self._database.rows(_recent, most=most)]

    def forget(self, before: datetime) -> None:
        """Delete older ones."""
        while rows := self._database.rows(_outdated, before=to_us(before)):
            with self._database.write(PATIENT_TIMEOUT_S) as connection:
                _delete.run(connection, seqs=[seq for seq, _, _ in rows])
                call_progress.forget(connection, [(source, session) for _, source, session in rows if session])
