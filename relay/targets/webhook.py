"""Delivers to any HTTP address: one request for each event, signed as in Standard Webhooks where a secret is set."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from urllib.parse import urlencode, urlsplit

from relay.clock import Clock
from relay.config import HttpTarget
from relay.i18n import Message
from relay.models import CallEvent, ClaimedDelivery, Outcome
from relay.targets import error_text
from relay.targets.base import Adapter, CallContext, TokenStore
from relay.targets.http_client import Response
from relay.targets.outcome_rules import Rule, outcome, rule_of_status
from relay.uis.rendering import event_body

_RESTARTING = Rule("misconfigured", health_hint="perhaps_restarting")
_BY_STATUS: dict[int, Rule] = {
    **dict.fromkeys((408, 425, 429), Rule("later")),
    **dict.fromkeys((401, 405, 426), Rule("misconfigured")),
    **dict.fromkeys((403, 404), _RESTARTING),
    **dict.fromkeys((409, 500), Rule("failed")),  # a conflict, which may pass, or this event made it stumble
}
_REDIRECT = Rule("misconfigured")  # the url is not the receiver's own


class Http(Adapter):
    """Delivers to one address."""

    settings: HttpTarget

    def __init__(self, settings: HttpTarget, clock: Clock, token_store: TokenStore) -> None:
        super().__init__(settings, clock, token_store)
        self._keys = [b64decode(secret.removeprefix("whsec_")) for secret in settings.secrets]
        query = urlencode(settings.query)
        joint = "&" if urlsplit(settings.url).query else "?"
        self._url = f"{settings.url}{joint}{query}" if query else settings.url

    def deliver(self, claimed: ClaimedDelivery, call: CallEvent, context: CallContext) -> Outcome:  # noqa: ARG002  # alike for all
        body, content_type = event_body(claimed.event, call, self.settings.body, self.settings.empty)
        headers = {
            **self.settings.headers,
            "Content-Type": content_type,
            "User-Agent": "uis-relay",
            "X-Relay-Delivery": claimed.delivery.id,
            **self._signatures(claimed.delivery.id, body),
        }
        return self._outcome(self.client.request(self.settings.method, self._url, headers, body))

    def _probe(self) -> Outcome:
        """Ask with `HEAD` whether somebody is there. Whether it would take an event only an event can show."""
        response = self.client.request("HEAD", self._url, {**self.settings.headers, "User-Agent": "uis-relay"})
        if response.status == 401 or error_text.remedy(response.status, response.body) is not None:
            return self._outcome(response)
        return Outcome(name="delivered", reason=Message("answers %(status)s to HEAD", status=response.status))

    def _outcome(self, response: Response) -> Outcome:
        status = response.status
        if 200 <= status < 300 or status in self.settings.delivered_statuses:
            return Outcome(name="delivered", status=status)
        rule = rule_of_status(response, _BY_STATUS, _REDIRECT)
        return outcome(response, rule, error_text.words(response.body), self.clock())

    def _signatures(self, delivery: str, body: bytes) -> dict[str, str]:
        """Sign under the delivery's id, the same in each attempt; once for each secret while they are changed."""
        if not self._keys:
            return {}
        timestamp = str(int(self.clock().timestamp()))
        signed = [_signature(key, delivery, timestamp, body) for key in self._keys]
        return {"webhook-id": delivery, "webhook-timestamp": timestamp, "webhook-signature": " ".join(signed)}


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Sign as in Standard Webhooks 1.0.0, over bytes: its own library signs text only, and a raw body may be none."""
    signed = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{b64encode(signed).decode('ascii')}"
