"""Reads a call of UIS's report, and writes the notification that UIS would have sent of it. Pure.

The notification goes the way of every other: whatever reads those reads this. A field that the report lacks stays
empty; nothing is made up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from relay.calls.call_result import TEXT_OF
from relay.errors import MalformedEvent
from relay.uis.rendering import dump, template_slots
from relay.uis.variables import KEY_MAX

_FIRST_YEAR = 2000  # before UIS there was none
CALL_FIELDS = (
    "id",
    "start_time",
    "finish_time",
    "direction",
    "finish_reason",
    "is_lost",
    "source",
    "virtual_phone_number",
    "contact_phone_number",
    "wait_duration",
    "talk_duration",
    "total_duration",
    "wav_call_records",
    "full_record_file_link",
    "employees",
    "last_talked_employee_id",
    "operator_phone_number",
    "scenario_name",
    "contact_id",
    "call_api_external_id",
)
LEG_FIELDS = (
    "call_session_id",
    "start_time",
    "calling_phone_number",
    "called_phone_number",
    "is_operator",
    "is_talked",
    "employee_id",
    "employee_phone_number",
    "finish_reason_description",
)
_RECORDED = (
    "Start_time",
    "direction",
    "call_session_id",
    "virtual_phone_number",
    "contact_phone_number",
    "employee_ids",
    "file_link",
    "wav_call_records",
)
_TIME = "%Y-%m-%d %H:%M:%S"
_NAME = "Завершение звонка"
_BY_OPERATOR = ("operator_", "employee_", "no_success_operator", "no_operator")

Row = Mapping[str, Any]


class ReportCall(Struct, frozen=True):
    """A finished call of the report."""

    session: str
    began_at: datetime
    ended_at: datetime
    line: str
    row: Row

    @property
    def number(self) -> int | str:
        """Return the session as a notification has it."""
        return int(self.session) if self.session.isascii() and self.session.isdigit() else self.session

    @property
    def has_record(self) -> bool:
        """Has it the recording of a talk?"""
        return bool(self.row.get("full_record_file_link")) and self.row.get("talk_duration") != 0


def read_call(row: Row, zone: ZoneInfo) -> ReportCall | None:
    """Return the call; None for one that goes on. Raises MalformedEvent for one without a session or its times."""
    if not row.get("finish_time"):
        return None
    session, began_at, ended_at = row.get("id"), *(read_time(row.get(at), zone) for at in ("start_time", "finish_time"))
    is_text = isinstance(session, int | str) and not isinstance(session, bool)
    is_session = is_text and 0 < len(str(session).strip()) <= KEY_MAX and str(session).isprintable()
    if began_at is None or ended_at is None or not is_session or min(began_at.year, ended_at.year) < _FIRST_YEAR:
        raise MalformedEvent("it has no session, or no times that can be read")
    return ReportCall(str(session), began_at, ended_at, str(row.get("virtual_phone_number") or ""), row)


def read_time(text: object, zone: ZoneInfo) -> datetime | None:
    """Read `2026-08-22 11:03:07`, or one with a T and milliseconds, as the account's clock shows it."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=zone)


def write_time(at: datetime, zone: ZoneInfo) -> str:
    """Write a moment as the Data API takes it: without a zone, by the account's clock."""
    return at.astimezone(zone).strftime(_TIME)


def windows(since: datetime, until: datetime, longest: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """Split a span into pieces that UIS answers for at once: at most three months."""
    while until - since > longest:
        yield since, since + longest
        since += longest
    yield since, until


def finished(call: ReportCall, legs: Sequence[Row], extensions: Mapping[str, str]) -> bytes:
    """Return the body of «Завершение звонка» as UIS fills its usual template, and how long was talked.

    `extensions` are by employee id.
    """
    row, legs = call.row, sorted(legs, key=lambda leg: str(leg.get("start_time")))
    calling, called = _numbers(row, legs)
    employee = _employee(row, legs)
    values = _values(call) | {
        "notification_name": _NAME,
        # an empty text leaves the extension that a 1C receiver has stored; null erases it
        "extension_phone_number": extensions.get(str(employee.get("employee_id")), ""),
        "called_phone_number": called,
        "calling_phone_number": calling,
        "employee_phone_number": employee.get("employee_phone_number") or row.get("operator_phone_number"),
        "total_time_duration": row.get("total_duration"),
        "wait_time_duration": row.get("wait_duration"),
        "finish_time": _uis_time(row["finish_time"]),
        "lost_reason": _lost_reason(row, legs),
        "external_id": row.get("call_api_external_id"),
        "call_source": row.get("source"),
    }
    # no template of UIS has it; what sets `clean_talk_duration` apart is not documented
    talked = ("talk_time_duration", row.get("talk_duration"))
    return dump([*((key, values.get(variable)) for key, variable in template_slots("finished")), talked])


def recorded(call: ReportCall) -> bytes:
    """Return the body of «Записанный разговор», for a call whose end is known already."""
    values = _values(call) | {"file_link": call.row.get("full_record_file_link")}
    return dump([(name, values.get(name.lower())) for name in _RECORDED])


def _values(call: ReportCall) -> dict[str, Any]:
    """Return what UIS's variables stand for; many a field of the report has the name of its variable."""
    return {
        **call.row,
        "start_time": _uis_time(call.row["start_time"]),
        "call_session_id": call.number,
        "employee_ids": _employee_ids(call.row),
        "wav_call_records": call.row.get("wav_call_records") or None,
    }


def _numbers(row: Row, legs: Sequence[Row]) -> tuple[Any, Any]:
    """Return who called and who was called: of the first leg where it is the client's, else by the call's direction."""
    client, line = row.get("contact_phone_number"), row.get("virtual_phone_number")
    if legs and client in (numbers := (legs[0].get("calling_phone_number"), legs[0].get("called_phone_number"))):
        return numbers
    return (line, client) if row.get("direction") == "out" else (client, line)


def _employee(row: Row, legs: Sequence[Row]) -> Row:
    """Return the leg of the employee who talked last, else of the last who was rung."""
    theirs = [leg for leg in legs if leg.get("is_operator")]
    talked = [leg for leg in theirs if leg.get("is_talked")]
    if theirs:
        return (talked or theirs)[-1]
    return {"employee_id": row.get("last_talked_employee_id")}


def _employee_ids(row: Row) -> list[Any] | None:
    employees = row.get("employees")
    employees = employees if isinstance(employees, list) else ()
    listed = [each.get("employee_id") for each in employees if isinstance(each, dict)]
    return [each for each in listed if each is not None] or None


def _lost_reason(row: Row, legs: Sequence[Row]) -> str | None:
    """Return UIS's words where the call was lost by an employee: of one that the client gave up, it has none."""
    reason = str(row.get("finish_reason") or "")
    if row.get("is_lost") is not True or not reason.startswith(_BY_OPERATOR):
        return None
    described = next((leg["finish_reason_description"] for leg in legs if leg.get("finish_reason_description")), None)
    return TEXT_OF.get(reason) or described or reason


def _uis_time(text: object) -> str:
    """Write the milliseconds that a notification has and the report has not."""
    text = str(text).replace("T", " ")
    return text if "." in text else f"{text}.000"
