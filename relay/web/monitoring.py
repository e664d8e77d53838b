"""What platforms and monitors ask: whether the process serves, whether it is of any use, and Prometheus's numbers.

The probes are for anybody, as often as he likes: they cost the store little, and say nothing of files and places.
A target that is down does not make the relay unready. The numbers are for this machine and whoever the configuration
lets in.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import structlog
from flask import Flask, Response, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, HTTPException, Unauthorized

from relay.config.schema import MetricsAccess
from relay.errors import StoreError
from relay.web import access
from relay.wiring import Relay

log = structlog.get_logger("relay.web")

_HANGS_AFTER_S = 10.0
_CHECK_EVERY_S = 1.0  # the store
_CHECK_TIMEOUT_S = 3.0
_NO_WRITES = "the store takes no writes; the log says why"
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_NOT_FROM_HERE = (
    "/metrics may be read on the relay's own machine only; [metrics] of the configuration opens it to others: "
    "allow_from by their address, token by a secret"
)
_NO_TOKEN = "the token of [metrics] is missing or wrong; send it as Authorization: Bearer …"  # noqa: S105  a sentence


class Probes:
    """/healthz and /readyz."""

    def __init__(self, relay: Relay, *, delivers: bool, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._relay, self._delivers, self._monotonic = relay, delivers, monotonic
        self._mutex = threading.Lock()
        self._check: Future[str | None] = Future()  # of the store: the last one, which all share who ask meanwhile
        self._checked_at = float("-inf")
        self._check.set_result(None)

    def register(self, app: Flask) -> None:
        app.add_url_rule("/healthz", "healthz", self.healthz)
        app.add_url_rule("/readyz", "readyz", self.readyz)

    def healthz(self) -> ResponseReturnValue:
        return jsonify(status="ok")

    def readyz(self) -> ResponseReturnValue:
        problem = self.store_problem() or self._dispatcher_problem()
        if problem is None:
            return jsonify(status="ready")
        return jsonify(error=problem), 503

    def store_problem(self) -> str | None:
        """Return what is wrong with the store, found out at most once a second, and by one thread at a time."""
        with self._mutex:
            now = self._monotonic()
            is_mine = self._check.done() and now - self._checked_at >= _CHECK_EVERY_S
            if is_mine:
                self._check, self._checked_at = Future(), now
            check, patience = self._check, self._checked_at + _CHECK_TIMEOUT_S - now
        if is_mine:
            try:
                check.set_result(self._prove_writable())
            except BaseException as exc:
                check.set_exception(exc)
        try:
            return check.result(max(patience, 0))
        except TimeoutError:
            return "the store does not answer"

    def _prove_writable(self) -> str | None:
        try:
            self._relay.store.database.prove_writable(self._relay.clock())
        except StoreError as exc:
            log.warning("readyz.store_unusable", reason=str(exc))
            return _NO_WRITES
        return None

    def _dispatcher_problem(self) -> str | None:
        if not self._delivers:
            return None
        ago = self._relay.dispatcher.ticked_ago()
        if ago is None:
            return "the dispatcher has not begun yet"
        if ago > _HANGS_AFTER_S:
            return f"the dispatcher has not moved for {ago:.0f} s; restart the relay"
        return None


def register_metrics(app: Flask, relay: Relay) -> None:
    relay.metrics.start()

    def metrics() -> Response:
        rejected = _rejection(relay.settings.metrics)
        if rejected is not None:
            log.warning("metrics.refused", status=rejected.code, address=request.remote_addr)
            raise rejected
        return Response(relay.metrics.text(), content_type=_TEXT)

    app.add_url_rule("/metrics", "metrics", metrics)


def _rejection(allowed: MetricsAccess) -> HTTPException | None:
    """Return why this request may not read them, or None."""
    is_listed = bool(allowed.allow_from) and allowed.allow_from.admits(request.remote_addr or "")
    may_be_anywhere = allowed.token is not None and not allowed.allow_from
    if not (may_be_anywhere or is_listed or access.is_on_this_machine(request.environ)):
        return Forbidden(_NOT_FROM_HERE)
    if allowed.token is None or any(
        access.is_secret(offered, (allowed.token,)) for offered in access.secrets_in_headers(request)
    ):
        return None
    return Unauthorized(_NO_TOKEN, www_authenticate=WWWAuthenticate("bearer"))
