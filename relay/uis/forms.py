"""Reads a form-encoded body or a query string: `name=value&name=value`, also with an `&` missing between two."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from relay.uis import coerce
from relay.uis.encoding import decode
from relay.uis.parsed_body import JSON, Ambiguous, ParsedBody, different, in_doubt, merged
from relay.uis.variables import VARIABLES, is_unsubstituted

_LOOKS = re.compile(r"[\w.\-\[\]%+]{1,100}=")
_LINE_BREAK = re.compile(rb"\n|%0a", re.IGNORECASE)
# backwards, so that only what stands before a `=` is looked at
_GLUED = re.compile(b"=(" + b"|".join(name.encode()[::-1] for name in sorted(VARIABLES, key=len, reverse=True)) + b")")


def looks_like_form(text: str) -> bool:
    return _LOOKS.match(text) is not None


def read(raw: bytes) -> ParsedBody:
    """The fields of a form. Values are text; empty ones are None; JSON lists, and names that stand often, are lists."""
    notes: list[str] = []
    given: list[tuple[str, str]] = []
    behind: dict[int, list[str]] = {}  # what stands behind raw `&`, by the field that it may belong to
    for piece in _pieces(raw, notes):
        name, equals, value = piece.partition("=")
        if not equals and given:  # a raw `&` inside the value before it, or a name without a value?
            behind.setdefault(len(given) - 1, []).append(name)
        elif name:
            given.append((name, value))
    pairs = [(name, _value(value, behind.get(at, ()), name, notes)) for at, (name, value) in enumerate(given)]
    return ParsedBody(tuple(merged(pairs, _one_or_list)), "form", tuple(notes))


def _pieces(raw: bytes, notes: list[str]) -> list[str]:
    """Decoded `name=value` pieces. The bytes are decoded as one text, so that the encoding is judged by all."""
    pieces = _LINE_BREAK.sub(b"\x00", raw).replace(b"+", b" ").split(b"&")
    parts = [part for piece in pieces if piece for part in _unglue(piece, notes)]
    whole, remarks = decode(unquote_to_bytes(b"\n".join(parts)))
    notes.extend(remarks)
    return [part.replace("\x00", "\n") for part in whole.split("\n")]


def _unglue(piece: bytes, notes: list[str]) -> list[bytes]:
    """Splits `direction=incall_session_id=1` where the name of a variable follows without an `&`."""
    if piece.count(b"=") < 2:
        return [piece]
    backwards = piece.lower()[::-1]
    parts: list[bytes] = []
    end = len(piece)
    for found in _GLUED.finditer(backwards, 0, len(piece) - piece.index(b"=") - 1):
        start = len(piece) - found.end()
        if piece[start - 1 : start] != b"_":
            parts.append(piece[start:end])
            end = start
            notes.append(f"before {found[1][::-1].decode()} an & was missing")
    return [piece[:end], *reversed(parts)]


def _value(value: str, behind: Sequence[str], name: str, notes: list[str]) -> JSON:
    if behind:
        notes.append(f"{name}: an unescaped & stands in it; left empty")
        return Ambiguous("&".join((value, *behind)))
    text = value.strip()
    if not text:
        return None
    if text[0] == "[" and text[-1] == "]":
        try:
            return coerce.from_json(text)
        except ValueError:
            return value
    return value


def _one_or_list(name: str, found: list[JSON]) -> JSON:
    """`ids=1&ids=2` is how a form writes a list; a value that is only repeated is one value."""
    filled = [value for value in found if value is not None and not _is_left(value, name)]
    if not filled:
        return found[0]
    alike = different(filled)
    if len(alike) > 1 and any(isinstance(value, Ambiguous) for value in filled):
        return in_doubt(alike)
    return filled if len(alike) > 1 else alike[0]


def _is_left(value: JSON, name: str) -> bool:
    return isinstance(value, str) and is_unsubstituted(value, name)
