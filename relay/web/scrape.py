"""What Prometheus asks for: names and numbers only, for this machine and whoever the configuration lets in."""

from __future__ import annotations

import structlog
from flask import Flask, Response, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, HTTPException, Unauthorized

from relay.config.schema import MetricsAccess
from relay.web import offered_secrets
from relay.web.callers import is_on_this_machine
from relay.wiring import Relay

log = structlog.get_logger("relay.web")

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_NOT_FROM_HERE = (
    "/metrics may be read on the relay's own machine only; [metrics] of the configuration opens it to others: "
    "allow_from by their address, token by a secret"
)
_NO_TOKEN = "the token of [metrics] is missing or wrong; send it as Authorization: Bearer …"  # noqa: S105  a sentence


def register(app: Flask, relay: Relay) -> None:
    relay.metrics.start()
    access = relay.settings.metrics

    def metrics() -> Response:
        refused = _refusal(access)
        if refused is not None:
            log.warning("metrics.refused", status=refused.code, address=request.remote_addr)
            raise refused
        return Response(relay.metrics.text(), content_type=_TEXT)

    app.add_url_rule("/metrics", "metrics", metrics)


def _refusal(access: MetricsAccess) -> HTTPException | None:
    """Return why this request may not read them, or None."""
    is_listed = bool(access.allow_from) and access.allow_from.admits(request.remote_addr or "")
    may_be_anywhere = access.token is not None and not access.allow_from
    if not (may_be_anywhere or is_listed or is_on_this_machine(request.environ)):
        return Forbidden(_NOT_FROM_HERE)
    if access.token is None or any(
        offered_secrets.matches(offered, (access.token,)) for offered in offered_secrets.in_headers(request)
    ):
        return None
    return Unauthorized(_NO_TOKEN, www_authenticate=WWWAuthenticate("bearer"))
