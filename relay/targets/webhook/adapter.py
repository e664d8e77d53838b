"""Any HTTP address: one request for each event, signed as Standard Webhooks have it where a secret is set."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from urllib.parse import urlencode, urlsplit

from relay.clock import Clock
from relay.config import HttpTarget
from relay.models import Outcome, OutcomeName
from relay.targets import error_text, payload, statuses
from relay.targets.base import Adapter, CallContext, Shipment, TokenStore
from relay.targets.http_client import NoAnswer, Response

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

    def send(self, shipment: Shipment, steps: CallContext) -> Outcome:
        event = shipment.event
        if event.call is None:
            return Outcome(name="refused", reason="the event is quarantined: there is nothing to send")
        body, content_type = payload.content(event, event.call, self.settings)
        headers = {
            **self.settings.headers, "Content-Type": content_type, "User-Agent": "uis-relay",
            "X-Relay-Delivery": shipment.delivery.id, **self._signatures(shipment.delivery.id, body),
        }  # fmt: skip
        steps.leave()
        try:
            answer = self.client.request(self.settings.method, self._url, headers, body)
        except NoAnswer as exc:
            return exc.outcome
        return self._outcome(answer)

    def check(self) -> Outcome:
        """`HEAD`: whether somebody is there. Whether it would take an event only an event can show."""
        try:
            answer = self.client.request("HEAD", self._url, {**self.settings.headers, "User-Agent": "uis-relay"})
        except NoAnswer as exc:
            return exc.outcome
        if answer.status == 401 or statuses.remedy(answer) is not None:
            return self._outcome(answer)
        return Outcome(name="delivered", reason=f"answers {answer.status} to HEAD")

    def _outcome(self, answer: Response) -> Outcome:
        status = answer.status
        if 200 <= status < 300 or status in self.settings.delivered_statuses:
            return Outcome(name="delivered", status=status)
        mend, said = statuses.remedy(answer), error_text.words(answer.body)
        name = _name(status) if mend is None else "misconfigured"
        shown = str(status) if mend is None else f"{status} ({mend})"
        return Outcome(
            name=name, status=status, reason=f"{shown}: {said}" if said else shown,
            wait=error_text.retry_after(answer.headers, self._clock()) if name == "later" else None,
            health_hint="perhaps_restarting" if status in _SAID_BY_A_RESTART else None,
        )  # fmt: skip

    def _signatures(self, delivery: str, body: bytes) -> dict[str, str]:
        """The id is the delivery's, the same in each attempt; one signature for each secret while they are changed."""
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
    """Standard Webhooks 1.0.0. Over the bytes: the specification's own library signs text only, and a raw body may
    be none.
    """
    signed = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{b64encode(signed).decode('ascii')}"
