"""Holds what a simulated system is asked, and what it answers."""

from __future__ import annotations

import json
from typing import Any, Literal

from msgspec import Struct

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json; charset=utf-8"

Fault = Literal["hang", "reset", "drip_headers", "drip_body", "continue_for_ever"]


class Request(Struct, frozen=True):
    """Holds what is asked."""

    method: str
    path: str
    query: dict[str, list[str]] = {}
    body: bytes = b""
    authorization: str = ""
    host: str = "127.0.0.1"  #: with the port, as the client wrote it


class Reply(Struct, frozen=True):
    """Holds what is answered."""

    status: int
    body: bytes = b""
    content_type: str = TEXT
    headers: dict[str, str] = {}
    phrase: str | None = None  #: in the status line, where it is not the usual one
    fault: Fault | None = None  #: what the server does instead of answering


def json_reply(document: Any, status: int = 200, content_type: str = JSON) -> Reply:
    return Reply(status, json.dumps(document, ensure_ascii=False).encode(), content_type)
