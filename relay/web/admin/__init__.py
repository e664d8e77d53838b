"""The operator's page at /admin/: server-rendered, usable without JavaScript, behind a password.

Only registered when `[admin]` has a password.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, HTTPException

from relay.config import Settings
from relay.errors import Conflict, NotFound, RelayError
from relay.i18n import gettext, said, translate
from relay.web.admin import jinja, views
from relay.web.admin.auth import Login, csrf_token, give_number
from relay.web.admin.context import EXTENSION
from relay.wiring import Relay

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
_TLS_ONLY = "max-age=31536000"  # a year; of this host alone: what else stands in the domain is not ours
FORM_MAX = 2 * 1024 * 1024  # of a form: a body that is mended fits


def register(app: Flask, relay: Relay) -> None:
    """Add the page. Without a password there is none."""
    password = relay.settings.admin.password
    if password is None:
        return
    login = Login(password, relay.store.sessions, relay.clock)
    app.config["MAX_CONTENT_LENGTH"] = FORM_MAX
    app.extensions[EXTENSION] = relay
    jinja.install(app)
    app.jinja_env.globals.update(csrf_token=csrf_token)
    pages = Blueprint("admin", __name__, url_prefix="/admin", template_folder="templates", static_folder="static")
    pages.before_request(lambda: jinja.choose_language(relay.settings.timezone))
    pages.before_request(login.require_login)
    pages.before_request(_refuse_zeros)
    pages.context_processor(lambda: _of_settings(relay.settings))
    pages.after_request(_protect)
    pages.after_request(give_number)
    pages.register_error_handler(HTTPException, _explain)
    pages.register_error_handler(RelayError, _explain_ours)
    pages.add_url_rule("/login", "login", login.view, methods=["GET", "POST"])
    pages.add_url_rule("/logout", "logout", login.logout, methods=["POST"])
    views.register(app, pages)
    app.register_blueprint(pages)
    app.add_url_rule("/admin", "admin_without_slash", lambda: redirect(url_for("admin.overview"), 308))


def _of_settings(settings: Settings) -> dict[str, Any]:
    """Return what every template may ask of the settings."""
    has_zones = any(source.timezone.key != settings.timezone.key for source in settings.sources.values())
    return {
        "zone": settings.timezone,
        "zone_of": settings.zone_of,
        "has_zones": has_zones,
        "sources": list(settings.sources),
    }


def _refuse_zeros() -> None:
    """Refuse what no text of a database can hold: PostgreSQL would not take it as a value either."""
    given = [text for name, text in request.values.items() if name not in ("body", "password")]
    if any("\x00" in text for text in (*(request.view_args or {}).values(), *given)):
        raise BadRequest(gettext("There is no such choice."))


def _protect(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers["Strict-Transport-Security"] = _TLS_ONLY
    if request.endpoint != "admin.static":
        response.headers["Cache-Control"] = "no-store"  # names and numbers of people
    return response


def _explain(error: HTTPException) -> ResponseReturnValue:
    return render_template("admin/error.html", sentence=error.description), error.code or 500


def _explain_ours(error: RelayError) -> ResponseReturnValue:
    status = 404 if isinstance(error, NotFound) else 409 if isinstance(error, Conflict) else 503
    return render_template("admin/error.html", sentence=translate(said(error))), status
