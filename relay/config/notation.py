"""Writes values as the configuration file has them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, get_type_hints
from zoneinfo import ZoneInfo

import msgspec
from msgspec import NODEFAULT, Struct

from relay.config.addresses import AllowList
from relay.config.alerting import DAYS, WorkingHours
from relay.config.types import Rate, Secret, Size

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def given(struct: Struct) -> Iterator[tuple[str, str]]:
    """Yield the keys that were given, as they would stand in the file: no default, and of a secret only that it is."""
    hints = get_type_hints(type(struct), include_extras=True)
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if value != default_of(field) and not (isinstance(value, AllowList) and not value):
            yield field.name, in_toml(value, hints[field.name])


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    """Return what a key is when it is not given; NODEFAULT where it must be."""
    return field.default_factory() if field.default_factory is not NODEFAULT else field.default


def in_toml(value: Any, hint: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Secret):
        return "***"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {in_toml(item, None)}' for key, item in value.items())} }}"
    if isinstance(value, AllowList):
        return str(value)
    if hint is Size:
        return f'"{value >> 20}MB"' if value % (1 << 20) == 0 else f'"{value >> 10}KB"'
    if isinstance(value, timedelta):
        return f'"{duration_text(value)}"'
    if isinstance(value, Rate):
        return f'"{value.per_second:g}/s{f" burst {value.burst}" if value.burst > 1 else ""}"'
    if isinstance(value, ZoneInfo):
        return f'"{value.key}"'
    if isinstance(value, WorkingHours):
        return f'"{DAYS[value.days[0]]}-{DAYS[value.days[-1]]} {value.begins:%H:%M}-{value.ends:%H:%M}"'
    if isinstance(value, tuple):
        return f"[{', '.join(in_toml(item, None) for item in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def duration_text(span: timedelta) -> str:
    """Write a duration as the file has it."""
    seconds = span.total_seconds()
    unit, size = next((unit for unit in _UNITS if seconds >= unit[1] and seconds % unit[1] == 0), _UNITS[-1])
    return f"{seconds / size:g}{unit}"
