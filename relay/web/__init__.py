"""The web application: thin views over the relay. Knows no SQL and sends no requests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import structlog
from flask import Flask
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Request, Response

from relay.web import admin, scrape
from relay.web.callers import tell_of_unknown_proxy
from relay.web.health import Probes
from relay.web.ingest import Ingest
from relay.web.json import refusal
from relay.wiring import Relay

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = structlog.get_logger("relay.web")


class RelayApp(Flask):
    """Flask, with a short cut for the one address that is called a thousand times as often as all others.

    Flask's contexts, session and routing cost a notification more than its reading (measured: 70 of 190 us).
    """

    def __init__(self, ingest: Ingest, max_body: int) -> None:
        super().__init__("relay.web", static_folder=None)
        self._ingest, self._max_body = ingest, max_body

    @property
    def largest_body(self) -> int:
        """What the server need receive at all: a notification, or a form of the page."""
        return max(self._max_body, self.config["MAX_CONTENT_LENGTH"] or 0)

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if "/hs/" not in environ["PATH_INFO"].lower():
            return super().wsgi_app(environ, start_response)
        return self._receive(Request(environ))(environ, start_response)

    def _receive(self, request: Request) -> Response:
        try:
            return self._ingest.receive(request)
        except HTTPException as exc:
            return refusal(exc)
        except Exception:
            log.exception("web.failed")
            return refusal(InternalServerError())


def create_app(relay: Relay, *, delivers: bool = True) -> Flask:
    """Builds the application. Starts nothing. `delivers`: is this process's dispatcher to be ready too?"""
    ingest = Ingest(relay)
    app = RelayApp(ingest, relay.settings.max_body)
    app.url_map.merge_slashes = False
    app.json.ensure_ascii = False  # type: ignore[attr-defined]  # the default provider has both
    app.json.sort_keys = False  # type: ignore[attr-defined]
    Probes(relay, delivers=delivers).register(app)
    ingest.register(app)
    scrape.register(app, relay)
    admin.register(app, relay)
    app.register_error_handler(HTTPException, _explain)
    proxies = relay.settings.trusted_proxies
    if proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies)  # type: ignore[method-assign]
    else:
        app.wsgi_app = tell_of_unknown_proxy(app.wsgi_app)  # type: ignore[method-assign,assignment]
    return app


def _explain(error: HTTPException) -> Any:
    return refusal(error)
