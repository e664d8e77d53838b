"""Asks for an address once a minute while the relay is well: that its machine has died, somebody else must notice.

Nothing waits for it. Of several processes the owner of the first lane does it, or none while nobody delivers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from http import HTTPStatus

import structlog

from relay.alerts import outgoing
from relay.clock import Clock
from relay.config import Alerts
from relay.errors import StoreError
from relay.periodic import Periodic
from relay.store import Store

log = structlog.get_logger("relay.alerts")

_HANGS_AFTER_S = 10.0  # as /readyz has it


class Heartbeat(Periodic):
    """`ticked_ago`: how many seconds ago this process has last looked for due deliveries."""

    name, every_s, fault = "heartbeat", 60.0, "alert.heartbeat_failed"
    first_after_s = 10.0  # by then lanes have their owners

    def __init__(
        self,
        alerts: Alerts,
        store: Store,
        clock: Clock,
        is_on_duty: Callable[[], bool],
        ticked_ago: Callable[[], float | None],
    ) -> None:
        super().__init__()
        self._alerts, self._store, self._clock = alerts, store, clock
        self._is_on_duty, self._ticked_ago = is_on_duty, ticked_ago
        self._complaint: str | None = None

    def is_wanted(self) -> bool:
        return self._alerts.heartbeat is not None

    def step(self) -> None:
        """Ask once, if it is this process's to do and the relay is well."""
        if not self._is_on_duty():
            self._complaint = None
            return
        complaint = self._trouble() or self._ask()
        if complaint != self._complaint:  # said once, however long it lasts
            if complaint is None:
                log.info("alert.heartbeat_taken_again")
            else:
                log.error("alert.heartbeat_not_taken", reason=complaint)
        self._complaint = complaint

    def _trouble(self) -> str | None:
        """Return why nobody should be told that the relay is well."""
        ago = self._ticked_ago()
        if ago is None or ago > _HANGS_AFTER_S:
            return "the dispatcher does not move"
        try:
            self._store.database.prove_writable(self._clock())
        except StoreError as exc:
            return str(exc)
        return None

    def _ask(self) -> str | None:
        """Return why it was not taken, without the address, which may be a secret."""
        try:
            with outgoing.open_session(self._alerts.ca_file) as session:
                url = str.__str__(self._alerts.heartbeat)
                response = session.get(url, timeout=outgoing.TIMEOUT_S, allow_redirects=False, stream=True)
        except Exception as exc:  # whatever it is, its text may hold the address
            return type(exc).__name__
        if response.status_code >= HTTPStatus.MULTIPLE_CHOICES:
            return f"the answer was {response.status_code}"
        with contextlib.suppress(StoreError):  # the next one finds out
            self._store.alert_state.heartbeat_taken(self._clock())
        return None
