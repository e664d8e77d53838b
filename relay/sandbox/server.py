"""The sandbox over real sockets: the simulated targets, what they hold, and how they are told to fail.

`GET /_state`, `POST /_reset`, `POST /_fail?target=onec&mode=…&count=…` (without a mode: which there are).
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time

from flask import Flask, Response, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from relay.sandbox.onec import FAILURES, OneC, Reply

_HANG_MAX_S = 120.0


class Sandbox:
    """A running server. `port` 0 takes a free one."""

    def __init__(self, onec: OneC, port: int = 0) -> None:
        self.onec = onec
        self._closing = threading.Event()
        self._server: BaseWSGIServer = make_server(
            "127.0.0.1", port, create_app(onec, self._closing), threaded=True, request_handler=_KeepAlive
        )
        self.port = self._server.server_port

    @property
    def onec_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/trade/hs/UIScom"

    def serve(self) -> None:
        """Until `close` is called from another thread."""
        self._server.serve_forever(poll_interval=0.05)

    def start(self) -> Sandbox:
        threading.Thread(target=self.serve, name="sandbox", daemon=True).start()
        return self

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()


class _KeepAlive(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Quiet: the relay's own log says what was delivered."""


def create_app(onec: OneC, closing: threading.Event) -> Flask:
    app = Flask(__name__, static_folder=None)

    @app.get("/_state")
    def state() -> ResponseReturnValue:
        return jsonify(onec=onec.state())

    @app.post("/_reset")
    def reset() -> ResponseReturnValue:
        onec.reset()
        return jsonify(status="ok")

    @app.route("/_fail", methods=["GET", "POST"])
    def fail() -> ResponseReturnValue:
        target, mode = request.values.get("target", "onec"), request.values.get("mode")
        if mode is None:
            return jsonify(targets=["onec"], modes=["ok", "sessions_lost", *FAILURES])
        try:
            if target != "onec":
                raise ValueError(f"there is no target {target}; there is: onec")
            onec.fail(mode, int(request.values.get("count", "1")))
        except ValueError as exc:
            return jsonify(error=str(exc)), 400
        return jsonify(status="ok", target=target, mode=mode)

    @app.route("/<base>/hs/UIScom/<endpoint>", methods=["GET", "POST"])
    def hook(base: str, endpoint: str) -> ResponseReturnValue:  # noqa: ARG001  any base will do
        body = request.get_data()
        return _send(onec.answer(request.method, endpoint, request.headers.get, body), closing)

    return app


def _send(reply: Reply, closing: threading.Event) -> Response:
    if reply.fault is not None:
        connection: socket.socket = request.environ["werkzeug.socket"]
        if reply.fault == "hang":
            _hang(connection, closing)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close sends RST
        os.close(connection.detach())  # `close` would wait for the server's own file objects on it
        raise ConnectionAbortedError("as told by /_fail")
    return Response(reply.body, reply.status, reply.headers, content_type=reply.content_type)


def _hang(connection: socket.socket, closing: threading.Event) -> None:
    """Until the client goes away, or the sandbox does."""
    connection.settimeout(0.1)
    ends = time.monotonic() + _HANG_MAX_S
    while not closing.is_set() and time.monotonic() < ends:
        try:
            if not connection.recv(1, socket.MSG_PEEK):
                return
        except TimeoutError:
            continue
        except OSError:
            return
