"""Finds a phone number in whatever text, however it is spelt there: `+7 (900) …`, `8900…`, percent-encoded. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

MASK = "…"

_BETWEEN = r"""[^0-9A-Za-z"',:;=&<>{}\[\]]{0,6}"""  # blanks, brackets, dashes; nothing that ends a value
_BEFORE = rf"(?<![0-9])(?:(?:00|8{_BETWEEN}10){_BETWEEN})?(?:[78]{_BETWEEN})?"  # abroad; the country or the trunk
_ESCAPED = re.compile(rb"\\u[0-9a-fA-F]{4}")
_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789"))


def mentions(text: bytes | str | None, digits: str) -> bool:
    """Does the number stand in the text? `digits`: its significant ones."""
    if not text:
        return False
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    plain = unquote_to_bytes(data.replace(b"+", b" ")) if b"%" in data else data
    plain = _ESCAPED.sub(b" ", plain)
    if digits.encode() not in plain.translate(None, _NO_DIGITS):  # nearly all texts: a pattern would take its time
        return False
    return _in_bytes(digits).search(plain) is not None


def mask(text: str, digits: str) -> str:
    """Return the text without the number. It is not meant for what is encoded once more."""
    return _in_text(digits).sub(MASK, text)


def _pattern(digits: str) -> str:
    return rf"\+?{_BEFORE}{_BETWEEN.join(digits)}(?![0-9])"


@lru_cache(maxsize=1)
def _in_bytes(digits: str) -> re.Pattern[bytes]:
    return re.compile(_pattern(digits).encode())


@lru_cache(maxsize=1)
def _in_text(digits: str) -> re.Pattern[str]:
    return re.compile(_pattern(digits), re.ASCII)
