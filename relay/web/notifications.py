"""Takes notifications over HTTP. What is to be rejected is found in this order: 404, 405, 403, 413, 401.

Notifications come past Flask (`before_flask`), so here the request is an argument, never `flask.request`.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import flask
import msgspec
import structlog
from flask import Flask
from werkzeug.exceptions import (
    Forbidden,
    HTTPException,
    InternalServerError,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
    ServiceUnavailable,
    Unauthorized,
)
from werkzeug.wrappers import Request, Response

from relay.config import Source
from relay.config.schema import Storage
from relay.errors import StoreError
from relay.intake.service import Receipt
from relay.models import ENDPOINTS
from relay.observability import metrics
from relay.web import access
from relay.web.click_to_call import CALL, EVENTS, ClickToCallViews
from relay.web.rejection import rejection
from relay.wiring import Relay

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = structlog.get_logger("relay.web")

_SPARE_THREADS = 2  # while the store hangs they stay free for /ping and /healthz
_STALLED_S = 0.25  # so long has it not confirmed anything; who has waited as long for a thread does not wait again
_RETRY_AFTER_S = 5
_UNAUTHORISED = (
    "the secret is missing or wrong; give ?token=… in the address, or in the body a constant "
    '"token", or the "integration_key" that the source names'
)
_encode = msgspec.json.Encoder(enc_hook=str).encode  # a Message is its English text
_ANY_METHOD = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
# the path that 1C has, so that in the UIS cabinet only the host changes; 1C does not tell cases apart either
_PATH = re.compile(r"(?P<source>.+)/(?:hs/uiscom/(?P<endpoint>[^/]+)|(?P<crm>bitrix24/events))/?", re.IGNORECASE)


def web_threads(storage: Storage) -> int:
    """Return how many threads of a web process answer requests.

    A commit costs PostgreSQL's server some 2 ms, however little it holds: what more threads bring shares it. On SQLite
    they only take the time of what delivers. (32 threads against 16: the rate of taking on PostgreSQL is 1.14 times as
    high, and of delivering on SQLite, with `relay work` beside the web server, 0.83 times.)
    """
    return 16 if storage.is_file else 32


class _Sent(NamedTuple):
    """What a request brings, secrets masked or gone."""

    body: bytes
    is_query: bool
    beside: bytes = b""  #: the query beside a body


class NotificationViews:
    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._sources = {source.path.casefold(): source for source in relay.settings.sources.values()}
        self._secrets = {name: source.secrets for name, source in relay.settings.sources.items()}  # joined once
        self._clicks = ClickToCallViews(relay)
        self._mutex = threading.Lock()
        self._inside = 0  # threads that wait for the store

    def register(self, app: Flask) -> None:
        """Take every address that nobody else has."""
        app.add_url_rule(
            "/<path:path>",
            "notification",
            lambda **_: self.receive(flask.request),
            methods=_ANY_METHOD,
            provide_automatic_options=False,
        )
        app.wsgi_app = self.before_flask(app.wsgi_app)  # type: ignore[method-assign,assignment]  # Flask's own way

    def before_flask(self, app: WSGIApplication) -> WSGIApplication:
        """Take a short cut for the one address that is called a thousand times as often as all others.

        Flask's contexts, session and routing cost a notification more than its reading (measured: 70 of 190 us).
        """

        def dispatched(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if "/hs/" not in environ["PATH_INFO"].lower():
                return app(environ, start_response)
            try:
                response = self.receive(Request(environ))
            except HTTPException as exc:
                response = rejection(exc)
            except Exception:  # a fault of ours: the sender is told to try again
                log.exception("web.failed")
                response = rejection(InternalServerError())
            return response(environ, start_response)

        return dispatched

    def receive(self, request: Request) -> Response:
        """Answer after the commit. Raises HTTPException for what is rejected."""
        began = time.perf_counter()
        try:
            source, endpoint = self._route(request)
        except NotFound:
            self._relay.metrics.record_notification(metrics.UNKNOWN, None, "404", time.perf_counter() - began)
            raise
        if endpoint == "ping":
            self._expect_method(request, ("GET", "HEAD"))
            return Response("ok", content_type="text/plain; charset=utf-8")
        if endpoint in (CALL, EVENTS):
            self._expect_method(request, ("POST",))
            return _json(*self._clicks.answer(source, endpoint, request, self._read_body(request)))
        try:
            sent = self._authorised_body(request, source)
        except HTTPException as exc:
            self._count(request, source, exc, began)
            raise
        with self._mutex:
            self._inside += 1
            spare = request.environ.get("relay.threads", math.inf) - self._inside
            crowded = spare < _SPARE_THREADS or request.environ.get("relay.waited_s", 0.0) > _STALLED_S
        try:
            if crowded and self._relay.store.inbox.stalled_s() > _STALLED_S:
                self._reject_unconfirmed(source, "the store does not keep up", began)
            receipt = self._relay.intake.accept(source, endpoint, sent.body, is_query=sent.is_query, beside=sent.beside)
        except StoreError as exc:
            self._reject_unconfirmed(source, str(exc), began)
        finally:
            with self._mutex:
                self._inside -= 1
        answer = _answer(receipt)
        self._relay.metrics.record_notification(source.name, receipt.kind, receipt.status, time.perf_counter() - began)
        # after the answer is out: a lane that wakes before would compete with it
        answer.call_on_close(lambda: self._relay.intake.dispatch(receipt))
        return answer

    def _route(self, request: Request) -> tuple[Source, str]:
        path = request.path.lstrip("/")
        match = _PATH.fullmatch(path)
        endpoint = (match["endpoint"] or match["crm"]).lower() if match else ""
        if match is None or endpoint not in (*ENDPOINTS, "ping", CALL, EVENTS):
            raise NotFound("no such address; notifications go to /<source>/hs/UIScom/in, out, rec or any")
        source = self._sources.get(match["source"].strip("/").casefold())
        if source is None:
            log.warning("notification.unknown_source", path=path, address=request.remote_addr)
            raise NotFound("no such source; [sources.*] of the configuration name them")
        return source, endpoint

    @staticmethod
    def _expect_method(request: Request, methods: tuple[str, ...]) -> None:
        if request.method not in methods:
            raise MethodNotAllowed(methods, f"{request.method} is not taken here; use {' or '.join(methods)}")

    def _authorised_body(self, request: Request, source: Source) -> _Sent:
        self._expect_method(request, ("POST", "GET"))
        # most name none: then no address is parsed
        if source.allow_from and not source.allow_from.admits(request.remote_addr or ""):
            raise Forbidden("this address may not send to this source; allow_from of the source names those that may")
        body = self._read_body(request) if request.method == "POST" else b""
        masked, query, offered = access.offered_secrets(request, body)
        if not source.open and not any(access.is_secret(token, self._secrets[source.name]) for token in offered):
            raise Unauthorized(_UNAUTHORISED)
        if masked.strip() or not query:
            return _Sent(masked, is_query=False, beside=query)
        return _Sent(query, is_query=True)  # a GET, or a POST that carries its variables in the address

    def _read_body(self, request: Request) -> bytes:
        limit, length = self._relay.settings.max_body, request.content_length
        too_large = RequestEntityTooLarge(
            f"the body is larger than {limit} bytes; max_body of the configuration sets it"
        )
        if (length or 0) > limit:
            raise too_large
        parts: list[bytes] = []
        size, stream = 0, request.stream
        while size != length and (part := stream.read(limit + 1 - size)):  # a read may bring less than asked
            parts.append(part)
            size += len(part)
            if size > limit:
                raise too_large
        return b"".join(parts)

    def _count(self, request: Request, source: Source, rejected: HTTPException, began: float) -> None:
        status = rejected.code or 500
        self._relay.metrics.record_notification(source.name, None, str(status), time.perf_counter() - began)
        log.warning("notification.refused", source=source.name, status=status, address=request.remote_addr)
        self._relay.rejections.add(source.name, status)

    def _reject_unconfirmed(self, source: Source, reason: str, began: float) -> NoReturn:
        self._relay.metrics.record_notification(source.name, None, "503", time.perf_counter() - began)
        log.error("notification.not_stored", source=source.name, reason=reason)
        self._relay.rejections.add(source.name, 503)
        sentence = f"the notification could not be confirmed: {reason}; send it again"
        raise ServiceUnavailable(sentence, retry_after=_RETRY_AFTER_S)


def _answer(receipt: Receipt) -> Response:
    said = {"status": receipt.status, "event": receipt.event, "kind": receipt.kind, "problem": receipt.problem}
    return _json({name: value for name, value in said.items() if value is not None})


def _json(fields: dict[str, Any], status: int = 200) -> Response:
    return Response(_encode(fields), status, content_type="application/json")
