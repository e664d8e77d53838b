"""A reading to a CallEvent: names in any case, values of any type, one level of nesting.

A value that cannot be typed is kept in `extra` with a note: one bad field never costs the event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from relay.errors import MalformedEvent
from relay.models import CallEvent
from relay.uis import classify, coerce, phones
from relay.uis.parsed_body import JSON, Ambiguous, ParsedBody, Unfilled, bounded
from relay.uis.variables import VARIABLES, Type

_NOTHING = ParsedBody((), "form")


def normalise(reading: ParsedBody, endpoint: str, zone: ZoneInfo, *, beside: ParsedBody = _NOTHING) -> CallEvent:
    """What UIS said. Raises MalformedEvent when no variable of UIS stands in it.

    `beside` is the query beside a body: constants of the customer's, `?shop=north`.
    """
    return _Normaliser(reading, endpoint, zone).event(beside)


_CONVERSIONS: dict[Type, Callable[[JSON], Any]] = {
    Type.TEXT: coerce.text,
    Type.DIRECTION: coerce.direction,
    Type.SESSION: coerce.key,
    Type.EXTENSION: coerce.key,
    Type.ID: coerce.integer,
    Type.IDS: coerce.integers,
    Type.SECONDS: coerce.integer,
    Type.BOOL: coerce.boolean,
    Type.LINK: coerce.text,
    Type.LINKS: coerce.links,
}


class _Normaliser:
    def __init__(self, reading: ParsedBody, endpoint: str, zone: ZoneInfo) -> None:
        self.endpoint, self.zone = endpoint, zone
        self.notes = list(reading.notes)
        self.known: dict[str, JSON] = {}  # by the variable's name; empty ones are None
        self.extra: dict[str, JSON] = {}
        self.call: dict[str, Any] = {}  # by the field of CallEvent, typed
        self.doubtful: set[str] = set()  # names whose value can be read in more than one way
        self.loose: dict[str, Any] = {}  # typed values of variables without a field of their own
        for key, value in reading.pairs:
            if isinstance(value, dict):
                for inner, item in value.items():
                    self._take(inner, item, group=key)
            else:
                self._take(key, value)
        if not self.known:
            raise MalformedEvent(
                "no variable of UIS stands in it: check the notification's template in the UIS cabinet"
            )

    def _take(self, key: str, value: JSON, group: str = "") -> None:
        name = key.strip().lower()
        if isinstance(value, Unfilled):
            self.notes.append(f"{key}: a placeholder was left unfilled")
            value = None
        if name not in VARIABLES:
            self._keep(f"{group}.{key}" if group else key, value)
        elif isinstance(value, Ambiguous):
            self.known.setdefault(name, None)
            self.doubtful.add(name)
            self._keep(name, value)
        elif name in self.known:
            self._take_second(name, key, value)
        else:
            self.known[name] = None if coerce.is_empty(value) else value

    def _take_second(self, name: str, key: str, value: JSON) -> None:
        """A variable that stands in several groups: one value, or none when they differ."""
        before = self.known[name]
        if coerce.is_empty(value) or name in self.doubtful:
            return
        if before is None:
            self.known[name] = value
        elif before != value:
            self.notes.append(f"{key}: stands twice with different values; left empty")
            self._keep(name, [before, value])
            self.known[name] = None
            self.doubtful.add(name)

    def _keep(self, name: str, value: JSON) -> None:
        self.extra[str(coerce.clean(name))] = coerce.clean(value.text if isinstance(value, Ambiguous) else value)

    def filled(self, *names: str) -> bool:
        """Has any of them a value? One that cannot be read with certainty is a value too."""
        return any(self.known.get(name) is not None or name in self.doubtful for name in names)

    def event(self, beside: ParsedBody) -> CallEvent:
        for name, value in self.known.items():
            if value is not None:
                variable = VARIABLES[name]
                try:
                    self._fill(variable.field, variable.type, name, value)
                except (ValueError, RecursionError) as exc:
                    self.notes.append(f"{name}: {exc}; kept as it came")
                    self._keep(name, value)
        self._complete()
        self.notes.extend(beside.notes)
        for key, value in beside.pairs:
            if key not in self.extra:  # what the body says of it counts
                self._keep(key, None if isinstance(value, Unfilled) else value)
        notes = tuple(coerce.clean(note) for note in bounded(self.notes)) if self.notes else ()
        return CallEvent(**self.call, extra=self.extra, notes=notes)

    def _fill(self, field: str | None, kind: Type, name: str, value: JSON) -> None:
        if kind is Type.PHONE:
            typed: Any = self._phone(name, value)
        elif kind is Type.TIME:
            typed = coerce.moment(value, self.zone)
        elif field is None and kind in (Type.TEXT, Type.LIST):
            typed = value
        else:
            typed = _CONVERSIONS[kind](value)
        if field is None:
            self._keep(name, list(typed) if isinstance(typed, tuple) else typed)
            self.loose[name] = typed
        elif field not in self.call:  # notification_time and notification_timestamp say the same
            self.call[field] = typed

    def _phone(self, name: str, value: JSON) -> str:
        phone = phones.parse(coerce.text(value))
        if phone.dtmf is not None:
            self._keep(f"{name}_dtmf", phone.dtmf)
            self.notes.append(f"{name}: keys pressed after the answer were split off")
        return phone.number

    # --- what follows from several fields

    def _complete(self) -> None:
        call = self.call
        self._settle_direction()
        call["kind"] = classify.decide(
            self.endpoint, call.get("direction"), call.get("mnemonic"), self.filled, self.known.keys()
        )
        if not call.get("employee_ids") and "employee_id" in self.loose:
            call["employee_ids"] = (self.loose["employee_id"],)
        if call.get("record_link") is None:
            call["record_link"] = self.loose.get("file_link") or next(
                iter(self.loose.get("record_file_links", ())), None
            )
        if call.get("client_number") is None:
            call["client_number"] = call.get("callee" if call.get("direction") == "out" else "caller")
        self._settle_loss()
        self._settle_talk()

    def _settle_direction(self) -> None:
        expected = {"in": "in", "out": "out"}.get(self.endpoint)
        given = self.call.get("direction")
        if given is None and (said := classify.direction_of(self.call.get("mnemonic"))):
            self.call["direction"] = said
            self.notes.append(f"direction: not sent; taken as {said} from the mnemonic")
        elif given is None and expected:
            self.call["direction"] = expected
            self.notes.append(f"direction: not sent; taken as {expected} from the endpoint")
        elif expected and given != expected and not (expected == "in" and self.filled("lost_reason", "finish_reason")):
            # an outgoing call that the client dropped comes to /in by design: no contradiction
            self.notes.append(f"direction: {given}, though it came to /{self.endpoint}; the direction is believed")

    def _settle_loss(self) -> None:
        """The user's two rules: at the end of a call a lost_reason means that the operator dropped it;
        «Потерянный звонок» means that the client did."""
        call = self.call
        if call["kind"] == "lost":
            if call.get("is_lost") is False:
                self.notes.append("is_lost: false, though this is a lost call")
            call["is_lost"], call["lost_by"] = True, "client"
        elif call["kind"] == "finished" and self.filled("lost_reason"):
            if call.get("is_lost") is False:
                self.notes.append("is_lost: false, though lost_reason is filled; taken as lost")
            call["is_lost"], call["lost_by"] = True, "operator"

    def _settle_talk(self) -> None:
        call = self.call
        if call.get("talk_seconds") is not None:
            call["talk_derived"] = False
            return
        total, wait = call.get("total_seconds"), call.get("wait_seconds")
        if call.get("is_lost"):
            call["talk_seconds"] = 0
        elif total is not None and wait is not None:
            if wait > total:
                self.notes.append("wait_time_duration: more than total_time_duration; the talk time is not known")
            else:
                call["talk_seconds"], call["talk_derived"] = total - wait, True
