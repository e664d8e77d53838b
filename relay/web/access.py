"""Who asks: whose connection it is, and which secrets a request shows."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import structlog
from werkzeug.wrappers import Request

from relay.config.addresses import is_loopback
from relay.uis import credentials

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
    query, in_query = credentials.split_query(request.query_string)
    masked, in_body = credentials.find_and_mask(body)
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
