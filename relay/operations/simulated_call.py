"""A test call: three notifications of an invented incoming call, taken as UIS's are, and marked as what they are."""

from __future__ import annotations

import random
from datetime import timedelta

from relay.config import Source
from relay.i18n import Message
from relay.operations.serializers import JSONDict
from relay.sandbox import uis
from relay.uis import phones
from relay.wiring import Relay

MARK = "Проверка ретранслятора: звонок не настоящий"  # in whatever language: it goes to 1C and the CRMs
EXTERNAL_ID = "relay-test-call"
_KINDS = ("incoming", "answered", "finished")
_SESSIONS = (9_900_000_000, 9_999_999_999)  # far above those that UIS has given, and no longer than they are
_BEGAN = timedelta(minutes=10)  # ago: longer than any simulated call lasts


def place(relay: Relay, source: Source, phone: str, extension: str) -> str:
    """Take the call in; return its session. Raises ValueError for what is no phone, StoreError.

    The client is whoever has this phone: his own, if the operator is careful.
    """
    client = phones.international(phone)
    if client is None:
        raise ValueError(
            Message("%(phone)s is no phone number; write it like +7 900 555-01-23", phone=repr(phone[:64]))
        )
    session = random.SystemRandom().randint(*_SESSIONS)
    changes: JSONDict = {
        "call_session_id": session,
        "calling_phone_number": phones.as_uis_writes(client),
        "extension_phone_number": extension.strip() or None,
        "employee_phone_number": None,
        "employee_ids": None,
        "contact_id": None,
        "full_record_file_link": None,
        "scenario_name": MARK,
        "external_id": EXTERNAL_ID,
    }
    [call] = uis.calls(1, relay.clock() - _BEGAN, source.timezone, **changes)
    for notification in call.notifications:
        if notification.kind in _KINDS:
            receipt = relay.intake.accept(source, notification.endpoint, notification.body, is_query=False)
            relay.intake.dispatch(receipt)
    return str(session)
