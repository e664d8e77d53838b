"""Bytes to text: UTF-8, with or without a byte order mark, or windows-1251."""

from __future__ import annotations

import codecs
import re
from typing import Literal

from relay.errors import MalformedEvent

_UTF8_SEQUENCES = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH = re.compile(rb"[\x80-\xff]")


def decode(raw: bytes) -> tuple[str, tuple[str, ...]]:
    """The text and what had to be noted on the way. Raises MalformedEvent when no reading is certain."""
    notes: list[str] = []
    if raw.startswith(codecs.BOM_UTF8):
        raw = raw[len(codecs.BOM_UTF8) :]
        notes.append("a byte order mark was removed")
    try:
        return raw.decode("utf-8"), tuple(notes)
    except UnicodeDecodeError:
        return _decode_legacy(raw, notes)


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
    in_sequences = sum(len(found) for found in _UTF8_SEQUENCES.findall(raw))
    return in_sequences, high - in_sequences


def _is_damaged_utf8(in_sequences: int, stray: int) -> bool:
    """Is it UTF-8 all the same? As windows-1251 every other letter would be wrong."""
    return in_sequences >= 4 * stray


def _decode_legacy(raw: bytes, notes: list[str]) -> tuple[str, tuple[str, ...]]:
    in_sequences, stray = _count(raw)
    if _is_damaged_utf8(in_sequences, stray):
        return raw.decode("utf-8", "replace"), (*notes, f"{stray} bytes are not UTF-8 and were replaced by U+FFFD")
    if in_sequences > stray:
        raise MalformedEvent("the text is neither UTF-8 nor windows-1251: send it in UTF-8, or mend it with `edit`")
    try:
        return raw.decode("cp1251"), (*notes, "decoded from windows-1251")
    except UnicodeDecodeError as exc:
        raise MalformedEvent("the text is neither UTF-8 nor windows-1251: is this a notification at all?") from exc
