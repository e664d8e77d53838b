"""Bitrix24's REST: one method, one request; by an incoming webhook, or by a local application's OAuth.

Redirects are not followed by the library: a portal that was renamed answers 302, which would turn the POST into a
GET. The address holds a secret: it stands in no error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import structlog
from msgspec.structs import replace

from relay.clock import Clock
from relay.config import Bitrix24Target
from relay.config.demo_guard import is_loopback
from relay.models import Outcome, TokenPair
from relay.targets.base import TokenStore
from relay.targets.bitrix24 import responses
from relay.targets.http_client import Client, Response, TargetError
from relay.targets.oauth import Tokens

log = structlog.get_logger("relay.targets")

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "uis-relay"}
_MOVED = (301, 302, 307, 308)
_CLOUD = re.compile(r"(.+\.)?bitrix24\.[a-z]{2,3}(\.[a-z]{2})?")

Leave = Callable[[], None]


class Rest:
    """One portal. `client` gives the calling thread's connection."""

    def __init__(
        self, settings: Bitrix24Target, clock: Clock, token_store: TokenStore, client: Callable[[], Client]
    ) -> None:
        self._settings, self._clock, self._client = settings, clock, client
        self._base = settings.address.rstrip("/") + "/"
        self._tokens = None if settings.refresh_token is None else Tokens(settings.refresh_token, token_store)
        self._blocked_until: dict[str, datetime] = {}

    @property
    def moved_to(self) -> str | None:
        """The host that a renamed portal has now; None: it was not renamed."""
        host = urlsplit(self._base).netloc
        return None if host == urlsplit(self._settings.address).netloc else host

    def call(self, method: str, params: Mapping[str, Any], leave: Leave, delivery: str = "") -> Any:
        """The `result` of a method. `leave` is asked before each request. Raises Setback."""
        self._refuse_blocked(method)
        pair = None if self._tokens is None else self._tokens.known() or self._renew(None, leave)
        try:
            return self._call(method, params, pair, leave, delivery)
        except TargetError as exc:
            if exc.code == "blocked":
                self._blocked_until[method] = self._clock() + (exc.outcome.wait or timedelta(0))
            if exc.code != "expired_token" or self._tokens is None:
                raise
        # never by a clock: an application that refreshes without need may be blocked
        return self._call(method, params, self._renew(pair, leave), leave, delivery)

    def _refuse_blocked(self, method: str) -> None:
        until = self._blocked_until.get(method)
        if until is not None and (wait := until - self._clock()) > timedelta(0):
            reason = f"Bitrix24 has blocked {method} for its operating time"
            raise TargetError(Outcome(name="later", reason=reason, wait=wait), "blocked")

    def _call(self, method: str, params: Mapping[str, Any], pair: TokenPair | None, leave: Leave, delivery: str) -> Any:
        said = dict(params) if pair is None else {**params, "auth": pair.access}
        body = json.dumps(said, ensure_ascii=False).encode()
        secrets = () if pair is None else (pair.access,)
        answer = self._post(f"{method}.json", body, leave, delivery, secrets)
        if answer.status in _MOVED and self._follow(answer, method):
            answer = self._post(f"{method}.json", body, leave, delivery, secrets)
        return responses.read(answer, self._clock())

    def _post(self, path: str, body: bytes, leave: Leave, delivery: str, secrets: tuple[str, ...]) -> Response:
        leave()
        headers = {**_HEADERS, "X-Relay-Delivery": delivery}
        return self._client().request("POST", self._base + path, headers, body, secrets=secrets)

    def _follow(self, answer: Response, method: str) -> bool:
        """Takes over a renamed portal's new address: only within the cloud, because the secret goes there."""
        location = answer.headers.get("location", "")
        parts = urlsplit(location)
        host = parts.hostname or ""
        trusted = (parts.scheme == "https" and _CLOUD.fullmatch(host)) or is_loopback(host)
        path = re.sub(rf"{re.escape(method)}(\.json)?/?$", "", parts.path, flags=re.IGNORECASE)
        if not trusted or path.strip("/") != urlsplit(self._base).path.strip("/"):
            return False
        self._base = f"{parts.scheme}://{parts.netloc}{path}"
        log.error(
            "target.renamed", target=self._settings.name, address=parts.netloc,
            reason="the portal has been renamed; put the new address into the configuration",
        )  # fmt: skip
        return True

    def _renew(self, stale: TokenPair | None, leave: Leave) -> TokenPair:
        assert self._tokens is not None  # noqa: S101  asked for by those that have some
        return self._tokens.renewed(stale, lambda refresh, seed: self._exchange(refresh, seed, leave))

    def _exchange(self, refresh: str, seed: str, leave: Leave) -> TokenPair:
        """As the documentation of Bitrix24 has it: a GET with everything in the query; the old token ends with it."""
        query = {
            "grant_type": "refresh_token", "client_id": self._settings.client_id or "",
            "client_secret": self._settings.client_secret or "", "refresh_token": refresh,
        }  # fmt: skip
        leave()
        now = self._clock()
        url = f"{self._settings.oauth_url.rstrip('/')}/oauth/token/?{urlencode(query)}"
        try:
            answer = self._client().request("GET", url, {"Accept": "application/json"}, secrets=(refresh,))
        except TargetError as exc:  # whatever became of the exchange, the delivery was surely not taken
            raise TargetError(replace(exc.outcome, name="unreachable", reason=f"OAuth: {exc.outcome.reason}")) from exc
        found = responses.read_token(answer, now)
        return TokenPair(
            seed=seed, access=found["access_token"], refresh=found["refresh_token"],
            expires_at=now + timedelta(seconds=int(found.get("expires_in") or 3600)),
        )  # fmt: skip
