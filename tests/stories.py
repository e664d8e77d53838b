"""Calls as UIS tells them, notification by notification; numbers and links are invented."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
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
        "extension_phone_number": extension,
        "employee_ids": None,
        "full_record_file_link": LINK,
        "finish_reason": "subscriber_disconnects",
        "is_lost": False,
    }
    return "rec", rendered("finished", call_session_id=session, **{**own, **more})


def not_taken(session: int = 7, **more: Any) -> Notification:
    """The end of a call in which nobody talked."""
    nothing = {"full_record_file_link": None, "total_time_duration": 12, "wait_time_duration": 12, "is_lost": True}
    words = {"lost_reason": "Абонент разорвал соединение", "extension": None}
    return finished(session, **{**nothing, **words, **more})


def recorded(session: int = 7, **more: Any) -> Notification:
    said = {"call_session_id": session, "direction": "in", "file_link": LINK, "file_duration": 51, **more}
    return "in", json.dumps(said).encode()


def own(name: str, session: int = 7, endpoint: str = "any", **fields: Any) -> Notification:
    """A notification by UIS's own template of that name: who, where, and what only this one has."""
    every = {
        "notification_name": name,
        "virtual_phone_number": LINE,
        "notification_time": "2026-03-02 12:46:30.500",
        "contact_phone_number": CLIENT,
        "call_session_id": session,
    }
    return endpoint, json.dumps({**every, **fields}, ensure_ascii=False).encode()


def ended(talk: int, total: int = 63, **more: Any) -> Notification:
    """«Завершение звонка» by UIS's own template, which has durations alone."""
    durations = {"talk_time_duration": talk, "total_time_duration": total, "wait_time_duration": total - talk}
    return own("Завершение звонка", **{"direction": "in", "call_source": "va", **durations, **more})


def of_novofon(status: str, **durations: Any) -> Notification:
    """«Завершение звонка» by Novofon's template: nested, with its key and a word for how the call ended."""
    said = {
        "integration_key": "***",
        "call_session_id": 7,
        "direction": "in",
        "event": "CALL_END",
        "virtual_phone_number": LINE,
        "contact_info": {"contact_phone_number": CLIENT},
        "employee_info": {"employee_id": None, "extension_phone_number": None},
        "call_info": {"call_status": status, **durations},
    }
    return "rec", json.dumps(said).encode()


def missed_call(session: int, began: datetime, client: str | None = CLIENT, **more: Any) -> list[Notification]:
    own = {"start_time": _at(began), "finish_time": _at(began, 12), "calling_phone_number": client, **more}
    return [incoming(session, **own), not_taken(session, **own)]


def taken_call(session: int, began: datetime, client: str = CLIENT, **more: Any) -> list[Notification]:
    own = {"start_time": _at(began), "calling_phone_number": client, **more}
    end = {**own, "finish_time": _at(began, 60)}
    return [incoming(session, **own), answered(session, **own), finished(session, **end)]


def call_to(
    session: int, began: datetime, client: str = CLIENT, *, talks: bool = True, extension: str = "102"
) -> list[Notification]:
    own = {"start_time": _at(began), "called_phone_number": client, "extension": extension}
    end = {**own, "finish_time": _at(began, 60), "direction": "out", "calling_phone_number": LINE}
    return [outgoing(session, **own), finished(session, **end) if talks else not_taken(session, **end)]


def _at(moment: datetime, seconds: int = 0) -> str:
    return (moment + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S.000")


_TALK = {"direction": "in", "employee_id": 5, "leg_ids": [71]}
INCOMING, OUTGOING = ({"notification_mnemonic": f"{way}_call_session"} for way in ("in", "out"))
LOST = {"notification_mnemonic": "lost_call_session", "wait_time_duration": 12, "employee_ids": [5]}

OF_THE_CABINET: dict[str, list[Notification]] = {
    "answered": [
        own("Входящий звонок", **INCOMING),
        own("Ожидание ответа", direction="in", employee_id=5, leg_id=70),
        own("Начало разговора", **_TALK),
        own("Окончание разговора", **_TALK, talk_time_duration=51),
        ended(51),
        own("Записанный разговор", file_link=LINK, file_duration=51),
    ],
    "lost": [own("Входящий звонок", **INCOMING), own("Потерянный звонок", **LOST), ended(0, 12)],
    "missed, and only its end is told": [ended(0, 12)],
    "outgoing": [
        own("Исходящий звонок", **OUTGOING, employee_id=5, employee_phone_number="74955550101"),
        ended(51, direction="out"),
    ],
    "outgoing, not taken": [own("Исходящий звонок", **OUTGOING, employee_id=5), ended(0, 12, direction="out")],
    "recording to the end's address": [
        incoming(),
        answered(),
        finished(full_record_file_link=None),
        own("Записанный разговор", endpoint="rec", file_link=LINK, file_duration=51),
    ],
    "the end of a talk to the beginning's address": [
        incoming(),
        answered(),
        own("Окончание разговора", endpoint="in", **_TALK, extension_phone_number="102", talk_time_duration=51),
        finished(),
    ],
    "a menu, and nobody answered": [
        incoming(),
        finished(is_lost=None, finish_reason="operator_not_responsible", extension=None, full_record_file_link=None),
    ],
    "Novofon, missed": [of_novofon("no answer", total_time_duration=30, wait_time_duration=10)],
    "Novofon, answered": [of_novofon("answered", talk_time_duration=51, total_time_duration=63, wait_time_duration=12)],
}
"""Calls as the cabinet's own templates tell them, all to one address or to the one that its user took."""

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
