"""Sends one request, keeps its deadline, and translates foreign errors to outcomes, once for all targets.

The rule is one: what failed before the connection stood was surely not taken (unreachable, or misconfigured
when it is the certificate); everything after may have been (unclear).
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from msgspec import Struct
from msgspec.structs import replace
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar, extract_cookies_to_jar
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NameResolutionError, NewConnectionError

from relay.config import ROOT, Target, UisApi
from relay.errors import RelayError
from relay.i18n import Message, change, join
from relay.models import Exchange, Outcome
from relay.targets import error_text
from relay.targets.error_text import REMEDIES, Mask, secrets_of

_BODY_MAX = 64 * 1024
_SLOW_LINE = 256 * 1024  # bytes a second
_IDLE_MAX_S = 4.0  # servers close at 5; a request into a closing connection may have been taken or not
_REASON_MAX = 500
_PREPARED_MAX = 64
_COOKIES_MAX, _COOKIES_SIZE_MAX = 50, 16 * 1024  # in bytes; a target that sets more has no use for them
_PHRASE_MAX = 1000  # in bytes


class Response(Struct, frozen=True):
    """Holds what a target answered. Header names are in lower case; their values are acted upon, and shown nowhere."""

    status: int
    headers: Mapping[str, str]
    body: bytes  #: the target's secrets are hidden in it
    is_whole: bool = True  #: did the body come to its end, and not break off?
    phrase: str = ""  #: of the status line, where it is not the usual one: 1C puts its words there

    def document(self) -> dict[str, Any] | None:
        """Return the JSON object in the body; None when there is none."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return document if isinstance(document, dict) else None


class TargetError(RelayError):
    """Says that a request failed: `outcome` is what that means for the delivery."""

    def __init__(self, outcome: Outcome, code: str = "") -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome
        self.code = code  #: which of the cases it is that an adapter treats in a way of its own


class NoAnswer(TargetError):
    """Says that the request came to no answer; `outcome` tells whether it may have arrived."""


def unthrottled() -> None:
    """Let a request be made at once, as those of a check are: nobody delivers meanwhile from this process."""


Admit = Callable[[str, Sequence[str]], Sequence[str]]
"""Takes a host and its addresses, gives those that may be connected to; raises when there are none."""


class Client(threading.local):
    """Holds a connection to one target for each thread. Keeps cookies; follows no redirect; every wait has an end.

    The target's own secrets are hidden in what it answers, before anything reads it. `admit` says to which addresses
    it may connect; without it, to all. `acquire` is asked before each request, and raises when none may be made.
    `report` is told of each request with its answer.
    """

    def __init__(self, settings: Target | UisApi, *, mask: Mask | None = None, admit: Admit | None = None) -> None:
        self._timeout = (settings.connect_timeout.total_seconds(), settings.timeout.total_seconds())
        self._proxies = {"http": settings.proxy, "https": settings.proxy} if settings.proxy else {}
        ca_file = None if settings.ca_file is None else str(ROOT / settings.ca_file)
        self._verify: bool | str = ca_file or True if settings.verify_tls else False
        self._mask = Mask(secrets_of(settings)) if mask is None else mask
        self._admit = admit
        self.acquire: Callable[[], None] = unthrottled
        self.report: Callable[[Exchange], None] | None = None
        self.requests_made = 0
        # a session adds hooks, redirects and the environment's proxies, which we do not have, for half the speed
        self._adapter = _TrackingAdapter()
        self.cookies = RequestsCookieJar()
        if not settings.verify_tls:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # `check` says it, not every request
        self._prepared: dict[tuple[str, str], requests.PreparedRequest] = {}
        self._used_at = 0.0

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        body_max: int = _BODY_MAX,
        secrets: tuple[str, ...] = (),
        is_of_tokens: bool = False,
    ) -> Response:
        """Make one request, and return its answer with at most `body_max` bytes of the body. Raises NoAnswer.

        `secrets` are in this request beside those of the settings, and are hidden in the answer as well.
        `is_of_tokens`: the answer holds new secrets, and neither it nor the request is reported but for its address.
        """
        self.acquire()
        self.requests_made += 1
        began = time.monotonic()
        if began - self._used_at > _IDLE_MAX_S:
            self._adapter.forget_connections()
        prepared, response = self._prepare(method, url, headers, body), None
        try:
            # a recording is given what a slow line needs for it
            time_limit_s = sum(self._timeout) + max(len(body or b"") - _BODY_MAX, body_max - _BODY_MAX, 0) / _SLOW_LINE
            response = self._send(prepared, time_limit_s, body_max, secrets)
        finally:
            if self.report is not None:
                took_ms = int((time.monotonic() - began) * 1000)
                exchange = _exchange_of(prepared, response, self._mask, secrets, took_ms=took_ms)
                self.report(_without_content(exchange) if is_of_tokens else exchange)
        return response

    def _send(
        self, prepared: requests.PreparedRequest, time_limit_s: float, body_max: int, secrets: tuple[str, ...]
    ) -> Response:
        exchange = _THREAD.exchange = _Exchange(time_limit_s, self._admit)
        try:
            response = self._adapter.send(
                prepared, timeout=self._timeout, stream=True, verify=self._verify, proxies=self._proxies
            )
        except requests.RequestException as exc:
            connected = exchange.connected
            outcome = _timed_out(connected) if exchange.is_over() else translate(exc, connected=connected)
            masked = change(outcome.reason, lambda text: self._mask.text(text, *secrets))  # it may quote the target
            raise NoAnswer(replace(outcome, reason=masked)) from exc
        try:
            content, is_whole = _read(response, body_max)
        finally:
            response.close()
            self._used_at = time.monotonic()
        if "set-cookie" in response.headers:
            self._keep_cookies(response)
        return Response(
            response.status_code,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=self._mask(content, *secrets),
            is_whole=is_whole,
            phrase=self._mask.text(_phrase(response), *secrets),
        )

    def _keep_cookies(self, response: requests.Response) -> None:
        """Add the cookies of an answer to the jar; where that makes too many, only they are left, or none."""
        for _ in range(2):
            extract_cookies_to_jar(self.cookies, response.request, response.raw)  # type: ignore[no-untyped-call]  # requests has no types here
            size = sum(len(cookie.name) + len(cookie.value or "") for cookie in self.cookies)
            if len(self.cookies) <= _COOKIES_MAX and size <= _COOKIES_SIZE_MAX:
                return
            self.cookies.clear()

    def close(self) -> None:
        """End what the calling thread holds open."""
        self._adapter.close()
        self.cookies.clear()

    def _prepare(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> requests.PreparedRequest:
        """Return a copy of a request prepared once: preparing anew costs as much as sending."""
        template = self._prepared.get((method, url))
        if template is None:
            try:
                if len(self._prepared) >= _PREPARED_MAX:
                    self._prepared.clear()  # some addresses hold a call's own phone or id
                template = self._prepared[method, url] = requests.Request(method, url).prepare()
            except (requests.RequestException, ValueError) as exc:
                # its text holds the url
                reason = Message("the url cannot be used (%(name)s): mend it", name=type(exc).__name__)
                raise NoAnswer(Outcome(name="misconfigured", reason=reason)) from exc
        prepared = template.copy()
        prepared.headers.update(headers)
        if body is not None:
            prepared.body = body
            prepared.headers["Content-Length"] = str(len(body))
        if self.cookies:
            prepared.prepare_cookies(self.cookies)
        return prepared


def _phrase(response: requests.Response) -> str:
    phrase = response.reason or ""
    if phrase.lower() == http.client.responses.get(response.status_code, "").lower():
        return ""
    return error_text.words(phrase.encode("latin-1", "replace")[:_PHRASE_MAX])


def _read(response: requests.Response, body_max: int) -> tuple[bytes, bool]:
    """Read the body up to its maximum, while there is time, and say whether it came to its end."""
    body = bytearray()
    ended = False
    with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):  # the status has decided; what there is is enough
        while len(body) < body_max and not ended:
            # what is there; `read` would lose half a block
            part = response.raw.read1(min(body_max, 65536), decode_content=True)
            ended = not part
            body += part
    del body[body_max:]
    return bytes(body), ended


# --- what is reported of a request: without secrets, and short enough to be kept

_SHOWN_MAX = 8 * 1024  # characters of a body that are reported
_LOOKED_AT = 64 * 1024  # bytes of a body in which secrets are hidden; far more than is shown, so that none is halved
_LOGINS = ("authorization", "proxy-authorization", "cookie")
_TELLING_HEADERS = ("content-type", "location", "retry-after", "server", "www-authenticate")


def _exchange_of(
    request: requests.PreparedRequest, answer: Response | None, mask: Mask, secrets: tuple[str, ...], *, took_ms: int
) -> Exchange:
    """Return a request and its answer without the target's secrets, and without `secrets`."""
    headers = {name: _scheme(value) if name.lower() in _LOGINS else value for name, value in request.headers.items()}
    said = {} if answer is None else {name: answer.headers[name] for name in _TELLING_HEADERS if name in answer.headers}
    body = request.body if isinstance(request.body, bytes) else b""
    origin, path = _parts(request.url or "")
    lines = "\n".join([path, *headers.values(), *said.values()])
    masked = mask(lines.encode("utf-8", "replace") + b"\n" + body[:_LOOKED_AT], *secrets)  # once: each look costs
    hidden_path, *values, sent = masked.split(b"\n", 1 + len(headers) + len(said))
    texts = [value.decode("utf-8", "replace") for value in values]
    text, is_cut = _shown(sent)
    return Exchange(
        method=request.method or "",
        url=origin + hidden_path.decode("utf-8", "replace"),
        headers=dict(zip(headers, texts, strict=False)),
        body=text,
        is_cut=is_cut or len(body) > _LOOKED_AT,
        status=None if answer is None else answer.status,
        phrase="" if answer is None else answer.phrase,
        answer_headers=dict(zip(said, texts[len(headers) :], strict=True)),
        answer="" if answer is None else _shown(answer.body)[0],
        took_ms=took_ms,
    )


def _without_content(exchange: Exchange) -> Exchange:
    """Return of an exchange of tokens that there was one, and where: all else in it is secret."""
    address = exchange.url.partition("?")[0]
    return Exchange(method=exchange.method, url=address, headers={}, status=exchange.status, took_ms=exchange.took_ms)


def _parts(url: str) -> tuple[str, str]:
    """Return where a request goes, without a login, and the rest: a webhook is a secret, the host in it is none."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return origin, url[url.find(parts.netloc) + len(parts.netloc) :]


def _scheme(login: str) -> str:
    scheme, _, rest = login.partition(" ")
    return f"{scheme} {error_text.MASK}" if rest and "=" not in scheme else error_text.MASK


def _shown(body: bytes) -> tuple[str, bool]:
    """Return what is shown of a body, and whether it goes on; one that was cut may end within a character."""
    text = error_text.decoded(body) if len(body) < _LOOKED_AT else body[:_LOOKED_AT].decode("utf-8", "replace")
    return (text, False) if len(text) <= _SHOWN_MAX else (f"{text[:_SHOWN_MAX]}…", True)


# --- foreign errors to outcomes; the first match wins


def _timed_out(connected: bool) -> Outcome:
    """Return the outcome of a request whose deadline has passed before the status and the headers were there."""
    if connected:
        reason = Message("no answer, though the request may have arrived: it was not whole in time")
        return Outcome(name="unclear", reason=reason)
    return Outcome(name="unreachable", reason=Message("no connection: connecting took too long"))


def translate(exc: requests.RequestException, *, connected: bool) -> Outcome:
    """Return the outcome of a request that ended in this error. `connected`: had the connection been made?"""
    why = _why(exc)
    if isinstance(exc, ValueError):  # of an address or a header: it was never sent
        return Outcome(name="misconfigured", reason=Message("the address or a header cannot be used: %(why)s", why=why))
    if connected:
        reason = Message("no answer, though the request may have arrived: %(why)s", why=why)
        return Outcome(name="unclear", reason=reason)
    if isinstance(exc, requests.exceptions.ProxyError):
        if "Tunnel connection failed: 407" in str(exc):
            return Outcome(name="misconfigured", reason=join("407", REMEDIES[407], by=": "))
        return Outcome(name="unreachable", reason=Message("the proxy cannot be reached: %(why)s", why=why))
    if isinstance(exc, requests.exceptions.SSLError):
        remedy = Message("mend the certificate, or set ca_file, or verify_tls = false")
        return Outcome(name="misconfigured", reason=Message("TLS: %(why)s; %(remedy)s", why=why, remedy=remedy))
    return Outcome(name="unreachable", reason=Message("no connection: %(why)s", why=why))


def _why(exc: BaseException) -> str:
    """Return the innermost reason, without the address: a url may hold a secret."""
    if isinstance(exc, requests.ConnectTimeout):
        return Message("connecting took too long; is there a firewall or a VPN in between?")
    if isinstance(exc, requests.Timeout):
        return Message("the answer took longer than the target's timeout")
    innermost: BaseException = exc
    for _ in range(8):
        within = next((each for each in innermost.args if isinstance(each, BaseException)), None)
        inner = getattr(innermost, "reason", None) or innermost.__cause__ or within
        if not isinstance(inner, BaseException):
            break
        innermost = inner
    words = {
        "NewConnectionError": Message("refused"),
        "NameResolutionError": Message("the host name is not known (DNS)"),
        "TimeoutError": Message("it took too long"),
        "ConnectionRefusedError": Message("connection refused; does it run, is the port in the address right?"),
        "gaierror": Message("the host name is not known (DNS)"),
        "RemoteDisconnected": Message("the target closed the connection without an answer"),
        "ConnectionResetError": Message("the target reset the connection"),
        "BrokenPipeError": Message("the target closed the connection"),
    }
    text = words.get(type(innermost).__name__)
    return text or f"{type(innermost).__name__}: {_without_address(str(innermost))}"[:_REASON_MAX]


def _without_address(text: str) -> str:
    """Leave out addresses. A path is one too: Bitrix24's holds the secret."""
    return " ".join(word for word in text.split() if word.count("/") < 2 and "host=" not in word)


# --- connections that tell whether they stand, and go only where they may: urllib3 raises the same errors before and
# --- after a connection stands


class _Exchange:
    """Holds one request on its way: what its connection has to know, and what it tells."""

    def __init__(self, time_limit: float, admit: Admit | None) -> None:
        self._ends_at, self.admit = time.monotonic() + time_limit, admit
        self.connected = False  #: was there a connection: TCP, and TLS where there is TLS?

    def is_over(self) -> bool:
        return time.monotonic() >= self._ends_at

    def seconds_left(self) -> float:
        """Raises TimeoutError when there are none."""
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Thread(threading.local):
    exchange: _Exchange  #: the request that this thread makes now


_THREAD = _Thread()


class _Tracked:
    """Marks the request as connected, and ends it in time: a mixin for urllib3's connections."""

    _dns_host: str
    host: str
    port: int
    proxy: Any
    sock: socket.socket | None
    timeout: float | None

    def _new_conn(self) -> socket.socket:
        exchange = _THREAD.exchange
        connect: Callable[[], socket.socket] = super()._new_conn  # type: ignore[misc]  # of what it is mixed into
        # behind a proxy it is the proxy that looks up the host
        return connect() if exchange.admit is None or self.proxy else self._admitted(exchange.admit, connect)

    def _admitted(self, admit: Admit, connect: Callable[[], socket.socket]) -> socket.socket:
        """Connect to an address that was looked at: a name that is looked up twice may lead to two places."""
        host = self._dns_host
        try:
            entries = socket.getaddrinfo(host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as exc:
            raise NameResolutionError(self.host, self, exc) from exc  # type: ignore[arg-type]  # it takes any connection
        failed: Exception | None = None
        for address in admit(self.host, list(dict.fromkeys(str(entry[4][0]) for entry in entries))):
            self._dns_host = address
            try:
                return connect()
            except NewConnectionError as exc:
                failed = exc
            finally:
                self._dns_host = host
        raise failed or NewConnectionError(self, "there is no address")  # type: ignore[arg-type]  # likewise

    # A time-out that is set anew gives up the GIL, and to get it back costs: it is set where it has to be. Sending has
    # all the time there is, for a recording; connecting, and each wait for the answer, has less. What urllib3 sets
    # before a request it sets on a socket that is there: not on plain HTTP's, which is connected within the request.

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # of what it is mixed into
        _THREAD.exchange.connected = True
        if self.sock is not None:
            self.sock.settimeout(_THREAD.exchange.seconds_left())

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:  # kept, or of https, which is connected before
            _THREAD.exchange.connected = True
            self.timeout = _THREAD.exchange.seconds_left()  # which urllib3 sets
        super().request(*args, **kwargs)  # type: ignore[misc]  # likewise

    def response_class(self, connection: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
        """Return the answer, to be read while there is time."""
        response = http.client.HTTPResponse(connection, *args, **kwargs)
        response.fp = io.BufferedReader(_Reader(response.fp.detach(), connection, _THREAD.exchange))
        return response


class _Reader(io.RawIOBase):
    """Reads while there is time. A socket's own time-out begins anew with every byte: an answer may drip for ever."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, exchange: _Exchange) -> None:
        self._raw, self._connection, self._exchange = raw, connection, exchange

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._exchange.seconds_left()
        if (self._connection.gettimeout() or math.inf) > left_s:
            self._connection.settimeout(left_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TrackedHTTP(_Tracked, HTTPConnection):  # type: ignore[misc]  # a method makes the answer, where it has a class
    pass


class _TrackedHTTPS(_Tracked, HTTPSConnection):  # type: ignore[misc]  # likewise
    pass


class _TrackingAdapter(HTTPAdapter):
    """Connects by the connections above."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _TrackedHTTPS if pool.scheme == "https" else _TrackedHTTP  # type: ignore[attr-defined]  # the types have it on a pool's class alone
        return pool

    def forget_connections(self) -> None:
        self.poolmanager.clear()
        for manager in self.proxy_manager.values():
            manager.clear()
