"""What each of the three systems holds when a call is over: by the simulators' own state, over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from relay.sandbox.server import Sandbox
from relay.store import Replay, Selection
from relay.wiring import Relay
from tests.fakes import FakeClock
from tests.lanes import KILLED_EVERY, SteppedLane, deliveries, post, tell, tell_killed
from tests.stories import CLIENT, CLIENT_E164, LINK, OF_THE_CABINET, STORIES, answered, finished, incoming, recorded

SESSIONS = {"two at once": 2}


@pytest.fixture
def lanes(clock: FakeClock) -> Iterator[Callable[[Relay], list[SteppedLane]]]:
    made: list[SteppedLane] = []

    def lanes(relay: Relay) -> list[SteppedLane]:
        made.extend(SteppedLane(relay, target, clock) for target in relay.settings.targets)
        return made

    yield lanes
    for lane in made:
        lane.close()


def held_by_bitrix24(systems: Sandbox) -> list[tuple[Any, ...]]:
    """Each finished call: session, type, user, seconds, code, recordings. Calls left open come last."""
    state = systems.bitrix24.state()
    ended = [
        (
            row["EXTERNAL_CALL_ID"],
            row["TYPE"],
            row["USER_ID"],
            row["DURATION"],
            row["STATUS_CODE"],
            [record["url"] for record in row["records"]],
        )
        for row in state["statistics"]
    ]
    return sorted(ended, key=str) + [("open", call["EXTERNAL_CALL_ID"]) for call in state["calls"]]


def held_by_amocrm(systems: Sandbox) -> list[tuple[Any, ...]]:
    """Each call: its place, session, status or none, seconds, link; then the links that were noted."""
    state = systems.amocrm.state()
    calls = [
        (
            "call",
            call["uniq"],
            call["direction"],
            call["call_status"],
            call["duration"],
            call.get("link"),
            call["responsible_user_id"],
        )
        for call in state["calls"]
    ]
    unsorted = [
        ("unsorted", taken["metadata"]["uniq"], taken["metadata"]["duration"], taken["metadata"]["link"])
        for taken in state["unsorted"]
    ]
    noted = [("note", note["params"]["text"]) for note in state["notes"] if note["note_type"] == "common"]
    return sorted(calls, key=str) + unsorted + noted


def held_by_1c(systems: Sandbox) -> list[str]:
    return [record["endpoint"] for record in systems.onec.state()["writes"]]


B = "outbound"
I = "inbound"  # noqa: E741
# the story; what 1C, Bitrix24 and amoCRM hold at its end
HELD: dict[str, tuple[list[str], list[Any], list[Any]]] = {
    "answered": (
        ["in", "in", "rec"],
        [("7", 2, 12, 51, "200", [LINK])],
        [("call", "7", I, 4, 51, LINK, 504142)],
    ),
    "lost by the client": (
        ["in", "in", "rec"],
        [("7", 2, 1, 0, "304", [])],
        [("call", "7", I, 6, 0, None, 504141)],
    ),
    "lost by the operator": (
        ["in", "rec"],
        [("7", 2, 12, 0, "603", [])],
        [("call", "7", I, 6, 0, None, 504142)],
    ),
    "outgoing answered": (
        ["out", "rec"],
        [("7", 1, 12, 51, "200", [LINK])],
        [("call", "7", B, 4, 51, LINK, 504142)],
    ),
    "outgoing not taken": (
        ["out", "in", "rec"],
        [("7", 1, 12, 0, "304", [])],
        [("call", "7", B, 6, 0, None, 504142)],
    ),
    "transferred": (
        ["in", "in", "in", "rec"],
        [("7", 2, 13, 51, "200", [LINK])],
        [("call", "7", I, 4, 51, LINK, 504143)],
    ),
    "two at once": (
        ["in", "in", "in", "in", "rec", "rec"],
        [("7", 2, 12, 51, "200", [LINK]), ("8", 2, 13, 51, "200", [LINK])],
        [("call", "7", I, 4, 51, LINK, 504142), ("call", "8", I, 4, 51, LINK, 504143)],
    ),
    "beginning missed": (["rec"], [("7", 2, 12, 51, "200", [LINK])], [("call", "7", I, 4, 51, LINK, 504142)]),
    "out of order": (
        ["rec", "in", "in"],
        [("7", 2, 12, 51, "200", [LINK])],
        [("call", "7", I, 4, 51, LINK, 504142)],
    ),
    "lost, out of order": (
        ["rec", "in", "in"],
        [("7", 2, 1, 0, "304", [])],
        [("call", "7", I, 6, 0, None, 504141)],
    ),
    "recording later": (
        ["in", "in", "rec"],
        [("7", 2, 12, 51, "200", [LINK])],
        [("call", "7", I, 4, 51, None, 504142), ("note", f"Запись звонка: {LINK}")],
    ),
    "recording first": (
        ["in", "in", "rec"],
        [("7", 2, 12, 51, "200", [LINK])],
        [("call", "7", I, 4, 51, LINK, 504142)],
    ),
    "hung up after a talk": (
        ["in", "in", "in", "rec"],
        [("7", 2, 12, 51, "200", [LINK])],
        [("call", "7", I, 4, 51, LINK, 504142)],
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_what_the_three_systems_hold_in_the_end(
    story: str, make_crm: Any, lanes: Any, systems: Sandbox, clock: FakeClock
) -> None:
    systems.amocrm.add_contact(CLIENT)
    relay = make_crm()

    tell(relay, STORIES[story], clock, *lanes(relay))

    assert (held_by_1c(systems), held_by_bitrix24(systems), held_by_amocrm(systems)) == HELD[story]
    assert {delivery.state for target in relay.settings.targets for delivery in deliveries(relay, target)} == {
        "delivered"
    }
    assert systems.bitrix24.state()["registered"] == SESSIONS.get(story, 1)


@pytest.mark.parametrize("story", STORIES)
def test_the_same_when_everything_had_waited_for_the_night(
    story: str, make_crm: Any, lanes: Any, systems: Sandbox, clock: FakeClock
) -> None:
    """In the morning the notifications go out one by one; nothing pops up on anybody's screen."""
    systems.amocrm.add_contact(CLIENT)
    relay = make_crm()
    for endpoint, body in STORIES[story]:
        post(relay, body, endpoint)
    clock.forward(hours=9)

    for lane in lanes(relay):
        lane.deliver()

    assert (held_by_1c(systems), held_by_bitrix24(systems), held_by_amocrm(systems)) == HELD[story]
    assert not systems.amocrm.state()["popups"]
    assert not [card for card in systems.bitrix24.state()["cards"] if card[0] == "show"]


# what UIS's own templates come to; the rows of 1C, which takes the five kinds of the user's notifications here
HELD_OF_THE_CABINET: dict[str, tuple[list[str], list[Any], list[Any]]] = {
    "answered": (
        ["in", "in", "rec"],
        [("7", 2, 12, 51, "200", [LINK])],
        [("call", "7", I, 4, 51, None, 504142), ("note", f"Запись звонка: {LINK}")],
    ),
    "lost": (["in", "in", "rec"], [("7", 2, 12, 0, "304", [])], [("call", "7", I, 6, 0, None, 504142)]),
    "missed, and only its end is told": (
        ["rec"],
        [("7", 2, 1, 0, "304", [])],
        [("call", "7", I, 6, 0, None, 504141)],
    ),
    "outgoing": (["out", "rec"], [("7", 1, 12, 51, "200", [])], [("call", "7", B, 4, 51, None, 504142)]),
    "outgoing, not taken": (["out", "rec"], [("7", 1, 12, 0, "304", [])], [("call", "7", B, 6, 0, None, 504142)]),
    "recording to the end's address": (
        ["in", "in", "rec"],
        [("7", 2, 12, 51, "200", [LINK])],
        [("call", "7", I, 4, 51, None, 504142), ("note", f"Запись звонка: {LINK}")],
    ),
    "the end of a talk to the beginning's address": (
        ["in", "in", "rec"],
        [("7", 2, 12, 51, "200", [LINK])],
        [("call", "7", I, 4, 51, LINK, 504142)],
    ),
    "a menu, and nobody answered": (
        ["in", "rec"],
        [("7", 2, 1, 0, "304", [])],
        [("call", "7", I, 6, 0, None, 504141)],
    ),
    "Novofon, missed": (["rec"], [("7", 2, 1, 0, "304", [])], [("call", "7", I, 6, 0, None, 504141)]),
    "Novofon, answered": (["rec"], [("7", 2, 1, 51, "200", [])], [("call", "7", I, 4, 51, None, 504141)]),
}


@pytest.mark.parametrize("story", OF_THE_CABINET)
def test_what_the_three_systems_hold_of_calls_told_by_the_cabinets_own_templates(
    story: str, make_crm: Any, lanes: Any, systems: Sandbox, clock: FakeClock
) -> None:
    systems.amocrm.add_contact(CLIENT)
    relay = make_crm(b24='employees = { "5" = 12 }', amo='employees = { "5" = 504142 }')

    tell(relay, OF_THE_CABINET[story], clock, *lanes(relay))

    assert (held_by_1c(systems), held_by_bitrix24(systems), held_by_amocrm(systems)) == HELD_OF_THE_CABINET[story]
    assert systems.bitrix24.state()["missed"] == (["7"] if story in MISSED else [])


MISSED = ("lost", "missed, and only its end is told", "a menu, and nobody answered", "Novofon, missed")


@pytest.mark.parametrize(
    ("sent_at_the_end", "channel", "remark"),
    [
        ("{{extension_phone_number}}", "101", "a placeholder that was left: the operator learns the end"),
        ("102", "102", "whoever has the call at its end"),
        (None, None, "null erases it, as it would behind UIS"),
    ],
)
def test_whom_1c_shows_the_end_of_a_call_to(
    sent_at_the_end: str | None,
    channel: str | None,
    remark: str,
    make_crm: Any,
    lanes: Any,
    systems: Sandbox,
    clock: FakeClock,
) -> None:
    relay = make_crm()

    tell(relay, [incoming(), answered(), finished(extension=sent_at_the_end)], clock, lanes(relay)[0])

    assert [record["channel"] for record in systems.onec.state()["writes"]] == ["", "101", channel], remark


def test_1c_reads_the_bytes_as_they_came_in_the_charset_that_they_are_in(
    make_crm: Any, lanes: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm(onec_lines='body = "raw"')
    endpoint, body = incoming(scenario_name="Отдел продаж")

    tell(relay, [(endpoint, body.decode().encode("cp1251"))], clock, lanes(relay)[0])

    [record] = systems.onec.state()["records"]
    assert "Отдел продаж" in record["body"]


def test_1c_refuses_a_body_with_a_name_that_it_cannot_take_and_the_reason_names_it(
    make_crm: Any, lanes: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm()
    endpoint, body = incoming()

    tell(relay, [(endpoint, b'{"utm-source":"x","2x":1,' + body[1:])], clock, lanes(relay)[0])

    [delivery] = deliveries(relay, "onec")
    assert (delivery.state, held_by_1c(systems)) == ("dead", [])
    assert "utm-source, 2x" in (delivery.reason or "")


# --- the process killed between any two requests


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("target", ["b24", "amo"])
def test_a_kill_at_any_moment_changes_nothing_in_the_end(
    target: str, story: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    """Before and after each request, before and after each thing is remembered; see KILLED_EVERY."""
    relay, began, was_killed = make_crm(amo="look_up = true"), clock.now, True
    expected = HELD[story][1 if target == "b24" else 2]
    at = 1 - KILLED_EVERY + list(STORIES).index(story) % KILLED_EVERY
    while was_killed:
        at, clock.now = at + KILLED_EVERY, began
        systems.bitrix24.reset()
        systems.amocrm.reset()
        systems.amocrm.add_contact(CLIENT)
        session = f"{at}00{{}}"
        notifications = [(endpoint, _as_session(body, session)) for endpoint, body in STORIES[story]]

        was_killed = tell_killed(relay, notifications, clock, target, at)

        held = held_by_bitrix24(systems) if target == "b24" else held_by_amocrm(systems)
        assert [_as_told(row, session) for row in held] == expected, f"killed at moment {at}"
        if target == "b24":
            assert {row["record_writes"] for row in systems.bitrix24.state()["statistics"]} <= {0, 1}
    assert at > 3 * len(STORIES[story])  # there were moments to be killed at


@pytest.mark.parametrize("how", ["unsorted", "contact"])
def test_a_kill_at_any_moment_with_a_phone_that_nobody_has(
    how: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay, at, was_killed, began = make_crm(amo=f'unknown_phone = "{how}"'), 0, True, clock.now
    while was_killed:
        at, clock.now = at + 1, began
        systems.amocrm.reset()
        session = f"{at}00{{}}"
        notifications = [(endpoint, _as_session(body, session)) for endpoint, body in STORIES["answered"]]

        was_killed = tell_killed(relay, notifications, clock, "amo", at)

        held = [_as_told(row, session) for row in held_by_amocrm(systems)]
        if how == "unsorted":
            assert held == [("unsorted", "7", 51, LINK)], f"killed at moment {at}"
        else:
            assert held == [("call", "7", I, 4, 51, LINK, 504142)], f"killed at moment {at}"
            assert len(systems.amocrm.state()["contacts"]) == 1


def test_a_kill_costs_1c_at_most_the_request_that_was_in_flight(
    make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay, at, was_killed = make_crm(), 0, True
    while was_killed:
        at += 1
        systems.onec.reset()
        session = f"{at}00{{}}"
        notifications = [(endpoint, _as_session(body, session)) for endpoint, body in STORIES["answered"]]

        was_killed = tell_killed(relay, notifications, clock, "onec", at)

        endpoints = held_by_1c(systems)
        once = [name for number, name in enumerate(endpoints) if number == 0 or endpoints[number - 1] != name]
        assert len(endpoints) <= 4, f"killed at moment {at}"
        assert once == ["in", "rec"]


def test_without_the_look_up_amocrm_may_get_a_call_twice_and_never_none(
    make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay, at, was_killed, seen = make_crm(amo="look_up = false"), 0, True, set()
    while was_killed:
        at += 1
        systems.amocrm.reset()
        systems.amocrm.add_contact(CLIENT)
        notification = [(endpoint, _as_session(body, f"{at}00{{}}")) for endpoint, body in [finished()]]
        was_killed = tell_killed(relay, notification, clock, "amo", at)
        seen.add(len(systems.amocrm.state()["calls"]))
    assert seen == {1, 2}


def _as_session(body: bytes, session: str) -> bytes:
    """The notification as one of another call, so that one database serves all the kills."""
    text = body.decode()
    for number in ("7", "8"):
        for written in (f'"call_session_id":{number}', f'"call_session_id": {number}'):
            text = text.replace(written + ",", f'"call_session_id":{session.format(number)},')
    return text.encode()


def _as_told(row: tuple[Any, ...], session: str) -> tuple[Any, ...]:
    numbers = {session.format(number): number for number in ("7", "8")}
    return tuple(numbers.get(value, value) if isinstance(value, str) else value for value in row)


# --- a fault of the target in any of the requests

PASSING = ["reset", "reset_after_writing", "html_503", "internal_server_error", "query_limit", "sql_error", "overload"]
STEPS = ["register", "show", "finish", "attachrecord"]


@pytest.mark.parametrize("mode", PASSING)
@pytest.mark.parametrize("step", STEPS)
def test_a_passing_fault_of_bitrix24_in_any_step_changes_nothing_in_the_end(
    step: str, mode: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm()
    systems.bitrix24.fail(mode, 1, f"telephony.externalcall.{step}")
    lane = SteppedLane(relay, "b24", clock)

    tell(relay, STORIES["transferred"], clock, lane)
    for _ in range(4):
        clock.forward(hours=2)
        lane.deliver()
    lane.close()

    assert held_by_bitrix24(systems) == HELD["transferred"][1]
    assert {one.state for one in deliveries(relay, "b24")} == {"delivered"}
    finishes = systems.bitrix24.state()["methods"].count("telephony.externalcall.finish")
    assert finishes == 1 if (step, mode) == ("finish", "reset_after_writing") else finishes <= 2


@pytest.mark.parametrize(
    "mode", ["reset", "reset_after_writing", "too_many", "bad_gateway", "server_error", "gateway_timeout"]
)
@pytest.mark.parametrize(
    ("step", "how"), [("add_calls", "unsorted"), ("add_unsorted", "unsorted"), ("add_contacts", "contact")]
)
def test_a_passing_fault_of_amocrm_in_any_step_changes_nothing_in_the_end(
    step: str, how: str, mode: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm(amo=f'unknown_phone = "{how}"')
    systems.amocrm.fail(mode, 1, step)
    lane = SteppedLane(relay, "amo", clock)

    tell(relay, STORIES["answered"], clock, lane)
    for _ in range(4):
        clock.forward(hours=2)
        lane.deliver()
    lane.close()

    in_unsorted = [("unsorted", "7", 51, LINK)]
    assert held_by_amocrm(systems) == (in_unsorted if how == "unsorted" else HELD["answered"][2])
    assert len(systems.amocrm.state()["contacts"]) == (how == "contact")
    assert {one.state for one in deliveries(relay, "amo")} == {"delivered"}


def test_an_unsorted_call_is_found_behind_newer_ones_that_came_before_it(
    make_crm: Any, systems: Sandbox, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a backlog is worked off: amoCRM lists them by when they began, so many at once."""
    monkeypatch.setattr("relay.targets.amocrm.lookup._PAGE", 2)
    relay = make_crm()
    lane = SteppedLane(relay, "amo", clock)
    for session in range(8, 13):
        tell(relay, [finished(session, start_time=f"2026-03-02 12:{session + 40}:00.000")], clock, lane)
    systems.amocrm.fail("reset_after_writing", 1, "add_unsorted")
    tell(relay, [finished(7)], clock, lane)
    clock.forward(hours=2)
    lane.deliver()
    lane.close()

    assert sorted(call[1] for call in held_by_amocrm(systems)) == ["10", "11", "12", "7", "8", "9"]


def test_a_link_that_may_have_been_noted_is_looked_for(make_crm: Any, systems: Sandbox, clock: FakeClock) -> None:
    systems.amocrm.add_contact(CLIENT)
    systems.amocrm.fail("reset_after_writing", 1, "add_notes")
    relay = make_crm()
    lane = SteppedLane(relay, "amo", clock)

    tell(relay, STORIES["recording later"], clock, lane)
    clock.forward(hours=1)
    lane.deliver()
    lane.close()

    assert held_by_amocrm(systems) == HELD["recording later"][2]


def test_a_call_that_may_have_been_registered_is_registered_as_it_was_the_first_time(
    make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    """Held by the operator's wish; the next notification knows the employee, but Bitrix24 knows the call as nobody's."""
    relay = make_crm(b24='unclear = "hold"')
    systems.bitrix24.fail("reset_after_writing", 1, "telephony.externalcall.register")
    lane = SteppedLane(relay, "b24", clock)

    tell(relay, STORIES["answered"], clock, lane)
    lane.close()

    assert [one.state for one in deliveries(relay, "b24")] == ["held", "delivered", "delivered"]
    assert systems.bitrix24.state()["registered"] == 1
    assert held_by_bitrix24(systems) == HELD["answered"][1]


# --- late, edited and replayed


@pytest.mark.parametrize("story", ["answered", "lost by the client", "recording later"])
def test_late_and_replayed_events_of_a_finished_call_change_nothing(
    story: str, make_crm: Any, lanes: Any, systems: Sandbox, clock: FakeClock
) -> None:
    systems.amocrm.add_contact(CLIENT)
    relay = make_crm()
    of_relay = lanes(relay)
    tell(relay, STORIES[story], clock, *of_relay)
    before = [systems.bitrix24.state(), systems.amocrm.state()]

    again = recorded(name="again")
    late = [incoming(notification_name="late"), finished(notification_name="edited"), again]
    _replay_all(relay, clock)
    for lane in of_relay[1:]:
        lane.deliver()
    tell(relay, late if story != "lost by the client" else late[:1], clock, *of_relay)

    assert [systems.bitrix24.state(), systems.amocrm.state()] == before
    for target in ("b24", "amo"):
        found = deliveries(relay, target)
        assert {delivery.state for delivery in found} == {"delivered"}
        assert all(delivery.reason for delivery in found if delivery.event_seq > len(STORIES[story]))


def _replay_all(relay: Relay, clock: FakeClock) -> None:
    chosen = list(relay.store.queries.deliveries(Selection()))
    assert relay.store.operator.replay([Replay(delivery, clock(), clock()) for delivery in chosen]) == len(chosen)


# --- cards and pop-ups


@pytest.mark.parametrize(
    ("show_to", "cards", "remark"),
    [
        ("employee", [("show", 12), ("hide", 12), ("show", 13)], "to whoever has the call"),
        (
            "all",
            [("show", 12), ("show", 13), ("hide", 13), ("hide", 12), ("show", 13)],
            "to everybody while it rings, then to whoever has it",
        ),
        ("nobody", [], "to nobody"),
    ],
)
def test_whose_screens_show_the_card(
    show_to: str, cards: list[Any], remark: str, make_crm: Any, lanes: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm(b24=f'show_to = "{show_to}"')

    tell(relay, STORIES["transferred"], clock, lanes(relay)[1])

    assert [(what, user) for what, _, user in systems.bitrix24.state()["cards"]] == cards, remark


def test_the_pop_up_comes_once_and_before_the_call(
    make_crm: Any, lanes: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm()
    systems.amocrm.add_contact(CLIENT)

    tell(relay, STORIES["transferred"], clock, lanes(relay)[2])

    state = systems.amocrm.state()
    assert state["popups"] == [{"phone_number": CLIENT, "users": [504142, 504143]}]
    assert state["paths"] == ["POST /api/v2/events", "POST /api/v4/calls"]


@pytest.mark.parametrize(("create", "leads"), [("true", [CLIENT_E164]), ("false", [])])
def test_an_unknown_number_becomes_a_lead_once(
    create: str, leads: list[str], make_crm: Any, lanes: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm(b24=f"create_lead = {create}")

    tell(relay, STORIES["two at once"], clock, lanes(relay)[1])

    assert systems.bitrix24.state()["leads"] == leads


def test_nothing_is_written_to_the_chat(make_crm: Any, lanes: Any, systems: Sandbox, clock: FakeClock) -> None:
    """Bitrix24 writes a message of each call unless it is told not to."""
    relay = make_crm()
    tell(relay, STORIES["two at once"], clock, *lanes(relay))

    assert systems.bitrix24.state()["registered"] == 2
    assert systems.bitrix24.state()["chat"] == []


# UIS's word for where the call came from, the direction, TYPE
TYPES = [
    *[
        (source, direction, 4)
        for source in ("sitephone", "callapi", "auto_back_call_lost", "auto_back_call_by_timeout", "SitePhone ")
        for direction in ("in", "out")
    ],
    *[(source, "in", 2) for source in ("va", "sip", "call_tracking", "callapi_2", "auto_back", None)],
    *[(source, "out", 1) for source in ("va", "sip_trunk", "bitrix", None)],
]


@pytest.mark.parametrize(("source", "direction", "number"), TYPES)
def test_a_call_back_is_registered_as_one(
    source: str | None, direction: str, number: int, make_crm: Any, lanes: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm()
    tell(relay, [finished(call_source=source, direction=direction)], clock, *lanes(relay))

    assert [row["TYPE"] for row in systems.bitrix24.state()["statistics"]] == [number]


# what comes of the first attachRecord, may Bitrix24 be asked, how often the recording is written
ATTACHED = [
    ("reset_after_writing", True, 1),
    ("reset", True, 1),
    ("reset_after_writing", False, 2),
    ("reset", False, 1),
    ("internal_server_error", True, 1),
    ("drip_headers_after_writing", True, 1),
]


@pytest.mark.parametrize(("mode", "may_ask", "writes"), ATTACHED)
def test_a_recording_that_may_have_been_attached_is_asked_for(
    mode: str, may_ask: bool, writes: int, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm(b24='timeout = "300ms"\nconnect_timeout = "1s"' if mode.startswith("drip") else "")
    lane = SteppedLane(relay, "b24", clock)
    systems.bitrix24.fail(mode, 1, "telephony.externalcall.attachrecord")
    if not may_ask:
        systems.bitrix24.fail("access_denied", -1, "voximplant.statistic.get")

    tell(relay, STORIES["answered"], clock, lane)
    clock.forward(seconds=5)
    lane.deliver()
    lane.close()

    [row] = systems.bitrix24.state()["statistics"]
    assert ([record["url"] for record in row["records"]], row["record_writes"]) == ([LINK], writes)
    assert {one.state for one in deliveries(relay, "b24")} == {"delivered"}
    asked = systems.bitrix24.state()["methods"].count("voximplant.statistic.get")
    assert asked == (0 if mode == "internal_server_error" else 1)  # an error says that it was not


def test_a_missed_call_is_told_as_missed(make_crm: Any, lanes: Any, systems: Sandbox, clock: FakeClock) -> None:
    relay = make_crm()

    tell(relay, STORIES["lost by the client"], clock, lanes(relay)[1])

    assert systems.bitrix24.state()["missed"] == ["7"]
