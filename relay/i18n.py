"""Puts what people read into their language: page, command line, reasons, alerts; moments and spans as they write them.

English stands in the code and is the key of the Russian catalogue (`relay/translations/`, gettext). Nothing that
programs read (`--json`, logs, metrics, answers to UIS) is translated.

What is said long before it is read (the reason of a delivery, a note of an event) is a Message: to programs its English
text, to people what `translate` makes of it; the store keeps its parts.
"""

from __future__ import annotations

import gettext as catalogues
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

LANGUAGES = ("ru", "en")
_FOLDER = Path(__file__).parent / "translations"
_language: ContextVar[str] = ContextVar("language", default="en")
_UTC = ZoneInfo("UTC")
_zone: ContextVar[ZoneInfo | None] = ContextVar("zone", default=None)


def language() -> str:
    """Return the language of what is being written: `ru` or `en`."""
    return _language.get()


def set_language(code: str) -> None:
    """Choose the language of this thread: of a request to the page, of a command."""
    _language.set(code if code in LANGUAGES else "en")


def set_zone(zone: ZoneInfo | None) -> None:
    """Choose by whose clock this thread writes the moments in what was said; None: each by its own."""
    _zone.set(zone)


@contextmanager
def in_language(code: str) -> Iterator[None]:
    """Write in a language for as long as the block lasts."""
    before = language()
    set_language(code)
    try:
        yield
    finally:
        set_language(before)


def language_of(environ: Mapping[str, str]) -> str:
    """Return the operator's language: of `RELAY_LANG`, else of `LANG` as every program reads it, else English."""
    named = next((environ[name] for name in ("RELAY_LANG", "LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
    return "ru" if named.lower().startswith("ru") else "en"


def bind_catalogue(code: str) -> None:
    """Give the libraries of this process that ask gettext itself the same catalogue: the command line's own words."""
    os.environ["LANGUAGE"] = code
    catalogues.bindtextdomain("relay", str(_FOLDER))
    catalogues.textdomain("relay")


@cache
def _catalogue(code: str) -> catalogues.NullTranslations:
    return catalogues.NullTranslations() if code == "en" else catalogues.translation("relay", _FOLDER, [code])


def gettext(text: str, /, **values: Any) -> str:
    """Return a text in the language, with its `%(name)s` filled in."""
    return _filled(_catalogue(language()).gettext(text), values)


def plural(one: str, many: str, count: int) -> str:
    """Return the form of a text that fits a number, its names not yet filled in."""
    return _catalogue(language()).ngettext(one, many, count)


def ngettext(one: str, many: str, /, count: int, **values: Any) -> str:
    """Return the form of a text that fits a number, with `%(count)s` and its other names filled in."""
    return _filled(plural(one, many, count), {"count": count, **values})


def moment(at: datetime | None, zone: ZoneInfo) -> str:
    """Write `02.03.2026 12:45:59` in Russian, `2026-03-02 12:45:59` in English."""
    if at is None:
        return "–"
    return at.astimezone(zone).strftime("%d.%m.%Y %H:%M:%S" if language() == "ru" else "%Y-%m-%d %H:%M:%S")


def local(at: datetime | None, zone: ZoneInfo) -> str:
    """Write a moment by a clock, and by which one where that of this thread shows another time."""
    return moment(at, zone) + ("" if at is None else difference(at, zone, _zone.get() or zone))


def difference(at: datetime, zone: ZoneInfo, usual: ZoneInfo) -> str:
    """Write ` UTC+04:00` for a clock that shows another time than the usual one; else nothing."""
    there = at.astimezone(zone)
    if there.utcoffset() == at.astimezone(usual).utcoffset():
        return ""
    hours = f"{there:%z}"
    return f" UTC{hours[:3]}:{hours[3:5]}"


def took(milliseconds: int) -> str:
    """Write how long something took: `340 ms`, `2.1 s`."""
    if milliseconds < 1000:
        return gettext("%(count)s ms", count=milliseconds)
    return gettext("%(count)s s", count=f"{milliseconds / 1000:.1f}")


def age(span: timedelta) -> str:
    """Write the largest unit that fits, whole."""
    seconds = max(0, int(span.total_seconds()))
    for size, text in ((86400, "%(count)s d"), (3600, "%(count)s h"), (60, "%(count)s min")):
        if seconds >= size:
            return gettext(text, count=seconds // size)
    return gettext("%(count)s s", count=seconds)


# --- what is said now, and read later

WITH_REASON = "%(text)s (%(reason)s)"
"""A template that is the same in every language."""
MARK = "\x1e"  # no text of a target's begins so: they are kept in one line, and this is white space

Value = str | int | datetime | timedelta
"""What a Message keeps of a value; anything else as its text."""


class Message(str):
    """English text that knows its template and its values: other Messages, a target's own words, names, moments.

    A literal template is found by the catalogue's extractor; `fill` gives it its values later.
    """

    template: str
    values: Mapping[str, Value]

    def __new__(cls, template: str, /, **values: object) -> Message:
        """Raises KeyError when values are given and a name of the template is not among them."""
        kept = {name: value if isinstance(value, Value) else str(value) for name, value in values.items()}
        message = super().__new__(cls, template % {k: _plain(v) for k, v in kept.items()} if kept else template)
        message.template, message.values = template, kept
        return message

    def fill(self, **values: object) -> Message:
        return Message(self.template, **self.values, **values)

    def map(self, by: Callable[[str], str]) -> Message:
        """Return the message with the words among its values changed."""
        values = {name: change(each, by) if isinstance(each, str) else each for name, each in self.values.items()}
        return Message(self.template, **values)


def join(*parts: str, by: str = "; ") -> str:
    """Return the parts that are not empty, one after the other; a Message where one of them is."""
    present = [part for part in parts if part]
    if len(present) < 2 or not any(isinstance(part, Message) for part in present):
        return by.join(present) if len(present) != 1 else present[0]
    names = [f"p{number}" for number in range(len(present))]
    return Message(by.join(f"%({name})s" for name in names), **dict(zip(names, present, strict=True)))


def change(text: str, by: Callable[[str], str]) -> str:
    """Return a text with what is not the relay's own in it changed: of a Message only its values."""
    return text.map(by) if isinstance(text, Message) else by(text)


def translate(text: str, zone: ZoneInfo | None = None) -> str:
    """Return a text in the language; moments in it by this zone's clock, the thread's unless given."""
    if not isinstance(text, Message):
        return text
    return _filled(_catalogue(language()).gettext(text.template), text.values, zone)


def encode(text: str) -> str:
    """Return what the store keeps of a text."""
    return MARK + json.dumps(_parts(text), ensure_ascii=False) if isinstance(text, Message) else text


def decode(text: str) -> str:
    """Return a text as it was said; one that an older program kept stays as it is."""
    if not text.startswith(MARK):
        return text
    try:
        return _message(json.loads(text[len(MARK) :]))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):  # no program of ours has written it
        return text[len(MARK) :]


def _parts(value: Value) -> object:
    if isinstance(value, Message):
        return [value.template, {name: _parts(each) for name, each in value.values.items()}]
    if isinstance(value, datetime):
        return {"at": value.astimezone(UTC).isoformat()}
    return {"s": value.total_seconds()} if isinstance(value, timedelta) else value


def _message(parts: list[Any]) -> Message:
    template, values = parts
    return Message(template, **{name: _value(each) for name, each in values.items()})


def _value(parts: Any) -> Value:
    if isinstance(parts, list):
        return _message(parts)
    if isinstance(parts, dict):
        return datetime.fromisoformat(parts["at"]) if "at" in parts else timedelta(seconds=parts["s"])
    return parts if isinstance(parts, int) else str(parts)


def _plain(value: Value) -> object:
    """Return a value as English text has it: a moment as records are printed."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds") if isinstance(value, datetime) else value


def _filled(text: str, values: Mapping[str, Any], zone: ZoneInfo | None = None) -> str:
    return text % {name: _shown(value, zone) for name, value in values.items()} if values else text


def _shown(value: Value, zone: ZoneInfo | None) -> object:
    if isinstance(value, Message):
        return translate(value, zone)
    if isinstance(value, datetime):
        return moment(value, zone or _zone.get() or _UTC)
    return age(value) if isinstance(value, timedelta) else value


def said(exc: BaseException) -> str:
    """Return the text of an error, as the Message that it was raised with; of the system's what it says of a file."""
    if isinstance(exc, OSError) and exc.errno and (exc.strerror or "").startswith(os.strerror(exc.errno)):
        return Message(os.strerror(exc.errno))
    return exc.args[0] if len(exc.args) == 1 and isinstance(exc.args[0], Message) else str(exc)


_LABELS = {  # of a CallEvent's fields that people ask about; the name that UIS gives stands beside it
    "kind": Message("kind"),
    "session_id": Message("call session"),
    "direction": Message("direction"),
    "started_at": Message("began"),
    "finished_at": Message("ended"),
    "notified_at": Message("notified"),
    "virtual_number": Message("line"),
    "caller": Message("who called"),
    "callee": Message("who was called"),
    "client_number": Message("client"),
    "employee_number": Message("employee's number"),
    "extension": Message("extension"),
    "employee_ids": Message("employees"),
    "contact_id": Message("contact"),
    "total_seconds": Message("lasted, s"),
    "wait_seconds": Message("waited, s"),
    "talk_seconds": Message("talked, s"),
    "finish_reason": Message("how it ended"),
    "is_lost": Message("lost"),
    "lost_reason": Message("why it was lost"),
    "lost_by": Message("lost by"),
    "record_link": Message("recording"),
    "wav_records": Message("recordings, wav"),
    "call_source": Message("source of the call"),
    "scenario": Message("scenario"),
    "external_id": Message("external id"),
    "notification_name": Message("notification"),
}


def field_label(name: str) -> str:
    """Return what people call a field of a call, with its name where that says more."""
    label = _LABELS.get(name)
    return name if label is None else f"{translate(label)} ({name})"
