"""Says what every kind of target is, and what it is lent by whoever delivers."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from relay.config import Target
from relay.models import CallEvent, ClaimedDelivery, Outcome, TokenPair
from relay.targets.http_client import Client, TargetError


class CallContext(Protocol):
    """Lends an adapter, for one delivery, the call's memory, and leave for each request."""

    def said(self) -> tuple[CallEvent, ...]:
        """Return everything that UIS had said of the call up to this event, in the order of acceptance."""

    def done(self) -> dict[str, Any]:
        """Return what has been done for the call at this target."""

    def remember(self, **done: Any) -> None:
        """Add to it; on disk when it returns."""

    def leave(self) -> None:
        """Wait for leave to make one request. Raises Interrupted when none will be given any more."""


class TokenStore(Protocol):
    """Keeps the rotating tokens of a target."""

    def load(self) -> TokenPair | None: ...

    def save(self, pair: TokenPair) -> None:
        """Keep the pair; on disk when it returns."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Let nobody else, in whatever process, exchange the tokens meanwhile; the new pair can be kept.

        Raises StoreError where it could not.
        """


class Adapter(ABC):
    """Delivers to one target. `send` may be called from several threads; each has a connection of its own."""

    def __init__(self, settings: Target) -> None:
        self.settings = settings
        self._threads = threading.local()

    def send(self, claimed: ClaimedDelivery, context: CallContext) -> Outcome:
        """Make the requests that a delivery needs; what the target or the network did is an outcome.

        Raises Interrupted, and StoreError, between two requests: what was done is remembered.
        """
        call = claimed.event.call
        if call is None:
            return Outcome(name="refused", reason="the event is quarantined: there is nothing to send")
        try:
            return self._deliver(claimed, call, context)
        except TargetError as exc:
            return exc.outcome

    def check(self) -> Outcome:
        """Ask the target whether it would take a delivery, without making one. Well or not, the reason has remarks."""
        try:
            return self._probe()
        except TargetError as exc:
            return exc.outcome

    @abstractmethod
    def _deliver(self, claimed: ClaimedDelivery, call: CallEvent, context: CallContext) -> Outcome:
        """Make the requests for an event that has a call. Raises TargetError, and what `send` raises."""

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
        client = self._threads.__dict__.pop("client", None)
        if client is not None:
            client.close()

    @property
    def client(self) -> Client:
        client: Client | None = self._threads.__dict__.get("client")
        if client is None:
            client = self._threads.client = Client(self.settings)
        return client


def unthrottled() -> None:
    """Give leave to the requests of a check: nobody delivers meanwhile from this process."""
