"""Serves the sandbox over real sockets: the simulated targets, what they hold, and how they are told to fail.

`GET /_state`, `POST /_reset`, `POST /_fail?target=…&mode=…&count=…[&method=…]` (without a mode: which there are).
`POST /_calls` adds calls to the report of the simulated UIS.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping

from flask import Flask, Response, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from relay.sandbox.amocrm.api import AmoCrm
from relay.sandbox.bitrix24.portal import Bitrix24, method_of
from relay.sandbox.faults import Simulator
from relay.sandbox.http import Fault, Reply, Request
from relay.sandbox.onec.infobase import OneC
from relay.sandbox.uis_account import UisAccount

_HANG_MAX_S = 120.0
_DRIPS: dict[Fault, tuple[bytes, bytes]] = {  # how the answer begins, and what comes ten times a second after that
    "hang": (b"", b""),
    "drip_headers": (b"HTTP/1.1 200 OK\r\nX-Drip: ", b"."),
    "drip_body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
    "continue_for_ever": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}

Observe = Callable[[str, str, str], None]  #: target, method or path, "arrived" or "answered"


class Sandbox:
    """Runs a server. `port` 0 takes a free one. `observe` is told of every request before and after its work."""

    def __init__(
        self,
        onec: OneC | None = None,
        port: int = 0,
        *,
        bitrix24: Bitrix24 | None = None,
        amocrm: AmoCrm | None = None,
        uis: UisAccount | None = None,
        observe: Observe | None = None,
    ) -> None:
        self.onec = OneC() if onec is None else onec
        self.bitrix24 = Bitrix24() if bitrix24 is None else bitrix24
        self.amocrm = AmoCrm() if amocrm is None else amocrm
        self.uis = UisAccount() if uis is None else uis
        self._closing = threading.Event()
        app = create_app(self, self._closing, observe)
        # of a port in use the library would end the program
        with socket.create_server(("127.0.0.1", port)) as listening:
            self._server: BaseWSGIServer = make_server(
                "127.0.0.1", port, app, threaded=True, request_handler=_KeepAlive, fd=listening.fileno()
            )
        self.port = self._server.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def onec_url(self) -> str:
        return f"{self.url}/trade/hs/UIScom"

    @property
    def bitrix24_webhook(self) -> str:
        """Return the one of a portal that was made without arguments."""
        return f"{self.url}/rest/1/sandbox/"

    @property
    def data_api_url(self) -> str:
        return f"{self.url}/v2.0"

    @property
    def call_api_url(self) -> str:
        return f"{self.url}/v4.0"

    def serve(self) -> None:
        """Serve until `close` is called from another thread."""
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
        """Log nothing: the relay's own log says what was delivered."""


def create_app(sandbox: Sandbox, closing: threading.Event, observe: Observe | None) -> Flask:
    app = Flask(__name__, static_folder=None)
    _add_controls(
        app, {"onec": sandbox.onec, "bitrix24": sandbox.bitrix24, "amocrm": sandbox.amocrm, "uis": sandbox.uis}
    )

    def exchange(target: str, name: str, act: Callable[[], Reply]) -> Response:
        if observe is not None:
            observe(target, name, "arrived")
        reply = act()
        if observe is not None:
            observe(target, name, "answered")
        return _send(reply, closing)

    @app.route("/<base>/hs/UIScom/<endpoint>", methods=["GET", "POST"])
    def hook(base: str, endpoint: str) -> ResponseReturnValue:  # noqa: ARG001  any base will do
        body = request.get_data()
        return exchange(
            "onec", endpoint, lambda: sandbox.onec.answer(request.method, endpoint, request.headers.get, body)
        )

    @app.route("/rest/<path:_path>", methods=["GET", "POST"])
    def rest(_path: str) -> ResponseReturnValue:
        return exchange("bitrix24", method_of(request.path), lambda: sandbox.bitrix24.answer(_request()))

    @app.route("/oauth/token/", methods=["GET", "POST"])
    def oauth() -> ResponseReturnValue:
        return exchange("bitrix24", "oauth.token", lambda: sandbox.bitrix24.oauth(_request()))

    @app.route("/api/<path:_path>", methods=["GET", "POST", "PATCH"])
    @app.post("/oauth2/access_token", defaults={"_path": ""})
    def amocrm(_path: str) -> ResponseReturnValue:
        return exchange("amocrm", request.path, lambda: sandbox.amocrm.answer(_request()))

    @app.post("/v2.0")
    def data_api() -> ResponseReturnValue:
        return exchange("uis", "data_api", lambda: sandbox.uis.answer(_request()))

    @app.post("/v4.0")
    def call_api() -> ResponseReturnValue:
        return exchange("uis", "call_api", lambda: sandbox.uis.answer(_request()))

    @app.post("/_calls")
    def calls() -> ResponseReturnValue:
        """Take calls that were made, for the report: `simulate` tells of them."""
        sandbox.uis.add(request.get_json())
        return jsonify(status="ok")

    return app


def _add_controls(app: Flask, targets: Mapping[str, Simulator]) -> None:
    @app.get("/_state")
    def state() -> ResponseReturnValue:
        return jsonify({name: target.state() for name, target in targets.items()})

    @app.post("/_reset")
    def reset() -> ResponseReturnValue:
        for target in targets.values():
            target.reset()
        return jsonify(status="ok")

    @app.route("/_fail", methods=["GET", "POST"])
    def fail() -> ResponseReturnValue:
        target, mode = request.values.get("target", "onec"), request.values.get("mode")
        if mode is None:
            return jsonify(targets=list(targets), modes={name: target.modes for name, target in targets.items()})
        try:
            if target not in targets:
                raise ValueError(f"there is no target {target}; there are: {', '.join(targets)}")
            targets[target].fail(mode, int(request.values.get("count", "1")), request.values.get("method"))
        except ValueError as exc:
            return jsonify(error=str(exc)), 400
        return jsonify(status="ok", target=target, mode=mode)


def _request() -> Request:
    return Request(
        method=request.method,
        path=request.path,
        query=request.args.to_dict(flat=False),
        body=request.get_data(),
        authorization=request.headers.get("Authorization", ""),
        host=request.host,
    )


def _send(reply: Reply, closing: threading.Event) -> Response:
    if reply.fault is not None:
        connection: socket.socket = request.environ["werkzeug.socket"]
        if reply.fault != "reset":
            _drip(connection, closing, *_DRIPS[reply.fault])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close sends RST
        os.close(connection.detach())  # `close` would wait for the server's own file objects on it
        raise ConnectionAbortedError("as told by /_fail")
    # 1C writes the phrase in UTF-8; WSGI wants its bytes as letters of latin-1
    phrase = None if reply.phrase is None else f"{reply.status} {reply.phrase.encode().decode('latin-1')}"
    return Response(reply.body, phrase or reply.status, reply.headers, content_type=reply.content_type)


def _drip(connection: socket.socket, closing: threading.Event, beginning: bytes, drop: bytes) -> None:
    """Send one thing again and again, or nothing, until the client goes away, or the sandbox does."""
    connection.settimeout(0.1)
    ends = time.monotonic() + _HANG_MAX_S
    content = beginning
    while not closing.is_set() and time.monotonic() < ends:
        try:
            connection.sendall(content)
            content = drop
            if not connection.recv(1, socket.MSG_PEEK):
                return
        except TimeoutError:
            continue
        except OSError:
            return
