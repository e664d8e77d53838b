"""Those who hear one channel: what they know, and the message that is on its way to them."""

from __future__ import annotations

import contextlib
import threading
from typing import Protocol

import structlog
from msgspec.structs import asdict

from relay.alerts import messages
from relay.alerts.evaluate import Evaluation, Snapshot, Told, news
from relay.config import Settings
from relay.errors import StoreError
from relay.store import Store

log = structlog.get_logger("relay.alerts")


class Channel(Protocol):
    @property
    def name(self) -> str:
        """For people, without secrets."""

    @property
    def id(self) -> str:
        """Under which it is remembered what it told."""

    def tell(self, title: str, body: str) -> bool:
        """Was it taken? May block."""


class Notifier:
    """A channel that hangs has a thread of its own to hang in; nothing more is given to it meanwhile."""

    def __init__(self, teller: Channel, settings: Settings, store: Store, name: str) -> None:
        self._teller, self._settings, self._store = teller, settings, store
        self._title = messages.title(settings.alerts.language, name)
        self._known: dict[str, Told] = {}
        self._unkept = False  # the store could not take what is known
        self._sending: threading.Thread | None = None
        self._fails = False

    def begin(self, facts: Snapshot) -> None:
        """Sets out to tell what is new, if anything is."""
        if self._sending is not None and self._sending.is_alive():
            return
        found = news(facts, self._recall(), self._settings.alerts)
        if not found.items:
            self._keep(found.told)
            return
        self._sending = threading.Thread(target=self._send, args=(found,), name="alert", daemon=True)
        self._sending.start()

    def wait(self, seconds: float) -> bool:
        """Is nothing on its way any more?"""
        if self._sending is not None:
            self._sending.join(seconds)
        return self._sending is None or not self._sending.is_alive()

    def _send(self, found: Evaluation) -> None:
        body = messages.message(found.items, self._settings.alerts.language, self._settings.timezone)
        well = self._teller.tell(self._title, body)
        if not well and not self._fails:  # said once, however often it is tried
            log.error("alert.not_taken", channel=self._teller.name, reason="told again with each look until it is")
        elif well and self._fails:
            log.info("alert.taken_again", channel=self._teller.name)
        self._fails = not well
        self._keep(found.told if well else found.missed)

    # --- what people know

    def _recall(self) -> dict[str, Told]:
        """As the store has it: another process may have told something."""
        if not self._unkept:
            with contextlib.suppress(StoreError):  # then as far as is remembered here
                self._known = {key: Told(**told) for key, told in self._store.alert_state.load(self._teller.id).items()}
        return self._known

    def _keep(self, told: dict[str, Told]) -> None:
        if told == self._known and not self._unkept:
            return
        self._known = told
        try:
            self._store.alert_state.save(self._teller.id, {key: asdict(each) for key, each in told.items()})
        except StoreError:
            self._unkept = True  # kept with the next look
        else:
            self._unkept = False
