"""Simulates the REST of a Bitrix24 portal: who may ask, how often, and which method answers.

Two ways in: the webhook `/rest/<user>/<code>/<method>`, and `/rest/<method>` with an application's access token.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from relay.clock import Clock, now_utc
from relay.sandbox.bitrix24 import failures
from relay.sandbox.bitrix24.calls import Call, Calls, Finished
from relay.sandbox.bitrix24.crm import PAGE, Crm, Fields, whole
from relay.sandbox.bitrix24.failures import Refused
from relay.sandbox.bitrix24.records import Records
from relay.sandbox.bitrix24.tasks import Tasks
from relay.sandbox.faults import CrmSimulator, after_acting
from relay.sandbox.http import Reply, Request, json_reply
from relay.sandbox.limits import LeakyBucket, Monotonic

_USERS: Mapping[int, str | None] = {1: None, 12: "101", 13: "102"}
_BUCKET_HOLDS, _BUCKET_DRAINS_PER_S = 50, 2  # limits.md; of the Enterprise plan 250 and 5
_ACCESS_LIVES, _REFRESH_LIVES = timedelta(seconds=3600), timedelta(days=180)
_SCOPE = ("crm", "telephony", "user_basic")
_APP_ID = "3"
_WEBHOOK = re.compile(r"/rest/(\d+)/([^/]+)/([^/]+)")
_OF_AN_APP = re.compile(r"/rest/([^/]+)")


class _Call(Struct, frozen=True):
    """Holds a request that may enter."""

    fields: Fields
    app: str | None
    mode: str | None


class Bitrix24(CrmSimulator):
    """Simulates one portal."""

    def __init__(
        self,
        *,
        code: str = "sandbox",
        users: Mapping[int, str | None] = _USERS,
        contacts: Iterable[str] = (),
        clock: Clock = now_utc,
        monotonic: Monotonic = time.monotonic,
        limited: bool = True,
        documented: bool = False,
        client_id: str = "local.app",
        client_secret: str = "app-secret",  # noqa: S107  # invented
        refresh_token: str = "refresh-1",  # noqa: S107  # invented
    ) -> None:
        super().__init__(
            failures.MODES, refresh_token, access_lives=_ACCESS_LIVES, refresh_lives=_REFRESH_LIVES, clock=clock
        )
        self._code, self._limited, self._documented = code, limited, documented
        self._client = (client_id, client_secret)
        self._owner = next(iter(users))
        self._bucket = LeakyBucket(_BUCKET_HOLDS, _BUCKET_DRAINS_PER_S, monotonic)
        self._crm = Crm(users, contacts)
        self._calls = Calls(self._crm, clock)
        self._records = Records(self._calls)
        self._tasks = Tasks(self._crm)

    def deactivate(self, user_id: int) -> None:
        with self._mutex:
            self._crm.deactivate(user_id)

    def _reset(self) -> None:
        super()._reset()
        self._crm.reset()
        self._calls.reset()
        self._tasks.reset()
        self._bucket.empty()

    def _state(self) -> dict[str, Any]:
        return {
            "requests": len(self._requests),
            "methods": list(self._requests),
            "calls": [_open(call) for call in self._calls.open.values()],
            "statistics": [_row(row) for row in self._calls.finished.values()],
            "registered": self._calls.registered,
            "leads": list(self._crm.leads),
            "cards": list(self._calls.cards),
            "missed": list(self._calls.missed),
            "tasks": [dict(task) for task in self._tasks.all.values()],
            "chat": list(self._calls.chat),
            "limited": self._times_limited,
        }

    def answer(self, request: Request) -> Reply:
        """Return what `/rest/…` answers."""
        method = method_of(request.path)
        return self._entered(method, request, lambda mode: self._method(method, request, mode))

    def oauth(self, request: Request) -> Reply:
        """Return what `/oauth/token/` answers, which is another server's: it knows no webhook and no rate."""
        return self._entered("oauth.token", request, lambda _: self._refreshed(request))

    def _entered(self, name: str, request: Request, act: Callable[[str | None], Reply]) -> Reply:
        with self._mutex:
            self._requests.append(name)
            unless = () if failures.is_told_to_move(request) else ("moved",)
            mode = self._failures.next(name, unless=unless)
            documented = self._documented or mode == "documented"
            if mode is not None and mode not in failures.ACTS:
                return failures.failing(mode, request, self._time(), documented=documented)
            try:
                reply = act(mode)
            except Refused as exc:
                reply = exc.refusal.reply(documented=documented)
            return after_acting(mode, reply)

    def _method(self, name: str, request: Request, mode: str | None) -> Reply:
        if self._limited and not self._bucket.admits():
            self._times_limited += 1
            raise Refused(failures.QUERY_LIMIT)
        fields = _fields(request)
        call = _Call(fields, self._admitted(request.path, fields), mode)
        if name in _LISTS:
            return self._page(_LISTS[name](self, fields), whole(fields.get("START")) or 0)
        if name not in _ACTS:
            raise Refused(failures.NO_METHOD)
        return self._result(_ACTS[name](self, call))

    def _admitted(self, path: str, fields: Fields) -> str | None:
        """Return REST_APP_ID: None for a webhook, which acts as the employee who made it. Raises Refused."""
        if webhook := _WEBHOOK.fullmatch(path):
            owner = int(webhook[1])
            if webhook[2] != self._code or not self._crm.knows(owner):
                raise Refused(failures.BAD_CREDENTIALS)
            if not self._crm.is_active(owner):
                raise Refused(failures.NO_OWNER)
            return None
        if not _OF_AN_APP.fullmatch(path):
            raise Refused(failures.NO_METHOD)  # also what a webhook without its user comes to
        if not fields.get("AUTH"):
            raise Refused(failures.NO_AUTH)
        status = self._tokens.status(str(fields["AUTH"]))
        if status != "valid":
            raise Refused(failures.TOKEN_EXPIRED if status == "expired" else failures.TOKEN_UNKNOWN)
        return _APP_ID

    def _refreshed(self, request: Request) -> Reply:
        params = {name: values[0] for name, values in request.query.items()}
        if (params.get("client_id"), params.get("client_secret")) != self._client:
            raise Refused(failures.BAD_CLIENT)
        if params.get("grant_type") != "refresh_token":
            raise Refused(failures.BAD_REQUEST)
        pair = self._tokens.refresh(params.get("refresh_token", ""))
        if pair is None:
            raise Refused(failures.BAD_GRANT)
        return json_reply(
            {
                "access_token": pair.access,
                "client_endpoint": f"http://{request.host}/rest/",
                "domain": request.host,
                "expires": int(pair.expires_at.timestamp()),
                "expires_in": int(_ACCESS_LIVES.total_seconds()),
                "member_id": "sandbox-member",
                "refresh_token": pair.refresh,
                "scope": ",".join(_SCOPE),
                "server_endpoint": f"http://{request.host}/rest/",
                "status": "F",
                "user_id": self._owner,
            }
        )

    def _result(self, result: Any, **more: Any) -> Reply:
        return json_reply({"result": result, **more, "time": self._time()})

    def _page(self, rows: list[Fields], start: int) -> Reply:
        more = {"next": start + PAGE} if start + PAGE < len(rows) else {}
        return self._result(rows[start : start + PAGE], **more, total=len(rows))

    def _time(self) -> dict[str, Any]:
        now: datetime = self._clock()
        stamp = now.timestamp()
        return {
            "start": stamp,
            "finish": stamp,
            "duration": 0.0,
            "processing": 0,
            "date_start": now.isoformat(timespec="seconds"),
            "date_finish": now.isoformat(timespec="seconds"),
            "operating_reset_at": int(stamp) + failures.OPERATING_RESETS_AFTER_S,
            "operating": 0,
        }


_ACTS: dict[str, Callable[[Bitrix24, _Call], Any]] = {
    "telephony.externalcall.register": lambda portal, call: portal._calls.register(
        call.fields, app=call.app, creates_leads=call.mode != "lead_creation_error"
    ),
    "telephony.externalcall.finish": lambda portal, call: portal._calls.finish(call.fields),
    "telephony.externalcall.show": lambda portal, call: portal._calls.show(call.fields),
    "telephony.externalcall.hide": lambda portal, call: portal._calls.hide(call.fields),
    "telephony.externalcall.attachrecord": lambda portal, call: portal._records.attach(call.fields),
    "telephony.externalline.get": lambda portal, _: list(portal._calls.lines.values()),
    "crm.activity.todo.add": lambda portal, call: portal._tasks.add(call.fields),
    "crm.activity.update": lambda portal, call: portal._tasks.update(call.fields),
    "crm.duplicate.findbycomm": lambda portal, call: portal._crm.find_duplicates(call.fields),
    "scope": lambda *_: list(_SCOPE),
}
_LISTS: dict[str, Callable[[Bitrix24, Fields], list[Fields]]] = {  # by pages
    "user.get": lambda portal, fields: portal._crm.get_users(fields),
    "crm.activity.list": lambda portal, fields: portal._tasks.listed(fields),
    "voximplant.statistic.get": lambda portal, fields: portal._records.statistics(fields),
}


def method_of(path: str) -> str:
    """Return the method that a path names: in lower case, without `.json`."""
    return path.rsplit("/", 1)[-1].lower().removesuffix(".json")


def _fields(request: Request) -> Fields:
    """Return the parameters, with names in capitals."""
    try:
        fields: Fields = json.loads(request.body)
    except ValueError:
        fields = {}
    return {name.upper(): value for name, value in fields.items()}


def _open(call: Call) -> dict[str, Any]:
    return {
        "CALL_ID": call.call_id,
        "USER_ID": call.user_id,
        "PHONE_NUMBER": call.phone,
        "TYPE": call.type,
        "LINE_NUMBER": call.line,
        "EXTERNAL_CALL_ID": call.external_id,
        "CALL_START_DATE": call.started.isoformat(),
        "CRM_CREATE": int(call.crm_create),
        "shown_to": list(call.shown_to),
    }


def _row(row: Finished) -> dict[str, Any]:
    call = row.call
    return {
        "CALL_ID": call.call_id,
        "EXTERNAL_CALL_ID": call.external_id,
        "USER_ID": row.user_id,
        "PHONE_NUMBER": call.phone,
        "PORTAL_NUMBER": call.line,
        "TYPE": call.type,
        "DURATION": row.duration,
        "STATUS_CODE": row.status,
        "FAILED_REASON": row.reason,
        "CALL_START_DATE": call.started.isoformat(),
        "records": list(row.records),
        "record_writes": row.record_writes,
    }
