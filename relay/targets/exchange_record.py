"""Writes down a request and its answer for people: without secrets, and short enough to be kept. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

from requests import PreparedRequest

from relay.models import Exchange
from relay.targets.error_text import MASK, Mask, decoded

_BODY_MAX = 8 * 1024  # characters, of a request and of an answer
_LOOKED_AT = 64 * 1024  # bytes of a body in which secrets are hidden; far more than is shown, so that none is halved
_LOGINS = ("authorization", "proxy-authorization", "cookie")
_ANSWER_HEADERS = ("content-type", "location", "retry-after", "server", "www-authenticate")


class Answer(Protocol):
    """What is written down of an answer; the target's secrets are hidden in phrase and body already."""

    @property
    def status(self) -> int: ...

    @property
    def phrase(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def body(self) -> bytes: ...


def exchange_of(
    request: PreparedRequest, answer: Answer | None, mask: Mask, secrets: tuple[str, ...], *, took_ms: int
) -> Exchange:
    """Return a request and its answer without the target's secrets, and without `secrets`."""
    headers = {name: _scheme(value) if name.lower() in _LOGINS else value for name, value in request.headers.items()}
    said = {} if answer is None else {name: answer.headers[name] for name in _ANSWER_HEADERS if name in answer.headers}
    body = request.body if isinstance(request.body, bytes) else b""
    origin, path = _parts(request.url or "")
    lines = "\n".join([path, *headers.values(), *said.values()])
    masked = mask(lines.encode("utf-8", "replace") + b"\n" + body[:_LOOKED_AT], *secrets)  # once: each look costs
    hidden_path, *values, sent = masked.split(b"\n", 1 + len(headers) + len(said))
    texts = [value.decode("utf-8", "replace") for value in values]
    text = _text(sent)
    return Exchange(
        method=request.method or "",
        url=origin + hidden_path.decode("utf-8", "replace"),
        headers=dict(zip(headers, texts, strict=False)),
        body=_short(text),
        is_cut=len(text) > _BODY_MAX or len(body) > _LOOKED_AT,
        status=None if answer is None else answer.status,
        phrase="" if answer is None else answer.phrase,
        answer_headers=dict(zip(said, texts[len(headers) :], strict=True)),
        answer="" if answer is None else _short(_text(answer.body)),
        took_ms=took_ms,
    )


def without_content(exchange: Exchange) -> Exchange:
    """Return of an exchange of tokens that there was one, and where: all else in it is secret."""
    return Exchange(
        method=exchange.method,
        url=exchange.url.partition("?")[0],
        headers={},
        status=exchange.status,
        took_ms=exchange.took_ms,
    )


def _parts(url: str) -> tuple[str, str]:
    """Return where a request goes, without a login, and the rest: a webhook is a secret, the host in it is none."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return origin, url[url.find(parts.netloc) + len(parts.netloc) :]


def _scheme(login: str) -> str:
    """Return a login's header without the login."""
    scheme, _, rest = login.partition(" ")
    return f"{scheme} {MASK}" if rest and "=" not in scheme else MASK


def _text(body: bytes) -> str:
    """Decode a body; one that was cut may end within a character."""
    return decoded(body) if len(body) < _LOOKED_AT else body[:_LOOKED_AT].decode("utf-8", "replace")


def _short(text: str) -> str:
    return text if len(text) <= _BODY_MAX else f"{text[:_BODY_MAX]}…"
