"""Simulates an account of UIS: its report of calls, as the Data API v2.0 gives it, and the Call API beside it.

By the vendor's documentation (comagic.github.io/data-api): one method a request, pages, fields that are asked for by
name, limits in each answer. Times are the account's own, without a zone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from relay.clock import Clock, now_utc
from relay.sandbox.faults import FAULTS, FAULTS_AFTER_WRITING, IN_FRONT, Simulator, after_acting
from relay.sandbox.http import HTML, Reply, Request, json_reply
from relay.sandbox.uis_call_api import CALL_ERRORS, PlacedCalls, RpcError

Row = dict[str, Any]

KEY = "sandbox-key"
ERRORS: dict[str, tuple[int, str]] = {
    "parse_error": (-32700, "Invalid JSON was received by the server."),
    "invalid_request": (-32600, "The JSON sent is not a valid Request object"),
    "method_not_found": (-32601, "The method does not exist / is not available"),
    "required_parameter_missed": (-32602, "The required parameter has been missed"),
    "invalid_parameter_value": (-32602, "Invalid parameter value"),
    "unexpected_parameters": (-32602, "Unexpected method parameter(s)"),
    "date_interval_limit_reached": (-32602, "Max value of requested date interval is 3 months"),
    "internal_error": (-32603, "Internal error, contact the support service"),
    "access_token_expired": (-32001, "Access token has been expired"),
    "access_token_blocked": (-32001, "Access token has been blocked"),
    "access_token_invalid": (-32001, "Access token is invalid"),
    "ip_not_whitelisted": (-32003, "Your IP 203.0.113.9 is not whitelisted"),
    "forbidden": (-32003, "Permission denied"),
    "method_component_disabled": (-32008, "You need at least on of the following components: data_api"),
    "account_inactive": (-32009, "Your account has been disabled, contact the support service"),
    **CALL_ERRORS,
    "limit_exceeded": (-32029, "Limit per minute has been exceeded. Value of current limit per minute is 150"),
}
_GATEWAY = "bad_gateway_after_writing"  # what stands in front of UIS did not get its answer
_WITHOUT_LIMITS = {"parse_error", "invalid_request", "method_not_found", "ip_not_whitelisted"}
_LONGEST = timedelta(days=93)
_TIME = "%Y-%m-%d %H:%M:%S"
_EMPLOYEES: list[dict[str, Any]] = [
    {"id": 323409, "full_name": "Иванов Иван", "extension": {"extension_phone_number": "101"}},
    {"id": 323410, "full_name": "Петрова Анна", "extension": {"extension_phone_number": "102"}},
]
_CALL_FIELDS = frozenset(
    [
        "id",
        "start_time",
        "finish_time",
        "direction",
        "finish_reason",
        "is_lost",
        "source",
        "virtual_phone_number",
        "contact_phone_number",
        "communication_id",
        "wait_duration",
        "total_wait_duration",
        "talk_duration",
        "clean_talk_duration",
        "total_duration",
        "call_records",
        "wav_call_records",
        "full_record_file_link",
        "employees",
        "last_talked_employee_id",
        "operator_phone_number",
        "scenario_name",
        "contact_id",
        "call_api_external_id",
        "is_transfer",
    ]
)
_LEG_FIELDS = frozenset(
    [
        "id",
        "call_session_id",
        "start_time",
        "connect_time",
        "duration",
        "total_duration",
        "finish_reason",
        "finish_reason_description",
        "virtual_phone_number",
        "calling_phone_number",
        "called_phone_number",
        "direction",
        "is_operator",
        "is_talked",
        "employee_id",
        "employee_full_name",
        "employee_phone_number",
    ]
)


class UisAccount(Simulator):
    """Holds the calls of an account. A call is in the report `delay` after its end."""

    def __init__(
        self,
        *,
        key: str = KEY,
        timezone: str = "Europe/Moscow",
        delay: timedelta = timedelta(0),
        minute_limit: int = 150,
        day_limit: int = 1000,
        clock: Clock = now_utc,
    ) -> None:
        super().__init__((*ERRORS, *IN_FRONT, *FAULTS, _GATEWAY))
        self.key, self.timezone = key, timezone
        self.minute_limit, self.day_limit = minute_limit, day_limit
        self.delay, self._clock = delay, clock
        self._calls: dict[str, Row] = {}
        self.placed = PlacedCalls([employee["id"] for employee in _EMPLOYEES])
        self._asked: list[tuple[datetime, str]] = []
        self.most_in_a_minute = 0

    def add(self, calls: Iterable[Row]) -> None:
        """Let these calls have been; a call that is there already is replaced, as when its recording is ready."""
        with self._mutex:
            self._calls |= {str(call["id"]): call for call in calls}

    def _reset(self) -> None:
        self._calls.clear()
        self.placed.calls.clear()
        self._asked.clear()
        self.most_in_a_minute = 0

    def _state(self) -> dict[str, Any]:
        return {
            "calls": len(self._calls),
            "placed": list(self.placed.calls),
            "requests": [method for _, method in self._asked],
            "most_in_a_minute": self.most_in_a_minute,
        }

    def answer(self, request: Request) -> Reply:
        """Answer one request to `/v2.0`, or to `/v4.0`."""
        method, params = None, {}
        try:
            document = json.loads(request.body)
            method, params = str(document["method"]), dict(document["params"])
        except (ValueError, KeyError, TypeError):
            return self._error(RpcError("parse_error"))
        mode = self._failures.next(method)
        if mode is not None and mode not in (*ERRORS, *FAULTS_AFTER_WRITING, _GATEWAY):
            return FAULTS.get(mode) or IN_FRONT[mode]
        with self._mutex:
            try:
                if mode in ERRORS:
                    raise RpcError(mode)
                reply = self._answer(document, method, params)
                return Reply(502, b"<html>", HTML) if mode == _GATEWAY else after_acting(mode, reply)
            except RpcError as exc:
                return self._error(exc, params)

    def _answer(self, document: Mapping[str, Any], method: str, params: Row) -> Reply:
        if params.pop("access_token", None) != self.key:
            raise RpcError("access_token_invalid", "access_token")
        now = self._clock()
        self._count(now, method)
        if method == "get.account":
            account = {"app_id": 1, "name": "ООО «Пример»", "timezone": self.timezone}
            return json_reply(
                {
                    "jsonrpc": "2.0",
                    "id": document.get("id"),
                    "result": {"data": [account], "meta_data": {"limits": self._limits(now)}},
                }
            )
        if method in ("start.employee_call", "list.calls"):
            placed = {"data": self.placed.answer(method, params), "metadata": {"limits": self._limits(now)}}
            return json_reply({"jsonrpc": "2.0", "id": document.get("id"), "result": placed})
        rows = self._rows(method, params, now)
        offset, limit = int(params.get("offset", 0)), int(params.get("limit", 1000))
        metadata = {"total_items": len(rows), "limits": self._limits(now)}
        result = {"data": rows[offset : offset + limit], "metadata": metadata}
        return json_reply({"jsonrpc": "2.0", "id": document.get("id"), "result": result})

    def _rows(self, method: str, params: Row, now: datetime) -> list[Row]:
        if method == "get.employees":
            return _EMPLOYEES
        if method == "get.calls_report":
            return [_chosen(call, params, _CALL_FIELDS) for call in self._between(params, now)]
        if method == "get.call_legs_report":
            wanted = {str(session) for session in params.get("filter", {}).get("value", self._calls)}
            calls = [call for key, call in self._calls.items() if key in wanted]
            return [_chosen(leg, params, _LEG_FIELDS) for call in calls for leg in _legs(call)]
        raise RpcError("method_not_found")

    def _between(self, params: Row, now: datetime) -> list[Row]:
        zone = ZoneInfo(self.timezone)
        try:
            first, last = (datetime.strptime(params[name], _TIME) for name in ("date_from", "date_till"))  # noqa: DTZ007  the account's own clock
        except (KeyError, ValueError, TypeError) as exc:
            raise RpcError("invalid_parameter_value", "date_from") from exc
        if last - first > _LONGEST:
            raise RpcError("date_interval_limit_reached", "date_till")
        shown_to = (now - self.delay).astimezone(zone).strftime(_TIME)
        chosen = [
            call
            for call in self._calls.values()
            if first.strftime(_TIME) <= call["start_time"] <= last.strftime(_TIME)
            and (call["finish_time"] or "9") <= shown_to
        ]
        return sorted(chosen, key=lambda call: (call["start_time"], call["id"]))

    def _count(self, now: datetime, method: str) -> None:
        day, minute = now - timedelta(days=1), now - timedelta(minutes=1)
        self._asked = [each for each in self._asked if each[0] > day]
        in_minute = sum(at > minute for at, _ in self._asked)
        if in_minute >= self.minute_limit or len(self._asked) >= self.day_limit:
            raise RpcError("limit_exceeded")
        self._asked.append((now, method))
        self.most_in_a_minute = max(self.most_in_a_minute, in_minute + 1)

    def _limits(self, now: datetime) -> Row:
        minute = [at for at, _ in self._asked if at > now - timedelta(minutes=1)]
        return {
            "day_limit": self.day_limit,
            "day_remaining": self.day_limit - len(self._asked),
            "day_reset": _left(self._asked[0][0] + timedelta(days=1), now) if self._asked else 86400,
            "minute_limit": self.minute_limit,
            "minute_remaining": self.minute_limit - len(minute),
            "minute_reset": _left(minute[0] + timedelta(minutes=1), now) if minute else 60,
        }

    def _error(self, exc: RpcError, params: Mapping[str, Any] | None = None) -> Reply:
        code, message = ERRORS[exc.mnemonic]
        metadata = {} if exc.mnemonic in _WITHOUT_LIMITS else {"limits": self._limits(self._clock())}
        data: Row = {"mnemonic": exc.mnemonic, "metadata": metadata}
        if exc.field:
            data |= {"field": exc.field, "value": (params or {}).get(exc.field)}
        return json_reply({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message, "data": data}})


def report_row(values: Mapping[str, Any]) -> Row:
    """Return the report's row of a call, from the variables of its notifications."""
    incoming = values["direction"] == "in"
    total, wait = values["total_time_duration"], values["wait_time_duration"]
    talk = 0 if values["is_lost"] else total - wait
    return {
        "id": values["call_session_id"],
        "start_time": values["start_time"][:19],
        "finish_time": values["finish_time"][:19],
        "direction": values["direction"],
        "finish_reason": values["finish_reason"],
        "is_lost": values["is_lost"],
        "source": values["call_source"],
        "virtual_phone_number": values["virtual_phone_number"],
        "contact_phone_number": values["calling_phone_number" if incoming else "called_phone_number"],
        "wait_duration": wait,
        "total_wait_duration": wait,
        "talk_duration": talk,
        "clean_talk_duration": talk,
        "total_duration": total,
        "wav_call_records": [],
        "full_record_file_link": values["full_record_file_link"],
        "employees": [{"employee_id": employee} for employee in values["employee_ids"] or ()],
        "last_talked_employee_id": None if values["is_lost"] else next(iter(values["employee_ids"] or ()), None),
        "operator_phone_number": values["employee_phone_number"],
        "scenario_name": values["scenario_name"],
        "contact_id": values["contact_id"],
        "call_api_external_id": values["external_id"],
    }


def _legs(call: Row) -> list[Row]:
    """Return the client's leg, and one of each employee who was rung."""
    client, line = call["contact_phone_number"], call["virtual_phone_number"]
    numbers = (client, line) if call["direction"] == "in" else (line, client)
    shared = {"call_session_id": call["id"], "start_time": call["start_time"], "virtual_phone_number": line}
    of_client = {**shared, "calling_phone_number": numbers[0], "called_phone_number": numbers[1], "is_operator": False}
    of_employees = [
        {
            **shared,
            "calling_phone_number": client,
            "called_phone_number": call["operator_phone_number"],
            "is_operator": True,
            "is_talked": not call["is_lost"],
            "employee_id": employee["employee_id"],
            "employee_phone_number": call["operator_phone_number"],
        }
        for employee in call["employees"]
    ]
    return [of_client, *of_employees]


def _chosen(row: Row, params: Row, known: frozenset[str]) -> Row:
    fields = params.get("fields") or sorted(known)
    unknown = [field for field in fields if field not in known]
    if unknown:
        raise RpcError("unexpected_parameters", unknown[0])
    return {field: row.get(field) for field in fields}


def _left(at: datetime, now: datetime) -> int:
    return max(1, round((at - now).total_seconds()))
