"""Reads a body: its text, then strict JSON, else damaged JSON, or a form, or a query string."""

from __future__ import annotations

import codecs
import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

from relay.errors import MalformedEvent
from relay.i18n import Message
from relay.models import Event
from relay.uis import json_repair
from relay.uis.json_repair import finite, refuse
from relay.uis.variables import JSON, PLACEHOLDER, SECRETS, VARIABLES, Ambiguous, Unfilled

_TOO_DEEP = Message("the body is nested too deeply to be a notification")
_UTF8_SEQUENCES = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH = re.compile(rb"[\x80-\xff]")
_LOOKS_LIKE_FORM = re.compile(r"[\w.\-\[\]%+]{1,100}=")
_LINE_BREAK = re.compile(rb"\n|%0a", re.IGNORECASE)
# backwards, so that only what stands before a `=` is looked at
_GLUED = re.compile(b"=(" + b"|".join(name.encode()[::-1] for name in sorted(VARIABLES, key=len, reverse=True)) + b")")

_DEPTH_MAX = 64  # of lists and objects in each other: far from what any library's recursion bears
for _encoding in ("cp1251", "utf-16-le"):
    codecs.lookup(_encoding)  # from a file: when the first body that needs it comes, there may be no descriptor left
_DECODER = json.JSONDecoder(parse_constant=refuse, parse_float=finite)  # to make one costs more than to use it

# What is kept of a body must not outgrow it, whatever stands in it: different values of a name that are told of, and
# characters of each.
_VALUES_MAX, _VALUE_MAX = 5, 500


@dataclass(frozen=True, slots=True)
class ParsedBody:
    """A body's fields in their order and spelling, before anything is made of them."""

    pairs: tuple[tuple[str, JSON], ...]
    shape: Literal["json", "repaired", "form"]  #: strict JSON, JSON that was damaged, a form or a query
    notes: tuple[str, ...] = ()

    @property
    def is_flat(self) -> bool:
        return not any(isinstance(value, dict) for _, value in self.pairs)


NO_FIELDS = ParsedBody((), "form")


def read(raw: bytes, *, is_query: bool = False) -> ParsedBody:
    """Read the bytes of a body, or of a query string, whatever the Content-Type claimed. Raises MalformedEvent."""
    text, notes = decode(raw)
    text = text.lstrip("\ufeff \t\r\n\x00")
    if not text.strip("\x00 \t\r\n"):
        raise MalformedEvent("the body is empty: check the notification's template in the UIS cabinet")
    body = _read_form(raw.strip()) if is_query or _LOOKS_LIKE_FORM.match(text) else _read_json(text)
    return ParsedBody(tuple(_without_secrets(body.pairs)), body.shape, (*notes, *body.notes))


def read_event(event: Event) -> ParsedBody:
    """Read an event's body, the operator's version where there is one. Raises MalformedEvent."""
    return read(event.raw, is_query=event.is_query_string) if event.edited is None else read(event.edited)


def read_beside(query: bytes) -> ParsedBody:
    """Read the query beside a body, whose parameters never cost the event."""
    try:
        return read(query, is_query=True) if query else NO_FIELDS
    except MalformedEvent:
        return ParsedBody((), "form", ("the parameters in the address could not be read, and were left out",))


def _read_json(text: str) -> ParsedBody:
    try:
        try:
            body = _strict(text)
        except ValueError:  # not JSON, or a number of thousands of digits
            pairs, damage = json_repair.read(text)
            body = ParsedBody(tuple(pairs), "repaired", tuple(damage))
    except RecursionError as exc:
        raise MalformedEvent(_TOO_DEEP) from exc
    if is_deep(value for _, value in body.pairs):
        raise MalformedEvent(_TOO_DEEP)
    return body


def _strict(text: str) -> ParsedBody:
    """Read strict JSON. Raises ValueError when it is not strict JSON, MalformedEvent when it is but not an object."""
    doubled: list[str] = []
    outermost: Sequence[tuple[str, JSON]] = []

    def agreed(name: str, values: list[JSON]) -> JSON:
        different = _different(values)
        if len(different) == 1:
            return different[0]
        doubled.append(Message("%(key)s: stands twice with different values; left empty", key=name))
        return _any_of(different)

    def collect(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
        nonlocal outermost
        outermost = _merged(pairs, agreed)
        return dict(outermost)

    value = json.loads(text, object_pairs_hook=collect, parse_constant=refuse, parse_float=finite)
    if not isinstance(value, dict):
        raise MalformedEvent("the body is JSON but not an object {…}: check the template in the UIS cabinet")
    pairs = [(name, _emptied(value, 1)) for name, value in outermost] if doubled else outermost
    return ParsedBody(tuple(pairs), "json", tuple(doubled))


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


def _emptied(value: JSON, depth: int) -> JSON:
    """Leave `Ambiguous` only where fields are looked for, in the body and in its groups: below them it is null."""
    if isinstance(value, dict):
        return {name: _emptied(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_emptied(item, depth + 1) for item in value]
    return None if depth > 2 and isinstance(value, Ambiguous) else value


def _without_secrets(pairs: Iterable[tuple[str, JSON]], *, is_nested: bool = False) -> Iterator[tuple[str, JSON]]:
    """Yield the fields without the secrets, with the placeholders that were left marked; those of groups too."""
    for key, value in pairs:
        if key.strip().lower() in SECRETS:
            continue
        if type(value) is str and is_unsubstituted(value, key):
            yield key, Unfilled(value)
        elif isinstance(value, dict) and not is_nested:
            yield key, dict(_without_secrets(value.items(), is_nested=True))
        else:
            yield key, value


def is_unsubstituted(value: str, key: str) -> bool:
    """Is this text no value, but a placeholder, or the bare name of the very field? Another's may be a constant."""
    if "{{" in value:
        return PLACEHOLDER.fullmatch(value.strip()) is not None
    name = value.strip()
    return name in VARIABLES and name == key.strip().lower()


def _read_form(raw: bytes) -> ParsedBody:
    """Return the fields of a form: text, None where it is empty, a list for a JSON list or a name that stands often."""
    notes: list[str] = []
    fields: list[tuple[str, str]] = []
    behind: dict[int, list[str]] = {}  # what stands behind raw `&`, by the field that it may belong to
    for piece in _pieces(raw, notes):
        name, equals, value = piece.partition("=")
        if not equals and fields:  # a raw `&` inside the value before it, or a name without a value?
            behind.setdefault(len(fields) - 1, []).append(name)
        elif name:
            fields.append((name, value))
    pairs = [(name, _form_value(value, behind.get(at, ()), name, notes)) for at, (name, value) in enumerate(fields)]
    return ParsedBody(tuple(_merged(pairs, _one_or_list)), "form", tuple(notes))


def _pieces(raw: bytes, notes: list[str]) -> list[str]:
    """Return the decoded `name=value` pieces; decoded as one text, so that the encoding is judged by all of it."""
    pieces = _LINE_BREAK.sub(b"\x00", raw).replace(b"+", b" ").split(b"&")
    parts = [part for piece in pieces if piece for part in _unglue(piece, notes)]
    whole, remarks = decode(unquote_to_bytes(b"\n".join(parts)))
    notes.extend(remarks)
    return [part.replace("\x00", "\n") for part in whole.split("\n")]


def _unglue(piece: bytes, notes: list[str]) -> list[bytes]:
    """Split `direction=incall_session_id=1` where the name of a variable follows without an `&`."""
    if piece.count(b"=") < 2:
        return [piece]
    backwards = piece.lower()[::-1]
    parts: list[bytes] = []
    end = len(piece)
    for match in _GLUED.finditer(backwards, 0, len(piece) - piece.index(b"=") - 1):
        start = len(piece) - match.end()
        if piece[start - 1 : start] != b"_":
            parts.append(piece[start:end])
            end = start
            notes.append(Message("before %(name)s an & was missing", name=match[1][::-1].decode()))
    return [piece[:end], *reversed(parts)]


def _form_value(value: str, behind: Sequence[str], name: str, notes: list[str]) -> JSON:
    if behind:
        notes.append(Message("%(name)s: an unescaped & stands in it; left empty", name=name))
        return Ambiguous("&".join((value, *behind)))
    text = value.strip()
    if text[:1] == "[" and text[-1] == "]":
        with contextlib.suppress(ValueError):
            return from_json(text)
    return value if text else None


def _one_or_list(name: str, values: list[JSON]) -> JSON:
    """Make a list of `ids=1&ids=2`, as a form writes it, and one value of what is only repeated."""
    present = (value for value in values if value is not None)
    filled = [value for value in present if not (isinstance(value, str) and is_unsubstituted(value, name))]
    if not filled:
        return values[0]
    alike = _different(filled)
    if len(alike) > 1 and any(isinstance(value, Ambiguous) for value in filled):
        return _any_of(alike)
    return filled if len(alike) > 1 else alike[0]


def _merged(pairs: Sequence[tuple[str, JSON]], merge: Callable[[str, list[JSON]], JSON]) -> Sequence[tuple[str, JSON]]:
    """Make one of the names that stand more than once, by all of their values, in the spelling of the first."""
    if len({name.lower() for name, _ in pairs}) == len(pairs):
        return pairs
    groups: dict[str, tuple[str, list[JSON]]] = {}
    for name, value in pairs:
        groups.setdefault(name.lower(), (name, []))[1].append(value)
    return [(name, values[0] if len(values) == 1 else merge(name, values)) for name, values in groups.values()]


def _any_of(values: Iterable[JSON]) -> Ambiguous:
    """Keep the text of a name's different values, so much of it as people need."""
    return Ambiguous(" or ".join(_shown(value) for value in values))


def _different(values: Iterable[JSON]) -> list[JSON]:
    """Return the first few values that differ, in type too."""
    kept: list[JSON] = []
    for value in values:
        if all(value != other or type(value) is not type(other) for other in kept):
            kept.append(value)
            if len(kept) == _VALUES_MAX:
                break
    return kept


def _shown(value: JSON) -> str:
    text = value.text if isinstance(value, Ambiguous) else repr(value)
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}…"


def decode(raw: bytes) -> tuple[str, tuple[str, ...]]:
    """Return the text, UTF-8 or windows-1251, and notes. Raises MalformedEvent when no reading is certain."""
    notes: list[str] = []
    if raw.startswith(codecs.BOM_UTF8):
        raw = raw.removeprefix(codecs.BOM_UTF8)
        notes.append(Message("a byte order mark was removed"))
    try:
        return raw.decode("utf-8"), tuple(notes)
    except UnicodeDecodeError:
        text, note = _decode_legacy(raw)
        return text, (*notes, note)


def charset(raw: bytes) -> Literal["utf-8", "windows-1251"]:
    """Return the encoding that `decode` reads these bytes in, where it reads them at all."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return "utf-8" if _is_damaged_utf8(*_count(raw)) else "windows-1251"
    return "utf-8"


def _count(raw: bytes) -> tuple[int, int]:
    """Return how many bytes above ASCII stand in sequences of UTF-8, and how many do not."""
    high = len(_HIGH.findall(raw))
    in_sequences = sum(len(match) for match in _UTF8_SEQUENCES.findall(raw))
    return in_sequences, high - in_sequences


def _is_damaged_utf8(in_sequences: int, stray: int) -> bool:
    """Is it UTF-8 all the same? As windows-1251 every other letter would be wrong."""
    return in_sequences >= 4 * stray


def _decode_legacy(raw: bytes) -> tuple[str, str]:
    in_sequences, stray = _count(raw)
    if _is_damaged_utf8(in_sequences, stray):
        note = Message("%(count)s bytes are not UTF-8 and were replaced by U+FFFD", count=stray)
        return raw.decode("utf-8", "replace"), note
    if in_sequences > stray:
        raise MalformedEvent("the text is neither UTF-8 nor windows-1251: send it in UTF-8, or mend it with `edit`")
    try:
        return raw.decode("cp1251"), Message("decoded from windows-1251")
    except UnicodeDecodeError as exc:
        raise MalformedEvent("the text is neither UTF-8 nor windows-1251: is this a notification at all?") from exc
