"""The web application: thin views over the relay. Knows no SQL and sends no requests."""

from __future__ import annotations

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.middleware.proxy_fix import ProxyFix

from relay.web.ingest import Ingest
from relay.web.probes import Probes
from relay.wiring import Relay


def create_app(relay: Relay, *, delivers: bool = True) -> Flask:
    """Builds the application. Starts nothing. `delivers`: is this process's dispatcher to be ready too?"""
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False
    app.json.ensure_ascii = False  # type: ignore[attr-defined]  # the default provider has both
    app.json.sort_keys = False  # type: ignore[attr-defined]
    Probes(relay, delivers=delivers).register(app)
    Ingest(relay).register(app)
    app.register_error_handler(HTTPException, _explain)
    if relay.settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=relay.settings.trusted_proxies)  # type: ignore[method-assign]
    return app


def _explain(error: HTTPException) -> ResponseReturnValue:
    """Every refusal is JSON with a sentence."""
    sentence = error.description or error.name
    if isinstance(error, InternalServerError):
        sentence = "the relay failed; the log says why"
    response = jsonify(error=sentence)
    response.status_code = error.code or 500
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response
