"""Opens sessions for the requests that alerts make themselves: to MAX, and to whoever listens for the heartbeat."""

from __future__ import annotations

import ssl
from typing import Any

import certifi
import requests
from requests.adapters import HTTPAdapter

from relay.config import ROOT

TIMEOUT_S = (5.0, 15.0)  # to connect; for each part of the answer


def open_session(ca_file: str | None) -> requests.Session:
    """Return a session that trusts the authorities of the file beside the public ones."""
    session = requests.Session()
    if ca_file is not None:
        session.mount("https://", _Trusting(ssl.create_default_context(cafile=certifi.where()), str(ROOT / ca_file)))
    return session


class _Trusting(HTTPAdapter):
    def __init__(self, context: ssl.SSLContext, ca_file: str) -> None:
        context.load_verify_locations(ca_file)
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **more)

    def proxy_manager_for(self, *args: Any, **more: Any) -> Any:
        return super().proxy_manager_for(*args, ssl_context=self._context, **more)
