"""Hides a target's own secrets in what it answers: an error page may repeat the address, a header or the body.

Pure. A secret is hidden in every form in which pages repeat one: as it is, percent-encoded, escaped as HTML or JSON,
and, of a login, as the Base64 of Basic.
"""

from __future__ import annotations

import contextlib
import html
import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

from relay.config import Secret, Target

MASK = "***"
_MASK = MASK.encode()
_SHORTEST = 4  # bytes; to hide what is shorter would garble every answer, and keep nothing
_LONG = 8  # what is shorter is hidden only where it stands as a word


class Mask:
    """Of certain secrets."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        self._long = sorted((form for form in forms if len(form) >= _LONG), key=len, reverse=True)
        short = [re.escape(form) for form in forms if _SHORTEST <= len(form) < _LONG]
        word = rb"[0-9A-Za-z_\x80-\xff]"
        self._short = re.compile(rb"(?<!%s)(?:%s)(?!%s)" % (word, b"|".join(short), word)) if short else None

    def __call__(self, content: bytes, *more: str) -> bytes:
        """The content without them, and without `more`."""
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


def secrets_of(target: Target) -> Iterator[str]:
    """Everything in a target's settings that must not be seen, whatever its key is called."""
    for name in target.__struct_fields__:
        yield from _within(getattr(target, name))
    username, password = getattr(target, "username", None), getattr(target, "password", None)
    if username and password:
        yield _basic(username, password)


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
    """A login in it, the values of its query, and, when the address itself is a secret, its path."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
    except ValueError:
        return
    if parts.password:
        yield from (parts.password, _basic(parts.username or "", parts.password))
    for pair in parts.query.split("&"):
        yield pair.partition("=")[2]
    yield from (value for _, value in parse_qsl(parts.query))
    if is_secret and (path := parts.path.strip("/")):
        yield from (path, path.rpartition("/")[2])


def _basic(username: str, password: str) -> str:
    return b64encode(f"{username}:{password}".encode()).decode("ascii")


def _forms(secret: str) -> set[bytes]:
    secret = secret.encode("utf-8", "ignore").decode()  # the environment may hold half a letter
    percent = [quote(secret, safe=""), quote(secret), quote_plus(secret)]
    percent += [re.sub("%..", lambda code: code[0].lower(), form) for form in percent]
    escaped = html.escape(secret)
    in_json = [json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]]
    texts = [
        secret,
        *percent,
        html.escape(secret, quote=False),
        escaped,
        escaped.replace("&#x27;", "&#39;"),
        escaped.replace("&#x27;", "&#039;"),
        *in_json,
        *(form.replace("/", "\\/") for form in in_json),
    ]
    forms = {text.encode() for text in texts}
    with contextlib.suppress(UnicodeEncodeError):
        forms.add(secret.encode("cp1251"))  # of an old web server
    return forms
