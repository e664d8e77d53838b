"""Who asks: whose connection it is, and which secrets a request shows, in its headers, its query and its body.

Those of a body are found, and masked, by pattern in the bytes, before any reading: so a secret is recognised in a
damaged body too, and no stored byte holds it.
"""

from __future__ import annotations

import hmac
import re
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import structlog
from werkzeug.wrappers import Request

from relay.config.addresses import is_loopback
from relay.uis.variables import SECRETS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = structlog.get_logger("relay.web")

_FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"
_LEFT_BY_PROXIES = (_FORWARDED_FOR, "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_X_FORWARDED_PROTO", "HTTP_VIA")
_UNKNOWN_PROXY = (
    "a request came with X-Forwarded-For, but trusted_proxies is 0, so the header is not believed: behind a reverse "
    "proxy everybody seems to come from its address. Set trusted_proxies to the number of your proxies; if there is "
    "none, a sender made the header up, and nothing needs to be done"
)

_MASK = b"***"
_NAMES = "|".join(sorted(SECRETS)).encode()
_ANY = re.compile(rb"(?i)" + _NAMES)
_IN_JSON = re.compile(
    rb"""(?i)(["'](?:"""
    + _NAMES
    + rb""")["']\s*:\s*)(?:"((?:[^"\\\r\n]|\\.)*)"|'([^'\r\n]*)'|([^\s"',}\]][^\s,}]*))""",
    re.DOTALL,
)
_IN_FORM = re.compile(rb"(?i)(?:(?<=&)|\A)((?:" + _NAMES + rb")=)([^&]*)")


def is_on_this_machine(environ: dict[str, Any]) -> bool:
    """Was it made here? By the connection itself: what a proxy on this machine passes on is somebody else's."""
    connection = environ.get("werkzeug.proxy_fix.orig", environ)
    return is_loopback(connection.get("REMOTE_ADDR", "")) and not any(name in environ for name in _LEFT_BY_PROXIES)


def tell_of_unknown_proxy(app: WSGIApplication) -> WSGIApplication:
    """Log once that a proxy passes requests on, where `trusted_proxies` says that there is none."""
    untold = threading.Lock()

    def watched(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if _FORWARDED_FOR in environ and untold.acquire(blocking=False):
            log.warning("web.unknown_proxy", address=environ.get("REMOTE_ADDR"), reason=_UNKNOWN_PROXY)
        return app(environ, start_response)

    return watched


def offered_secrets(request: Request, body: bytes) -> tuple[bytes, bytes, list[str]]:
    """Return the body and the query, secrets masked or gone, and what is offered as a secret: there or in a header."""
    query, in_query = split_query(request.query_string)
    masked, in_body = find_and_mask(body)
    return masked, query, [*in_query, *in_body, *secrets_in_headers(request)]


def secrets_in_headers(request: Request) -> list[str]:
    """Return what is offered as Bearer or Basic, or as X-Relay-Token."""
    offered = []
    try:
        authorization = request.authorization
    except ValueError:  # Basic with letters that base64 does not have
        authorization = None
    if authorization is not None:
        offered.append((authorization.password if authorization.type == "basic" else authorization.token) or "")
    if token := request.headers.get("X-Relay-Token"):
        offered.append(token)
    return offered


def is_secret(offered: str, secrets: Iterable[str]) -> bool:
    """Is it any of them? In constant time, and over all of them, so that the answer's delay says nothing."""
    text = offered.encode("utf-8", "surrogatepass")
    return sum(hmac.compare_digest(text, secret.encode()) for secret in secrets) > 0


def find_and_mask(body: bytes) -> tuple[bytes, list[str]]:
    """Return the body with the value of every secret replaced by ***, and those values as text."""
    secrets: list[str] = []
    if _ANY.search(body) is None:
        return body, secrets

    def in_json(match: re.Match[bytes]) -> bytes:
        value = next(group for group in match.groups()[1:] if group is not None)
        secrets.append(_unescaped(value.decode("utf-8", "replace")))
        quote = b"'" if match[3] is not None else b'"'
        return match[1] + quote + _MASK + quote

    def in_form(match: re.Match[bytes]) -> bytes:
        secrets.append(_form_text(match[2]))
        return match[1] + _MASK

    masked = _IN_JSON.sub(in_json, body)
    if not body.lstrip().startswith(b"{"):
        masked = _IN_FORM.sub(in_form, masked)
    return masked, secrets


def split_query(query: bytes) -> tuple[bytes, list[str]]:
    """Return the query string without the parameters that are secrets, and their values."""
    kept: list[bytes] = []
    secrets: list[str] = []
    for piece in query.split(b"&"):
        name, _, value = piece.partition(b"=")
        if unquote_to_bytes(name).decode("latin-1").lower() in SECRETS:
            secrets.append(_form_text(value))
        elif piece:
            kept.append(piece)
    return b"&".join(kept), secrets


def _unescaped(text: str) -> str:
    return re.sub(r'\\(["\\/])', r"\1", text)


def _form_text(raw: bytes) -> str:
    return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8", "replace")
