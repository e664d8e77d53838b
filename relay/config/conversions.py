"""From a value of the file to what its field declares, by the type alone. Raises ValueError with an example."""

from __future__ import annotations

import types as python_types
from collections.abc import Callable
from datetime import time, timedelta
from typing import Annotated, Any, Union, get_args, get_origin
from zoneinfo import ZoneInfo

from relay.config import alerting
from relay.config.addresses import AllowList, read_network
from relay.config.alerting import ChannelUrl, HeartbeatUrl, WorkingHours
from relay.config.types import ONE_OR_MORE, Rate, Secret, Size, duration, rate, size
from relay.i18n import Message
from relay.models import KINDS, Kind


def convert(hint: Any, value: Any) -> Any:
    """Return the value as the declared type has it; as it is where the file can write that type itself."""
    if value is None:
        return None
    if get_origin(hint) in (Union, python_types.UnionType):  # "or None"
        hint = next(part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is Annotated and ONE_OR_MORE in hint.__metadata__:
        hint, value = hint.__origin__, [item.strip() for item in _texts(value)]
        if not value:
            raise ValueError(Message("is empty: name at least one, or leave the key out"))
    return _PARSERS.get(hint, lambda value: value)(value)


def _texts(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    if all(isinstance(item, str) for item in items):
        return items
    raise ValueError(Message("must be text, or a list of texts"))


def _secret(value: Any) -> Secret:
    if isinstance(value, str):
        return Secret(value.strip())
    raise ValueError(Message("must be text"))


def _zone(value: Any) -> ZoneInfo:
    try:
        return ZoneInfo(value)
    except Exception as exc:  # ZoneInfo raises five unrelated kinds for a name that is not a zone
        text = Message('%(value)s is not a time zone; write it like "Europe/Moscow"', value=repr(value))
        raise ValueError(text) from exc


def _ages(value: Any) -> dict[str, timedelta]:
    if not isinstance(value, dict) or not all(kind in KINDS for kind in value):
        raise ValueError(Message('must be like { incoming = "10m" }; the kinds are %(kinds)s', kinds=", ".join(KINDS)))
    return {kind: duration(age) for kind, age in value.items()}


def _users(value: Any) -> dict[str, int]:
    if not isinstance(value, dict) or not all(type(user) is int and user > 0 for user in value.values()):
        raise ValueError(Message('must be like { "101" = 12 }: on the right the number of a user in the CRM'))
    return {str(name).strip(): user for name, user in value.items()}


def _secrets_by_name(value: Any) -> dict[str, Secret]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ValueError(Message('must be like { "X-Company" = "42" }: text on both sides'))
    return {str(name).strip(): Secret(item) for name, item in value.items()}


_PARSERS: dict[Any, Callable[[Any], Any]] = {
    timedelta: duration,
    Size: size,
    Rate: rate,
    Secret: _secret,
    ZoneInfo: _zone,
    WorkingHours: alerting.working_hours,
    HeartbeatUrl: alerting.heartbeat_url,
    time: alerting.time_of_day,
    AllowList: lambda value: AllowList(read_network(item) for item in _texts(value)),
    tuple[Secret, ...]: lambda value: tuple(Secret(item) for item in _texts(value)),
    tuple[ChannelUrl, ...]: lambda value: tuple(alerting.channel_url(item.strip()) for item in _texts(value)),
    dict[Kind, timedelta]: _ages,
    dict[str, int]: _users,
    dict[str, Secret]: _secrets_by_name,
}
