"""Reads what a 1C HTTP service's answer means, with 1C's own words. Pure.

Sources: the 1C:Enterprise documentation, recorded answers of live bases and of web servers in front of them;
where a fact is inferred the comment says so.
"""

from __future__ import annotations

import html
import json
import re
from datetime import datetime
from typing import Any, Literal

from relay.models import Outcome, OutcomeName
from relay.targets.error_text import as_text, decoded, is_page, remedy, retry_after, without_markup
from relay.targets.http_client import Response

_TEXT_MAX = 500
_PATTERN_MAX = 4096
_DESCRIPTION = re.compile(r"<descr\b[^<>]*>([^<]*)</descr>")
# `{УИСИнтеграция HTTPСервис.UIScom.Модуль(12)}: …`, `{ОбщийМодуль.X.Модуль(55,8)}: …`: an exception, of whatever module
_EXCEPTION = re.compile(
    r"\{[^{}]{1,200}\.(?:Модуль|Module|Форма|Form)\w{0,40}\(\d{1,9}(?:,\s?\d{1,9})?\)\}\s?:|\{HTTP(?:Сервис|Service)\."
    r"|^\W{0,5}(?:Ошибка|Error):\s?\{"
)
_NEAR_THE_START = 300  # signs: a handler may say a few words, or open a document, before it repeats the exception
_LOCKED = re.compile(
    r"Начало сеанса с информационной базой запрещено|Startup of infobase session is not allowed", re.IGNORECASE
)
# texts recorded; over /hs/ the status beside them is inferred to be 500
_NO_LICENCE = re.compile(
    r"свободной лицензии|Не найдена лицензия|No free licen[cs]e|Licen[cs]e not found", re.IGNORECASE
)
_PLATFORM_PAGE = re.compile(r"(<!DOCTYPE|<html|<\?xml|1C:Enterprise 8 application error|<exception)", re.IGNORECASE)

_BY_STATUS: dict[int, OutcomeName] = {
    401: "misconfigured",  # login or password, or the user may not log in
    405: "misconfigured",  # the URL template does not take POST
    403: "misconfigured",  # without the lock's text: no rights; a 1C that restarts says it too, so its health waits
    404: "misconfigured",  # not published; likewise
    406: "later",  # no session was free within the pool's time
    408: "later",
    409: "later",  # web module and server differ after an update: the administrator restarts the web server
    429: "later",
    502: "later",
    503: "later",
    504: "later",
    400: "refused",
    413: "refused",
    422: "refused",
}
_SAID_BY_A_RESTART = (403, 404)
_REMEDY = {
    401: "mend username and password of the target",
    403: "the user has no rights for this HTTP service, or 1C is restarting",
    404: "is the HTTP service published under this url? or 1C is restarting",
    405: "the url does not lead to the HTTP service's templates",
    409: "restart the web server in front of 1C",
}


def read(
    response: Response, *, delivered_statuses: tuple[int, ...], suspicious_ok: Literal["fail", "accept"], now: datetime
) -> Outcome:
    """Return the outcome that an answer stands for."""
    status, text = response.status, words(response.body) or response.phrase
    if 200 <= status < 300:
        suspicion = _suspicion(text, response.body) if suspicious_ok == "fail" else None
        if suspicion is not None:
            return Outcome(name="failed", status=status, reason=f"{suspicion.format(status)}: {text}")
        return Outcome(name="delivered", status=status)
    if status in delivered_statuses:
        return Outcome(name="delivered", status=status, reason=text)
    mend = remedy(status, response.body)
    name = _name(status, text, response.body, is_at_fault=mend is not None)
    mend = mend or _REMEDY.get(status)
    shown = f"{status} ({mend})" if mend and not _LOCKED.search(text) else str(status)
    return Outcome(
        name=name,
        status=status,
        reason=f"{shown}: {text}" if text else shown,
        health_hint="perhaps_restarting" if name == "misconfigured" and status in _SAID_BY_A_RESTART else None,
        wait=retry_after(response.headers, now) if name == "later" else None,
    )


def _suspicion(text: str, body: bytes) -> str | None:
    """Say what makes a success look like none: an exception's text, or a page where a handler's words are short."""
    if _EXCEPTION.search(text[:_NEAR_THE_START]):
        return "the handler answered {} with an error"
    if is_page(decoded(body)):
        return "a page was answered with {}; is the url the HTTP service's own?"
    return None


def _name(status: int, text: str, body: bytes, *, is_at_fault: bool) -> OutcomeName:
    if _LOCKED.search(text) or _NO_LICENCE.search(text):
        return "later"  # maintenance, or licences that come and go within seconds
    if is_at_fault:
        return "misconfigured"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 300 <= status < 400:
        return "misconfigured"  # a redirect: the url is not the service's own
    if status >= 500:
        return "later" if _PLATFORM_PAGE.match(decoded(body).lstrip()) or status != 500 else "failed"
    return "refused"


def words(body: bytes) -> str:
    """Return 1C's own error text out of any of its four forms: JSON, HTML, XML, plain; at most 500 characters."""
    text = decoded(body).strip()
    error = _from_json(text) if text.startswith("{") else None
    if error is None and text.startswith("<"):
        error = _from_markup(text)
    return re.sub(r"\s+", " ", (text if error is None else error)[:_PATTERN_MAX]).strip()[:_TEXT_MAX]


def _from_json(text: str) -> str | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    exception: Any = document.get("exception") if isinstance(document, dict) else None
    lines: dict[str, None] = {}  # each once, in their order
    while isinstance(exception, dict):
        for line in as_text(exception.get("descr")).splitlines():
            # `HTTP: Forbidden` and the line under it only repeat the request
            if line.strip() and not line.startswith(("HTTP:", "Ошибка при выполнении запроса")):
                lines[line.strip()] = None
        exception = exception.get("inner")
    return "; ".join(lines) if lines else None


def _from_markup(text: str) -> str:
    descriptions = _DESCRIPTION.findall(text[:_PATTERN_MAX])
    if descriptions:
        return html.unescape("; ".join(descriptions))
    _, heading, after = text.partition("application error:</h2>")
    return without_markup(after if heading else text)
