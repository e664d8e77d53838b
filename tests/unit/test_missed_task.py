"""What is decided about the task for a missed call, and what stands in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from relay.calls.history import CallHistory
from relay.calls.missed_calls import Contact, MissedCall
from relay.targets.crm.missed_task import AddTask, FindTask, task_for, task_to_add
from tests.calls import call_of
from tests.factories import shipment
from tests.stories import missed_call

NOON = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MISSED = MissedCall(source="trade", session="7", began_at=NOON, client="79005550123", line=None, employee=None)
REACHED = MissedCall(
    source="trade",
    session="7",
    began_at=NOON,
    client="79005550123",
    line=None,
    employee=None,
    reached=Contact(session="8", at=NOON, is_call_back=True, employee=None),
)
TALKED, NO_CARD = "no task: there was a talk with the client since", "no task: the call has no card"
CARD = {"entity": ["CONTACT", 797]}


@pytest.mark.parametrize(
    ("done", "call", "has_looked", "decided", "remark"),
    [
        (CARD, MISSED, False, AddTask(), "it waits for a call back"),
        (CARD, REACHED, False, TALKED, "somebody was quicker"),
        ({}, MISSED, False, NO_CARD, "nobody knows the client there, and nothing was created"),
        ({**CARD, "tasking": True}, MISSED, False, FindTask(), "an attempt before may have added it"),
        ({**CARD, "tasking": True}, MISSED, True, AddTask(), "it had not"),
        ({**CARD, "tasking": True}, REACHED, False, FindTask(), "what was added has to be closed"),
        ({**CARD, "tasking": None}, MISSED, False, AddTask(), "it was surely not taken then"),
        (CARD, None, False, None, "a talk, or a colleague"),
    ],
)
def test_what_is_to_be_done(
    done: dict[str, Any], call: MissedCall | None, has_looked: bool, decided: Any, remark: str
) -> None:
    step = task_to_add(done, call, has_looked=has_looked)

    assert (str(step)[: len(decided)] if isinstance(decided, str) else step) == decided, remark


@pytest.mark.parametrize(("now_after", "due_after"), [(1, 30), (29, 30), (500, 500)])
def test_it_is_due_so_long_after_the_call_or_at_once(now_after: int, due_after: int) -> None:
    notifications = missed_call(7, datetime(2026, 3, 2, 12, 0))  # noqa: DTZ001  as UIS says it
    history = CallHistory(tuple(call_of(body, endpoint) for endpoint, body in notifications))
    event = shipment(history.latest).event

    task = task_for(history, event, timedelta(minutes=30), NOON + timedelta(minutes=now_after))

    assert task.deadline == NOON + timedelta(minutes=due_after)
    assert task.mark in task.text
