"""Sends over one channel what begins and ends, and remembers what its readers know."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping

import structlog

from relay.alerts import messages
from relay.alerts.channels import Channel
from relay.alerts.evaluate import Evaluation, Snapshot, evaluate
from relay.alerts.snapshot import Summary
from relay.config import Settings
from relay.errors import StoreError
from relay.store import Store
from relay.store.alert_state import Alert

log = structlog.get_logger("relay.alerts")


class Notifier:
    """A channel that hangs has a thread of its own to hang in; nothing more is given to it meanwhile."""

    def __init__(
        self, channel: Channel, settings: Settings, store: Store, name: str, summarise: Callable[[], Summary]
    ) -> None:
        self._channel, self._settings, self._store, self._summarise = channel, settings, store, summarise
        self._title = messages.title(settings.alerts.language, name)
        self._state: Mapping[str, Alert] = {}
        self._is_unsaved = False  # the store could not take the state
        self._sending: threading.Thread | None = None
        self._fails = False

    def start(self, snapshot: Snapshot) -> None:
        """Begin to send what is new, if anything is."""
        if self._sending is not None and self._sending.is_alive():
            return
        evaluation = evaluate(snapshot, self._load(), self._settings.alerts)
        if not evaluation.notices and not evaluation.with_summary:
            self._save(evaluation.sent)
            return
        self._sending = threading.Thread(target=self._send, args=(evaluation,), name="alert", daemon=True)
        self._sending.start()

    def wait(self, seconds: float) -> None:
        """Wait until nothing is on its way any more, or the time is over."""
        if self._sending is not None:
            self._sending.join(seconds)

    def _send(self, evaluation: Evaluation) -> None:
        try:
            body = self._body(evaluation)
        except StoreError:  # with a later evaluation
            self._save(evaluation.unsent)
            return
        is_taken = self._channel.send(self._title, body)
        if not is_taken and not self._fails:  # said once, however often it is tried
            log.error("alert.not_taken", channel=self._channel.name, reason="told again with each look until it is")
        elif is_taken and self._fails:
            log.info("alert.taken_again", channel=self._channel.name)
        self._fails = not is_taken
        self._save(evaluation.sent if is_taken else evaluation.unsent)

    def _body(self, evaluation: Evaluation) -> str:
        """Raises StoreError where there is a summary to make."""
        language, zone = self._settings.alerts.language, self._settings.timezone
        parts = [messages.body(evaluation.notices, language, zone)] if evaluation.notices else []
        if evaluation.with_summary:
            parts.append(messages.summary(self._summarise(), language))
        return "\n\n".join(parts)

    # --- what the readers know

    def _load(self) -> Mapping[str, Alert]:
        """Return the state as the store has it: another process may have sent something."""
        if not self._is_unsaved:
            with contextlib.suppress(StoreError):  # then as far as is remembered here
                self._state = self._store.alert_state.load(self._channel.id)
        return self._state

    def _save(self, state: Mapping[str, Alert]) -> None:
        if state == self._state and not self._is_unsaved:
            return
        self._state, self._is_unsaved = state, True
        with contextlib.suppress(StoreError):  # saved with the next evaluation
            self._store.alert_state.save(self._channel.id, state)
            self._is_unsaved = False
