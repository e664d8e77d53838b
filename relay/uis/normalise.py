"""Makes a CallEvent of a body's fields: names in any case, values read by their type, one level of nesting.

A value that cannot be typed is kept in `extra` with a note: one bad field never costs the event. The kind is told by
the mnemonic, else by endpoint, direction and which fields are filled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from relay.clock import to_utc
from relay.errors import MalformedEvent
from relay.i18n import Message, change, said
from relay.models import CallEvent, Kind
from relay.uis import phones
from relay.uis.parser import NO_FIELDS, ParsedBody, from_json
from relay.uis.variables import JSON, KEY_MAX, VARIABLES, Ambiguous, Type, Unfilled

_NOTES_MAX, _NOTE_MAX, _VALUE_MAX = 50, 300, 200  # what is kept of a body must not outgrow it
_OLDEST_CALL = timedelta(days=31)  # that a notification, or the report, may tell of
_CLOCK_AHEAD_MAX = timedelta(days=1)  # of the account against ours: a zone that is set wrongly
_MAX_INTEGER = 2**63 - 1
_SECONDS_MAX = 7 * 86_400
_ITEMS_MAX = 1000
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
_BY_MNEMONIC: dict[str, Kind] = {
    # in_call_session, lost_call_session and set_mark are documented or recorded; the others are inferred from
    # CoMagic's names
    "in_call_session": "incoming",
    "out_call_session": "outgoing",
    "call_connected": "answered",
    "lost_call_session": "lost",
    "call_session_finished": "finished",
    "set_mark": "other",
}
_DIRECTIONS: dict[str, Literal["in", "out"]] = {"in_call_session": "in", "out_call_session": "out"}
"""What a mnemonic says: UIS's own templates for these do not send the direction."""
_DIRECTION_TAKEN = Message("direction: not sent; taken as %(expected)s from the %(source)s")
_DIRECTION_BELIEVED = Message("direction: %(direction)s, though it came to /%(endpoint)s; the direction is believed")
_ENDS = ("finish_time", "finish_reason", "lost_reason", "total_time_duration", "is_lost", "call_status")
"""What only the end of a call has: «Записанный разговор» comes without any of it."""
_AT_THE_END = {"is_lost", "full_record_file_link", "wav_call_records"}
"""What stands in the template of «Завершённый звонок» alone, with a value or without."""


def beginning_of(call: CallEvent, told_at: datetime) -> datetime | None:
    """Return when a call began; None where UIS does not say it, or its clock must be wrong."""
    at = call.started_at
    return at if at is not None and told_at - _OLDEST_CALL <= at <= told_at + _CLOCK_AHEAD_MAX else None


def normalise(body: ParsedBody, endpoint: str, zone: ZoneInfo, *, beside: ParsedBody = NO_FIELDS) -> CallEvent:
    """Return what UIS said; `beside` is the query beside it. Raises MalformedEvent without any variable of UIS."""
    return _Normaliser(body, endpoint, zone).event(beside)


class _Normaliser:
    def __init__(self, body: ParsedBody, endpoint: str, zone: ZoneInfo) -> None:
        self.endpoint, self.zone = endpoint, zone
        self.notes = list(body.notes)
        self.values: dict[str, JSON] = {}  # by the variable's name; empty ones are None
        self.extra: dict[str, JSON] = {}
        self.call: dict[str, Any] = {}  # by the field of CallEvent, typed
        self.ambiguous: set[str] = set()  # names whose value can be read in more than one way
        self.unmapped: dict[str, Any] = {}  # typed values of variables without a field of their own
        for key, value in body.pairs:
            if isinstance(value, dict):
                for inner, item in value.items():
                    self._add(inner, item, group=key)
            else:
                self._add(key, value)
        if not self.values:
            raise MalformedEvent(
                "no variable of UIS stands in it: check the notification's template in the UIS cabinet"
            )

    def _add(self, key: str, value: JSON, group: str = "") -> None:
        name = key.strip().lower()
        if isinstance(value, Unfilled):
            self.notes.append(Message("%(key)s: a placeholder was left unfilled", key=key))
            value = None
        if name not in VARIABLES:
            self._keep(f"{group}.{key}" if group else key, value)
        elif isinstance(value, Ambiguous):
            self.values.setdefault(name, None)
            self.ambiguous.add(name)
            self._keep(name, value)
        elif name in self.values:
            self._add_second(name, key, value)
        else:
            self.values[name] = None if is_empty(value) else value

    def _add_second(self, name: str, key: str, value: JSON) -> None:
        """Take a variable that stands in several groups: one value, or none when they differ."""
        before = self.values[name]
        if is_empty(value) or name in self.ambiguous:
            return
        if before is None:
            self.values[name] = value
        elif before != value:
            self.notes.append(Message("%(key)s: stands twice with different values; left empty", key=key))
            self._keep(name, [before, value])
            self.values[name] = None
            self.ambiguous.add(name)

    def _keep(self, name: str, value: JSON) -> None:
        self.extra[str(clean(name))] = clean(value.text if isinstance(value, Ambiguous) else value)

    def filled(self, *names: str) -> bool:
        """Has any of them a value? One that cannot be read with certainty is a value too."""
        return any(self.values.get(name) is not None or name in self.ambiguous for name in names)

    def event(self, beside: ParsedBody) -> CallEvent:
        for name, value in self.values.items():
            if value is not None:
                variable = VARIABLES[name]
                try:
                    self._fill(variable.field, variable.type, name, value)
                except (ValueError, RecursionError) as exc:
                    self.notes.append(Message("%(name)s: %(why)s; kept as it came", name=name, why=said(exc)))
                    self._keep(name, value)
        self._complete()
        self.notes.extend(beside.notes)
        for key, value in beside.pairs:
            if key not in self.extra:  # what the body says of it counts
                self._keep(key, None if isinstance(value, Unfilled) else value)
        notes = tuple(change(note, clean) for note in _bounded(self.notes)) if self.notes else ()
        return CallEvent(**self.call, extra=self.extra, notes=notes)

    def _fill(self, field: str | None, kind: Type, name: str, value: JSON) -> None:
        if kind == "phone":
            typed: Any = self._phone(name, value)
        elif kind == "time":
            typed = to_moment(value, self.zone)
        elif field is None and kind in ("text", "any"):
            typed = value
        else:
            typed = CONVERSIONS[kind](value)
        if field is None:
            self._keep(name, list(typed) if isinstance(typed, tuple) else typed)
            self.unmapped[name] = typed
        elif field not in self.call:  # notification_time and notification_timestamp say the same
            self.call[field] = typed

    def _phone(self, name: str, value: JSON) -> str:
        phone = phones.parse(to_text(value))
        if phone.dtmf is not None:
            self._keep(f"{name}_dtmf", phone.dtmf)
            self.notes.append(Message("%(name)s: keys pressed after the answer were split off", name=name))
        return phone.number

    # --- what follows from several fields

    def _complete(self) -> None:
        call = self.call
        self._complete_direction()
        call["kind"] = self._classify()
        if not call.get("employee_ids") and "employee_id" in self.unmapped:
            call["employee_ids"] = (self.unmapped["employee_id"],)
        if call.get("record_link") is None:
            links = (self.unmapped.get("file_link"), *self.unmapped.get("record_file_links", ())[:1])
            call["record_link"] = next(filter(None, links), None)
        if call.get("client_number") is None:
            call["client_number"] = call.get("callee" if call.get("direction") == "out" else "caller")
        self._complete_loss()
        self._complete_talk()

    def _complete_direction(self) -> None:
        direction = self.call.get("direction")
        expected = self.endpoint if self.endpoint in ("in", "out") else None
        implied = _DIRECTIONS.get((self.call.get("mnemonic") or "").lower())
        if direction is None and (implied or expected):
            self.call["direction"] = implied or expected
            source = Message("mnemonic") if implied else Message("endpoint")
            self.notes.append(_DIRECTION_TAKEN.fill(expected=implied or expected, source=source))
        elif expected == "in" and self.filled("lost_reason", "finish_reason"):
            pass  # an outgoing call that the client dropped comes to /in by design: no contradiction
        elif expected and direction != expected:
            self.notes.append(_DIRECTION_BELIEVED.fill(direction=direction, endpoint=self.endpoint))

    def _complete_loss(self) -> None:
        """Tell who lost the call: at its end a lost_reason means the operator; «Потерянный звонок», the client."""
        call = self.call
        if call["kind"] == "lost":
            if call.get("is_lost") is False:
                self.notes.append(Message("is_lost: false, though this is a lost call"))
            call["is_lost"], call["lost_by"] = True, "client"
        elif call["kind"] == "finished" and self.filled("lost_reason"):
            if call.get("is_lost") is False:
                self.notes.append(Message("is_lost: false, though lost_reason is filled; taken as lost"))
            call["is_lost"], call["lost_by"] = True, "operator"

    def _complete_talk(self) -> None:
        call = self.call
        if call.get("talk_seconds") is not None:
            call["talk_derived"] = False
            return
        total, wait = call.get("total_seconds"), call.get("wait_seconds")
        if call.get("is_lost"):
            call["talk_seconds"] = 0
        elif total is not None and wait is not None:
            if wait > total:
                self.notes.append(
                    Message("wait_time_duration: more than total_time_duration; the talk time is not known")
                )
            else:
                call["talk_seconds"], call["talk_derived"] = total - wait, True

    # --- its kind

    def _classify(self) -> Kind:
        direction, mnemonic, filled = self.call.get("direction"), self.call.get("mnemonic"), self.filled
        if mnemonic and mnemonic.lower() in _BY_MNEMONIC:
            return _BY_MNEMONIC[mnemonic.lower()]
        is_recording = filled("file_link", "record_file_links")
        if self.endpoint == "rec":
            return "recorded" if is_recording and not filled(*_ENDS) else "finished"
        if is_recording:
            return "recorded"
        if self.endpoint == "any":
            return self._kind_at_any(direction)
        # the direction is UIS's own word, the endpoint was typed by hand: an incoming call at /out is read as at /in
        if self.endpoint == "out" and direction != "in":
            return "lost" if filled("lost_reason") else "other" if self._is_over() else "outgoing"
        return self._kind_at_in(direction)

    def _is_over(self) -> bool:
        """Is it «Окончание разговора»: of one talk within a call, which may go on with another?"""
        return self.filled("leg_ids") and self.filled("talk_time_duration")

    def _kind_at_in(self, direction: str | None) -> Kind:
        filled = self.filled
        if filled("lost_reason", "finish_time", "finish_reason"):
            return "lost"
        if filled("leg_id") or self._is_over():
            return "other"
        if direction == "out":
            return "outgoing"
        return "answered" if filled("leg_ids", "extension_phone_number", "employee_phone_number") else "incoming"

    def _kind_at_any(self, direction: str | None) -> Kind:
        filled = self.filled
        if filled("total_time_duration") or not self.values.keys().isdisjoint(_AT_THE_END):
            return "finished"
        if filled("lost_reason"):
            return "lost"
        if filled("leg_id", "leg_ids"):
            return "answered" if filled("leg_ids") and not self._is_over() else "other"
        if direction == "out":
            return "outgoing"
        if filled("extension_phone_number", "employee_phone_number"):
            return "answered"
        if filled("contact_phone_number", "calling_phone_number"):
            return "incoming"
        return "other"


def _bounded(notes: Iterable[str]) -> list[str]:
    """Return each note once, the first of them where there are too many, and say how many are left out."""
    each = list(dict.fromkeys(note if len(note) <= _NOTE_MAX else change(note, _cut) for note in notes))
    if len(each) <= _NOTES_MAX:
        return each
    return [*each[:_NOTES_MAX], Message("and %(count)s more notes", count=len(each) - _NOTES_MAX)]


def _cut(text: str) -> str:
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}…"


# --- the values of a type; every conversion `to_…` raises ValueError when a value has no such type


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
