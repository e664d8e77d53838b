"""The rotating tokens of OAuth: a pair is on disk before it is used."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from relay.clock import now_utc
from relay.errors import StoreBusy
from relay.models import TokenPair
from relay.store import migrate
from relay.store.engine import OWN_ROWS, PATIENT_TIMEOUT_S, Database
from relay.store.statement import Statement
from relay.store.tables import TOKENS

_EXCLUSIVE_WITHIN_S = 30.0  # an exchange is one request
_POLL_S = 0.05

_select = Statement(f"SELECT {TOKENS.sql} FROM tokens WHERE target = :target")
_upsert = Statement(
    """
    INSERT INTO tokens (target, seed, access, refresh, expires_at)
    VALUES (:target, :seed, :access, :refresh, :expires_at)
    ON CONFLICT (target) DO UPDATE SET seed = :seed, access = :access, refresh = :refresh, expires_at = :expires_at
    """
)


class TokenStore:
    """The tokens of one target."""

    def __init__(self, database: Database, target: str) -> None:
        self._database, self._target = database, target

    def load(self) -> TokenPair | None:
        """None: none were stored yet."""
        if not self._database.exists():
            return None
        row = self._database.first(_select, target=self._target)
        return None if row is None else TOKENS.value(row)

    def save(self, pair: TokenPair) -> None:
        """On disk when it returns."""
        with self._database.write(PATIENT_TIMEOUT_S, alone_for=OWN_ROWS) as connection:
            _upsert.run(connection, target=self._target, **TOKENS.row(pair))

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody else, in whatever process, exchanges the tokens meanwhile, and the store has just taken a write.

        Raises StoreError where the new pair could not be kept, StoreBusy when another exchange does not end.
        """
        migrate.expect_current(self._database)
        lock = self._database.token_lock(self._target)
        ends = time.monotonic() + _EXCLUSIVE_WITHIN_S
        try:
            while not lock.try_acquire():
                if time.monotonic() >= ends:
                    raise StoreBusy(
                        "another process has been exchanging the tokens of %(target)s for too long", target=self._target
                    )
                time.sleep(_POLL_S)
            self._database.prove_writable(now_utc(), "tokens", PATIENT_TIMEOUT_S)
            yield
        finally:
            lock.close()
