"""Asks a CRM with an access token that has to be exchanged now and then, or with a secret that has not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar

from msgspec.structs import replace

from relay.clock import Clock
from relay.config import CrmTarget
from relay.i18n import Message
from relay.models import TokenPair
from relay.targets.base import TokenStore
from relay.targets.http_client import Client, NoAnswer, Response, TargetError
from relay.targets.oauth import Tokens

Result = TypeVar("Result")
JSON_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "uis-relay"}


class CrmRest(ABC):
    """Asks one account. `client` gives the calling thread's connection."""

    _settings: CrmTarget
    renewed_before: ClassVar[timedelta | None] = None  #: its end an access token is exchanged; None: only when refused
    token_lasts_s: ClassVar[int]  #: where OAuth does not say it

    def __init__(self, settings: CrmTarget, clock: Clock, token_store: TokenStore, client: Client) -> None:
        self._settings, self._clock, self._client = settings, clock, client
        self._base = settings.address.rstrip("/")
        self._tokens = None if settings.refresh_token is None else Tokens(settings.refresh_token, token_store)

    @abstractmethod
    def _token_request(self, refresh: str) -> tuple[str, str, Mapping[str, str], bytes | None]:
        """Return method, url, headers and body of the exchange of a refresh token."""

    @staticmethod
    @abstractmethod
    def _read_token(response: Response, now: datetime) -> dict[str, Any]:
        """Return the tokens that OAuth gives. Raises TargetError."""

    def _authorised(self, request: Callable[[str | None], Result]) -> Result:
        """Make a request with the access token (None: there is no OAuth), and again with a new one where it ended."""
        if self._tokens is None:
            return request(None)
        pair = self._tokens.current()
        before = self.renewed_before
        if pair is None or (before is not None and pair.expires_at - before <= self._clock()):
            pair = self._tokens.renewed(pair, self._exchange)
        try:
            return request(pair.access)
        except TargetError as exc:
            if exc.code != "expired_token":
                raise
        return request(self._tokens.renewed(pair, self._exchange).access)

    def _exchange(self, refresh: str, fingerprint: str) -> TokenPair:
        now: datetime = self._clock()
        try:
            response = self._client.request(*self._token_request(refresh), secrets=(refresh,), is_of_tokens=True)
            tokens = self._read_token(response, now)
        except TargetError as exc:
            # whatever became of an exchange without an answer, the delivery was surely not taken
            name = "unreachable" if isinstance(exc, NoAnswer) else exc.outcome.name
            reason = Message("OAuth: %(reason)s", reason=exc.outcome.reason)
            raise TargetError(replace(exc.outcome, name=name, reason=reason), exc.code) from exc
        lasts = timedelta(seconds=int(tokens.get("expires_in") or self.token_lasts_s))
        return TokenPair(
            fingerprint=fingerprint,
            access=tokens["access_token"],
            refresh=tokens["refresh_token"],
            expires_at=now + lasts,
        )
