"""Whose request it is: made on this machine itself, or passed on by a proxy."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import structlog

from relay.config.addresses import is_loopback

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = structlog.get_logger("relay.web")

_FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"
_LEFT_BY_PROXIES = (_FORWARDED_FOR, "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_X_FORWARDED_PROTO", "HTTP_VIA")


def is_on_this_machine(environ: dict[str, Any]) -> bool:
    """By the connection itself: what a proxy on this machine passes on is somebody else's."""
    connection = environ.get("werkzeug.proxy_fix.orig", environ)
    return is_loopback(connection.get("REMOTE_ADDR", "")) and not any(name in environ for name in _LEFT_BY_PROXIES)


def tell_of_unknown_proxy(app: WSGIApplication) -> WSGIApplication:
    """Log once that a proxy passes requests on, where `trusted_proxies` says that there is none."""
    untold = threading.Lock()

    def watched(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if _FORWARDED_FOR in environ and untold.acquire(blocking=False):
            log.warning(
                "web.unknown_proxy", address=environ.get("REMOTE_ADDR"),
                reason="a request came with X-Forwarded-For, but trusted_proxies is 0, so the header is not believed: "
                "behind a reverse proxy everybody seems to come from its address. Set trusted_proxies to the number "
                "of your proxies; if there is none, a sender made the header up, and nothing needs to be done",
            )  # fmt: skip
        return app(environ, start_response)

    return watched
