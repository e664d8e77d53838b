"""The sending of one request, with foreign errors translated to outcomes once.

The rule is one: what failed before the connection stood was surely not taken (unreachable, or misconfigured
when it is the certificate); everything after may have been (unclear).
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from typing import Any

import requests
import urllib3
from msgspec import Struct
from msgspec.structs import replace
from requests.cookies import extract_cookies_to_jar

from relay.config import ROOT, Target
from relay.errors import RelayError
from relay.models import Outcome
from relay.targets import error_text
from relay.targets.connections import Admit, TellingAdapter, exchanging
from relay.targets.deadlines import WATCHDOG, Deadline
from relay.targets.masks import Mask, secrets_of
from relay.targets.statuses import REMEDIES

_BODY_MAX = 64 * 1024
_SLOW_LINE = 256 * 1024  # bytes a second
_IDLE_MAX_S = 4.0  # servers close at 5; a request into a closing connection may have been taken or not
_REASON_MAX = 500
_PREPARED_MAX = 64
_PHRASE_MAX = 1000  # in bytes


class Response(Struct, frozen=True):
    """What a target answered. Header names are in lower case; their values are acted upon, and shown nowhere."""

    status: int
    headers: Mapping[str, str]
    body: bytes  #: the target's secrets are hidden in it
    is_whole: bool = True  #: did the body come to its end, and not break off?
    phrase: str = ""  #: of the status line, where it is not the usual one: 1C puts its words there


class TargetError(RelayError):
    """A request that did not come to what was wanted: `outcome` says what it means for the delivery."""

    def __init__(self, outcome: Outcome, code: str = "") -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome
        self.code = code  #: which of the cases it is that an adapter treats in a way of its own


class NoAnswer(TargetError):
    """The request came to no answer; `outcome` says whether it may have arrived."""


class Client:
    """One thread's connection to one target. Keeps cookies; follows no redirect; every wait has an end.

    The target's own secrets are hidden in what it answers, before anything reads it. `admit` says to which addresses
    it may connect; without it, to all.
    """

    def __init__(self, settings: Target, *, mask: Mask | None = None, admit: Admit | None = None) -> None:
        self._timeout = (settings.connect_timeout.total_seconds(), settings.timeout.total_seconds())
        self._proxies = {"http": settings.proxy, "https": settings.proxy} if settings.proxy else {}
        ca_file = None if settings.ca_file is None else str(ROOT / settings.ca_file)
        self._verify: bool | str = ca_file or True if settings.verify_tls else False
        self._mask = Mask(secrets_of(settings)) if mask is None else mask
        self._admit = admit
        self._session = requests.Session()
        self._session.trust_env = False  # reads the environment for every request: half the speed
        self._adapter = TellingAdapter()
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
        body_max: int = _BODY_MAX, secrets: tuple[str, ...] = (),
    ) -> Response:  # fmt: skip
        """One request; of the answer's body at most `body_max` bytes. Raises NoAnswer.

        `secrets` are in this request beside those of the settings, and are hidden in the answer as well.
        """
        if time.monotonic() - self._used_at > _IDLE_MAX_S:
            self._adapter.forget_connections()
        prepared = self._prepare(method, url, headers, body)
        with WATCHDOG.within(self._patience(body, body_max)) as deadline, exchanging(deadline, self._admit) as exchange:
            try:
                # the session's own `send` adds hooks and redirects, which we do not have, for a twentieth of the time
                response = self._adapter.send(
                    prepared, timeout=self._timeout, stream=True, verify=self._verify, proxies=self._proxies
                )
            except requests.RequestException as exc:
                outcome = _late(stood=exchange.stood) if deadline.has_passed else translate(exc, stood=exchange.stood)
                masked = self._mask.text(outcome.reason, *secrets)  # it may quote what the target said
                raise NoAnswer(replace(outcome, reason=masked)) from exc
            try:
                if deadline.has_passed:  # in the middle of the headers, whose end a closed connection looks like
                    raise NoAnswer(_late(stood=True))
                content, is_whole = _read(response, deadline, body_max)
            finally:
                response.close()
                self._used_at = time.monotonic()
        if "set-cookie" in response.headers:
            extract_cookies_to_jar(self._session.cookies, response.request, response.raw)  # type: ignore[no-untyped-call]
        given = {name.lower(): value for name, value in response.headers.items()}
        phrase = self._mask.text(_phrase(response), *secrets)
        return Response(response.status_code, given, self._mask(content, *secrets), is_whole, phrase)

    def _patience(self, body: bytes | None, body_max: int) -> float:
        """The seconds that a request may take in all; a recording is given what a slow line needs for it."""
        beyond = max(len(body or b""), body_max) - _BODY_MAX
        return sum(self._timeout) + max(beyond, 0) / _SLOW_LINE

    def close(self) -> None:
        self._session.close()

    def _prepare(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> requests.PreparedRequest:
        """A copy of a request prepared once: preparing anew costs as much as sending."""
        known = self._prepared.get((method, url))
        if known is None:
            try:
                if len(self._prepared) >= _PREPARED_MAX:
                    self._prepared.clear()  # some addresses hold a call's own phone or id
                known = self._prepared[method, url] = requests.Request(method, url).prepare()
            except (requests.RequestException, ValueError) as exc:
                # its text holds the url
                reason = f"the url cannot be used ({type(exc).__name__}): mend it"
                raise NoAnswer(Outcome(name="misconfigured", reason=reason)) from exc
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
    return error_text.words(given.encode("latin-1", "replace")[:_PHRASE_MAX])


def _read(response: requests.Response, deadline: Deadline, body_max: int) -> tuple[bytes, bool]:
    """The body up to its maximum and up to the deadline, and whether it came to its end.

    A body that is cut does not cost the status.
    """
    parts: list[bytes] = []
    size = 0
    ended = False
    try:
        while size < body_max and not ended:
            # what is there; `read` would lose half a block
            part = response.raw.read1(min(body_max, 65536), decode_content=True)
            ended = not part
            parts.append(part)
            size += len(part)
    except (urllib3.exceptions.HTTPError, OSError):
        ended = False  # the status has decided; what there is of the body is enough
    return b"".join(parts)[:body_max], ended and not deadline.has_passed


# --- foreign errors to outcomes; the first match wins

_NEVER_SENT: tuple[type[Exception], ...] = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidProxyURL,
)


def _late(*, stood: bool) -> Outcome:
    """The deadline has passed before the status and the headers were there."""
    if stood:
        return Outcome(
            name="unclear", reason="no answer, though the request may have arrived: it was not whole in time"
        )
    return Outcome(name="unreachable", reason="no connection: connecting took too long")


def translate(exc: requests.RequestException, *, stood: bool) -> Outcome:
    """The outcome of a request that ended in this error. `stood`: had the connection been made?"""
    why = _why(exc)
    if isinstance(exc, _NEVER_SENT):
        return Outcome(name="misconfigured", reason=f"the address or a header cannot be used: {why}")
    if stood:
        return Outcome(name="unclear", reason=f"no answer, though the request may have arrived: {why}")
    if isinstance(exc, requests.exceptions.ProxyError) and "Tunnel connection failed: 407" in str(exc):
        return Outcome(name="misconfigured", reason=f"407: {REMEDIES[407]}")
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
