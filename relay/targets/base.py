"""Says what every kind of target is, and what it is lent by whoever delivers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from relay.clock import Clock
from relay.config import Target
from relay.models import CallEvent, ClaimedDelivery, Exchange, Outcome, TokenPair, ToldCall
from relay.targets.http_client import Client, TargetError


class CallContext(Protocol):
    """Lends an adapter, for one delivery, what is known of its call, and lets it make requests."""

    report: Callable[[Exchange], None] | None = None  #: is told of each request with its answer

    @abstractmethod
    def history(self) -> tuple[CallEvent, ...]:
        """Return what UIS had said of the call up to this event, in the order of acceptance. Raises StoreError."""

    @abstractmethod
    def progress(self) -> dict[str, Any]:
        """Return what has been done for the call at this target. Raises StoreError."""

    @abstractmethod
    def save_progress(self, **done: Any) -> None:
        """Add to it; on disk when it returns. Raises StoreError, and OwnershipLost when it is another's to do now."""

    @abstractmethod
    def calls_of(self, client: str, since: datetime) -> list[ToldCall]:
        """Return the calls of the client (the digits) that began since then or have an open task. Raises StoreError."""

    @abstractmethod
    def open_tasks(self, client: str) -> dict[str, str]:
        """Return the open tasks about the client at this target, by the session of their call. Raises StoreError."""

    @abstractmethod
    def forget_task(self, session: str) -> None:
        """Take the task of that call for closed; raises as `save_progress`."""

    @abstractmethod
    def acquire(self) -> None:
        """Wait until one request may be made. Raises Interrupted when none may be made any more."""


class TokenStore(Protocol):
    """Keeps the rotating tokens of a target."""

    def load(self) -> TokenPair | None: ...

    def save(self, pair: TokenPair) -> None:
        """Keep the pair; on disk when it returns."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Let nobody else, in any process, exchange the tokens. Raises StoreError where a pair could not be kept."""


class Adapter(ABC):
    """Delivers to one target. Several threads may share it; each has a connection of its own."""

    def __init__(self, settings: Target, clock: Clock, token_store: TokenStore) -> None:
        self.settings, self.client = settings, Client(settings)
        self.clock, self._token_store = clock, token_store

    @abstractmethod
    def deliver(self, claimed: ClaimedDelivery, call: CallEvent, context: CallContext) -> Outcome:
        """Make the requests that a delivery needs. Raises TargetError for what the target or the network did.

        Raises Interrupted, and StoreError, between two requests: what was done is remembered.
        """

    def check(self) -> Outcome:
        """Ask the target whether it would take a delivery, without making one. Well or not, the reason has remarks."""
        try:
            return self._probe()
        except TargetError as exc:
            return exc.outcome

    @abstractmethod
    def _probe(self) -> Outcome:
        """Make the requests of a check. Raises TargetError."""

    def expires_at(self) -> datetime | None:
        """Return when its token ends; None: that is not known, or it is renewed by itself."""
        return None

    def warnings(self, now: datetime) -> list[str]:  # noqa: ARG002  for those that have something to say
        """Return what will need mending before long."""
        return []

    def close(self) -> None:
        """End what the calling thread holds open."""
        self.client.close()
