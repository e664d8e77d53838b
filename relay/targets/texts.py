"""Texts out of answers: bytes to words, pages to words, the header Retry-After. Pure."""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_WAIT_MAX_S = 10**8  # three years: what is longer is no time, and timedelta and datetime have an end
_DIGITS_MAX = 9
_WORDS_MAX = 500


def decoded(body: bytes) -> str:
    """UTF-8, with or without a byte order mark (1C begins its texts with one); old web servers' pages are cp1251."""
    if body.startswith(codecs.BOM_UTF8):
        body = body[len(codecs.BOM_UTF8) :]
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        pass
    try:
        return body.decode("cp1251")
    except UnicodeDecodeError:
        return body.decode("utf-8", "replace")


def without_markup(page: str) -> str:
    """The words of an HTML page, without its title."""
    plain = re.sub(r"<(title|style|script)\b.*?</\1>", " ", page, flags=re.DOTALL | re.IGNORECASE)
    return html.unescape(re.sub(r"<[^>]+>", " ", plain))


def words(body: bytes) -> str:
    """What an answer says, page or text, in one line of at most 500 characters."""
    text = decoded(body).strip()
    text = without_markup(text) if text.startswith("<") else text
    return re.sub(r"\s+", " ", text).strip()[:_WORDS_MAX]


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """The header in either of its forms: seconds, or a date. Header names are in lower case."""
    given = headers.get("retry-after", "").strip()
    if not given:
        return None
    if given.isascii() and given.isdigit():
        return timedelta(seconds=int(given) if len(given) < _DIGITS_MAX else _WAIT_MAX_S)
    try:
        at = parsedate_to_datetime(given)
    except (ValueError, OverflowError):  # 23:5999999999 is the latter
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(at - now, timedelta(0)), timedelta(seconds=_WAIT_MAX_S))
