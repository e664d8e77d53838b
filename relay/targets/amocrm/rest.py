"""amoCRM's API: one request at a time, by a long-lived token or by OAuth with one-time refresh tokens."""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from msgspec.structs import replace

from relay.clock import Clock
from relay.config import AmoCrmTarget
from relay.models import TokenPair
from relay.targets.amocrm import responses
from relay.targets.base import TokenStore
from relay.targets.http_client import Client, Response, TargetError
from relay.targets.oauth import Tokens

ResultCode = TypeVar("ResultCode")
Leave = Callable[[], None]
Read = Callable[[Response, datetime], ResultCode]

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "uis-relay"}
_EARLY = timedelta(minutes=1)  # an access token is exchanged a little before its end


class Rest:
    """One account. `client` gives the calling thread's connection."""

    def __init__(
        self, settings: AmoCrmTarget, clock: Clock, token_store: TokenStore, client: Callable[[], Client]
    ) -> None:
        self._settings, self._clock, self._client = settings, clock, client
        self._url = settings.url.rstrip("/")
        self._tokens = None if settings.refresh_token is None else Tokens(settings.refresh_token, token_store)

    def get(self, path: str, leave: Leave) -> dict[str, Any]:
        """The document; empty when there is none. Raises Setback."""
        return self.call("GET", path, None, leave, responses.read)

    def post(self, path: str, thing: dict[str, Any], kind: str, leave: Leave, delivery: str) -> dict[str, Any]:
        """What became of one thing; always one in a request, so that no answer is half a success. Raises Setback."""

        def read(answer: Response, now: datetime) -> dict[str, Any]:
            return responses.posted(answer, now, kind, str(thing["request_id"]))

        return self.call("POST", path, [thing], leave, read, delivery)

    def call(
        self, method: str, path: str, said: Any, leave: Leave, read: Read[ResultCode], delivery: str = ""
    ) -> ResultCode:
        """`leave` is asked before each request. Raises Setback."""
        pair = None if self._tokens is None else self._present(self._tokens, leave)
        token = self._settings.token if pair is None else pair.access
        try:
            return self._call(method, path, said, token or "", leave, read, delivery)
        except TargetError as exc:
            if exc.code != "unauthorized" or self._tokens is None:
                raise
        renewed = self._renew(self._tokens, pair, leave)
        return self._call(method, path, said, renewed.access, leave, read, delivery)

    def _call(
        self, method: str, path: str, said: Any, token: str, leave: Leave, read: Read[ResultCode], delivery: str
    ) -> ResultCode:
        headers = {**_HEADERS, "Authorization": f"Bearer {token}", "X-Relay-Delivery": delivery}
        body = None if said is None else json.dumps(said, ensure_ascii=False).encode()
        leave()
        answer = self._client().request(method, self._url + path, headers, body, secrets=(token,))
        return read(answer, self._clock())

    def _present(self, tokens: Tokens, leave: Leave) -> TokenPair:
        pair = tokens.known()
        if pair is None or pair.expires_at - _EARLY <= self._clock():
            return self._renew(tokens, pair, leave)
        return pair

    def _renew(self, tokens: Tokens, stale: TokenPair | None, leave: Leave) -> TokenPair:
        return tokens.renewed(stale, lambda refresh, seed: self._exchange(refresh, seed, leave))

    def _exchange(self, refresh: str, seed: str, leave: Leave) -> TokenPair:
        said = {
            "client_id": self._settings.client_id, "client_secret": self._settings.client_secret,
            "grant_type": "refresh_token", "refresh_token": refresh, "redirect_uri": self._settings.redirect_uri,
        }  # fmt: skip
        url = f"{self._url}/oauth2/access_token"
        leave()
        now = self._clock()
        try:
            answer = self._client().request("POST", url, _HEADERS, json.dumps(said).encode(), secrets=(refresh,))
        except TargetError as exc:  # whatever became of the exchange, the delivery was surely not taken
            raise TargetError(replace(exc.outcome, name="unreachable", reason=f"OAuth: {exc.outcome.reason}")) from exc
        found = responses.read_token(answer, now)
        return TokenPair(
            seed=seed, access=found["access_token"], refresh=found["refresh_token"],
            expires_at=now + timedelta(seconds=int(found.get("expires_in") or 86400)),
        )  # fmt: skip


def jwt_expires_at(token: str) -> datetime | None:
    """When a long-lived token ends: a JWT says it in `exp`. None: it does not say."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, OSError, binascii.Error):
        return None
