"""Simulates a 1C base with the HTTP service UIScom, as its public source code behaves.

What it does with a POST: the body is read as JSON (empty, not JSON, no object, or a name in it that is no identifier:
400, and nothing is kept);
a record is written; then the call is pushed to a channel named after the extension, and where there is no
extension the answer is 417 although the record stands. Every POST writes a record, also a repeated one; what a
record replaces says the register.
"""

from __future__ import annotations

import json
import re
import uuid
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from werkzeug.http import parse_options_header

from relay.clock import Clock, now_utc
from relay.sandbox.faults import FAULTS, FAULTS_AFTER_WRITING, IN_FRONT, Simulator
from relay.sandbox.http import HTML, JSON, Reply
from relay.sandbox.onec.register import Register

_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_BOM = b"\xef\xbb\xbf"
_PAGE = (
    '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN">\n<html><head><title>1C:Enterprise 8 application error</title>'
    "</head><body><h2>1C:Enterprise 8 application error:</h2>{}</body></html>"
)
_LOCKED = {
    "#exception": "{http://v8.1c.ru/8.2/virtual-resource-system}Exception",
    "exception": {
        "reason": 403,
        "descr": "HTTP: Forbidden\nОшибка при выполнении запроса POST к ресурсу /hs/UIScom:",
        "inner": {"descr": "Начало сеанса с информационной базой запрещено.\nВедутся технические работы"},
    },
}
_NO_SESSION = (
    '<?xml version="1.0" encoding="UTF-8"?><exception xmlns="http://v8.1c.ru/8.2/virtual-resource-system" '
    'reason="406"><descr xmlns="http://v8.1c.ru/8.1/data/core">Истекло время ожидания сеанса</descr></exception>'
)


def _page(text: str) -> Reply:
    return Reply(500, _PAGE.format(text).encode(), HTML)


# What it can be told to answer instead. The names are those of `POST /_fail?mode=`.
FAILURES: dict[str, Reply] = {
    "ok_bom": Reply(200, _BOM + b'{"result":true}', JSON),
    "ok_with_error_text": Reply(200, "{HTTPСервис.UIScom.Модуль(12)}: Поле объекта не обнаружено (direction)".encode()),
    "unauthorized": Reply(401, headers={"WWW-Authenticate": 'Basic realm="1C:Enterprise 8.3"'}),
    "locked": Reply(403, _BOM + json.dumps(_LOCKED, ensure_ascii=False).encode(), JSON),
    "forbidden": Reply(403, "Недостаточно прав".encode()),
    "not_found": Reply(404),
    "session_wait": Reply(406, _NO_SESSION.encode(), "application/xml"),
    "version_mismatch": Reply(
        409,
        "1C:Enterprise 8 application error: Различаются версии клиента и сервера (8.3.27.1719 - 8.3.27.2130)".encode(),
    ),
    "no_licence": _page("Не обнаружено свободной лицензии!"),
    "connection_reset": _page(
        "Error executing query<br><b>by reason: </b><br> descr=104(0x00000068): Connection reset by peer"
    ),
    "disk_full": _page("Unrecoverable error<br><b>by reason: </b><br>The device is full. No space left on device"),
    "handler_exception": Reply(
        500, "{HTTPСервис.UIScom.Модуль(12)}: Поле объекта не обнаружено (extension_phone_number)".encode()
    ),
    "bad_request": Reply(400, "недопустимое имя свойства".encode()),
    "bad_gateway": Reply(502, b"<html><h1>502 Bad Gateway</h1></html>", HTML),
    "unavailable": Reply(503, b"<html><h1>503 Service Temporarily Unavailable</h1></html>", HTML, {"Retry-After": "1"}),
    "push_fails": Reply(417, phrase="Error Centrifugo send to channel: 101 !"),
    "ok_with_module_error": Reply(200, "{ОбщийМодуль.Звонки.Модуль(55)}: Значение не является значением".encode()),
    "ok_with_caught_error": Reply(200, "Ошибка: {УИСИнтеграция HTTPСервис.UIScom.Модуль(12)}: Нет прав".encode()),
    "ok_login_page": Reply(
        200, b"<!DOCTYPE html>\n<html><body><form action='/login'>Sign in</form></body></html>", HTML
    ),
    **IN_FRONT,
    **FAULTS,
}
_WRITES_FIRST = {*FAULTS_AFTER_WRITING, "ok_bom", "push_fails"}


class OneC(Simulator):
    """Simulates one base."""

    def __init__(self, username: str | None = None, password: str = "", *, clock: Clock = now_utc) -> None:
        super().__init__(["sessions_lost", *FAILURES])
        self._user = None if username is None else f"{username}:{password}"
        self._writes: list[dict[str, Any]] = []
        self._register = Register(clock)
        self._requests = 0
        self._sessions: dict[str, bool] = {}  # IBSession cookies; False: it has expired
        self._lost_answers = 0

    def fail(self, mode: str, count: int, method: str | None = None) -> None:
        """Do as every simulator; `sessions_lost` ends the sessions there are, and no request fails by itself."""
        if mode != "sessions_lost":
            super().fail(mode, count, method)
            return
        self._failures.clear()
        with self._mutex:
            self._sessions = dict.fromkeys(self._sessions, False)

    def _reset(self) -> None:
        self._writes.clear()
        self._register.clear()
        self._requests = 0

    def _state(self) -> dict[str, Any]:
        return {"requests": self._requests, "writes": list(self._writes), "records": self._register.records()}

    def recorded(self) -> int:
        """Return how many notifications were written, also those whose record a later one has replaced."""
        with self._mutex:
            return len(self._writes)

    def answer(self, method: str, endpoint: str, headers: Callable[[str], str | None], body: bytes) -> Reply:
        """Return what the base answers; `headers` gives a header's value."""
        with self._mutex:
            self._requests += 1
            mode = self._failures.next(endpoint)
            if mode is not None and mode not in _WRITES_FIRST:
                return FAILURES[mode]
            reply = self._answer(method, endpoint, headers, body)
            return FAILURES[mode] if mode is not None else reply

    def _answer(self, method: str, endpoint: str, headers: Callable[[str], str | None], body: bytes) -> Reply:
        if not self._admits(headers("Authorization")):
            return FAILURES["unauthorized"]
        if endpoint == "ping":
            return (
                Reply(200, "Пинг".encode("cp1251"), "text/plain; charset=windows-1251")
                if method == "GET"
                else Reply(405)
            )
        if endpoint not in ("in", "out", "rec"):
            return FAILURES["not_found"]
        if method != "POST":
            return Reply(405)
        session = self._session(headers)
        if isinstance(session, Reply):
            return session
        return self._written(endpoint, headers, body, session)

    def _admits(self, authorization: str | None) -> bool:
        if self._user is None:
            return True
        scheme, _, encoded = (authorization or "").partition(" ")
        try:
            return scheme == "Basic" and b64decode(encoded).decode() == self._user
        except ValueError:
            return False

    def _session(self, headers: Callable[[str], str | None]) -> dict[str, str] | Reply:
        """Answer as in manual session mode: `IBSession: start` gives a cookie; an unknown cookie is 400, then 404."""
        if headers("IBSession") == "start":
            self._sessions[cookie := uuid.uuid4().hex] = True
            return {"Set-Cookie": f"ibsession={cookie}"}
        cookies = dict(part.strip().partition("=")[::2] for part in (headers("Cookie") or "").split(";"))
        session = cookies.get("ibsession")
        if session is not None and not self._sessions.get(session):
            self._lost_answers += 1
            return Reply(400 if self._lost_answers % 2 else 404)
        return {}

    def _written(
        self, endpoint: str, headers: Callable[[str], str | None], body: bytes, added: dict[str, str]
    ) -> Reply:
        try:
            text = body.decode(_charset(headers("Content-Type")))
            document = json.loads(text, object_pairs_hook=_structure)
        except (ValueError, LookupError):
            return Reply(400, "Ошибка чтения JSON".encode())
        if not isinstance(document, dict):
            return Reply(400, "Ошибка чтения JSON".encode())
        call = {name.lower(): value for name, value in document.items()}
        write = {
            "endpoint": endpoint,
            "direction": "in" if call.get("direction") == "in" else "out",
            "call_session_id": call.get("call_session_id"),
            "body": text,
            "delivery": headers("X-Relay-Delivery"),
        }
        channel = self._register.write(endpoint, call, write)
        self._writes.append({**write, "channel": channel})
        pushes = endpoint == "rec" or call.get("direction") == "in"  # /out is the same handler as /in
        if pushes and channel in (None, ""):
            return Reply(417, headers=added, phrase="Error Centrifugo send to channel:  !")
        return Reply(200, headers=added)


def _charset(content_type: str | None) -> str:
    """Return it as `ПолучитьТелоКакСтроку` does, which believes the header; without a word it is UTF-8."""
    return parse_options_header(content_type or "")[1].get("charset", "utf-8")


def _structure(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Read as `ПрочитатьJSON` does into a structure, whose names are identifiers. Raises ValueError."""
    if not all(_IDENTIFIER.fullmatch(name) for name, _ in pairs):
        raise ValueError("недопустимое имя свойства")
    return dict(pairs)
