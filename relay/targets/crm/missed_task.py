"""Decides on the task in a CRM for a missed call, and says what stands in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from relay.calls.history import CallHistory
from relay.calls.missed_calls import MissedCall
from relay.i18n import Message
from relay.models import Event

RESULT = "С клиентом поговорили"


class AddTask(Struct, frozen=True):
    """Add it."""


class FindTask(Struct, frozen=True):
    """Look whether it was added: it was sent before, and it is not known what came of it."""


class Task(Struct, frozen=True):
    """Says what stands in a task."""

    title: str
    text: str
    mark: str  #: the part of the text that no other call's task has
    deadline: datetime


def task_to_add(
    done: Mapping[str, Any], call: MissedCall | None, *, has_looked: bool
) -> AddTask | FindTask | Message | None:
    """Return what is to be done for a call that is there, or why nothing is; None: the call needs no task."""
    if call is None or call.client is None:
        return None
    if done.get("tasking") and not has_looked:
        return FindTask()
    if call.reached is not None:
        return Message("no task: there was a talk with the client since")
    if not done.get("entity"):
        return Message("no task: the call has no card that it could stand at")
    return AddTask()


def task_for(history: CallHistory, event: Event, within: timedelta, now: datetime) -> Task:
    """Return the task for a missed call; one that is late already is due at once."""
    began_at = history.started_at or event.received_at
    mark = f"звонок № {event.session or event.id} в UIS"
    line = f" на линию {history.line}" if history.line else ""
    return Task(
        title=f"Перезвонить {history.client}",
        text=f"Пропущенный звонок {began_at.astimezone(ZoneInfo(event.zone)):%d.%m.%Y в %H:%M}{line} ({mark})",
        mark=mark,
        deadline=max(began_at + within, now),
    )
