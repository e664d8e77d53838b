"""Delivers to any HTTP address: one request for each event, signed as in Standard Webhooks where a secret is set."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from urllib.parse import urlencode, urlsplit

from relay.clock import Clock
from relay.config import HttpTarget
from relay.models import CallEvent, ClaimedDelivery, Outcome, OutcomeName
from relay.targets import error_text, payload
from relay.targets.base import Adapter, CallContext, TokenStore
from relay.targets.http_client import Response

_LATER = (408, 425, 429, 502, 503, 504)
_MISCONFIGURED = (401, 403, 404, 405, 426)
_SAID_BY_A_RESTART = (403, 404)


class Http(Adapter):
    settings: HttpTarget

    def __init__(self, settings: HttpTarget, clock: Clock, token_store: TokenStore) -> None:  # noqa: ARG002  as all kinds
        super().__init__(settings)
        self._clock = clock
        self._keys = [_key(secret) for secret in settings.secrets]
        query = urlencode(settings.query)
        joint = "&" if urlsplit(settings.url).query else "?"
        self._url = f"{settings.url}{joint}{query}" if query else settings.url

    def _deliver(self, claimed: ClaimedDelivery, call: CallEvent, context: CallContext) -> Outcome:
        body, content_type = payload.content(claimed.event, call, self.settings)
        headers = {
            **self.settings.headers,
            "Content-Type": content_type,
            "User-Agent": "uis-relay",
            "X-Relay-Delivery": claimed.delivery.id,
            **self._signatures(claimed.delivery.id, body),
        }
        context.acquire()
        return self._outcome(self.client.request(self.settings.method, self._url, headers, body))

    def _probe(self) -> Outcome:
        """Ask with `HEAD` whether somebody is there. Whether it would take an event only an event can show."""
        response = self.client.request("HEAD", self._url, {**self.settings.headers, "User-Agent": "uis-relay"})
        if response.status == 401 or error_text.remedy(response.status, response.body) is not None:
            return self._outcome(response)
        return Outcome(name="delivered", reason=f"answers {response.status} to HEAD")

    def _outcome(self, response: Response) -> Outcome:
        status = response.status
        if 200 <= status < 300 or status in self.settings.delivered_statuses:
            return Outcome(name="delivered", status=status)
        remedy, words = error_text.remedy(status, response.body), error_text.words(response.body)
        name = _name(status) if remedy is None else "misconfigured"
        shown = str(status) if remedy is None else f"{status} ({remedy})"
        return Outcome(
            name=name,
            status=status,
            reason=f"{shown}: {words}" if words else shown,
            wait=error_text.retry_after(response.headers, self._clock()) if name == "later" else None,
            health_hint="perhaps_restarting" if status in _SAID_BY_A_RESTART else None,
        )

    def _signatures(self, delivery: str, body: bytes) -> dict[str, str]:
        """Sign under the delivery's id, the same in each attempt; once for each secret while they are changed."""
        if not self._keys:
            return {}
        timestamp = str(int(self._clock().timestamp()))
        signed = [_signature(key, delivery, timestamp, body) for key in self._keys]
        return {"webhook-id": delivery, "webhook-timestamp": timestamp, "webhook-signature": " ".join(signed)}


def _name(status: int) -> OutcomeName:
    if status in _LATER:
        return "later"
    if status in _MISCONFIGURED or status < 400:
        return "misconfigured"  # below 400: a redirect, the url is not the receiver's own
    if status in (409, 500):
        return "failed"  # a conflict, which may pass, or this event made it stumble
    return "later" if status > 500 else "refused"


def _key(secret: str) -> bytes:
    return b64decode(secret.removeprefix("whsec_"))


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Sign as in Standard Webhooks 1.0.0, over bytes: its own library signs text only, and a raw body may be none."""
    signed = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{b64encode(signed).decode('ascii')}"
