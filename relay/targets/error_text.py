"""Texts out of answers: bytes to words, pages to words, the header Retry-After. Pure."""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

BROKEN_OFF = "the answer broke off: what was asked may have been done"
_WAIT_MAX_S = 10**8  # three years: what is longer is no time, and timedelta and datetime have an end
_DIGITS_MAX = 9
_WORDS_MAX = 500
_PATTERN_MAX = 4096  # signs of a text that patterns look at; a target may answer anything, and no answer costs time
_PAGE_MAX = 4 * _PATTERN_MAX  # of a page, which may begin with a long style
_HIDDEN = re.compile(r"<(/?)(title|style|script)\b[^<>]*>?", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*(?:>|\Z)")
_BEGINS_A_PAGE = re.compile(r"<(?:!doctype\s{1,9}html|html|body)\b", re.IGNORECASE)


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


def is_page(text: str) -> bool:
    """Is it a page for people, and no document for programs?"""
    return bool(_BEGINS_A_PAGE.search(text[:_PATTERN_MAX])) if text.lstrip()[:1] == "<" else False


def without_markup(page: str) -> str:
    """The words of an HTML page, without its title."""
    return html.unescape(_TAG.sub(" ", _without_hidden(page)[:_PATTERN_MAX]))


def _without_hidden(page: str) -> str:
    """A page without what it does not show. Looks at each sign once, however often the page begins such an element."""
    shown, begins, hidden = [], 0, ""
    page = page[:_PAGE_MAX]
    for tag in _HIDDEN.finditer(page):
        is_end, name = bool(tag[1]), tag[2].lower()
        if not hidden and not is_end:
            shown.append(page[begins : tag.start()])
            hidden = name
        elif is_end and name == hidden:
            begins, hidden = tag.end(), ""
    return " ".join(shown if hidden else [*shown, page[begins:]])


def said(value: object) -> str:
    """A text or a number out of a document, cut; empty for what is neither: to print a deep list costs the stack."""
    if isinstance(value, str):
        return value[:_PATTERN_MAX]
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def words(body: bytes) -> str:
    """What an answer says, page or text, in one line of at most 500 characters."""
    text = decoded(body).strip()
    text = without_markup(text) if text.startswith("<") else text[:_PATTERN_MAX]
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
