"""The rotating tokens of OAuth: a pair is on disk before it is used."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from relay.clock import from_us, now_utc, to_us
from relay.errors import StoreBusy
from relay.models import TokenPair
from relay.store import migrate
from relay.store.sqlite.database import PATIENT_TIMEOUT_S, Database
from relay.store.tables import tokens

_EXCLUSIVE_WITHIN_S = 30.0  # an exchange is one request
_POLL_S = 0.05


class TokenStore:
    """The tokens of one target."""

    def __init__(self, database: Database, target: str) -> None:
        self._database, self._target = database, target

    def load(self) -> TokenPair | None:
        """None: none were stored yet."""
        if not self._database.exists():
            return None
        with self._database.read() as connection:
            return _load(connection, self._target)

    def save(self, pair: TokenPair) -> None:
        """On disk when it returns."""
        with self._database.write(PATIENT_TIMEOUT_S) as connection:
            _save(connection, self._target, pair)

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
                    raise StoreBusy(f"another process has been exchanging the tokens of {self._target} for too long")
                time.sleep(_POLL_S)
            self._database.prove_writable(now_utc(), "tokens", PATIENT_TIMEOUT_S)
            yield
        finally:
            lock.close()


def _load(connection: Connection, target: str) -> TokenPair | None:
    columns = (tokens.c.seed, tokens.c.access, tokens.c.refresh, tokens.c.expires_at)
    found = connection.execute(select(*columns).where(tokens.c.target == target)).first()
    if found is None:
        return None
    seed, access, refresh, expires_at = found
    return TokenPair(fingerprint=seed, access=access, refresh=refresh, expires_at=from_us(expires_at))


def _save(connection: Connection, target: str, pair: TokenPair) -> None:
    values = {
        "seed": pair.fingerprint, "access": pair.access, "refresh": pair.refresh, "expires_at": to_us(pair.expires_at),
    }  # fmt: skip
    statement = insert(tokens).values(target=target, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["target"], set_=values))
