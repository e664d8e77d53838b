"""Says by rules what an answer means for a delivery; each kind of target has rules for its own errors. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from msgspec import Struct

from relay.i18n import WITH_REASON, Message, join
from relay.models import Outcome, OutcomeName
from relay.targets import error_text
from relay.targets.http_client import Response, TargetError

ErrorCode = Literal["", "call_not_found", "user_unknown", "unknown_phone", "expired_token", "blocked"]
"""The errors that an adapter treats in a way of its own."""


class Rule(Struct, frozen=True):
    """Says what an error means."""

    name: OutcomeName
    remedy: str = ""  #: what is to be mended
    wait: timedelta | None = None  #: before the next request, where the answer names no time
    code: ErrorCode = ""
    health_hint: Literal["well", "perhaps_restarting"] | None = None


def rule_of_status(response: Response, by_status: Mapping[int, Rule], otherwise: Rule) -> Rule:
    """Return what a status means by itself; `otherwise` is of those below 400 that are not in the table."""
    remedy = error_text.remedy(response.status, response.body)
    if remedy is not None:
        return Rule("misconfigured", remedy)
    if response.status in by_status:
        return by_status[response.status]
    if response.status >= 500:
        return Rule("later")
    return Rule("refused") if response.status >= 400 else otherwise


def outcome(response: Response, rule: Rule, words: str, now: datetime, *, free_in: timedelta | None = None) -> Outcome:
    """Return what an error comes to. `free_in`: when the target itself says that it takes requests again."""
    shown = Message(WITH_REASON, text=response.status, reason=rule.remedy) if rule.remedy else str(response.status)
    waits = (free_in or rule.wait, error_text.retry_after(response.headers, now)) if rule.name == "later" else ()
    return Outcome(
        name=rule.name,
        status=response.status,
        reason=join(shown, words, by=": "),
        wait=max((wait for wait in waits if wait is not None), default=None),
        health_hint=rule.health_hint,
    )


def broken_off(response: Response) -> TargetError:
    """Return what is raised for a success whose body did not come to its end."""
    reason = Message("the answer broke off: what was asked may have been done")
    return TargetError(Outcome(name="unclear", status=response.status, reason=reason))


def has_tokens(document: Mapping[str, Any]) -> bool:
    return "access_token" in document and "refresh_token" in document
