"""Where alerts go: the addresses of the library apprise, which is loaded only where there are some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import structlog

from relay.settings import Secret

log = structlog.get_logger("relay.alerts")

PINNED = "apprise==2.2.0"
MISSING = f"alerts.urls needs a library that is not installed: add the line {PINNED} to requirements.txt, and install"


class Channels:
    def __init__(self, urls: Sequence[Secret]) -> None:
        self._urls = tuple(urls)

    def problem(self) -> str | None:
        """Why nothing can be told, in a sentence without the addresses."""
        try:
            import apprise
        except ImportError:
            return MISSING
        for number, url in enumerate(self._urls):
            if not apprise.Apprise().add(str.__str__(url)):
                return f"alerts.urls[{number}]: apprise does not know an address of this form; see its documentation"
        return None

    def tell(self, title: str, body: str) -> dict[str, bool]:
        """Which of them took it, by a name that holds no secret."""
        import apprise

        taken: dict[str, bool] = {}
        for number, url in enumerate(self._urls):
            channel: Any = apprise.Apprise()
            taken[f"{urlsplit(url).scheme}#{number}"] = bool(channel.add(str.__str__(url))) and self._sent(
                channel, title, body, urlsplit(url).scheme
            )
        return taken

    def _sent(self, channel: Any, title: str, body: str, kind: str) -> bool:
        try:
            return bool(channel.notify(title=title, body=body))
        except Exception as exc:  # whatever somebody else's library does: delivery goes on
            log.warning("alert.channel_failed", channel=kind, reason=type(exc).__name__)
            return False
