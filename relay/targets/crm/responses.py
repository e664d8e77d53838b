"""Reads what the answers of both CRMs have in common: a rule says what an error means. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from msgspec import Struct

from relay.models import Outcome, OutcomeName
from relay.targets import error_text
from relay.targets.http_client import Response, TargetError

ErrorCode = Literal["", "call_not_found", "user_unknown", "unknown_phone", "expired_token", "moved", "blocked"]
"""The errors that an adapter treats in a way of its own."""


class Rule(Struct, frozen=True):
    """What an error of the CRM means."""

    name: OutcomeName
    remedy: str = ""
    wait: timedelta | None = None
    code: ErrorCode = ""
    health_hint: Literal["well"] | None = None


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


def error(
    response: Response, rule: Rule, words: str, now: datetime, *, free_in: timedelta | None = None
) -> TargetError:
    """Return what is raised for an error. `free_in`: when the CRM itself says that it takes requests again."""
    reason = f"{response.status} {words or error_text.words(response.body)}".strip()
    wait = None
    if rule.name == "later":
        asked = error_text.retry_after(response.headers, now)
        wait = max(free_in or rule.wait or timedelta(0), asked or timedelta(0))
    outcome = Outcome(
        name=rule.name,
        status=response.status,
        reason=f"{reason} ({rule.remedy})" if rule.remedy else reason,
        wait=wait,
        health_hint=rule.health_hint,
    )
    return TargetError(outcome, rule.code)


def broken_off(response: Response) -> TargetError:
    """Return what is raised for a success whose body did not come to its end."""
    return TargetError(Outcome(name="unclear", status=response.status, reason=error_text.BROKEN_OFF))


def has_tokens(document: Mapping[str, Any]) -> bool:
    return "access_token" in document and "refresh_token" in document
