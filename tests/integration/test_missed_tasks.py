"""Who has a task at Bitrix24 and at amoCRM after a missed call, and when it is closed: by the simulators' own state."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from relay.sandbox.server import Sandbox
from relay.wiring import Relay
from tests.fakes import FakeClock
from tests.lanes import KILLED_EVERY, SteppedLane, deliveries, post, tell, tell_killed
from tests.stories import (
    CLIENT,
    CLIENT_E164,
    Notification,
    answered,
    call_to,
    finished,
    incoming,
    lost,
    missed_call,
    taken_call,
)

NOON = datetime(2026, 3, 2, 12, 0)  # noqa: DTZ001  as UIS says it, by the account's clock; it is 12:45 now
OTHER = "79005550777"
ON = 'missed_task = "30m"'


def after(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


@pytest.fixture
def lanes(make_crm: Callable[..., Relay], clock: FakeClock) -> Iterator[Callable[..., tuple[Relay, list[SteppedLane]]]]:
    made: list[SteppedLane] = []

    def make(b24: str = ON, amo: str = ON) -> tuple[Relay, list[SteppedLane]]:
        relay = make_crm(b24=b24, amo=f'unknown_phone = "contact"\n{amo}')
        made.extend(SteppedLane(relay, target, clock) for target in ("b24", "amo"))
        return relay, made

    yield make
    for lane in made:
        lane.close()


def tasks(systems: Sandbox) -> dict[str, dict[str, list[str]]]:
    """At each target the calls with an open task, and those whose task is closed; twice if there are two."""
    b24 = [(row["DESCRIPTION"], row["COMPLETED"] == "Y") for row in systems.bitrix24.state()["tasks"]]
    amo = [(row["text"], row["is_completed"]) for row in systems.amocrm.state()["tasks"]]
    return {target: _by_state(rows) for target, rows in (("b24", b24), ("amo", amo))}


def _by_state(rows: list[tuple[str, bool]]) -> dict[str, list[str]]:
    by_state: dict[str, list[str]] = {"open": [], "closed": []}
    for text, is_closed in rows:
        [call] = re.findall(r"звонок № (\S+) в UIS", text)
        by_state["closed" if is_closed else "open"].append(call)
    return by_state


def both(*still_open: str, closed: tuple[str, ...] = ()) -> dict[str, dict[str, list[str]]]:
    each = {"open": list(still_open), "closed": list(closed)}
    return {"b24": each, "amo": each}


GOES_ON = {"start_time": "2026-03-02 12:07:00.000", "calling_phone_number": CLIENT}
# what is told in this order, and which calls have a task in the end
STORIES: dict[str, tuple[list[Notification], Any]] = {
    "nobody has called back": (missed_call(1, after(0)), both("1")),
    "somebody called back": ([*missed_call(1, after(0)), *call_to(2, after(14))], both(closed=("1",))),
    "he called again and was answered": ([*missed_call(1, after(0)), *taken_call(2, after(5))], both(closed=("1",))),
    "he called again in vain": ([*missed_call(1, after(0)), *missed_call(2, after(5))], both("1", "2")),
    "one talk is for all his calls before it": (
        [*missed_call(1, after(0)), *missed_call(2, after(5)), *call_to(3, after(10)), *missed_call(4, after(20))],
        both("4", closed=("1", "2")),
    ),
    "a talk before the call does not count": ([*taken_call(1, after(-30)), *missed_call(2, after(0))], both("2")),
    "a talk that went on meanwhile counts": (
        [*taken_call(1, after(-0.5))[:2], *missed_call(2, after(0)), *taken_call(1, after(-0.5))[2:]],
        both(),
    ),
    "a call that he did not take reaches nobody": (
        [*missed_call(1, after(0)), *call_to(2, after(5), talks=False)],
        both("1"),
    ),
    "a talk that goes on closes it at its end": (
        [*missed_call(1, after(0)), incoming(2, **GOES_ON), answered(2, **GOES_ON)],
        both("1"),
    ),
    "a call that rings reaches nobody yet": ([*missed_call(1, after(0)), incoming(2, **GOES_ON)], both("1")),
    "a colleague is no client": (missed_call(1, after(0), "101"), both()),
    "nobody can call a withheld number": (missed_call(1, after(0), "anonymous"), both()),
    "another client does not count": ([*missed_call(1, after(0)), *call_to(2, after(5), OTHER)], both("1")),
    "lost, and yet there was a talk": (
        [incoming(1), answered(1), lost(1), finished(1)],
        both(),
    ),
    "lost as it seemed, then the end with a talk": ([incoming(1), lost(1), finished(1)], both(closed=("1",))),
    "told late, when he was called back already": ([*call_to(2, after(14)), *missed_call(1, after(0))], both()),
    "a talk told late is before the call": ([*missed_call(2, after(20)), *call_to(1, after(0))], both("2")),
}


@pytest.mark.parametrize("story", STORIES)
def test_who_has_a_task(story: str, lanes: Any, systems: Sandbox, clock: FakeClock) -> None:
    relay, made = lanes()
    notifications, expected = STORIES[story]

    tell(relay, notifications, clock, *made)

    assert tasks(systems) == expected


def test_what_stands_in_it_and_when_it_is_due(lanes: Any, systems: Sandbox, clock: FakeClock) -> None:
    relay, made = lanes(b24='missed_task = "2h"', amo='missed_task = "30m"')
    contact = systems.amocrm.add_contact(CLIENT)

    tell(relay, missed_call(1, after(0), extension="102"), clock, *made)

    [task] = systems.bitrix24.state()["tasks"]
    said = "Пропущенный звонок 02.03.2026 в 12:00 на линию +74955550100 (звонок № 1 в UIS)"
    assert (task["SUBJECT"], task["DESCRIPTION"]) == (f"Перезвонить {CLIENT_E164}", said)
    assert (task["OWNER_TYPE_ID"], task["OWNER_ID"], task["RESPONSIBLE_ID"]) == ("1", "1501", "13")  # the new lead
    assert task["DEADLINE"] == "2026-03-02T14:00:00+03:00"
    [task] = systems.amocrm.state()["tasks"]
    assert task["text"] == f"Перезвонить {CLIENT_E164}. {said}"
    assert (task["entity_type"], task["entity_id"], task["responsible_user_id"]) == ("contacts", contact, 504143)
    deadline = datetime.fromtimestamp(task["complete_till"], clock().tzinfo)
    assert timedelta(0) <= clock() - deadline < timedelta(seconds=5)  # half an hour has passed: it is due at once
    assert task["task_type_id"] == 1


def test_without_the_setting_nothing_more_is_asked(lanes: Any, systems: Sandbox, clock: FakeClock) -> None:
    relay, made = lanes(b24="", amo="")

    tell(relay, [*missed_call(1, after(0)), *call_to(2, after(14))], clock, *made)

    assert tasks(systems) == both()
    assert not [method for method in systems.bitrix24.state()["methods"] if "activity" in method]
    assert not [path for path in systems.amocrm.state()["paths"] if "tasks" in path]


def test_a_rule_sets_it_and_another_one_takes_it_away(make_crm: Any, systems: Sandbox, clock: FakeClock) -> None:
    rules = """
[[sources.trade.rules]]
line = "74955550100"
missed_task = "15m"
targets = ["b24"]
[[sources.trade.rules]]
line = "74955550199"
missed_task = 0
targets = ["amo"]
"""
    relay = make_crm(amo=f'unknown_phone = "contact"\n{ON}\n{rules}')
    made = [SteppedLane(relay, target, clock) for target in ("b24", "amo")]

    tell(relay, missed_call(1, after(0)), clock, *made)
    tell(relay, missed_call(2, after(5), virtual_phone_number="74955550199"), clock, *made)
    for lane in made:
        lane.close()

    assert tasks(systems) == {"b24": {"open": ["1"], "closed": []}, "amo": {"open": ["1"], "closed": []}}


def test_an_entity_that_the_crm_does_not_name_gets_none_and_the_reason_says_so(
    lanes: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay, made = lanes(b24=f"create_lead = false\n{ON}")

    tell(relay, missed_call(1, after(0)), clock, *made)

    assert tasks(systems)["b24"] == {"open": [], "closed": []}
    [*_, end] = deliveries(relay, "b24")
    assert end.state == "delivered"
    assert "no task: the call has no card" in (end.reason or "")


# --- what the CRM answers

ADD, FIND, CLOSE = (
    {"b24": f"crm.activity.{b24}", "amo": amo}
    for b24, amo in (("todo.add", "add_tasks"), ("list", "find_tasks"), ("update", "change_task"))
)
SYSTEMS = {"b24": "bitrix24", "amo": "amocrm"}


@pytest.mark.parametrize(
    ("target", "mode"),
    [
        ("b24", "no_access_to_entity"),
        ("b24", "access_denied"),
        ("b24", "method_not_found"),
        ("amo", "validation"),
        ("amo", "scope"),
        ("amo", "not_found"),
    ],
)
def test_a_task_that_is_refused_holds_up_no_call(
    target: str, mode: str, lanes: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay, made = lanes()
    getattr(systems, SYSTEMS[target]).fail(mode, -1, ADD[target])

    tell(relay, missed_call(1, after(0)), clock, *made)

    assert tasks(systems)[target] == {"open": [], "closed": []}
    [*_, end] = deliveries(relay, target)
    assert (end.state, end.attempts) == ("delivered", 1)
    assert (end.reason or "").startswith("no task: ")
    assert relay.store.targets.health(target).state == "open"


@pytest.mark.parametrize("target", ["b24", "amo"])
@pytest.mark.parametrize("may_look", [True, False])
def test_a_task_whose_answer_was_lost_is_looked_for_and_never_added_twice(
    target: str, may_look: bool, lanes: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay, made = lanes()
    system = getattr(systems, SYSTEMS[target])
    system.fail("reset_after_writing", 1, ADD[target])
    if not may_look:
        system.fail("access_denied" if target == "b24" else "scope", -1, FIND[target])

    tell(relay, missed_call(1, after(0)), clock, *made)
    clock.forward(hours=1)
    for lane in made:
        lane.deliver()
    tell(relay, call_to(2, after(14)), clock, *made)

    assert tasks(systems)[target] == ({"open": [], "closed": ["1"]} if may_look else {"open": ["1"], "closed": []})
    end = deliveries(relay, target)[-3]
    assert end.state == "delivered"
    assert ("it is not known whether a task was added" in (end.reason or "")) is not may_look


@pytest.mark.parametrize("target", ["b24", "amo"])
def test_a_task_that_is_gone_is_closed(target: str, lanes: Any, systems: Sandbox, clock: FakeClock) -> None:
    relay, made = lanes()
    tell(relay, missed_call(1, after(0)), clock, *made)
    getattr(systems, SYSTEMS[target]).fail("activity_not_found" if target == "b24" else "not_found", -1, CLOSE[target])

    tell(relay, call_to(2, after(14)), clock, *made)

    assert deliveries(relay, target)[-1].state == "delivered"
    assert [name for name in asked(systems, target) if is_about_tasks(name)][1:] == [closing(target)]
    tell(relay, call_to(3, after(20)), clock, *made)
    assert [name for name in asked(systems, target) if is_about_tasks(name)][1:] == [closing(target)]


@pytest.mark.parametrize("target", ["b24", "amo"])
def test_a_closing_that_must_wait_comes_after_the_call_and_its_recording(
    target: str, lanes: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay, made = lanes()
    tell(relay, missed_call(1, after(0)), clock, *made)
    getattr(systems, SYSTEMS[target]).fail("server_error" if target == "amo" else "sql_error", 1, CLOSE[target])

    tell(relay, call_to(2, after(14)), clock, *made)

    end = deliveries(relay, target)[-1]
    assert (end.state, end.attempts) == ("due", 1)
    if target == "b24":
        assert [row["records"] != [] for row in systems.bitrix24.state()["statistics"]] == [False, True]
    else:
        assert [call["duration"] for call in systems.amocrm.state()["calls"]] == [0, 51]
    clock.forward(hours=1)
    for lane in made:
        lane.deliver()
    assert tasks(systems)[target] == {"open": [], "closed": ["1"]}


def asked(systems: Sandbox, target: str) -> list[str]:
    state = getattr(systems, SYSTEMS[target]).state()
    return list(state["methods"] if target == "b24" else state["paths"])


def is_about_tasks(request: str) -> bool:
    return "activity" in request or "/tasks" in request


def closing(target: str) -> str:
    return "crm.activity.update" if target == "b24" else "PATCH /api/v4/tasks/4745251"


# --- what comes in between


@pytest.mark.parametrize("target", ["b24", "amo"])
def test_a_talk_that_comes_while_the_task_is_added_closes_it(
    target: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    """Whoever delivers the talk may have found no task yet: so who has added it looks once more."""
    relay = make_crm(b24=ON, amo=f'unknown_phone = "contact"\n{ON}')

    def moment(what: str) -> None:
        is_added = what.startswith("done: send") and what.endswith(("todo.add.json", "/tasks"))
        if is_added:
            for endpoint, body in call_to(2, after(14)):
                post(relay, body, endpoint)

    lane = SteppedLane(relay, target, clock, moment)
    tell(relay, missed_call(1, after(0)), clock, lane)
    lane.close()

    requests = asked(systems, target)
    assert tasks(systems)[target] == {"open": [], "closed": ["1"]}
    assert requests.count(closing(target)) == 1
    assert is_about_tasks(requests[requests.index(closing(target)) - 1])  # at once, before the talk is delivered


@pytest.mark.sqlite
@pytest.mark.parametrize("target", ["b24", "amo"])
def test_a_kill_at_any_moment_makes_no_second_task(
    target: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    """Before and after each request and each thing remembered; another client each time; see KILLED_EVERY."""
    relay, was_killed, began = make_crm(b24=ON, amo=ON), True, clock.now
    at = 0 if target == "b24" else 1 - KILLED_EVERY
    while was_killed:
        at, clock.now = at + KILLED_EVERY, began
        client = f"7900555{at:04}"
        systems.bitrix24.reset()
        systems.amocrm.reset()
        systems.amocrm.add_contact(client)
        story = [
            *missed_call(at * 10, after(0), client),
            *missed_call(at * 10 + 1, after(5), client),
            *call_to(at * 10 + 2, after(10), client),
            *missed_call(at * 10 + 3, after(15), client),
        ]

        was_killed = tell_killed(relay, story, clock, target, at)

        expected = {"open": [f"{at * 10 + 3}"], "closed": [f"{at * 10}", f"{at * 10 + 1}"]}
        assert tasks(systems)[target] == expected, f"killed at moment {at}"
    assert at > 30  # there were moments to be killed at
