"""What every kind of target is, and what it is lent by whoever delivers."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from relay.config import Target
from relay.models import CallEvent, Delivery, Event, Outcome, TokenPair
from relay.targets.http_client import Client


class Shipment(Protocol):
    """What an adapter is given: one delivery with its event."""

    @property
    def delivery(self) -> Delivery: ...

    @property
    def event(self) -> Event: ...


class CallContext(Protocol):
    """What an adapter is lent for one delivery: the call's memory, and leave for each request."""

    def said(self) -> tuple[CallEvent, ...]:
        """Everything that UIS had said of the call up to this event, in the order of acceptance."""

    def done(self) -> dict[str, Any]:
        """What has been done for the call at this target."""

    def remember(self, **done: Any) -> None:
        """Adds to it; on disk when it returns."""

    def leave(self) -> None:
        """Waits for leave to make one request. Raises Interrupted when none will be given any more."""


class TokenStore(Protocol):
    """Where the rotating tokens of a target are kept."""

    def load(self) -> TokenPair | None: ...

    def save(self, pair: TokenPair) -> None:
        """On disk when it returns."""

    def alone(self) -> AbstractContextManager[None]:
        """Nobody else, in whatever process, exchanges the tokens meanwhile; the new pair can be kept.

        Raises StoreError where it could not.
        """


class Adapter(ABC):
    """One target. `send` may be called from several threads; each has a connection of its own."""

    def __init__(self, settings: Target) -> None:
        self.settings = settings
        self._threads = threading.local()

    @abstractmethod
    def send(self, shipment: Shipment, steps: CallContext) -> Outcome:
        """Makes the requests that a delivery needs; what the target or the network did is an outcome.

        Raises Interrupted, and StoreError, between two requests: what was done is remembered.
        """

    @abstractmethod
    def check(self) -> Outcome:
        """Asks the target whether it would take a delivery, without making one. Well or not, the reason has remarks."""

    def expires_at(self) -> datetime | None:
        """When its token ends; None: that is not known, or it is renewed by itself."""
        return None

    def warnings(self, now: datetime) -> list[str]:  # noqa: ARG002  for those that have something to say
        """What will need mending before long."""
        return []

    def close(self) -> None:
        """Ends what the calling thread holds open."""
        client = self._threads.__dict__.pop("client", None)
        if client is not None:
            client.close()

    @property
    def client(self) -> Client:
        found: Client | None = self._threads.__dict__.get("client")
        if found is None:
            found = self._threads.client = Client(self.settings)
        return found
