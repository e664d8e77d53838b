"""The web application: thin views over the relay. Knows no SQL and sends no requests."""

from __future__ import annotations

from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from relay.web import admin, monitoring
from relay.web.access import tell_of_unknown_proxy
from relay.web.notifications import NotificationViews
from relay.web.rejection import rejection
from relay.wiring import Relay


def create_app(relay: Relay, *, delivers: bool = True) -> Flask:
    """Build the application. Starts nothing. `delivers`: is this process's dispatcher to be ready too?"""
    app = Flask("relay.web", static_folder=None)
    app.url_map.merge_slashes = False
    app.json.ensure_ascii = False  # type: ignore[attr-defined]  # the default provider has both
    app.json.sort_keys = False  # type: ignore[attr-defined]  # likewise
    monitoring.Probes(relay, delivers=delivers).register(app)
    monitoring.register_metrics(app, relay)
    admin.register(app, relay)
    NotificationViews(relay).register(app)
    app.register_error_handler(HTTPException, rejection)
    # what the server need receive at all: a notification, or a form of the page
    app.config["LARGEST_BODY"] = max(relay.settings.max_body, app.config["MAX_CONTENT_LENGTH"] or 0)
    proxies = relay.settings.trusted_proxies
    if proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies)  # type: ignore[method-assign]  # Flask's own way
    else:
        app.wsgi_app = tell_of_unknown_proxy(app.wsgi_app)  # type: ignore[method-assign,assignment]  # likewise
    return app
