"""Values of UIS variables to Python types. Every function raises ValueError when a value has no such type."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from relay.clock import to_utc
from relay.uis.parsed_body import JSON, is_deep

_MAX_INTEGER = 2**63 - 1
_KEY_MAX = 64  # characters of what a call or an employee is found by
_ITEMS_MAX = 1000
_STAMP = re.compile(
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?\s*(Z|[+-]\d\d(:?\d\d)?)?", re.IGNORECASE | re.ASCII
)
_PLAIN = re.compile(r"[\d.:T -]+", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNIX = re.compile(r"\d{9,10}(\.\d+)?|\d{12,13}", re.ASCII)
_TRUE = {"true", "1", "yes", "да", "t", "y"}
_FALSE = {"false", "0", "no", "нет", "f", "n"}


def is_empty(value: JSON) -> bool:
    """Nothing: null, an empty text, an empty list, or the word null that a quoted template makes."""
    if type(value) is str:
        given = value.strip()
        return not given or (len(given) == 4 and given.lower() == "null")
    return value is None or value == [] or value == {}


def text(value: JSON) -> str:
    """The text of a value, fit to be stored."""
    if isinstance(value, str):
        return str(clean(value)).strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(_whole(value) if isinstance(value, float) and value.is_integer() else value)
    raise ValueError("is not text")


def key(value: JSON) -> str:
    """A text by which something is found: a session, an extension. Short, so that no index or cache swells."""
    given = text(value)
    if len(given) > _KEY_MAX:
        raise ValueError(f"is longer than {_KEY_MAX} characters")
    return given


def integer(value: JSON) -> int:
    """A whole number that is not negative; 63, 63.0, "63" and " 63 " are all 63."""
    if type(value) is int and 0 <= value <= _MAX_INTEGER:
        return value
    if isinstance(value, (bool, list | dict)):
        raise ValueError("is not a whole number")
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,19}(\.0+)?\s*", value, re.ASCII):
        value = int(value.strip().partition(".")[0])
    if isinstance(value, float):
        value = _whole(value)
    if not isinstance(value, int) or not 0 <= value <= _MAX_INTEGER:
        raise ValueError("is not a whole number")
    return value


def _whole(value: float) -> int:
    if not value.is_integer():
        raise ValueError("is not a whole number")
    return int(value)


def boolean(value: JSON) -> bool:
    if isinstance(value, bool):
        return value
    word = "" if isinstance(value, list | dict) else str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("is neither true nor false")


def moment(value: JSON, zone: ZoneInfo) -> datetime:
    """UIS writes the account's local time without a zone; ISO with an offset and Unix seconds are taken too."""
    given = text(value)
    try:
        if _STAMP.fullmatch(given):
            # fromisoformat takes neither a comma nor a space before the zone
            read = datetime.fromisoformat(
                given if _PLAIN.fullmatch(given) else given.upper().replace(",", ".").replace(" Z", "Z")
            )
            return to_utc(read if read.tzinfo else read.replace(tzinfo=zone))
        if not _UNIX.fullmatch(given):
            raise ValueError("is not a time")
        seconds = float(given) / (1000 if len(given.partition(".")[0]) > 10 else 1)
        return _EPOCH + timedelta(milliseconds=round(seconds * 1000))
    except (OverflowError, ValueError) as exc:
        raise ValueError("is not a time like 2026-03-02 12:45:59.863") from exc


def integers(value: JSON) -> tuple[int, ...]:
    """A list of ids in any of its forms: [1,2], "[1,2]", "1,2", 1."""
    return tuple([integer(item) for item in _items(value)])


def links(value: JSON) -> tuple[str, ...]:
    """A list of links or ids in any of its forms."""
    return tuple(text(item) for item in _items(value) if not is_empty(item))


def from_json(given: str) -> JSON:
    """What a text says that is JSON itself."""
    try:
        value = _DECODER.decode(given)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if is_deep([("", value)]):
        raise ValueError("is nested too deeply")
    return value


def refuse(constant: str) -> JSON:
    """For `parse_constant`: NaN and Infinity are not JSON."""
    raise ValueError(f"{constant} is not JSON")


def finite(digits: str) -> float:
    """For `parse_float`."""
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{digits[:40]} is too large")
    return value


_DECODER = json.JSONDecoder(parse_constant=refuse, parse_float=finite)  # to make one costs more than to use it


def _items(value: JSON) -> list[JSON]:
    if isinstance(value, str):
        stripped = value.strip()
        value = from_json(stripped) if stripped.startswith("[") else _listed(stripped)
    if isinstance(value, dict):
        raise ValueError("is not a list")
    items = value if isinstance(value, list) else [value]
    if len(items) > _ITEMS_MAX:
        raise ValueError(f"holds more than {_ITEMS_MAX} items")
    return items


def _listed(given: str) -> list[JSON]:
    if given.count(",") > _ITEMS_MAX:
        raise ValueError(f"holds more than {_ITEMS_MAX} items")
    return [item.strip() for item in given.split(",") if item.strip()]


def direction(value: JSON) -> str:
    word = text(value).lower()
    if word not in ("in", "out"):
        raise ValueError("is neither in nor out")
    return word


def clean(value: JSON, depth: int = 0) -> JSON:
    """The value as it may be stored: no NUL (PostgreSQL refuses it), no half surrogates, no integer over 64 bits."""
    if type(value) is str:
        if value.isascii() and "\x00" not in value:
            return value
        return value.replace("\x00", "").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _MAX_INTEGER else str(value)
    if depth > 8:
        return "…"
    if isinstance(value, dict):
        return {clean(str(key)): clean(item, depth + 1) for key, item in value.items()}
    return [clean(item, depth + 1) for item in value]
