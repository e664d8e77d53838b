"""Delivers to a 1C:Enterprise HTTP service with the URL templates /in, /out, /rec and /ping, like UIScom.

By default it is sent what UIS itself would have sent, so that a handler written for UIS works unchanged. What an answer
means stands below the adapter. Sources: the 1C:Enterprise documentation, recorded answers of live bases and of web
servers in front of them; where a fact is inferred the comment says so.
"""

from __future__ import annotations

import contextlib
import html
import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from msgspec.structs import replace

from relay.clock import Clock
from relay.config import OneCTarget
from relay.i18n import WITH_REASON, Message, join
from relay.models import CallEvent, ClaimedDelivery, Kind, Outcome
from relay.targets import outcome_rules
from relay.targets.base import Adapter, CallContext, TokenStore
from relay.targets.error_text import as_text, basic, decoded, is_page, one_line, without_markup
from relay.targets.http_client import NoAnswer, Response
from relay.targets.outcome_rules import Rule, rule_of_status
from relay.uis.rendering import event_body

_ENDPOINT_OF_KIND: dict[Kind, str] = {"outgoing": "out", "finished": "rec", "recorded": "rec"}  # the others': in
_NOTHING_KNOWN = Message(
    "nothing else is known of this call: 1C would write an outgoing call without a number; "
    "send the call's other notifications through the relay too"
)
_RECORDED_NAME = "Записанный разговор"  # as UIS calls this type of event
_RECORDED_OWN = ("kind", "notified_at", "notification_name", "mnemonic", "extra", "notes")
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_NAMES_MAX, _NAME_MAX = 10, 50
_SESSION_COOKIE = "ibsession"
_SESSION_LOST = (400, 404, 500)  # what bases and proxies were seen to answer to a session that is gone


class OneC(Adapter):
    """Delivers to one base."""

    settings: OneCTarget

    def __init__(self, settings: OneCTarget, clock: Clock, token_store: TokenStore) -> None:
        super().__init__(settings, clock, token_store)
        self._url = settings.url.rstrip("/")
        self._headers: dict[str, str] = {}
        if settings.username is not None:
            # sent at once, and in UTF-8: 1C's users have Cyrillic names, which `requests` would send in latin-1
            self._headers["Authorization"] = f"Basic {basic(settings.username, settings.password or '')}"

    def deliver(self, claimed: ClaimedDelivery, call: CallEvent, context: CallContext) -> Outcome:
        event = claimed.event
        if call.kind == "recorded" and self.settings.body != "raw":
            call = _completed(context.history())
            if call.direction is None and self.settings.body == "template":
                return Outcome(name="refused", health_hint="not_asked", reason=_NOTHING_KNOWN)
            event = replace(event, endpoint="any")  # its own fields alone would overwrite those of the call
        content, content_type = event_body(event, call, self.settings.body, self.settings.empty)
        age = max(self.clock() - event.received_at, timedelta(0))
        headers = {
            **self._headers,
            "Content-Type": content_type,
            "X-Relay-Delivery": claimed.delivery.id,
            "X-Relay-Age": str(int(age.total_seconds())),
        }
        endpoint = event.endpoint if event.endpoint != "any" else _ENDPOINT_OF_KIND.get(call.kind, "in")
        outcome = self._outcome(self._post(f"{self._url}/{endpoint}", headers, content))
        return _naming_unfit(_naming_unshown(outcome, call), content)

    def _probe(self) -> Outcome:
        """Ask with `GET /ping`, which the receiver answers without touching the base's data."""
        return self._outcome(self.client.request("GET", f"{self._url}/ping", self._headers))

    def close(self) -> None:
        if self.settings.session == "manual" and _SESSION_COOKIE in self.client.cookies:
            # a session that is not finished keeps a licence until its age runs out; if this fails, it does just that
            with contextlib.suppress(NoAnswer):
                self.client.request("GET", f"{self._url}/ping", {**self._headers, "IBSession": "finish"})
        super().close()

    def _outcome(self, response: Response) -> Outcome:
        return read(
            response,
            delivered_statuses=self.settings.delivered_statuses,
            suspicious_ok=self.settings.suspicious_ok,
            now=self.clock(),
        )

    def _post(self, url: str, headers: dict[str, str], content: bytes) -> Response:
        """Send with what the setting `session` asks for: a session that is gone is begun anew."""
        if self.settings.session == "auto":
            return self.client.request("POST", url, headers, content)
        if _SESSION_COOKIE in self.client.cookies:
            response = self.client.request("POST", url, headers, content)
            if response.status not in _SESSION_LOST:
                return response
            self.client.cookies.clear()
        return self.client.request("POST", url, {**headers, "IBSession": "start"}, content)


def _completed(history: Sequence[CallEvent]) -> CallEvent:
    """Return «Записанный разговор» with what else is known of the call: 1C remembers nothing of it.

    The end of the call knows best. Before it has come, the earlier notification does: a colleague who is asked in
    between is an outgoing call of an incoming one.
    """
    *others, recorded = history
    ends = [call for call in reversed(others) if call.kind == "finished"]
    sources = (recorded, *ends, *others)
    fields = {
        name: next((value for call in sources if (value := getattr(call, name)) not in (None, ())), None)
        for name in CallEvent.__struct_fields__
        if name not in _RECORDED_OWN and getattr(recorded, name) in (None, ())
    }
    lacking = {name: value for name, value in fields.items() if value is not None}
    return replace(recorded, notification_name=recorded.notification_name or _RECORDED_NAME, **lacking)


def _naming_unshown(outcome: Outcome, call: CallEvent) -> Outcome:
    """Say that the call is stored but was not shown: with an extension 417 means that the push to it failed."""
    if outcome.status != 417 or outcome.name != "delivered" or not call.extension:
        return outcome
    unshown = Message("stored, but 1C could not show it to extension %(extension)s", extension=call.extension)
    return replace(outcome, reason=join(unshown, outcome.reason, by=": "))


def _naming_unfit(outcome: Outcome, content: bytes) -> Outcome:
    """Name the fields that 1C cannot take, where it refused the body as unreadable."""
    names = _unfit_names(content) if outcome.status == 400 and outcome.name == "refused" else []
    if not names:
        return outcome
    listed = ", ".join(name[:_NAME_MAX] for name in names[:_NAMES_MAX])
    remedy = Message(
        "1C cannot take fields of these names: %(names)s; rename them in the template in the UIS cabinet", names=listed
    )
    return replace(outcome, reason=Message(WITH_REASON, text=outcome.reason, reason=remedy))


def _unfit_names(content: bytes) -> list[str]:
    """Return the names in a JSON body that are no identifiers of 1C: it then refuses to read the whole of it."""
    unfit: dict[str, None] = {}  # each once, in their order

    def collect(pairs: list[tuple[str, Any]]) -> None:
        unfit.update((name, None) for name, _ in pairs if not _IDENTIFIER.fullmatch(name))

    with contextlib.suppress(ValueError, RecursionError):
        json.loads(content, object_pairs_hook=collect)
    return list(unfit)


# --- what an answer means, with 1C's own words: pure

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
    return outcome_rules.outcome(response, _rule(response, text), text, now)


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
