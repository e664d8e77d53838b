"""Reads a form-encoded body or a query string: `name=value&name=value`, also with an `&` missing between two."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote_to_bytes

from relay.uis.encoding import decode
from relay.uis.reading import JSON, Reading, Unread, one_of_each
from relay.uis.variables import VARIABLES

_LOOKS = re.compile(r"[\w.\-\[\]%+]{1,100}=")
_KNOWN = sorted(VARIABLES, key=len, reverse=True)
_GLUED = re.compile("(?i)(" + "|".join(_KNOWN) + ")=")


def looks_like_form(text: str) -> bool:
    return _LOOKS.match(text) is not None


def read(raw: bytes) -> Reading:
    """The fields of a form. Values are text; empty ones are None; JSON lists are lists."""
    notes: list[str] = []
    pairs: list[tuple[str, JSON]] = []
    for piece in _pieces(raw, notes):
        name, equals, value = piece.partition("=")
        if not equals and pairs:  # a raw `&` inside the value before it, or a name without a value?
            key, before = pairs[-1]
            pairs[-1] = (key, Unread(f"{before.text if isinstance(before, Unread) else before}&{name}"))
            notes.append(f"{key}: an unescaped & stands in it; left empty")
        elif name:
            pairs.append((name, _value(value)))
    return Reading(tuple(one_of_each(pairs, notes)), "form", tuple(dict.fromkeys(notes)))


def _pieces(raw: bytes, notes: list[str]) -> list[str]:
    """Decoded `name=value` pieces. The bytes are decoded as one text, so that the encoding is judged by all."""
    glued = [part for piece in raw.split(b"&") if piece for part in _unglue(piece, notes)]
    whole, remarks = decode(
        b"\n".join(unquote_to_bytes(part.replace(b"+", b"%20")).replace(b"\n", b"\x00") for part in glued)
    )
    notes.extend(remarks)
    return [part.replace("\x00", "\n") for part in whole.split("\n")]


def _unglue(piece: bytes, notes: list[str]) -> list[bytes]:
    """Splits `direction=incall_session_id=1` where the name of a variable follows without an `&`."""
    text = piece.decode("latin-1")
    start = text.find("=") + 1
    if start == 0:
        return [piece]
    parts: list[str] = []
    head = 0
    for found in _GLUED.finditer(text, start):
        if found.start() > start - 1 and text[found.start() - 1] != "_":
            parts.append(text[head : found.start()])
            head = found.start()
            notes.append(f"before {found[1]} an & was missing")
    return [part.encode("latin-1") for part in (*parts, text[head:])]


def _value(value: str) -> JSON:
    text = value.strip()
    if not text:
        return None
    if text.startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return value
    return value
