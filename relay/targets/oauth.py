"""Exchanges access tokens: each refresh token serves once, and its successor is on disk before use."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable

import structlog
from msgspec.structs import replace

from relay.config import Secret
from relay.errors import StoreError
from relay.models import TokenPair
from relay.targets.base import TokenStore
from relay.targets.error_text import MASK

log = structlog.get_logger("relay.targets")

_SAVED_AGAIN_AFTER_S = 1.0

Exchange = Callable[[str, str], TokenPair]
"""Takes a refresh token and the fingerprint; returns the pair that the target gives for it. Raises TargetError."""


class Tokens:
    """Holds the tokens of one target; the threads of its lane share it."""

    def __init__(
        self, configured: Secret, token_store: TokenStore, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._configured, self._token_store, self._pause = configured, token_store, pause
        self._fingerprint = hashlib.blake2b(configured.encode(), digest_size=16).hexdigest()
        self._pair: TokenPair | None = None
        self._mutex = threading.Lock()

    def current(self) -> TokenPair | None:
        """Return the present pair; None when the configured refresh token was never used."""
        if self._pair is None:
            self._pair = self._stored()
        return self._pair

    def renewed(self, stale: TokenPair | None, exchange: Exchange) -> TokenPair:
        """Return another pair than the stale one. Raises TargetError, and StoreError where none could be kept."""
        with self._mutex, self._token_store.exclusive():
            pair = self._stored()
            if pair is None or (stale is not None and pair.access == stale.access):
                refresh = self._configured if pair is None else pair.refresh
                pair = exchange(refresh, self._fingerprint)
                if pair.refresh == MASK:  # the same one again, which is hidden in every answer
                    pair = replace(pair, refresh=refresh)
                self._save(pair)
            self._pair = pair
            return pair

    def _save(self, pair: TokenPair) -> None:
        """Save, however long the store takes: what the target has exchanged it never gives again."""
        while True:
            try:
                self._token_store.save(pair)
                return
            except StoreError as exc:
                log.error("tokens.not_saved", reason=f"{exc}; the new tokens are kept in memory and saved again")
                self._pause(_SAVED_AGAIN_AFTER_S)

    def _stored(self) -> TokenPair | None:
        """Return the pair on disk; None, too, when the operator has configured another one since."""
        pair = self._token_store.load()
        return pair if pair is not None and pair.fingerprint == self._fingerprint else None
