"""Reads what Bitrix24 posts when somebody clicks on a number, or leaves one in a call-back form. Pure."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from msgspec import Struct

CLICK, CALL_BACK = "ONEXTERNALCALLSTART", "ONEXTERNALCALLBACKSTART"


class Bitrix24Event(Struct, frozen=True):
    """An event of a local application."""

    name: str  #: in capitals
    token: str  #: of the application
    call_id: str  #: Bitrix24 has registered the call already; of a call-back one is made up
    is_registered: bool
    user: int | None  #: who clicked; of a call-back nobody
    phone: str
    line: str  #: empty where it is a name, and no number: then the configured one calls
    at: datetime | None


def read_event(body: bytes) -> Bitrix24Event:
    """Return the event of a form; what is not there is empty."""
    fields = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    call_id, ts = fields.get("data[CALL_ID]", ""), fields.get("ts", "")
    phone = fields.get("data[PHONE_NUMBER_INTERNATIONAL]") or fields.get("data[PHONE_NUMBER]", "")
    digest = hashlib.blake2b(f"{ts} {phone}".encode(), digest_size=12).hexdigest()
    user, line = fields.get("data[USER_ID]", ""), fields.get("data[LINE_NUMBER]", "")
    return Bitrix24Event(
        name=fields.get("event", "").upper(),
        token=fields.get("auth[application_token]", ""),
        call_id=call_id or f"callback-{digest}",
        is_registered=bool(call_id),
        user=int(user) if _is_number(user) else None,
        phone=phone,
        line=line if line.lstrip("+").isdigit() else "",
        at=datetime.fromtimestamp(int(ts), UTC) if _is_number(ts) else None,
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10
