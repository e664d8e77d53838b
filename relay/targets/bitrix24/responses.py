"""What an answer of Bitrix24's REST means. Pure.

The server gives business errors an empty `error` (its source: RestException without a code; recorded live in 2025),
the documentation prints the same ones as ERROR_CORE: so those are told by their text. Codes and statuses differ
between the documentation, the SDK and the source: so a code decides before the status.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from relay.models import Outcome, OutcomeName
from relay.targets import error_text, statuses
from relay.targets.http_client import Response, TargetError

Matter = Literal["", "call_not_found", "user_unknown", "expired_token", "moved", "blocked"]

_SAID_MAX = 500
_HOUR = timedelta(hours=1)
_OPERATION_TIME = timedelta(minutes=10)  # the documented window, where the answer does not say when it ends


class Rule(Struct, frozen=True):
    name: OutcomeName
    remedy: str = ""
    wait: timedelta | None = None
    code: Matter = ""
    health_hint: Literal["well"] | None = None


_WEBHOOK = "make a new incoming webhook in Bitrix24 with the rights telephony, crm and user, and put it into `webhook`"
_BY_CODE: dict[str, Rule] = {
    "query_limit_exceeded": Rule("later", wait=timedelta(seconds=2)),
    "operation_time_limit": Rule("later", wait=_OPERATION_TIME, code="blocked"),
    "overload_limit": Rule("later", "Bitrix24 has blocked its REST by hand: ask its support", wait=_HOUR),
    "internal_server_error": Rule("failed"),
    "error_unexpected_answer": Rule("failed"),
    "no_auth_found": Rule("misconfigured", _WEBHOOK),
    "invalid_credentials": Rule("misconfigured", f"the webhook is wrong, deleted or expired; {_WEBHOOK}"),
    "insufficient_scope": Rule("misconfigured", f"a right is missing; {_WEBHOOK}"),
    "wrong_auth_type": Rule(
        "misconfigured",
        "этот портал не принимает телефонию через вебхук: создайте локальное приложение и укажите portal, client_id, "
        "client_secret, refresh_token вместо webhook / this portal takes no telephony from a webhook: create a local "
        "application, and set portal, client_id, client_secret, refresh_token instead of webhook",
    ),
    "access_denied": Rule("misconfigured", "the portal's tariff has no REST, or the employee has no right to it"),
    "authorization_error": Rule("misconfigured", f"the employee who made the webhook is dismissed; {_WEBHOOK}"),
    "user_access_error": Rule("misconfigured", "give the employee access to the application"),
    "expired_token": Rule("misconfigured", "authorise the application again", code="expired_token"),
    "invalid_token": Rule("misconfigured", "authorise the application again", code="expired_token"),
    "payment_required": Rule("misconfigured", "the portal's subscription has ended"),
    "portal_deleted": Rule("misconfigured", "the portal does not exist any more, or is closed"),
    "invalid_request": Rule("misconfigured", "the address must begin with https://"),
    "error_method_not_found": Rule("misconfigured", "is the webhook's address whole, with the user's number in it?"),
    "not_installed": Rule("misconfigured", "install the application in the portal"),
    "invalid_client": Rule("misconfigured", "mend client_id and client_secret"),
    "wrong_client": Rule("misconfigured", "mend client_id and client_secret"),
    "invalid_grant": Rule("misconfigured", "authorise the application again, and set the new refresh_token"),
    "invalid_scope": Rule("misconfigured", "give the application the rights telephony, crm and user"),
}
_BY_TEXT: tuple[tuple[re.Pattern[str], Rule], ...] = tuple(
    (re.compile(text, re.IGNORECASE), rule)
    for text, rule in (
        (r"^Call is not found \(call should", Rule("refused", code="call_not_found")),
        (r"looks like it is not finished yet", Rule("failed", health_hint="well")),
        (r"server returns HTTP error code", Rule("failed", "the recording cannot be fetched", health_hint="well")),
        (r"USER_ID or USER_PHONE_INNER should be set", Rule("refused", code="user_unknown")),
        (r"user is not found or is not active", Rule("refused", code="user_unknown")),
        (r"SQL query error|Unexpected database error", Rule("failed")),
        (r"CRM is not installed", Rule("misconfigured", "switch the CRM on in the portal")),
    )
)
_BY_STATUS: dict[int, Rule] = {
    400: Rule("refused"),
    401: Rule("misconfigured", _WEBHOOK),
    403: Rule("misconfigured", "the employee who made the webhook has no right to this"),
    404: Rule("misconfigured", "is the webhook's address whole?"),
    429: Rule("later", wait=timedelta(seconds=2)),
    500: Rule("failed"),
}


def read(answer: Response, now: datetime) -> Any:
    """The `result` of a success. Raises Setback."""
    document = _document(answer)
    if answer.status in (301, 302, 307, 308):
        reason = f"{answer.status}: the portal has another address now; put it into the configuration"
        raise TargetError(Outcome(name="misconfigured", status=answer.status, reason=reason), "moved")
    if 200 <= answer.status < 300 and document is not None and "error" not in document and "result" in document:
        return document["result"]
    if 200 <= answer.status < 300 and document is None and not answer.is_whole:
        raise TargetError(Outcome(name="unclear", status=answer.status, reason=error_text.BROKEN_OFF))
    raise _trouble(answer, document or {}, now)


def read_token(answer: Response, now: datetime) -> dict[str, Any]:
    """The tokens that OAuth gives. Raises Setback; an error was seen with the status 200 too."""
    document = _document(answer) or {}
    if "access_token" in document and "refresh_token" in document and "error" not in document:
        return document
    found = _trouble(answer, document, now)
    raise TargetError(replace(found.outcome, reason=f"OAuth: {found.outcome.reason}"), found.code)


def _trouble(answer: Response, document: dict[str, Any], now: datetime) -> TargetError:
    """What an answer that is no success means."""
    code, text = error_text.said(document.get("error")), error_text.said(document.get("error_description"))
    rule = _rule(code, text, answer)
    said = " ".join(part for part in (code, text) if part)[:_SAID_MAX] or error_text.words(answer.body)
    reason = f"{answer.status} {said}".strip() + (f" ({rule.remedy})" if rule.remedy else "")
    wait = rule.wait
    if rule.name == "later":
        asked = error_text.retry_after(answer.headers, now)
        wait = max(_reset(document, now) or rule.wait or timedelta(0), asked or timedelta(0))
    outcome = Outcome(name=rule.name, status=answer.status, reason=reason, wait=wait, health_hint=rule.health_hint)
    return TargetError(outcome, rule.code)


def _rule(code: str, text: str, answer: Response) -> Rule:
    known = _BY_CODE.get(code.lower())
    if known is not None:
        return known
    for pattern, rule in _BY_TEXT:
        if pattern.search(text):
            return rule
    status, mend = answer.status, statuses.remedy(answer)
    if mend is not None:
        return Rule("misconfigured", mend)
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return Rule("later")
    return Rule("refused") if status >= 400 else Rule("failed", "that is no answer of Bitrix24's REST")


def _document(answer: Response) -> dict[str, Any] | None:
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _reset(document: dict[str, Any], now: datetime) -> timedelta | None:
    """When a method that has used up its operating time is free again."""
    time = document.get("time")
    at = time.get("operating_reset_at") if isinstance(time, dict) else None
    if not isinstance(at, int | float) or not 0 < at < 10**11:
        return None
    return max(datetime.fromtimestamp(at, UTC) - now, timedelta(0))
