"""Reads what a target answers, whatever its kind: its words, what its web server says, how long it asks to wait.

Hides the target's own secrets there first: an error page may repeat the address, a header or the body. Pure.
"""

from __future__ import annotations

import codecs
import contextlib
import html
import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

from relay.config import Secret, Target, UisApi
from relay.i18n import Message

_WAIT_MAX_S = 10**8  # three years: what is longer is no time, and timedelta and datetime have an end
_DIGITS_MAX = 9
WORDS_MAX = 500
_PATTERN_MAX = 4096  # signs of a text that patterns look at; a target may answer anything, and no answer costs time
_PAGE_MAX = 4 * _PATTERN_MAX  # of a page, which may begin with a long style
# what a page does not show; always matches to the end, so that each sign is looked at once
_HIDDEN = re.compile(r"<(title|style|script)\b[^<>]*>?.*?(?:</\1\b[^<>]*>?|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^<>]*(?:>|\Z)")
_BEGINS_A_PAGE = re.compile(r"<(?:!doctype\s{1,9}html|html|body)\b", re.IGNORECASE)


def decoded(body: bytes) -> str:
    """Decode UTF-8, with or without a byte order mark (1C writes one), or the cp1251 of old web servers' pages."""
    body = body.removeprefix(codecs.BOM_UTF8)
    for encoding in ("utf-8", "cp1251"):
        with contextlib.suppress(UnicodeDecodeError):
            return body.decode(encoding)
    return body.decode("utf-8", "replace")


def is_page(text: str) -> bool:
    """Is it a page for people, and no document for programs?"""
    return bool(_BEGINS_A_PAGE.search(text[:_PATTERN_MAX])) if text.lstrip()[:1] == "<" else False


def without_markup(page: str) -> str:
    """Return the words of an HTML page, without its title."""
    return html.unescape(_TAG.sub(" ", _HIDDEN.sub(" ", page[:_PAGE_MAX])[:_PATTERN_MAX]))


def as_text(value: object) -> str:
    """Return a text or a number out of a document, cut; empty for the rest: to print a deep list costs the stack."""
    if isinstance(value, str):
        return value[:_PATTERN_MAX]
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def words(body: bytes) -> str:
    """Return what an answer says, page or text, in one line of at most 500 characters."""
    text = decoded(body).strip()
    return one_line(without_markup(text) if text.startswith("<") else text)


def one_line(text: str) -> str:
    """Return a text in one line of at most 500 characters."""
    return re.sub(r"\s+", " ", text[:_PATTERN_MAX]).strip()[:WORDS_MAX]


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Read the header in either of its forms: seconds, or a date. Header names are in lower case."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return timedelta(seconds=int(value) if len(value) < _DIGITS_MAX else _WAIT_MAX_S)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # 23:5999999999 is the latter
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(at - now, timedelta(0)), timedelta(seconds=_WAIT_MAX_S))


# --- statuses that say nothing of an event, but that the target is set up wrongly: a web server or a proxy in front of
# --- the receiver gives them, and the next event would be answered the same

REMEDIES: dict[int, Message] = {
    402: Message("it is not paid for"),
    407: Message("a proxy asks for a login: put it into `proxy`"),
    410: Message("nothing is at this address any more: mend the url"),
    411: Message("something on the way takes no request with a length of its own: ask who runs it"),
    415: Message("the address takes no such content: is it the receiver's own?"),
    421: Message("the web server does not serve this host name: mend the url"),
    423: Message("what the address leads to is locked: ask who runs it"),
    431: Message("the web server finds the headers too large: shorten `headers`, or let it take longer ones"),
    451: Message("it is blocked by law on the way: ask the provider"),
}
_OF_A_WEB_SERVER = re.compile(
    r"<center>(nginx|openresty|angie|tengine|cloudflare)|<address>Apache|Your browser sent a request that this server"
    r"|(HTTP Error|Ошибка HTTP) 400|\bIIS\b|Internet Information Services|<h1>(Server Error|Ошибка сервера)</h1>",
    re.IGNORECASE,
)
_NOT_THE_RECEIVER = Message("a web server answers, and not the receiver: mend the url (https? the host? the port?)")


def remedy(status: int, body: bytes) -> Message | None:
    """Return what is to be mended at the target; None when the status does not say that it is the target's fault."""
    if status == 400:
        page = decoded(body[:_PATTERN_MAX])
        return _NOT_THE_RECEIVER if is_page(page) and _OF_A_WEB_SERVER.search(page) else None
    return REMEDIES.get(status)


# --- a secret is hidden in every form in which pages repeat one: as it is, percent-encoded, escaped as HTML or JSON,
# --- and, of a login, as the Base64 of Basic

MASK = "***"
_MASK = MASK.encode()
_SHORTEST = 4  # bytes; to hide what is shorter would garble every answer, and keep nothing
_LONG = 8  # what is shorter is hidden only where it stands as a word


class Mask:
    """Hides certain secrets."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        self._long = sorted((form for form in forms if len(form) >= _LONG), key=len, reverse=True)
        short = [re.escape(form) for form in forms if _SHORTEST <= len(form) < _LONG]
        word = rb"[0-9A-Za-z_\x80-\xff]"
        self._short = re.compile(rb"(?<!%s)(?:%s)(?!%s)" % (word, b"|".join(short), word)) if short else None

    def __call__(self, content: bytes, *more: str) -> bytes:
        """Return the content without them, and without `more`."""
        if not content:
            return content
        for form in self._long:
            content = content.replace(form, _MASK)
        if self._short is not None and content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"["):
            content = self._short.sub(_MASK, content)  # a document's numbers may look like a short password
        return _mask_of(more)(content) if more else content

    def text(self, text: str, *more: str) -> str:
        return self(text.encode("utf-8", "surrogatepass"), *more).decode("utf-8", "replace")


@lru_cache(maxsize=32)
def _mask_of(secrets: tuple[str, ...]) -> Mask:
    return Mask(secrets)


def secrets_of(target: Target | UisApi) -> Iterator[str]:
    """Yield everything in a target's settings that must not be seen, whatever its key is called."""
    for name in target.__struct_fields__:
        yield from _within(getattr(target, name))
    username, password = getattr(target, "username", None), getattr(target, "password", None)
    if username and password:
        yield basic(username, password)


def _within(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple):
        for each in value:
            yield from _within(each)
    if isinstance(value, Secret):
        yield value
        yield from (word for word in value.split() if len(word) >= _LONG)  # `Bearer …`
    if isinstance(value, str) and ("://" in value or "@" in value):
        yield from _in_address(value, is_secret=isinstance(value, Secret))


def _in_address(address: str, *, is_secret: bool) -> Iterator[str]:
    """Yield a login in it, the values of its query, and, when the address itself is a secret, its path."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
    except ValueError:
        return
    if parts.password:
        yield from (parts.password, basic(parts.username or "", parts.password))
    for pair in parts.query.split("&"):
        yield pair.partition("=")[2]
    yield from (value for _, value in parse_qsl(parts.query))
    if is_secret and (path := parts.path.strip("/")):
        yield from (path, path.rpartition("/")[2])


def basic(username: str, password: str) -> str:
    """Return a login as HTTP's Basic has it."""
    return b64encode(f"{username}:{password}".encode()).decode("ascii")


def _forms(secret: str) -> set[bytes]:
    secret = secret.encode("utf-8", "ignore").decode()  # the environment may hold half a letter
    percent = [quote(secret, safe=""), quote(secret), quote_plus(secret)]
    percent += [re.sub("%..", lambda code: code[0].lower(), form) for form in percent]
    escaped = [html.escape(secret).replace("&#x27;", quotation) for quotation in ("&#x27;", "&#39;", "&#039;")]
    in_json = [json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)]
    in_json += [form.replace("/", "\\/") for form in in_json]
    texts = (secret, *percent, *escaped, html.escape(secret, quote=False), *in_json)
    forms = {text.encode() for text in texts}
    with contextlib.suppress(UnicodeEncodeError):
        forms.add(secret.encode("cp1251"))  # of an old web server
    return forms
