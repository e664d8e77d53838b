"""Calls as UIS tells them, notification by notification; numbers and links are invented."""

from __future__ import annotations

import json
from typing import Any

from tests.calls import rendered

Notification = tuple[str, bytes]  # endpoint and body

CLIENT, CLIENT_E164 = "79005550123", "+79005550123"
LINE = "74955550100"
LINK = "https://media.example.test/record/7/abc"


def incoming(session: int = 7, **more: Any) -> Notification:
    return "in", rendered("incoming", call_session_id=session, **more)


def answered(session: int = 7, extension: str = "101", **more: Any) -> Notification:
    return "in", rendered("answered", call_session_id=session, extension_phone_number=extension, **more)


def outgoing(session: int = 7, extension: str = "101", **more: Any) -> Notification:
    numbers = {"calling_phone_number": LINE, "called_phone_number": CLIENT}
    own = {"employee_ids": None, "extension_phone_number": extension, **numbers}
    return "out", rendered("outgoing", call_session_id=session, **{**own, **more})


def lost(session: int = 7, reason: str = "subscriber_disconnects", **more: Any) -> Notification:
    words = {"finish_reason": reason, "lost_reason": "Абонент разорвал соединение"}
    return "in", rendered("lost", call_session_id=session, **{**words, **more})


def finished(session: int = 7, extension: str | None = "101", **more: Any) -> Notification:
    own = {
        "extension_phone_number": extension, "employee_ids": None, "full_record_file_link": LINK,
        "finish_reason": "subscriber_disconnects", "is_lost": False,
    }  # fmt: skip
    return "rec", rendered("finished", call_session_id=session, **{**own, **more})


def not_taken(session: int = 7, **more: Any) -> Notification:
    """The end of a call in which nobody talked."""
    nothing = {"full_record_file_link": None, "total_time_duration": 12, "wait_time_duration": 12, "is_lost": True}
    words = {"lost_reason": "Абонент разорвал соединение", "extension": None}
    return finished(session, **{**nothing, **words, **more})


def recorded(session: int = 7, **more: Any) -> Notification:
    said = {"call_session_id": session, "direction": "in", "file_link": LINK, "file_duration": 51, **more}
    return "in", json.dumps(said).encode()


OUT = {"direction": "out", "calling_phone_number": LINE, "called_phone_number": CLIENT}

STORIES: dict[str, list[Notification]] = {
    "answered": [incoming(), answered(), finished()],
    "lost by the client": [incoming(), lost(), not_taken()],
    "lost by the operator": [
        incoming(),
        not_taken(lost_reason="Сотрудник разорвал соединение", finish_reason="operator_disconnects", extension="101"),
    ],
    "outgoing answered": [outgoing(), finished(**OUT)],
    "outgoing not taken": [
        outgoing(),
        lost(reason="subscriber_not_responsible", lost_reason="Абонент не отвечает", **OUT),
        not_taken(
            finish_reason="subscriber_not_responsible", lost_reason="Абонент не отвечает", extension="101", **OUT
        ),
    ],
    "transferred": [incoming(), answered(), answered(extension="102"), finished(extension="102")],
    "two at once": [
        incoming(7),
        incoming(8),
        answered(7),
        answered(8, "102"),
        finished(8, "102"),
        finished(7),
    ],
    "beginning missed": [finished()],
    "out of order": [finished(), answered(), incoming()],
    "lost, out of order": [not_taken(), lost(), incoming()],
    "recording later": [incoming(), answered(), finished(full_record_file_link=None), recorded()],
    "recording first": [incoming(), answered(), recorded(), finished(full_record_file_link=None)],
    "hung up after a talk": [incoming(), answered(), lost(), finished()],
}
