"""Reads what an answer of Bitrix24's REST means. Pure.

The server gives business errors an empty `error` (its source: RestException without a code; recorded live in 2025),
the documentation prints the same ones as ERROR_CORE: so those are told by their text. Codes and statuses differ
between the documentation, the SDK and the source: so a code decides before the status.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from relay.i18n import Message
from relay.models import Outcome
from relay.targets import error_text
from relay.targets.error_text import as_text
from relay.targets.http_client import Response, TargetError
from relay.targets.outcome_rules import Rule, broken_off, has_tokens, outcome, rule_of_status

_HOUR = timedelta(hours=1)
_OPERATION_TIME = timedelta(minutes=10)  # the documented window, where the answer does not say when it ends
_WEBHOOK = Message(
    "make a new incoming webhook in Bitrix24 with the rights telephony, crm and user, and put it into `webhook`"
)
_BY_CODE: dict[str, Rule] = {
    "query_limit_exceeded": Rule("later", wait=timedelta(seconds=2)),
    "operation_time_limit": Rule("later", wait=_OPERATION_TIME, code="blocked"),
    "overload_limit": Rule("later", Message("Bitrix24 has blocked its REST by hand: ask its support"), wait=_HOUR),
    **dict.fromkeys(("internal_server_error", "error_unexpected_answer"), Rule("failed")),
    "no_auth_found": Rule("misconfigured", _WEBHOOK),
    "invalid_credentials": Rule(
        "misconfigured", Message("the webhook is wrong, deleted or expired; %(remedy)s", remedy=_WEBHOOK)
    ),
    "insufficient_scope": Rule("misconfigured", Message("a right is missing; %(remedy)s", remedy=_WEBHOOK)),
    "wrong_auth_type": Rule(
        "misconfigured",
        Message(
            "this portal takes no telephony from a webhook: create a local application, and set portal, client_id, "
            "client_secret, refresh_token instead of webhook"
        ),
    ),
    "access_denied": Rule(
        "misconfigured", Message("the portal's tariff has no REST, or the employee has no right to it")
    ),
    "authorization_error": Rule(
        "misconfigured", Message("the employee who made the webhook is dismissed; %(remedy)s", remedy=_WEBHOOK)
    ),
    "user_access_error": Rule("misconfigured", Message("give the employee access to the application")),
    "expired_token": Rule("misconfigured", Message("authorise the application again"), code="expired_token"),
    "invalid_token": Rule("misconfigured", Message("authorise the application again"), code="expired_token"),
    "payment_required": Rule("misconfigured", Message("the portal's subscription has ended")),
    "portal_deleted": Rule("misconfigured", Message("the portal does not exist any more, or is closed")),
    "invalid_request": Rule("misconfigured", Message("the address must begin with https://")),
    "error_method_not_found": Rule(
        "misconfigured", Message("is the webhook's address whole, with the user's number in it?")
    ),
    "not_installed": Rule("misconfigured", Message("install the application in the portal")),
    "invalid_client": Rule("misconfigured", Message("mend client_id and client_secret")),
    "wrong_client": Rule("misconfigured", Message("mend client_id and client_secret")),
    "invalid_grant": Rule("misconfigured", Message("authorise the application again, and set the new refresh_token")),
    "invalid_scope": Rule("misconfigured", Message("give the application the rights telephony, crm and user")),
}
_BY_TEXT: tuple[tuple[str, Rule], ...] = (
    (r"^Call is not found \(call should", Rule("refused", code="call_not_found")),
    (r"looks like it is not finished yet", Rule("failed", health_hint="well")),
    (r"server returns HTTP error code", Rule("failed", Message("the recording cannot be fetched"), health_hint="well")),
    (r"USER_ID or USER_PHONE_INNER should be set", Rule("refused", code="user_unknown")),
    (r"user is not found or is not active", Rule("refused", code="user_unknown")),
    (r"SQL query error|Unexpected database error", Rule("failed")),
    (r"CRM is not installed", Rule("misconfigured", Message("switch the CRM on in the portal"))),
)
_BY_STATUS: dict[int, Rule] = {
    400: Rule("refused"),
    401: Rule("misconfigured", _WEBHOOK),
    403: Rule("misconfigured", Message("the employee who made the webhook has no right to this")),
    404: Rule("misconfigured", Message("is the webhook's address whole?")),
    429: Rule("later", wait=timedelta(seconds=2)),
    500: Rule("failed"),
}


def read(response: Response, now: datetime) -> Any:
    """Return the `result` of a success. Raises TargetError."""
    document, status = response.document(), response.status
    if status in (301, 302, 307, 308):
        reason = Message("%(status)s: the portal has another address now; put it into the configuration", status=status)
        raise TargetError(Outcome(name="misconfigured", status=status, reason=reason))
    if 200 <= status < 300 and document is not None and "error" not in document and "result" in document:
        return document["result"]
    if 200 <= status < 300 and document is None and not response.is_whole:
        raise broken_off(response)
    raise _error(response, document or {}, now)


def read_token(response: Response, now: datetime) -> dict[str, Any]:
    """Return the tokens that OAuth gives. Raises TargetError; an error was seen with the status 200 too."""
    document = response.document() or {}
    if has_tokens(document) and "error" not in document:
        return document
    raise _error(response, document, now)


def _error(response: Response, document: dict[str, Any], now: datetime) -> TargetError:
    code, text = as_text(document.get("error")), as_text(document.get("error_description"))
    words = " ".join(filter(None, (code, text)))[: error_text.WORDS_MAX] or error_text.words(response.body)
    rule = _rule(code, text, response)
    return TargetError(outcome(response, rule, words, now, free_in=_reset(document, now)), rule.code)


def _rule(code: str, text: str, response: Response) -> Rule:
    if code.lower() in _BY_CODE:
        return _BY_CODE[code.lower()]
    for pattern, rule in _BY_TEXT:
        if re.search(pattern, text, re.IGNORECASE):
            return rule
    return rule_of_status(response, _BY_STATUS, Rule("failed", Message("that is no answer of Bitrix24's REST")))


def _reset(document: dict[str, Any], now: datetime) -> timedelta | None:
    """Return when a method that has used up its operating time is free again."""
    time = document.get("time")
    at = time.get("operating_reset_at") if isinstance(time, dict) else None
    if not isinstance(at, int | float) or not 0 < at < 10**11:
        return None
    return max(datetime.fromtimestamp(at, UTC) - now, timedelta(0))
