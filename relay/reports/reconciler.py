"""Compares UIS's report of calls with the store, and brings what is missing; then again, every few minutes.

A run is idempotent: it looks at a window that overlaps the one before, and what it brings has an id of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar
from zoneinfo import ZoneInfo

import structlog
from msgspec import Struct
from msgspec.structs import replace

from relay.clock import Clock
from relay.config import Report, Settings, Source
from relay.errors import MalformedEvent, RelayError
from relay.i18n import Message, said
from relay.intake.service import Intake
from relay.periodic import Periodic
from relay.reports import report_call
from relay.reports.report_call import CALL_FIELDS, LEG_FIELDS, ReportCall, Row
from relay.store import ReportState, Store
from relay.uis import phones
from relay.uis_api.data_api import Account, DataApi, TooManyRows, least_interval
from relay.uis_api.json_rpc import ApiError

log = structlog.get_logger("relay.reports")

T = TypeVar("T")

BROUGHT = Message("UIS's report of calls: its notification never came")
_SHORTEST = timedelta(seconds=2)  # UIS knows seconds alone
_FAULT = Message("a fault of the relay itself: see report.failed in the log, and tell its makers")
_LONGEST = timedelta(days=89)  # UIS answers for three months at most
_RECORDS_FOR = timedelta(hours=2)  # after its end a call may get its recording
_MENDED_AFTER = timedelta(hours=1)  # a report that is misconfigured is asked for so rarely
_RETENTION_MARGIN = timedelta(hours=1)
_AGAIN_AFTER = timedelta(minutes=1)
_LONGEST_WAIT = timedelta(hours=25)  # until the day's requests are counted anew
_LEGS_AT_ONCE = 100  # sessions in one question

Progress = Callable[[int], None]  # is told how many calls were compared


class Missing(Struct, frozen=True):
    """A call of the report that the store did not have, or that lacked its recording."""

    call: ReportCall
    event: str | None = None  #: what brought it; None in a dry run, and where somebody else was quicker
    is_record: bool = False


class Findings(Struct, frozen=True):
    compared: int
    missing: tuple[Missing, ...]
    requests: int
    unreadable: int  #: rows that were left out


class Reconciler:
    """Reads the report of one source. Not for several threads at once."""

    def __init__(
        self, source: Source, report: Report, store: Store, intake: Intake, clock: Clock, account: Account
    ) -> None:
        self._source, self._report, self.account = source, report, account
        self._store, self._intake, self._clock = store, intake, clock
        self._api = DataApi(report, clock, account)
        self._zone: ZoneInfo | None = None
        self._unreadable: dict[str, str] = {}  # what was wrong with rows of the last run, by session

    def zone(self) -> ZoneInfo:
        """Return the account's time zone: the report's times are in it. Raises ApiError."""
        if self._zone is None:
            name = self._api.timezone()
            try:
                self._zone = ZoneInfo(name or self._source.timezone.key)
            except (ValueError, OSError):
                self._zone = self._source.timezone
            if self._zone.key != self._source.timezone.key:
                log.warning(
                    "report.zone_differs", source=self._source.name, account=name, configured=self._source.timezone.key
                )
        return self._zone

    def span(self, state: ReportState | None, kept: timedelta) -> tuple[datetime, datetime]:
        """Return from when to when to look: the window, and whatever before it was not read for longer.

        Not what was before the relay, and not what retention may have deleted: it would be brought once more.
        """
        now = self._clock()
        checked_to, began_at = (now, now) if state is None else (state.checked_to, state.began_at)
        since = min(now, checked_to) - self._report.window
        return max(since, min(now, began_at) - self._report.settle, now - kept + _RETENTION_MARGIN), now

    def run(
        self, since: datetime, until: datetime, *, dry_run: bool = False, progress: Progress = lambda _: None
    ) -> Findings:
        """Compare the calls that began in a span, and bring what is missing. Raises ApiError and StoreError."""
        before, compared, missing = self._api.requests_made, 0, list[Missing]()
        told, self._unreadable = self._unreadable, {}
        for first, last in report_call.windows(since, until, _LONGEST):
            calls = self._calls(first, last)
            known = self._store.reports.known(self._source.name, [call.session for call in calls])
            fresh = self._clock() - _RECORDS_FOR - self._report.settle
            ended = {session for session, of_store in known.items() if of_store.has_end}
            lack = {session for session, of_store in known.items() if of_store.has_end and not of_store.has_record}
            unknown = [call for call in calls if call.session not in ended]
            recent = [call for call in calls if call.session in lack and call.ended_at >= fresh]
            without_record = [call for call in recent if call.has_record]
            compared += len(calls)
            progress(len(calls) - len(unknown))
            for each in map(Missing, unknown) if dry_run else self._bring(unknown):
                missing.append(each)
                progress(1)
            for call in without_record:
                event = None if dry_run else self._accept(call, report_call.recorded(call))
                missing.append(Missing(call, event, is_record=True))
        for session, problem in self._unreadable.items():
            if session not in told:  # it stands in the report for as long as the window
                log.warning("report.row_left_out", source=self._source.name, session=session, problem=problem)
        return Findings(compared, tuple(missing), self._api.requests_made - before, len(self._unreadable))

    def _calls(self, since: datetime, until: datetime) -> list[ReportCall]:
        """Return the finished calls of the report that are to be compared, each once, in the order they began."""
        zone = self.zone()
        params = {
            "date_from": report_call.write_time(since, zone),
            "date_till": report_call.write_time(until, zone),
            "include_ongoing_calls": False,
            "sort": [{"field": "start_time", "order": "asc"}],
        }
        try:
            rows = list(self._api.rows("get.calls_report", params, fields=CALL_FIELDS))
        except TooManyRows:
            if until - since < _SHORTEST:
                raise
            middle = since + (until - since) / 2
            halves = [*self._calls(since, middle), *self._calls(middle, until)]
            return list({call.session: call for call in halves}.values())
        calls = [call for row in rows if (call := self._read(row, zone)) is not None]
        settled = self._clock() - self._report.settle
        left_out = {phones.digits(line) for line in self._report.skip_lines}
        chosen = [call for call in calls if call.ended_at <= settled and phones.digits(call.line) not in left_out]
        return list({call.session: call for call in chosen}.values())

    def _read(self, row: Row, zone: ZoneInfo) -> ReportCall | None:
        try:
            return report_call.read_call(row, zone)
        except MalformedEvent as exc:
            self._unreadable[str(row.get("id"))[:100]] = said(exc)
            return None

    def _bring(self, calls: Sequence[ReportCall]) -> Iterator[Missing]:
        legs = self._legs(calls)
        extensions = (_if_allowed(self._api.extensions) if calls else None) or {}
        for call in calls:
            yield Missing(call, self._accept(call, report_call.finished(call, legs.get(call.session, ()), extensions)))

    def _accept(self, call: ReportCall, body: bytes) -> str | None:
        """Return the event that was stored; None where there is none."""
        try:
            receipt = self._intake.accept_reported(self._source, body, BROUGHT)
        except MalformedEvent as exc:
            self._unreadable[call.session] = said(exc)
            return None
        if receipt.status != "accepted":
            return None
        self._intake.dispatch(receipt)
        return receipt.event

    def _legs(self, calls: Sequence[ReportCall]) -> dict[str, list[Row]]:
        """Return who was rung, by session."""
        legs: dict[str, list[Row]] = {}
        for start in range(0, len(calls), _LEGS_AT_ONCE):
            some, zone = calls[start : start + _LEGS_AT_ONCE], self.zone()
            params = {
                "date_from": report_call.write_time(min(call.began_at for call in some), zone),
                "date_till": report_call.write_time(max(call.ended_at for call in some) + timedelta(seconds=1), zone),
                "filter": {"field": "call_session_id", "operator": "in", "value": [call.number for call in some]},
            }
            rows = self._api.rows("get.call_legs_report", params, fields=LEG_FIELDS)
            seen: list[Row] | None = _if_allowed(partial(list, rows))
            if seen is None:
                break
            for row in seen:
                legs.setdefault(str(row.get("call_session_id")), []).append(row)
        return legs


def _if_allowed(ask: Callable[[], T]) -> T | None:
    """Return what UIS answers; None where the key may not see it: the report alone will do then."""
    try:
        return ask()
    except ApiError as exc:
        if exc.state == "later":
            raise
        return None


class ReportLoop(Periodic):
    """Runs each source's reconciler when it is time, in the process that is on duty. A source's trouble is its own."""

    name, every_s, fault = "reports", 1.0, "report.failed"

    def __init__(
        self,
        settings: Settings,
        store: Store,
        intake: Intake,
        clock: Clock,
        is_on_duty: Callable[[], bool],
        accounts: Mapping[str, Account],
    ) -> None:
        super().__init__()
        self._settings, self._store, self._clock, self._is_on_duty = settings, store, clock, is_on_duty
        self.reconcilers = {
            name: Reconciler(source, source.report, store, intake, clock, accounts[source.report.key])
            for name, source in settings.sources.items()
            if source.report is not None
        }
        self._due: dict[str, datetime] = {}

    def is_wanted(self) -> bool:
        return bool(self.reconcilers)

    def step(self) -> None:
        if self._is_on_duty():
            self.run_due()

    def run_due(self) -> None:
        """Read the reports whose time has come."""
        for name, reconciler in self.reconcilers.items():
            if self.stopping.is_set():
                return
            now = self._clock()
            due = self._due.get(name, now)
            if now >= due or due - now > _LONGEST_WAIT:  # the clock has been put back
                self._due[name] = now + self._run_one(self._settings.sources[name], reconciler, now)

    def _run_one(self, source: Source, reconciler: Reconciler, now: datetime) -> timedelta:
        """Read one report; return after how long it is to be read again."""
        report = source.report
        assert report is not None  # noqa: S101  there is no reconciler without
        try:
            state = self._store.reports.states().get(source.name)
            since, until = reconciler.span(state, self._settings.storage.keep_delivered)
            state = state or ReportState(source=source.name, began_at=now, checked_to=now, ran_at=now)
            try:
                findings = reconciler.run(since, until)
            except ApiError as exc:
                failed = replace(
                    state, ran_at=now, state="later" if exc.state == "later" else "misconfigured", reason=said(exc)
                )
                if (failed.state, failed.reason) != (state.state, state.reason):
                    log.warning(f"report.{failed.state}", source=source.name, reason=str(exc))
                self._store.reports.save(failed)
                return exc.wait or (_AGAIN_AFTER if failed.state == "later" else _MENDED_AFTER)
            self._store.reports.save(replace(state, checked_to=until, ran_at=now, state="open", reason=None))
            if state.state != "open":
                log.info("report.open", source=source.name)
            if findings.missing:
                brought = [each for each in findings.missing if each.event is not None]
                records = sum(each.is_record for each in brought)
                log.warning("report.brought", source=source.name, calls=len(brought) - records, records=records)
            sharing = sum(other.account is reconciler.account for other in self.reconcilers.values())
            apart = least_interval(reconciler.account.limits, now, sources=sharing, requests=findings.requests)
            return max(report.every, apart)
        except RelayError as exc:  # the store: it is looked at again with the next run
            log.warning("report.failed", source=source.name, reason=str(exc))
        except Exception:  # a fault of ours must not end the reading of the other sources
            log.exception("report.failed", source=source.name)
            with contextlib.suppress(RelayError):
                fresh = ReportState(source=source.name, began_at=now, checked_to=now, ran_at=now)
                known = self._store.reports.states().get(source.name, fresh)
                self._store.reports.save(replace(known, ran_at=now, state="later", reason=_FAULT))
        return _AGAIN_AFTER
