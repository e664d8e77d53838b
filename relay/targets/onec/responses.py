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

from relay.i18n import Message, join
from relay.models import Outcome
from relay.targets.error_text import as_text, decoded, is_page, one_line, without_markup
from relay.targets.http_client import Response
from relay.targets.outcome_rules import Rule, outcome, rule_of_status

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

_BY_STATUS: dict[int, Rule] = {
    400: Rule("refused"),
    401: Rule("misconfigured", Message("mend username and password of the target")),  # or the user may not log in
    403: Rule(
        "misconfigured",
        Message("the user has no rights for this HTTP service, or 1C is restarting"),
        health_hint="perhaps_restarting",
    ),
    404: Rule(
        "misconfigured",
        Message("is the HTTP service published under this url? or 1C is restarting"),
        health_hint="perhaps_restarting",
    ),
    405: Rule("misconfigured", Message("the url does not lead to the HTTP service's templates")),
    406: Rule("later", Message("1C has no free session now")),  # none was within the pool's time
    408: Rule("later"),
    # the module of the web server and the server differ after an update
    409: Rule("later", Message("restart the web server in front of 1C")),
    429: Rule("later"),
    500: Rule("failed", Message("an error in 1C's handler: its programmer can mend it")),
}
_REDIRECT = Rule("misconfigured")  # the url is not the service's own


def read(
    response: Response, *, delivered_statuses: tuple[int, ...], suspicious_ok: Literal["fail", "accept"], now: datetime
) -> Outcome:
    """Return the outcome that an answer stands for."""
    status, text = response.status, words(response.body) or response.phrase
    if 200 <= status < 300:
        suspicion = _suspicion(text, response.body) if suspicious_ok == "fail" else None
        if suspicion is not None:
            return Outcome(name="failed", status=status, reason=join(suspicion.fill(status=status), text, by=": "))
        return Outcome(name="delivered", status=status)
    if status in delivered_statuses:
        return Outcome(name="delivered", status=status, reason=text)
    return outcome(response, _rule(response, text), text, now)


def _suspicion(text: str, body: bytes) -> Message | None:
    """Say what makes a success look like none: an exception's text, or a page where a handler's words are short."""
    if _EXCEPTION.search(text[:_NEAR_THE_START]):
        return Message("the handler answered %(status)s with an error")
    if is_page(decoded(body)):
        return Message("a page was answered with %(status)s; is the url the HTTP service's own?")
    return None


def _rule(response: Response, text: str) -> Rule:
    if _LOCKED.search(text):
        return Rule("later", Message("1C lets nobody in now: it is being maintained"))
    if _NO_LICENCE.search(text):
        return Rule("later", Message("1C has no free licence now"))  # they come and go within seconds
    if response.status == 500 and _PLATFORM_PAGE.match(decoded(response.body).lstrip()):
        return Rule("later")
    return rule_of_status(response, _BY_STATUS, _REDIRECT)


def words(body: bytes) -> str:
    """Return 1C's own error text out of any of its four forms: JSON, HTML, XML, plain; at most 500 characters."""
    text = decoded(body).strip()
    error = _from_json(text) if text.startswith("{") else None
    if error is None and text.startswith("<"):
        error = _from_markup(text)
    return one_line(text if error is None else error)


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
