"""What a 1C HTTP service's answer means, with 1C's own words. Pure.

Sources: the 1C:Enterprise documentation, recorded answers of live bases and of web servers in front of them;
where a fact is inferred the comment says so.
"""

from __future__ import annotations

import html
import json
import re
from datetime import datetime
from typing import Any, Literal

from relay.events import Outcome, OutcomeName
from relay.targets.client import Answer
from relay.targets.texts import decoded, retry_after, without_markup

_TEXT_MAX = 500
_HANDLER = re.compile(r"\{HTTP(Сервис|Service)\.")  # `{HTTPСервис.UIScom.Модуль(12)}: …`: an exception of the handler
_LOCKED = re.compile(
    r"Начало сеанса с информационной базой запрещено|Startup of infobase session is not allowed", re.IGNORECASE
)
# texts recorded; over /hs/ the status beside them is inferred to be 500
_NO_LICENCE = re.compile(
    r"свободной лицензии|Не найдена лицензия|No free licen[cs]e|Licen[cs]e not found", re.IGNORECASE
)
_PLATFORM_PAGE = re.compile(r"\s*(<!DOCTYPE|<html|<\?xml|1C:Enterprise 8 application error|<exception)", re.IGNORECASE)

_BY_STATUS: dict[int, OutcomeName] = {
    401: "misconfigured",  # login or password, or the user may not log in
    405: "misconfigured",  # the URL template does not take POST
    403: "misconfigured",  # without the lock's text: no rights; a 1C that restarts says it too, so the breaker waits
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
    answer: Answer, *, delivered_statuses: tuple[int, ...], suspicious_ok: Literal["fail", "accept"], now: datetime
) -> Outcome:
    """The outcome that an answer stands for."""
    status, text = answer.status, words(answer.body) or answer.phrase
    if 200 <= status < 300:
        if suspicious_ok == "fail" and _HANDLER.match(text):
            return Outcome(name="failed", status=status, reason=f"the handler answered {status} with an error: {text}")
        return Outcome(name="delivered", status=status)
    if status in delivered_statuses:
        return Outcome(name="delivered", status=status, reason=text)
    name = _name(status, text, answer.body)
    remedy = f" ({_REMEDY[status]})" if status in _REMEDY and not _LOCKED.search(text) else ""
    return Outcome(
        name=name, status=status, reason=f"{status}{remedy}: {text}" if text else f"{status}{remedy}",
        target_is="perhaps_restarting" if name == "misconfigured" and status in _SAID_BY_A_RESTART else None,
        wait=retry_after(answer.headers, now) if name == "later" else None,
    )  # fmt: skip


def _name(status: int, text: str, body: bytes) -> OutcomeName:
    if _LOCKED.search(text) or _NO_LICENCE.search(text):
        return "later"  # maintenance, or licences that come and go within seconds
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 300 <= status < 400:
        return "misconfigured"  # a redirect: the url is not the service's own
    if status >= 500:
        return "later" if _PLATFORM_PAGE.match(decoded(body)) or status != 500 else "failed"
    return "refused"


def words(body: bytes) -> str:
    """1C's own error text out of any of its four forms: JSON, HTML, XML, plain; at most 500 characters."""
    text = decoded(body).strip()
    found = _from_json(text) if text.startswith("{") else None
    if found is None and text.startswith("<"):
        found = _from_markup(text)
    return re.sub(r"\s+", " ", text if found is None else found).strip()[:_TEXT_MAX]


def _from_json(text: str) -> str | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    exception: Any = document.get("exception") if isinstance(document, dict) else None
    lines: list[str] = []
    while isinstance(exception, dict):
        for line in str(exception.get("descr", "")).splitlines():
            # `HTTP: Forbidden` and the line under it only repeat the request
            if line.strip() and not line.startswith(("HTTP:", "Ошибка при выполнении запроса")) and line not in lines:
                lines.append(line.strip())
        exception = exception.get("inner")
    return "; ".join(lines) if lines else None


def _from_markup(text: str) -> str:
    descriptions = re.findall(r"<descr\b[^>]*>(.*?)</descr>", text, re.DOTALL)
    if descriptions:
        return html.unescape("; ".join(descriptions))
    _, heading, after = text.partition("application error:</h2>")
    return without_markup(after if heading else text)
