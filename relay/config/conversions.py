"""The values of keys that are written as text: durations, sizes, rates, zones, networks, secrets.

Raises ValueError with an example.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from relay.config import types
from relay.config.addresses import AllowList, read_network
from relay.config.alerting import channel, working_hours
from relay.config.secret import Secret
from relay.models import KINDS

_AT_LEAST = {
    **dict.fromkeys(("concurrency", "attempts", "default_user", "dead", "pipeline_id", "status_id"), 1),
    "trusted_proxies": 0,
}
_AT_MOST = {"concurrency": 64}


def convert(key: str, value: Any, *, is_source: bool) -> Any:
    """The value of a key; as it is where the key is written as what it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < _AT_LEAST.get(key, value):
            raise ValueError(f"{value} is too little; at least {_AT_LEAST[key]}")
        if value > _AT_MOST.get(key, value):
            raise ValueError(f"{value} is too much; at most {_AT_MOST[key]}")
    if is_source and key in ("token", "integration_key"):
        return _secrets(value)
    conversion = _CONVERSIONS.get(key)
    return value if conversion is None else conversion(value)


def _secret(given: Any) -> Secret | None:
    if given is not None and not isinstance(given, str):
        raise ValueError("must be text")
    return None if given is None else Secret(given.strip())


def _secrets(given: Any) -> tuple[Secret, ...]:
    return tuple(Secret(item) for item in _listed(given))


def _zone(given: Any) -> ZoneInfo:
    try:
        return ZoneInfo(given)
    except Exception as exc:  # ZoneInfo raises five unrelated kinds for a name that is not a zone
        raise ValueError(f'{given!r} is not a time zone; write it like "Europe/Moscow"') from exc


def _expire(given: Any) -> dict[str, timedelta]:
    if not isinstance(given, dict) or not all(kind in KINDS for kind in given):
        raise ValueError(f'must be like {{ incoming = "10m" }}; the kinds are {", ".join(KINDS)}')
    return {kind: types.duration(age) for kind, age in given.items()}


def _users(given: Any) -> dict[str, int]:
    if not isinstance(given, dict) or not all(type(user) is int and user > 0 for user in given.values()):
        raise ValueError('must be like { "101" = 12 }: on the right the number of a user in the CRM')
    return {str(name).strip(): user for name, user in given.items()}


def _texts(given: Any) -> dict[str, Secret]:
    if not isinstance(given, dict) or not all(isinstance(item, str) for item in given.values()):
        raise ValueError('must be like { "X-Company" = "42" }: text on both sides')
    return {str(name).strip(): Secret(item) for name, item in given.items()}


def _listed(given: Any) -> list[Any]:
    items = given if isinstance(given, list) else [given]
    if not all(isinstance(item, str) for item in items):
        raise ValueError("must be text, or a list of texts")
    return items


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        ("duplicate_window", "keep_delivered", "keep_dead", "timeout", "connect_timeout",
         "give_up_after", "retry_first", "retry_max", "retry_after_max", "call_gap", "down_for", "backlog_older",
         "silent_for", "remind_after", "token_ends_in"),
        types.duration,
    ),
    **dict.fromkeys(("password", "token", "webhook", "client_secret", "refresh_token"), _secret),
    **dict.fromkeys(("users", "employees"), _users),
    **dict.fromkeys(("headers", "query"), _texts),
    "secrets": _secrets,
    **dict.fromkeys(("line", "kind", "extension"), lambda given: tuple(item.strip() for item in _listed(given))),
    "urls": lambda given: tuple(channel(item) for item in _listed(given)),
    **dict.fromkeys(("max_body", "disk_free"), types.size),
    "working_hours": working_hours,
    "rate": types.rate,
    "timezone": _zone,
    "allow_from": lambda given: AllowList(read_network(item) for item in _listed(given)),
    "expire": _expire,
}  # fmt: skip
