"""Where alerts go: the addresses of the library apprise, which is loaded only where there are some."""

from __future__ import annotations

import hashlib
import logging
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import structlog

from relay.config import Alerts, Secret
from relay.i18n import Message

log = structlog.get_logger("relay.alerts")

MISSING = Message(
    "alerts.urls needs a library that is not installed: make install EXTRAS=alerts; on a platform that installs "
    "requirements.txt by itself, put the line -r extras/alerts.txt there"
)
_HOST_IS_NO_SECRET = {"json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos"}
"""In the addresses of others, Telegram's and Slack's say, the token stands where the host would."""


class Channel:
    """One address that alerts are sent to."""

    def __init__(self, url: Secret, number: int) -> None:
        self._url, parts = str.__str__(url), urlsplit(url)
        host = f" {parts.hostname}" if parts.scheme in _HOST_IS_NO_SECRET else ""
        self.name = f"alerts.urls[{number}] ({parts.scheme}{host})"  #: without secrets
        self.id = hashlib.sha256(self._url.encode()).hexdigest()[
            :16
        ]  #: of the address, wherever it stands: what was sent is remembered under it

    def problem(self) -> str | None:
        """Return what is wrong with the address, which stays unsaid."""
        if self._client() is not None:
            return None
        return Message(
            "%(name)s: apprise does not know an address of this form; see github.com/caronc/apprise", name=self.name
        )

    def send(self, title: str, body: str) -> bool:
        """Send a message; was it taken? Blocks for as long as the other side makes it."""
        try:
            client = self._client()
            return client is not None and bool(client.notify(title=title, body=body, body_format="text"))
        except Exception as exc:  # whatever somebody else's library does: its text may hold the address
            log.warning("alert.channel_broke", channel=self.name, reason=type(exc).__name__)
            return False

    def _client(self) -> Any:
        import apprise

        logging.getLogger("apprise").disabled = True  # it writes addresses
        client = apprise.Apprise()
        return client if client.add(self._url) else None


def channels(alerts: Alerts) -> list[Channel]:
    return [Channel(url, number) for number, url in enumerate(alerts.urls)]


def is_missing() -> bool:
    """Is there no library to send with?"""
    return find_spec("apprise") is None
