"""Says what every kind of target is, and what it is lent by whoever delivers; makes the bodies of events."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Literal, Protocol
from urllib.parse import unquote_to_bytes
from zoneinfo import ZoneInfo

from relay.clock import Clock
from relay.config import Target
from relay.i18n import Message
from relay.models import CallEvent, ClaimedDelivery, Event, Exchange, Outcome, TokenPair, ToldCall
from relay.targets.http_client import Client, TargetError, unthrottled
from relay.uis import parser, rendering
from relay.uis.parser import charset

_JSON = "application/json; charset=utf-8"
_FORM = "application/x-www-form-urlencoded"


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
    """Delivers to one target. `send` may be called from several threads; each has a connection of its own."""

    def __init__(self, settings: Target, clock: Clock, token_store: TokenStore) -> None:
        self.settings = settings
        self.clock, self._token_store = clock, token_store
        self._threads = threading.local()

    def send(self, claimed: ClaimedDelivery, context: CallContext) -> Outcome:
        """Make the requests that a delivery needs; what the target or the network did is an outcome.

        Raises Interrupted, and StoreError, between two requests: what was done is remembered.
        """
        call = claimed.event.call
        if call is None:
            return Outcome(name="refused", reason=Message("the event is quarantined: there is nothing to send"))
        self.client.acquire, self.client.report = context.acquire, context.report
        try:
            return self._deliver(claimed, call, context)
        except TargetError as exc:
            return exc.outcome
        finally:
            self.client.acquire, self.client.report = unthrottled, None

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


def event_body(
    event: Event, call: CallEvent, form: Literal["template", "raw", "normalised"], missing: Literal["null", "string"]
) -> tuple[bytes, str]:
    """Return the body for one request, `missing` for each value there is none of, and its content type. Pure."""
    if form == "raw":
        return event.body, _type_of(event)
    empty: Any = "" if missing == "string" else None
    if form == "normalised":
        record = rendering.as_record(call).items()
        return rendering.dump([(key, empty if value is None else value) for key, value in record]), _JSON
    body = parser.read(event.body, is_query=event.is_query_string and event.edited is None)
    return rendering.render(body, call, endpoint=event.endpoint, zone=ZoneInfo(event.zone), empty=empty), _JSON


def _type_of(event: Event) -> str:
    """Return the content type of the bytes as they came, with the charset that they are in."""
    is_query = event.is_query_string and event.edited is None
    if not is_query and event.body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return _JSON.replace("utf-8", charset(event.body))
    legacy = charset(unquote_to_bytes(event.body)) == "windows-1251"  # UTF-8 is what a form is without a word
    return f"{_FORM}; charset=windows-1251" if legacy else _FORM
