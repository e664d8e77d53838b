"""Simulates UIS: realistic calls, each with the five notifications of the standard set-up, through the templates.

Numbers are invented. A caller calls in, 101 answers, asks a colleague, the caller hangs up meanwhile, the call ends.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from relay.models import Kind
from relay.uis.rendering import template_text
from relay.uis.variables import PLACEHOLDER

_COMPANIES = ("Основной", 'ООО "Ромашка"', "Отдел продаж", "ИП Иванов, опт", "Склад №2")
_NAMES: dict[Kind, str] = {
    "incoming": "Входящий звонок",
    "answered": "Начало Входящего звонка",
    "lost": "Потерянный звонок",
    "outgoing": "Исходящий звонок",
    "finished": "Завершение звонкак",
}
_ENDPOINTS: dict[Kind, str] = {"incoming": "in", "answered": "in", "outgoing": "out", "lost": "in", "finished": "rec"}


class Notification(Struct, frozen=True):
    """Holds one notification as UIS posts it."""

    kind: Kind
    endpoint: str
    body: bytes


class SimulatedCall(Struct, frozen=True):
    """Holds a call: what UIS posts of it, in order, and the variables that its report is made of."""

    values: dict[str, Any]
    notifications: list[Notification]


def render(template: str, values: dict[str, Any]) -> bytes:
    """Fill a template as UIS does: every placeholder by the value as JSON, null where there is none."""
    filled = PLACEHOLDER.sub(lambda match: json.dumps(values.get(match[1]), ensure_ascii=False), template)
    return filled.encode()


def calls(
    count: int, now: datetime, zone: ZoneInfo, seed: int | None = None, **changes: Any
) -> Iterator[SimulatedCall]:
    """Yield so many calls; `changes` are values of variables by their names."""
    chance = random.Random(seed)  # noqa: S311  a simulation
    session = chance.randrange(3_000_000_000, 4_000_000_000)
    for number in range(count):
        values = {**_values(chance, session + number, now + timedelta(seconds=number), zone), **changes}
        yield SimulatedCall(values, [_notification(kind, values) for kind in _NAMES])


def without_some(
    notifications: list[Notification], share: float, chance: random.Random | None = None
) -> list[Notification]:
    """Leave out one notification of this share of the calls, or all of them: half and half."""
    chance = random.Random() if chance is None else chance  # noqa: S311  a simulation
    if chance.random() >= share:
        return notifications
    lost = chance.choice([*notifications, None, None, None, None, None])
    return [each for each in notifications if lost is not None and each is not lost]


def _notification(kind: Kind, values: dict[str, Any]) -> Notification:
    own = {**values, "notification_name": _NAMES[kind]}
    if kind == "outgoing":  # 101 calls a colleague within the same session
        own["direction"] = "out"
        own["calling_phone_number"] = values["virtual_phone_number"]
        own["called_phone_number"] = values["calling_phone_number"]
    if kind == "finished":
        own |= {"lost_reason": None, "finish_reason": "subscriber_disconnects"}
    return Notification(kind, _ENDPOINTS[kind], render(template_text(kind), own))


def _values(chance: random.Random, session: int, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    started = now.astimezone(zone)
    waited, total = chance.randint(3, 20), chance.randint(25, 400)
    finished = started + timedelta(seconds=total)
    client = f"7900555{chance.randint(0, 9999):04d}"
    return {
        "start_time": _uis_time(started),
        "finish_time": _uis_time(finished),
        "direction": "in",
        "call_session_id": session,
        "virtual_phone_number": "74955550100",
        "called_phone_number": "74955550100",
        "calling_phone_number": client,
        "extension_phone_number": "101",
        "employee_phone_number": "74955550101",
        "employee_ids": [323409],
        "contact_id": chance.randint(1, 99999),
        "total_time_duration": total,
        "wait_time_duration": waited,
        "finish_reason": "subscriber_disconnects",
        "lost_reason": "Абонент разорвал соединение",
        "is_lost": False,
        "full_record_file_link": f"https://media.example.test/{session}/{chance.getrandbits(64):016x}",
        "wav_call_records": None,
        "external_id": None,
        "call_source": "va",
        "scenario_name": chance.choice(_COMPANIES),
    }


def _uis_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
