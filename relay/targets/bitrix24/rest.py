"""Asks Bitrix24's REST: one method, one request; by an incoming webhook, or by a local application's OAuth.

Redirects are not followed by the library: a portal that was renamed answers 302, which would turn the POST into a
GET. The address holds a secret: it stands in no error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import structlog

from relay.clock import Clock
from relay.config import Bitrix24Target
from relay.config.demo_guard import is_loopback
from relay.i18n import Message
from relay.models import Outcome
from relay.targets.base import TokenStore
from relay.targets.bitrix24 import responses
from relay.targets.crm.rest import JSON_HEADERS, CrmRest
from relay.targets.http_client import Client, Response, TargetError

log = structlog.get_logger("relay.targets")

_MOVED = (301, 302, 307, 308)
_CLOUD = re.compile(r"(.+\.)?bitrix24\.[a-z]{2,3}(\.[a-z]{2})?")


class Rest(CrmRest):
    """Asks one portal."""

    token_lasts_s = 3600  # never by a clock: an application that refreshes without need may be blocked
    _settings: Bitrix24Target
    _read_token = staticmethod(responses.read_token)

    def __init__(self, settings: Bitrix24Target, clock: Clock, token_store: TokenStore, client: Client) -> None:
        super().__init__(settings, clock, token_store, client)
        self._blocked_until: dict[str, datetime] = {}

    @property
    def moved_to(self) -> str | None:
        """Return the host that a renamed portal has now; None: it was not renamed."""
        host = urlsplit(self._base).netloc
        return None if host == urlsplit(self._settings.address).netloc else host

    def call(self, method: str, params: Mapping[str, Any], delivery: str = "") -> Any:
        """Return the `result` of a method. Raises TargetError."""
        self._refuse_blocked(method)
        try:
            return self._authorised(lambda token: self._call(method, params, token, delivery))
        except TargetError as exc:
            if exc.code == "blocked":
                self._blocked_until[method] = self._clock() + (exc.outcome.wait or timedelta(0))
            raise

    def _refuse_blocked(self, method: str) -> None:
        until = self._blocked_until.get(method)
        if until is not None and (wait := until - self._clock()) > timedelta(0):
            reason = Message("Bitrix24 has blocked %(method)s for its operating time", method=method)
            raise TargetError(Outcome(name="later", reason=reason, wait=wait), "blocked")

    def _call(self, method: str, params: Mapping[str, Any], token: str | None, delivery: str) -> Any:
        fields = dict(params) if token is None else {**params, "auth": token}
        body = json.dumps(fields, ensure_ascii=False).encode()
        secrets = () if token is None else (token,)
        response = self._post(method, body, delivery, secrets)
        if response.status in _MOVED and self._follow(response, method):
            response = self._post(method, body, delivery, secrets)
        return responses.read(response, self._clock())

    def _post(self, method: str, body: bytes, delivery: str, secrets: tuple[str, ...]) -> Response:
        headers = {**JSON_HEADERS, "X-Relay-Delivery": delivery}
        return self._client.request("POST", f"{self._base}/{method}.json", headers, body, secrets=secrets)

    def _follow(self, response: Response, method: str) -> bool:
        """Take over a renamed portal's new address: only within the cloud, because the secret goes there."""
        parts = urlsplit(response.headers.get("location", ""))
        host = parts.hostname or ""
        trusted = (parts.scheme == "https" and _CLOUD.fullmatch(host)) or is_loopback(host)
        path = re.sub(rf"{re.escape(method)}(\.json)?/?$", "", parts.path, flags=re.IGNORECASE)
        if not trusted or path.strip("/") != urlsplit(self._base).path.strip("/"):
            return False
        self._base = f"{parts.scheme}://{parts.netloc}{path}".rstrip("/")
        reason = Message("the portal has been renamed; put the new address into the configuration")
        log.error("target.renamed", target=self._settings.name, address=parts.netloc, reason=reason)
        return True

    def _token_request(self, refresh: str) -> tuple[str, str, Mapping[str, str], bytes | None]:
        """Ask as Bitrix24's documentation has it: a GET with everything in the query; the old token ends with it."""
        query = {
            "grant_type": "refresh_token",
            "client_id": self._settings.client_id or "",
            "client_secret": self._settings.client_secret or "",
            "refresh_token": refresh,
        }
        url = f"{self._settings.oauth_url.rstrip('/')}/oauth/token/?{urlencode(query)}"
        return "GET", url, {"Accept": "application/json"}, None
