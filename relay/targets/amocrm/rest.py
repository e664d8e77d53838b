"""Asks amoCRM's API: one request at a time, by a long-lived token or by OAuth with one-time refresh tokens."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from relay.config import AmoCrmTarget
from relay.targets.amocrm import responses
from relay.targets.crm.rest import JSON_HEADERS, CrmRest, Result
from relay.targets.http_client import Response

Read = Callable[[Response, datetime], Result]


class Rest(CrmRest):
    """Asks one account."""

    renewed_before = timedelta(minutes=1)
    token_lasts_s = 86400
    _settings: AmoCrmTarget
    _read_token = staticmethod(responses.read_token)

    def get(self, path: str) -> dict[str, Any]:
        """Return the document; empty when there is none. Raises TargetError."""
        return self.call("GET", path, None, responses.read)

    def post(self, path: str, item: dict[str, Any], kind: str, delivery: str) -> dict[str, Any]:
        """Return what became of one item; more in a request could be half a success. Raises TargetError."""
        read = partial(responses.posted, kind=kind, request_id=str(item["request_id"]))
        return self.call("POST", path, [item], read, delivery)

    def call(self, method: str, path: str, document: Any, read: Read[Result], delivery: str = "") -> Result:
        """Send a document (None: no body), and read the answer. Raises TargetError."""
        body = None if document is None else json.dumps(document, ensure_ascii=False).encode()

        def request(token: str | None) -> Result:
            token = token or self._settings.token or ""
            headers = {**JSON_HEADERS, "Authorization": f"Bearer {token}", "X-Relay-Delivery": delivery}
            response = self._client.request(method, self._base + path, headers, body, secrets=(token,))
            return read(response, self._clock())

        return self._authorised(request)

    def _token_request(self, refresh: str) -> tuple[str, str, Mapping[str, str], bytes | None]:
        document = {
            "client_id": self._settings.client_id,
            "client_secret": self._settings.client_secret,
            "grant_type": "refresh_token",
            "refresh_token": refresh,
            "redirect_uri": self._settings.redirect_uri,
        }
        return "POST", f"{self._base}/oauth2/access_token", JSON_HEADERS, json.dumps(document).encode()


def jwt_expires_at(token: str) -> datetime | None:
    """Return when a long-lived token ends: a JWT says it in `exp`. None: it does not say."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, OSError):
        return None
