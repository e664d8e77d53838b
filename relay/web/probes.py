"""The probes of platforms and monitors. A target that is down does not make the relay unready."""

from __future__ import annotations

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

from relay.errors import StoreError
from relay.wiring import Relay

_HANGS_AFTER_S = 10.0


class Probes:
    def __init__(self, relay: Relay, *, delivers: bool) -> None:
        self._relay, self._delivers = relay, delivers

    def register(self, app: Flask) -> None:
        app.add_url_rule("/healthz", "healthz", self.healthz)
        app.add_url_rule("/readyz", "readyz", self.readyz)

    def healthz(self) -> ResponseReturnValue:
        return jsonify(status="ok")

    def readyz(self) -> ResponseReturnValue:
        problem = self._problem()
        if problem is None:
            return jsonify(status="ready")
        return jsonify(error=problem), 503

    def _problem(self) -> str | None:
        try:
            self._relay.store.prove_writable(self._relay.clock())
        except StoreError as exc:
            return f"the store takes no writes: {exc}"
        if not self._delivers:
            return None
        ago = self._relay.dispatcher.ticked_ago()
        if ago is None:
            return "the dispatcher has not begun yet"
        if ago > _HANGS_AFTER_S:
            return f"the dispatcher has not moved for {ago:.0f} s; restart the relay"
        return None
