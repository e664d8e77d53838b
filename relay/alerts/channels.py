"""Where alerts go: to MAX by its bot's HTTP address; anywhere else by the library apprise, loaded only where needed."""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from http import HTTPStatus
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import structlog

from relay.alerts import outgoing
from relay.config import Alerts, Secret
from relay.i18n import Message

log = structlog.get_logger("relay.alerts")

MISSING = Message(
    "alerts.urls needs a library that is not installed: make install EXTRAS=alerts; on a platform that installs "
    "requirements.txt by itself, put the line -r extras/alerts.txt there"
)
_HOST_IS_NO_SECRET = {"json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos"}
"""In the addresses of others, Telegram's and Slack's say, the token stands where the host would."""
_MAX_API = "https://platform-api2.max.ru"
_MAX_LENGTH = 4000  # of a message, in characters; both: dev.max.ru/docs-api/methods/POST/messages


class Refused(Exception):
    """The other side answered, and has not taken it."""


class Channel(ABC):
    """One address that alerts are sent to."""

    def __init__(self, url: Secret, number: int) -> None:
        self._url, parts = str.__str__(url), urlsplit(url)
        host = f" {parts.hostname}" if parts.scheme in _HOST_IS_NO_SECRET else ""
        self.name = f"alerts.urls[{number}] ({parts.scheme}{host})"  #: without secrets
        #: of the address, wherever it stands: what was sent is remembered under it
        self.id = hashlib.sha256(self._url.encode()).hexdigest()[:16]
        self._complaint: str | None = None

    @abstractmethod
    def problem(self) -> str | None:
        """Return what is wrong with the address, which stays unsaid."""

    def send(self, title: str, body: str) -> bool:
        """Send a message; was it taken? Blocks for as long as the other side makes it."""
        complaint: str | None = None
        try:
            is_taken = self._send(title, body)
        except Refused as exc:
            is_taken, complaint = False, str(exc)
        except Exception as exc:  # whatever somebody else's library does: its text may hold the address
            is_taken, complaint = False, type(exc).__name__
        if complaint is not None and complaint != self._complaint:  # said once, however often it is tried
            log.warning("alert.channel_broke", channel=self.name, reason=complaint)
        self._complaint = complaint
        return is_taken

    @abstractmethod
    def _send(self, title: str, body: str) -> bool:
        """Send a message; was it taken? May raise anything, Refused with a reason that holds no secret."""


class AppriseChannel(Channel):
    def problem(self) -> str | None:
        if find_spec("apprise") is None:
            return MISSING
        if self._client() is not None:
            return None
        return Message(
            "%(name)s: apprise does not know an address of this form; see github.com/caronc/apprise", name=self.name
        )

    def _send(self, title: str, body: str) -> bool:
        client = self._client()
        return client is not None and bool(client.notify(title=title, body=body, body_format="text"))

    def _client(self) -> Any:
        import apprise

        logging.getLogger("apprise").disabled = True  # it writes addresses
        client = apprise.Apprise()
        return client if client.add(self._url) else None


class MaxChannel(Channel):
    """`max://TOKEN?chat_id=NUMBER`, or `user_id`; `api` is for when MAX's own address has changed once more."""

    def __init__(self, url: Secret, number: int, ca_file: str | None) -> None:
        super().__init__(url, number)
        parts = urlsplit(self._url)
        query = dict(parse_qsl(parts.query))
        self._token, self._api = unquote(parts.netloc), query.pop("api", _MAX_API).rstrip("/")
        self._to, self._ca_file = query, ca_file

    def problem(self) -> str | None:
        [*receivers] = self._to.items()
        is_one = len(receivers) == 1 and receivers[0][0] in ("chat_id", "user_id")
        if self._token and is_one and receivers[0][1].removeprefix("-").isdigit():
            return None
        return Message(
            "%(name)s: is not complete; write max://TOKEN?chat_id=NUMBER, or user_id=NUMBER for one person",
            name=self.name,
        )

    def _send(self, title: str, body: str) -> bool:
        with outgoing.open_session(self._ca_file) as session:
            response = session.post(
                f"{self._api}/messages",
                params=self._to,
                json={"text": f"{title}\n{body}"[:_MAX_LENGTH]},
                headers={"Authorization": self._token},
                timeout=outgoing.TIMEOUT_S,
                allow_redirects=False,
            )
        if response.status_code != HTTPStatus.OK:
            raise Refused(f"MAX answered {response.status_code}")
        return True


def channels(alerts: Alerts) -> list[Channel]:
    return [
        MaxChannel(url, number, alerts.ca_file) if urlsplit(url).scheme == "max" else AppriseChannel(url, number)
        for number, url in enumerate(alerts.urls)
    ]
