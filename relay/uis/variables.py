"""The variables of UIS notifications: the type of each, the field of a CallEvent that it fills, the way it is read.

Source: the variable list of the UIS cabinet and recorded bodies. A name is looked up in lower case,
because templates are typed by hand (`Start_time` for `start_time`).
Every conversion `to_…` raises ValueError when a value has no such type.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from relay.clock import to_utc
from relay.i18n import Message

JSON = Any  #: str | int | float | bool | None | list | dict | Ambiguous | Unfilled

_MAX_INTEGER = 2**63 - 1
_SECONDS_MAX = 7 * 86_400
KEY_MAX = 64  #: characters of what a call or an employee is found by
_ITEMS_MAX = 1000
_DEPTH_MAX = 64  # of lists and objects in each other: far from what any library's recursion bears
_STAMP = re.compile(
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?\s*(Z|[+-]\d\d(:?\d\d)?)?", re.IGNORECASE | re.ASCII
)
_PLAIN = re.compile(r"[\d.:T -]+", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNIX = re.compile(r"\d{9,10}(\.\d+)?|\d{12,13}", re.ASCII)
_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "да", "t", "y"), True),
    **dict.fromkeys(("false", "0", "no", "нет", "f", "n"), False),
}

PLACEHOLDER = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")
"""`{{name}}`, which UIS leaves where the event does not know the variable."""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A field whose value can be read in more than one way: it is left empty, the text is kept."""

    text: str


@dataclass(frozen=True, slots=True)
class Unfilled:
    """A field that holds no value, but the placeholder that UIS left in its place."""

    text: str


Type = Literal[
    "text", "direction", "session", "time", "phone", "extension", "id", "ids", "seconds", "bool", "link", "links", "any"
]
"""`session`: a number for 1C, text for us; `time`: `YYYY-MM-DD hh:mm:ss.mmm`, no zone; `any`: kept as it came."""


class Variable(NamedTuple):
    type: Type
    field: str | None  #: of CallEvent; None: kept in `extra`


_UNMAPPED: dict[Type, str] = {
    "id": """
        app_id communication_id cpn_region_id employee_id last_talked_employee_id leg_id operator_rating scenario_id
    """,
    "ids": "contact_group_ids leg_ids tag_ids",
    "seconds": "call_record_duration file_duration",
    "bool": "is_internal is_transfer",
    "link": "file_link",
    "links": "record_file_links",
    "any": "attributes noanswered_employee_full_names tag_names",
    "text": """
        call_status communication_number communication_type contact_full_name cpn_region_name employee_email
        employee_full_name eq_utm_campaign eq_utm_content eq_utm_expid eq_utm_medium eq_utm_referrer eq_utm_source
        eq_utm_term finish_time_localized first_answered_employee_email first_talked_employee_email
        last_talked_employee_email last_talked_employee_full_name notification_time_localized site_domain_name
        start_time_localized tp_project visitor_browser_name visitor_country visitor_email
    """,
}
"""Those without a field of their own: they go to `extra`."""

VARIABLES: dict[str, Variable] = {
    "start_time": Variable("time", "started_at"),
    "finish_time": Variable("time", "finished_at"),
    "notification_time": Variable("time", "notified_at"),
    "notification_timestamp": Variable("time", "notified_at"),
    "notification_name": Variable("text", "notification_name"),
    "notification_mnemonic": Variable("text", "mnemonic"),
    "direction": Variable("direction", "direction"),
    "call_session_id": Variable("session", "session_id"),
    "virtual_phone_number": Variable("phone", "virtual_number"),
    "calling_phone_number": Variable("phone", "caller"),
    "called_phone_number": Variable("phone", "callee"),
    "contact_phone_number": Variable("phone", "client_number"),
    "employee_phone_number": Variable("phone", "employee_number"),
    "extension_phone_number": Variable("extension", "extension"),
    "employee_ids": Variable("ids", "employee_ids"),
    "contact_id": Variable("id", "contact_id"),
    "total_time_duration": Variable("seconds", "total_seconds"),
    "wait_time_duration": Variable("seconds", "wait_seconds"),
    "talk_time_duration": Variable("seconds", "talk_seconds"),
    "finish_reason": Variable("text", "finish_reason"),
    "lost_reason": Variable("text", "lost_reason"),
    "is_lost": Variable("bool", "is_lost"),
    "full_record_file_link": Variable("link", "record_link"),
    "wav_call_records": Variable("links", "wav_records"),
    "external_id": Variable("text", "external_id"),
    "call_source": Variable("text", "call_source"),
    "scenario_name": Variable("text", "scenario"),
    **{name: Variable(kind, None) for kind, names in _UNMAPPED.items() for name in names.split()},
}

SECRETS = frozenset({"token", "integration_key"})
"""The names of constants that are secrets: the relay's own, and the one that Novofon's templates have."""

TEXTS = ("text", "direction", "extension", "link")
"""Where a placeholder that was left is an empty text for a receiver that knows UIS alone; elsewhere it is null."""


def is_unsubstituted(value: str, key: str) -> bool:
    """Is this text no value, but a placeholder, or the bare name of the very field? Another's may be a constant."""
    if "{{" in value:
        return PLACEHOLDER.fullmatch(value.strip()) is not None
    name = value.strip()
    return name in VARIABLES and name == key.strip().lower()


def is_empty(value: JSON) -> bool:
    """Is it null, an empty text, an empty list, or the word null that a quoted template makes?"""
    if type(value) is str:
        text = value.strip()
        return not text or (len(text) == 4 and text.lower() == "null")
    return value is None or value == [] or value == {}


def to_text(value: JSON) -> str:
    """Return the text of a value, fit to be stored."""
    if isinstance(value, str):
        return str(clean(value)).strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(int(value) if isinstance(value, float) and value.is_integer() else value)
    raise ValueError(Message("is not text"))


def to_key(value: JSON) -> str:
    """Return a text by which something is found: a session, an extension. Short: no index or cache swells."""
    text = to_text(value)
    if len(text) > KEY_MAX:
        raise ValueError(Message("is longer than %(most)s characters", most=KEY_MAX))
    return text


def to_integer(value: JSON) -> int:
    """Return a whole number that is not negative; 63, 63.0, "63" and " 63 " are all 63."""
    if type(value) is int and 0 <= value <= _MAX_INTEGER:
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,19}(\.0+)?\s*", value, re.ASCII):
        value = int(value.strip().partition(".")[0])
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= _MAX_INTEGER:
        raise ValueError(Message("is not a whole number"))
    return value


def to_seconds(value: JSON) -> int:
    """Return a duration; what is longer than any call is none, but a moment or milliseconds."""
    seconds = to_integer(value)
    if seconds > _SECONDS_MAX:
        raise ValueError(Message("is no duration in seconds"))
    return seconds


def to_boolean(value: JSON) -> bool:
    word = "" if isinstance(value, list | dict) else str(value).strip().lower()
    if word not in _BOOLEANS:
        raise ValueError(Message("is neither true nor false"))
    return _BOOLEANS[word]


def to_direction(value: JSON) -> str:
    word = to_text(value).lower()
    if word not in ("in", "out"):
        raise ValueError(Message("is neither in nor out"))
    return word


def to_moment(value: JSON, zone: ZoneInfo) -> datetime:
    """Take the account's local time without a zone, as UIS writes it, ISO with an offset, and Unix seconds."""
    text = to_text(value)
    try:
        if _STAMP.fullmatch(text):
            if not _PLAIN.fullmatch(text):  # fromisoformat takes neither a comma nor a space before the zone
                text = text.upper().replace(",", ".").replace(" Z", "Z")
            moment = datetime.fromisoformat(text)
            return to_utc(moment if moment.tzinfo else moment.replace(tzinfo=zone))
        if not _UNIX.fullmatch(text):
            raise ValueError(Message("is not a time"))
        seconds = float(text) / (1000 if len(text.partition(".")[0]) > 10 else 1)
        return _EPOCH + timedelta(milliseconds=round(seconds * 1000))
    except (OverflowError, ValueError) as exc:
        raise ValueError(Message("is not a time like 2026-03-02 12:45:59.863")) from exc


def to_integers(value: JSON) -> tuple[int, ...]:
    """Take a list of ids in any of its forms: [1,2], "[1,2]", "1,2", 1."""
    return tuple([to_integer(item) for item in _items(value)])


def to_links(value: JSON) -> tuple[str, ...]:
    """Take a list of links or ids in any of its forms."""
    return tuple(to_text(item) for item in _items(value) if not is_empty(item))


CONVERSIONS: dict[Type, Callable[[JSON], Any]] = {
    "text": to_text,
    "direction": to_direction,
    "session": to_key,
    "extension": to_key,
    "id": to_integer,
    "ids": to_integers,
    "seconds": to_seconds,
    "bool": to_boolean,
    "link": to_text,
    "links": to_links,
}
"""How the values of a type are read; phones and times need more than the value, and lists of anything are not read."""


def is_deep(values: Iterable[JSON]) -> bool:
    """Do lists and objects stand in each other more deeply than in any notification?"""
    level = [value for value in values if isinstance(value, list | dict)]
    for _ in range(_DEPTH_MAX):
        if not level:
            return False
        level = [
            item
            for each in level
            for item in (each.values() if isinstance(each, dict) else each)
            if isinstance(item, list | dict)
        ]
    return True


def from_json(text: str) -> JSON:
    """Return what a text says that is JSON itself."""
    with contextlib.suppress(RecursionError):
        value = _DECODER.decode(text)
        if not is_deep([value]):
            return value
    raise ValueError(Message("is nested too deeply"))


def refuse(constant: str) -> JSON:
    """Refuse NaN and Infinity, which are not JSON: for `parse_constant`."""
    raise ValueError(Message("%(constant)s is not JSON", constant=constant))


def finite(digits: str) -> float:
    """Return a number that JSON can hold: for `parse_float`."""
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(Message("%(digits)s is too large", digits=digits[:40]))
    return value


_DECODER = json.JSONDecoder(parse_constant=refuse, parse_float=finite)  # to make one costs more than to use it


def _items(value: JSON) -> list[JSON]:
    if isinstance(value, str):
        stripped = value.strip()
        value = from_json(stripped) if stripped.startswith("[") else _split(stripped)
    if isinstance(value, dict):
        raise ValueError(Message("is not a list"))
    items = value if isinstance(value, list) else [value]
    if len(items) > _ITEMS_MAX:
        raise ValueError(Message("holds more than %(most)s items", most=_ITEMS_MAX))
    return items


def _split(text: str) -> list[JSON]:
    if text.count(",") > _ITEMS_MAX:
        raise ValueError(Message("holds more than %(most)s items", most=_ITEMS_MAX))
    return [item.strip() for item in text.split(",") if item.strip()]


def clean(value: JSON, depth: int = 0) -> JSON:
    """Return the value fit to be stored: no NUL (PostgreSQL refuses it), half surrogate, or integer over 64 bits."""
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
