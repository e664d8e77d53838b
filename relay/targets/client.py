"""The sending of one request, with foreign errors translated to outcomes once.

The rule is one: what failed before the connection stood was surely not taken (unreachable, or misconfigured
when it is the certificate); everything after may have been (unclear).
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Mapping
from typing import Any

import requests
import urllib3
from msgspec import Struct
from requests.adapters import HTTPAdapter
from requests.cookies import extract_cookies_to_jar
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from relay.errors import RelayError
from relay.events import Outcome
from relay.settings import ROOT, Target
from relay.targets import texts

_BODY_MAX = 64 * 1024
_IDLE_MAX_S = 4.0  # servers close at 5; a request into a closing connection may have been taken or not
_REASON_MAX = 500
_PHRASE_MAX = 1000  # in bytes


class Answer(Struct, frozen=True):
    """What a target answered. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    phrase: str = ""  #: of the status line, where it is not the usual one: 1C puts its words there


class Setback(RelayError):
    """A request that did not come to what was wanted: `outcome` says what it means for the delivery."""

    def __init__(self, outcome: Outcome, matter: str = "") -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome
        self.matter = matter  #: which of the cases it is that an adapter treats in a way of its own


class NoAnswer(Setback):
    """The request came to no answer; `outcome` says whether it may have arrived."""


class Client:
    """One thread's connection to one target. Keeps cookies; follows no redirect; every wait has an end."""

    def __init__(self, settings: Target) -> None:
        self._timeout = (settings.connect_timeout.total_seconds(), settings.timeout.total_seconds())
        self._proxies = {"http": settings.proxy, "https": settings.proxy} if settings.proxy else {}
        ca_file = None if settings.ca_file is None else str(ROOT / settings.ca_file)
        self._verify: bool | str = ca_file or True if settings.verify_tls else False
        self._session = requests.Session()
        self._session.trust_env = False  # reads the environment for every request: half the speed
        self._adapter = _TellingAdapter()
        self._session.mount("http://", self._adapter)
        self._session.mount("https://", self._adapter)
        if not settings.verify_tls:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # `check` says it, not every request
        self._prepared: dict[tuple[str, str], requests.PreparedRequest] = {}
        self._used_at = 0.0

    @property
    def cookies(self) -> Any:
        return self._session.cookies

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None, *,
        body_max: int = _BODY_MAX,
    ) -> Answer:  # fmt: skip
        """One request; of the answer's body at most `body_max` bytes. Raises NoAnswer."""
        if time.monotonic() - self._used_at > _IDLE_MAX_S:
            self._adapter.forget_connections()
        began = time.monotonic()
        _STOOD.now = False
        try:
            # the session's own `send` adds hooks and redirects, which we do not have, for a twentieth of the time
            response = self._adapter.send(
                self._prepare(method, url, headers, body), timeout=self._timeout, stream=True,
                verify=self._verify, proxies=self._proxies,
            )  # fmt: skip
        except requests.RequestException as exc:
            raise NoAnswer(translate(exc, stood=_STOOD.now)) from exc
        try:
            content = _read(response, began + self._timeout[0] + self._timeout[1], body_max)
        finally:
            response.close()
            self._used_at = time.monotonic()
        if "set-cookie" in response.headers:
            extract_cookies_to_jar(self._session.cookies, response.request, response.raw)  # type: ignore[no-untyped-call]
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, content, _phrase(response))

    def close(self) -> None:
        self._session.close()

    def _prepare(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> requests.PreparedRequest:
        """A copy of a request prepared once: preparing anew costs as much as sending."""
        known = self._prepared.get((method, url))
        if known is None:
            try:
                known = self._prepared[method, url] = requests.Request(method, url).prepare()
            except (requests.RequestException, ValueError) as exc:
                raise NoAnswer(Outcome(name="misconfigured", reason=f"the url cannot be used: {exc}")) from exc
        prepared = known.copy()
        prepared.headers.update(headers)
        if body is not None:
            prepared.body = body
            prepared.headers["Content-Length"] = str(len(body))
        if self._session.cookies:
            prepared.prepare_cookies(self._session.cookies)
        return prepared


def _phrase(response: requests.Response) -> str:
    given = response.reason or ""
    if given.lower() == http.client.responses.get(response.status_code, "").lower():
        return ""
    return texts.words(given.encode("latin-1", "replace")[:_PHRASE_MAX])


def _read(response: requests.Response, deadline: float, body_max: int) -> bytes:
    """The body up to its maximum and up to the deadline; a body that is cut does not cost the status."""
    parts: list[bytes] = []
    size = 0
    try:
        while size < body_max and time.monotonic() < deadline:
            # what is there; `read` would lose half a block
            part = response.raw.read1(min(body_max, 65536), decode_content=True)
            if not part:
                break
            parts.append(part)
            size += len(part)
    except (urllib3.exceptions.HTTPError, OSError):
        pass  # the status has decided; what there is of the body is enough
    return b"".join(parts)[:body_max]


# --- did the connection stand?


class _Stood(threading.local):
    """Whether this thread's request found a connection: TCP, and TLS where there is TLS."""

    now: bool = False


class _Telling:
    """A connection that tells when it stands: urllib3 raises the same errors before and after."""

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # a mixin: urllib3's classes have it
        _STOOD.now = True

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:  # type: ignore[attr-defined]
            _STOOD.now = True
        super().request(*args, **kwargs)  # type: ignore[misc]


class _TellingHTTP(_Telling, HTTPConnection):
    pass


class _TellingHTTPS(_Telling, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _TellingHTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _TellingHTTPS


class _TellingAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        return manager

    def forget_connections(self) -> None:
        self.poolmanager.clear()
        for manager in self.proxy_manager.values():
            manager.clear()


_STOOD = _Stood()


# --- foreign errors to outcomes; the first match wins

_NEVER_SENT: tuple[type[Exception], ...] = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidProxyURL,
)


def translate(exc: requests.RequestException, *, stood: bool) -> Outcome:
    """The outcome of a request that ended in this error. `stood`: had the connection been made?"""
    why = _why(exc)
    if isinstance(exc, _NEVER_SENT):
        return Outcome(name="misconfigured", reason=f"the address or a header cannot be used: {why}")
    if stood:
        return Outcome(name="unclear", reason=f"no answer, though the request may have arrived: {why}")
    if isinstance(exc, requests.exceptions.ProxyError):
        return Outcome(name="unreachable", reason=f"the proxy cannot be reached: {why}")
    if isinstance(exc, requests.exceptions.SSLError):
        return Outcome(
            name="misconfigured",
            reason=f"TLS: {why}; mend the certificate, or set ca_file, or verify_tls = false",
        )
    return Outcome(name="unreachable", reason=f"no connection: {why}")


def _why(exc: BaseException) -> str:
    """The innermost reason, without the address: a url may hold a secret."""
    if isinstance(exc, requests.ConnectTimeout):
        return "connecting took too long"
    if isinstance(exc, requests.Timeout):
        return "the answer took too long"
    seen: BaseException = exc
    for _ in range(8):
        within = next((each for each in seen.args if isinstance(each, BaseException)), None)
        inner = getattr(seen, "reason", None) or seen.__cause__ or within
        if not isinstance(inner, BaseException):
            break
        seen = inner
    words = {
        "NewConnectionError": "refused",
        "NameResolutionError": "the host name is not known (DNS)",
        "TimeoutError": "it took too long",
        "ConnectionRefusedError": "connection refused",
        "gaierror": "the host name is not known (DNS)",
        "RemoteDisconnected": "the target closed the connection without an answer",
        "ConnectionResetError": "the target reset the connection",
        "BrokenPipeError": "the target closed the connection",
    }
    text = words.get(type(seen).__name__)
    return text or f"{type(seen).__name__}: {_without_address(str(seen))}"[:_REASON_MAX]


def _without_address(text: str) -> str:
    """A path is one too: Bitrix24's holds the secret."""
    return " ".join(word for word in text.split() if word.count("/") < 2 and "host=" not in word)
