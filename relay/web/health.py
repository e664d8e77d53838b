"""The probes of platforms and monitors. A target that is down does not make the relay unready.

Anybody may ask, as often as he likes: it costs the store little, and says nothing of files and places.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import structlog
from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

from relay.errors import StoreError
from relay.wiring import Relay

log = structlog.get_logger("relay.web")

_HANGS_AFTER_S = 10.0
_HOLDS_S = 1.0  # what was found out of the store
_PATIENCE_S = 3.0  # with a look at the store that does not end
_NO_WRITES = "the store takes no writes; the log says why"


class Probes:
    def __init__(self, relay: Relay, *, delivers: bool, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._relay, self._delivers, self._monotonic = relay, delivers, monotonic
        self._mutex = threading.Lock()
        self._look: Future[str | None] = Future()  # at the store: the last one, which all share who ask meanwhile
        self._looked_at = float("-inf")
        self._look.set_result(None)

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
            is_mine = self._look.done() and now - self._looked_at >= _HOLDS_S
            if is_mine:
                self._look, self._looked_at = Future(), now
            look, patience = self._look, self._looked_at + _PATIENCE_S - now
        if is_mine:
            try:
                look.set_result(self._prove_writable())
            except BaseException as exc:
                look.set_exception(exc)
        try:
            return look.result(max(patience, 0))
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
