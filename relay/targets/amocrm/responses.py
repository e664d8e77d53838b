"""Reads what an answer of amoCRM's API means. Pure.

Sources: the documentation of api/v4, bodies recorded in public issues of the SDKs; `application/problem+json` with
`title` and `detail`, but also a text for 429 and nginx's own page for a blocked account.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from relay.i18n import Message
from relay.models import Outcome
from relay.targets import error_text
from relay.targets.error_text import as_text
from relay.targets.http_client import Response, TargetError
from relay.targets.outcome_rules import Rule, broken_off, has_tokens, outcome, rule_of_status

_ENTITY_NOT_FOUND = 263  # recorded: nobody has the phone
_NO_RIGHT_OR_UNPAID = re.compile(r"код ошибки 244|\b244\b", re.IGNORECASE)
_A_MOMENT = timedelta(seconds=1)

_BY_STATUS: dict[int, Rule] = {
    400: Rule("refused"),
    401: Rule("misconfigured", Message("wrong, revoked or over: make a new long-lived token"), code="expired_token"),
    403: Rule("misconfigured", Message("no right to this: let an administrator make the token")),
    404: Rule("misconfigured", Message("is the url the account's own address, and the pipeline there?")),
    408: Rule("later"),
    422: Rule("refused"),
    426: Rule("misconfigured", Message("the administrator of the account has switched this off")),
    429: Rule("later", wait=_A_MOMENT),
    500: Rule("failed"),
}
_NO_TOKEN = Rule(
    "misconfigured",
    Message("authorise the integration again, and set the new refresh_token; or mend client_id and client_secret"),
)
_BLOCKED = Rule(
    "misconfigured", Message("amoCRM has blocked the API of this account for too many requests: ask its support")
)


def read(response: Response, now: datetime) -> dict[str, Any]:
    """Return the document of a success; empty where there is none (204, or an empty body). Raises TargetError."""
    document, status = response.document(), response.status
    if not 200 <= status < 300:
        raise _error(response, document or {}, _rule(response, document), now)
    if document is None and not response.is_whole:
        raise broken_off(response)
    if document is None and response.body.strip():
        raise TargetError(Outcome(name="failed", status=status, reason=Message("that is no answer of amoCRM's API")))
    if document and document.get("errors"):
        raise _error(response, document, Rule("refused"), now)
    return document or {}


def posted(response: Response, now: datetime, kind: str, request_id: str) -> dict[str, Any]:
    """Return what became of the one item that was posted under this id. Raises TargetError.

    `kind` is its name in `_embedded`. A success that does not name it is none: whether it was taken is not known.
    """
    for item in embedded(read(response, now), kind):
        if str(item.get("request_id", request_id)) == request_id:
            return item
    reason = Message("amoCRM answered without naming the %(kind)s", kind=kind)
    raise TargetError(Outcome(name="unclear", status=response.status, reason=reason))


def read_token(response: Response, now: datetime) -> dict[str, Any]:
    """Return the tokens that OAuth gives. Raises TargetError."""
    document = response.document() or {}
    if response.status == 200 and has_tokens(document):
        return document
    raise _error(response, document, _NO_TOKEN if response.status in (400, 401) else _rule(response, document), now)


def _rule(response: Response, document: dict[str, Any] | None) -> Rule:
    if response.status == 403 and document is None:
        return _BLOCKED  # nginx's page instead of JSON
    if response.status == 400 and document and _NO_RIGHT_OR_UNPAID.search(as_text(document.get("detail"))):
        return Rule("misconfigured", Message("no right to this, or the account is not paid for"))
    return rule_of_status(response, _BY_STATUS, Rule("misconfigured", Message("is the url the account's own address?")))


def _error(response: Response, document: dict[str, Any], rule: Rule, now: datetime) -> TargetError:
    if any(entry.get("status") == _ENTITY_NOT_FOUND for entry in _dicts(document.get("errors"))):
        rule = Rule("refused", code="unknown_phone")
    words = _words(document) or error_text.words(response.body)
    return TargetError(outcome(response, rule, words, now), rule.code)


def _words(document: dict[str, Any]) -> str:
    """Return amoCRM's own words, with the fields that it did not like."""
    parts = [as_text(document.get(name)) for name in ("title", "detail", "hint")]
    parts += [as_text(entry.get("title")) or as_text(entry.get("detail")) for entry in _dicts(document.get("errors"))]
    for item in _dicts(document.get("validation-errors")):
        for entry in _dicts(item.get("errors")):
            why = as_text(entry.get("detail")) or as_text(entry.get("code"))
            parts.append(f"{as_text(entry.get('path'))}: {why}")
    return "; ".join(part for part in parts if part)[: error_text.WORDS_MAX]


def embedded(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return the items of a kind that a document holds."""
    within = document.get("_embedded")
    return _dicts(within.get(kind)) if isinstance(within, dict) else []


def contact_of(unsorted: dict[str, Any]) -> list[Any] | None:
    """Return the entity that an unsorted call stands at."""
    number = next((contact.get("id") for contact in embedded(unsorted, "contacts")), None)
    return None if number is None else ["contact", number]


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
