"""The secrets that a request shows in its headers, and whether a text is the one that is wanted."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from werkzeug.wrappers import Request


def in_headers(request: Request) -> list[str]:
    """Return what is offered as Bearer or Basic, or as X-Relay-Token."""
    offered = []
    try:
        authorization = request.authorization
    except ValueError:  # Basic with letters that base64 does not have
        authorization = None
    if authorization is not None:
        offered.append((authorization.password if authorization.type == "basic" else authorization.token) or "")
    if given := request.headers.get("X-Relay-Token"):
        offered.append(given)
    return offered


def matches(offered: str, wanted: Iterable[str]) -> bool:
    """Is it any of them? In constant time, and over all of them, so that the answer's delay says nothing."""
    given = offered.encode("utf-8", "surrogatepass")
    return sum(hmac.compare_digest(given, each.encode()) for each in wanted) > 0
