"""Rules of a source, from the notification to what the three systems hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from relay.cli import main
from relay.sandbox.server import Sandbox
from relay.store import Selection
from relay.web import create_app
from relay.wiring import Relay
from tests.fakes import FakeClock
from tests.lanes import SteppedLane, tell
from tests.stories import CLIENT, LINE, incoming, lost, not_taken

ANOTHER_LINE = "74955550199"
MISSED = [incoming(), lost(), not_taken()]


def rule(*lines: str) -> str:
    return "\n".join(("[[sources.trade.rules]]", *lines, ""))


def deliver_all(relay: Relay, clock: FakeClock) -> None:
    for target in relay.settings.targets:
        lane = SteppedLane(relay, target, clock)
        lane.deliver()
        lane.close()


def test_a_line_may_go_to_some_targets_only_and_the_event_says_why(
    make_crm: Callable[..., Relay], clock: FakeClock
) -> None:
    relay = make_crm(amo=rule(f'line = "{LINE}"', 'targets = ["b24"]'))

    tell(relay, [incoming(7), incoming(8, virtual_phone_number=ANOTHER_LINE)], clock)

    found = [(one.session, one.target) for one in relay.store.queries.deliveries(Selection())]
    assert sorted(found) == [("7", "b24"), ("8", "amo"), ("8", "b24"), ("8", "onec")]
    notes = {event.session: event.notes for event in relay.store.queries.events(Selection())}
    assert notes["7"][-2:] == ("rule 1: not for onec", "rule 1: not for amo")
    assert not any("rule" in note for note in notes["8"])


def test_internal_calls_can_be_left_out_everywhere(make_crm: Callable[..., Relay], clock: FakeClock) -> None:
    relay = make_crm(amo=rule("internal = true", "skip = true"))

    tell(relay, [incoming(7, calling_phone_number="102")], clock)

    assert list(relay.store.queries.deliveries(Selection())) == []
    [event] = relay.store.queries.events(Selection())
    assert event.state == "accepted"


def test_missed_calls_get_a_responsible_by_the_line(
    make_crm: Callable[..., Relay], systems: Sandbox, clock: FakeClock
) -> None:
    ruled = rule(f'line = "{LINE}"', 'targets = ["b24"]', "default_user = 13", 'crm_source = "CALL"', "create = false")
    relay = make_crm(amo=ruled + rule(f'line = "{LINE}"', 'targets = ["amo"]', "default_user = 504143"))

    systems.amocrm.add_contact(CLIENT)

    tell(relay, MISSED, clock)
    deliver_all(relay, clock)

    [row] = systems.bitrix24.state()["statistics"]
    [call] = systems.amocrm.state()["calls"]
    assert (row["USER_ID"], row["STATUS_CODE"]) == (13, "304")
    assert (call["responsible_user_id"], call["call_status"]) == (504143, 6)
    assert [record["endpoint"] for record in systems.onec.state()["writes"]] == ["in", "in", "rec"]


UNKNOWN = "79005550777"


def test_an_unknown_client_of_a_line_becomes_a_lead_at_a_stage(
    make_crm: Callable[..., Relay], systems: Sandbox, clock: FakeClock
) -> None:
    stage = rule(
        f'line = "{LINE}"', 'targets = ["amo"]', "pipeline_id = 31", "status_id = 142", "default_user = 504143"
    )
    relay = make_crm(amo=stage)

    tell(relay, [step(calling_phone_number=UNKNOWN) for step in (incoming, lost, not_taken)], clock)
    deliver_all(relay, clock)
    deliver_all(relay, clock)

    state = systems.amocrm.state()
    assert [(taken["status_id"], taken["user_id"]) for taken in state["accepted"]] == [(142, 504143)]
    assert state["unsorted"] == []
    assert [contact["phones"] for contact in state["contacts"] if contact["phones"] == ["+" + UNKNOWN]] != []


@pytest.mark.parametrize("mode", ["reset_after_writing", "bad_gateway"])
def test_an_acceptance_that_came_to_no_answer_is_not_made_twice(
    make_crm: Callable[..., Relay], systems: Sandbox, clock: FakeClock, mode: str
) -> None:
    relay = make_crm(amo="status_id = 142\n")
    tell(relay, [step(calling_phone_number=UNKNOWN) for step in (incoming, lost, not_taken)], clock)
    systems.amocrm.fail(mode, 1, "accept_unsorted")
    lane = SteppedLane(relay, "amo", clock)

    lane.deliver()
    clock.forward(minutes=5)
    lane.deliver()
    lane.close()

    state = systems.amocrm.state()
    assert [taken["status_id"] for taken in state["accepted"]] == [142]
    assert {one.state for one in relay.store.queries.deliveries(Selection(target="amo"))} == {"delivered"}


def test_explain_names_the_rule_for_each_target(
    make_crm: Callable[..., Relay], clock: FakeClock, tmp_path: Any
) -> None:
    skipping = rule("skip = true", f'line = "{LINE}"', 'targets = ["onec"]')
    relay = make_crm(amo=skipping + rule('targets = ["b24"]', "default_user = 13", 'missed_task = "90m"'))
    tell(relay, [incoming()], clock)
    [event] = relay.store.queries.events(Selection())
    environ = {"RELAY_CONFIG": str(relay.settings.file)}

    done = CliRunner().invoke(main, ["explain", event.id, "--json"], env=environ)
    told = CliRunner().invoke(main, ["explain", event.id], env=environ)

    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"target": "onec", "takes": False, "rule": 1, "why": f"rule 1 (line = {LINE})", "settings": {}},
        {
            "target": "b24",
            "takes": True,
            "rule": 2,
            "why": "rule 2 (any call)",
            "settings": {"default_user": 13, "missed_task": "90m"},
        },
        {
            "target": "amo",
            "takes": True,
            "rule": None,
            "why": "no rule fits: the target's own settings",
            "settings": {},
        },
    ]
    assert "default_user = 13, missed_task = 90m" in " ".join(told.output.split())
    assert CliRunner().invoke(main, ["explain", "nothing"], env=environ).exit_code == 1


def test_the_page_of_an_event_shows_which_rule_decided(make_crm: Callable[..., Relay], clock: FakeClock) -> None:
    relay = make_crm(
        amo=rule("skip = true", f'line = "{LINE}"', 'targets = ["onec"]') + '[admin]\npassword = "a long enough one"\n'
    )
    tell(relay, [incoming()], clock)
    [event] = relay.store.queries.events(Selection())
    page = create_app(relay, delivers=False).test_client()
    form = page.get("/admin/login").get_data(as_text=True).split('name="form" value="')[1].split('"')[0]
    page.post("/admin/login", data={"password": "a long enough one", "form": form})

    text = page.get(f"/admin/events/{event.id}", headers={"Accept-Language": "ru"}).get_data(as_text=True)

    assert "Какое правило решило" in text
    assert f"правило 1 (line = {LINE})" in text
