"""What one value of a damaged body says: a piece of text that is not strict JSON, on its own."""

from __future__ import annotations

import json
import re

from relay.errors import MalformedEvent
from relay.uis import coerce
from relay.uis.parsed_body import JSON, Ambiguous, Unfilled
from relay.uis.variables import PLACEHOLDER, VARIABLES

_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt])|(.?))', re.DOTALL)
_ESCAPED = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_NAME_AND_COLON = re.compile(r"""["']?\b(\w+)["']\s*:""")
_PLAIN_TEXT = re.compile(r"[^\"'{}\[\]\\\n]+")


LENIENT = json.JSONDecoder(strict=False, parse_constant=coerce.refuse, parse_float=coerce.finite)
"""Strict JSON but for raw line breaks inside strings."""


def interpret(piece: str, key: str) -> tuple[JSON, str]:
    """The value of a piece, and what is to be noted of it. In doubt the value is `Unread`.

    Raises MalformedEvent when it seems to hold other fields.
    """
    is_bare_name = piece in VARIABLES and (piece == key.lower() or "_" in piece)  # without quotes it is no constant
    if is_bare_name or PLACEHOLDER.fullmatch(piece):
        return Unfilled(piece), f"{key}: a placeholder was left unfilled"
    if piece[0] in "\"'" and piece[-1] == piece[0] and len(piece) > 1:
        return _quoted(piece[1:-1], piece[0], key)
    if piece[0] == "[" and piece[-1] == "]":
        return _list(piece, key)
    if _PLAIN_TEXT.fullmatch(piece):
        return piece, f"{key}: text without quotes"
    return _in_doubt(piece, key)


def may_be_whole(text: str, start: int, end: int) -> bool:
    """Could this be a whole value: does it end with the quote or bracket that it began with?"""
    if text[start] in "'\"":
        return end - start > 1 and text[end - 1] == text[start]
    return text[start] != "[" or text[end - 1] == "]"


def _quoted(inner: str, quote: str, key: str) -> tuple[JSON, str]:
    if any(found[1].lower() in VARIABLES for found in _NAME_AND_COLON.finditer(inner)):
        raise MalformedEvent(f"{key}: a quote is missing, so it is not certain which text belongs to it")
    stripped = inner.strip()
    if quote == "'" == stripped[:1] == stripped[-1:] and len(stripped) > 1 and "'" not in stripped[1:-1]:
        return stripped[1:-1], f"{key}: the placeholder was quoted in the template"
    doubled = stripped[:1] == quote == stripped[-1:] or quote * 2 in inner
    if doubled or (stripped[:1] == '"' == stripped[-1:]):
        return _in_doubt(inner, key)  # a quoted placeholder, or quotes of the text's own?
    text = _unescape(inner)
    if text is None:
        return _in_doubt(inner, key)
    return text, f"{key}: " + ("single quotes" if quote == "'" else "unescaped quotes inside the value")


def _list(piece: str, key: str) -> tuple[JSON, str]:
    mended = re.sub(r",\s*\]$", "]", piece)
    if '"' not in mended:
        mended = mended.replace("'", '"')
    try:
        return LENIENT.decode(mended), f"{key}: the list was repaired"
    except ValueError:
        return _in_doubt(piece, key)


def _in_doubt(piece: str, key: str) -> tuple[JSON, str]:
    return Ambiguous(piece), f"{key}: can be read in more than one way; left empty"


def _unescape(inner: str) -> str | None:
    """The text with its JSON escapes resolved; None when one of them is no escape at all."""
    bad = False

    def resolve(found: re.Match[str]) -> str:
        nonlocal bad
        if found[1]:
            return chr(int(found[1], 16))
        if found[2]:
            return _ESCAPED[found[2]]
        bad = True
        return ""

    text = _ESCAPE.sub(resolve, inner)
    return None if bad else text
