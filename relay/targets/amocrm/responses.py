"""What an answer of amoCRM's API means. Pure.

Sources: the documentation of api/v4, bodies recorded in public issues of the SDKs; `application/problem+json` with
`title` and `detail`, but also a text for 429 and nginx's own page for a blocked account.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from relay.models import Outcome, OutcomeName
from relay.targets import error_text, statuses
from relay.targets.http_client import Response, TargetError

_ENTITY_NOT_FOUND = 263  # recorded: nobody has the phone
_NO_RIGHT_OR_UNPAID = re.compile(r"код ошибки 244|\b244\b", re.IGNORECASE)
_WORDS_MAX = 500
_A_MOMENT = timedelta(seconds=1)


class Rule(Struct, frozen=True):
    name: OutcomeName
    remedy: str = ""
    wait: timedelta | None = None
    code: str = ""


_BY_STATUS: dict[int, Rule] = {
    400: Rule("refused"),
    401: Rule("misconfigured", "wrong, revoked or over: make a new long-lived token", code="unauthorized"),
    403: Rule("misconfigured", "no right to this: let an administrator make the token"),
    404: Rule("misconfigured", "is the url the account's own address, and the pipeline there?"),
    408: Rule("later"),
    422: Rule("refused"),
    426: Rule("misconfigured", "the administrator of the account has switched this off"),
    429: Rule("later", wait=_A_MOMENT),
    500: Rule("failed"),
}
_BLOCKED = Rule("misconfigured", "amoCRM has blocked the API of this account for too many requests: ask its support")


def read(answer: Response, now: datetime) -> dict[str, Any]:
    """The document of a success; empty where there is none (204, or an empty body). Raises Setback."""
    document = _document(answer)
    if 200 <= answer.status < 300:
        if document is None and not answer.is_whole:
            raise TargetError(Outcome(name="unclear", status=answer.status, reason=error_text.BROKEN_OFF))
        if document is None and answer.body.strip():
            raise TargetError(Outcome(name="failed", status=answer.status, reason="that is no answer of amoCRM's API"))
        if document and document.get("errors"):
            raise _setback(answer, document, Rule("refused"), now)
        return document or {}
    raise _setback(answer, document or {}, _rule(answer, document), now)


def posted(answer: Response, now: datetime, kind: str, request_id: str) -> dict[str, Any]:
    """What became of the one thing that was posted under this id. Raises Setback.

    `kind` is its name in `_embedded`. A success that does not name it is none: whether it was taken is not known.
    """
    document = read(answer, now)
    embedded = document.get("_embedded")
    things = embedded.get(kind) if isinstance(embedded, dict) else None
    for thing in things if isinstance(things, list) else []:
        if isinstance(thing, dict) and str(thing.get("request_id", request_id)) == request_id:
            return thing
    raise TargetError(
        Outcome(name="unclear", status=answer.status, reason=f"amoCRM answered without naming the {kind}")
    )


def read_token(answer: Response, now: datetime) -> dict[str, Any]:
    """The tokens that OAuth gives. Raises Setback."""
    document = _document(answer) or {}
    if answer.status == 200 and "access_token" in document and "refresh_token" in document:
        return document
    remedy = "authorise the integration again, and set the new refresh_token; or mend client_id and client_secret"
    rule = Rule("misconfigured", remedy) if answer.status in (400, 401) else _rule(answer, document)
    found = _setback(answer, document, rule, now)
    raise TargetError(replace(found.outcome, reason=f"OAuth: {found.outcome.reason}"))


def _rule(answer: Response, document: dict[str, Any] | None) -> Rule:
    if answer.status == 403 and document is None:
        return _BLOCKED  # nginx's page instead of JSON
    if (
        answer.status == 400
        and document is not None
        and _NO_RIGHT_OR_UNPAID.search(error_text.said(document.get("detail")))
    ):
        return Rule("misconfigured", "no right to this, or the account is not paid for")
    mend = statuses.remedy(answer)
    if mend is not None:
        return Rule("misconfigured", mend)
    if answer.status in _BY_STATUS:
        return _BY_STATUS[answer.status]
    if answer.status >= 500:
        return Rule("later")
    return Rule("refused") if answer.status >= 400 else Rule("misconfigured", "is the url the account's own address?")


def _setback(answer: Response, document: dict[str, Any], rule: Rule, now: datetime) -> TargetError:
    reason = f"{answer.status} {_words(document) or error_text.words(answer.body)}".strip()
    if _is_unknown_phone(document):
        return TargetError(Outcome(name="refused", status=answer.status, reason=reason), "unknown_phone")
    wait = None
    if rule.name == "later":
        wait = max(rule.wait or timedelta(0), error_text.retry_after(answer.headers, now) or timedelta(0))
    reason = f"{reason} ({rule.remedy})" if rule.remedy else reason
    return TargetError(Outcome(name=rule.name, status=answer.status, reason=reason, wait=wait), rule.code)


def _is_unknown_phone(document: dict[str, Any]) -> bool:
    return any(error.get("status") == _ENTITY_NOT_FOUND for error in _errors(document))


def _errors(document: dict[str, Any]) -> list[dict[str, Any]]:
    found = document.get("errors")
    return [error for error in found if isinstance(error, dict)] if isinstance(found, list) else []


def _words(document: dict[str, Any]) -> str:
    """amoCRM's own words, with the fields that it did not like."""
    parts = [error_text.said(document.get(name)) for name in ("title", "detail", "hint")]
    parts += [
        error_text.said(error.get("title")) or error_text.said(error.get("detail")) for error in _errors(document)
    ]
    invalid = document.get("validation-errors")
    for entry in invalid if isinstance(invalid, list) else []:
        found = _errors(entry) if isinstance(entry, dict) else []
        for error in found:
            why = error_text.said(error.get("detail")) or error_text.said(error.get("code"))
            parts.append(f"{error_text.said(error.get('path'))}: {why}")
    return "; ".join(part for part in parts if part)[:_WORDS_MAX]


def _document(answer: Response) -> dict[str, Any] | None:
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
