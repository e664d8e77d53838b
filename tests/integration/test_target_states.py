"""What a target's state means for its queue: down, misconfigured, paused, removed; and what the operator does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from relay import bootstrap, wiring
from relay import config as settings_room
from relay.cli import main
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.lease import Lease
from relay.models import Outcome, Shard, TargetHealth
from relay.sandbox.server import Sandbox
from relay.store import Claim, ClaimedDelivery, Selection, target_state
from relay.wiring import Relay
from tests.calls import rendered
from tests.factories import POLICY, result
from tests.fakes import Scripted, Seconds
from tests.lanes import all_are, dispatch, post, post_call, states
from tests.waiting import eventually

WITHIN_S = 0.25  # what the command line changes reaches a lane


def run(config: Path, *args: str) -> Result:
    return CliRunner().invoke(main, args, env={"RELAY_CONFIG": str(config)})


def records(printed: Result) -> Iterator[dict[str, Any]]:
    """The JSON lines; in one process with the relay its log stands between them."""
    return (json.loads(line) for line in printed.stdout.splitlines() if line.startswith("{"))


def is_held(dispatcher: Dispatcher) -> bool:
    """Has the operator's pause reached the lane?"""
    return dispatcher.lanes.by_shard[Shard("onec")].throttle._paused


def status(relay: Relay, target: str = "onec") -> dict[str, Any]:
    printed = run(relay.settings.file, "status", "--target", target, "--json")
    assert printed.exit_code == 0, printed.output
    return dict(next(records(printed)))


def test_a_target_that_is_down_is_shown_with_its_reason_and_is_still_down_after_a_restart(
    running: Any, onec: Sandbox
) -> None:
    onec.onec.fail("bad_gateway", -1)
    relay = running(onec.onec_url)
    for session in range(3):
        post(relay, rendered("incoming", call_session_id=session))
    eventually(lambda: status(relay)["state"] == "down", "down")
    assert "502" in status(relay)["reason"]
    assert status(relay)["due"] == 3
    since = relay.store.targets.health("onec").since
    relay.stop(5)

    again = running(onec.onec_url)
    eventually(lambda: again.dispatcher.owned() == ["onec"], "owned")
    assert (again.store.targets.health("onec").state, again.store.targets.health("onec").since) == ("down", since)
    onec.onec.fail("ok", 0)
    eventually(all_are(again, "delivered"), "all delivered")
    assert status(again)["state"] == "open"
    assert {delivery.failures for delivery in again.store.queries.deliveries(Selection())} == {0}


def test_a_paused_target_gets_nothing_until_it_is_resumed_also_after_a_restart(running: Any, onec: Sandbox) -> None:
    relay = running(onec.onec_url)
    eventually(lambda: relay.dispatcher.owned() == ["onec"], "owned")
    assert run(relay.settings.file, "pause", "onec").exit_code == 0
    assert "already" in run(relay.settings.file, "pause", "onec").output
    eventually(lambda: is_held(relay.dispatcher), "it has reached the lane", 2)
    post_call(relay, 7)
    relay.stop(5)
    again = running(onec.onec_url)
    eventually(lambda: (again.dispatcher.ticked_ago() or 9) < 1, "the dispatcher moves")
    assert set(states(again)) == {"due"}
    assert status(again)["state"] == "paused"
    assert onec.onec.state()["requests"] == 0

    assert run(again.settings.file, "resume", "onec").exit_code == 0
    eventually(all_are(again, "delivered"), "all delivered")
    assert status(again)["state"] == "open"


def test_what_the_command_line_changes_reaches_a_running_lane_without_anything_else_happening(
    running: Any, onec: Sandbox
) -> None:
    """Nobody tells the lane: it looks."""
    relay = running(onec.onec_url)
    eventually(lambda: relay.dispatcher.owned() == ["onec"], "owned")
    for number in range(3):
        relay.store.targets.pause("onec", relay.clock())
        eventually(lambda: is_held(relay.dispatcher), "paused")
        post(relay, rendered("incoming", call_session_id=number))
        relay.store.targets.resume("onec", relay.clock())
        eventually(all_are(relay, "delivered"), "delivered")


def test_ages_stand_still_while_a_target_is_paused(make_relay: Callable[..., Relay], clock: Any) -> None:
    relay = make_relay(target='expire = { incoming = "10m" }\ngive_up_after = "1h"')
    post(relay, rendered("incoming"))
    post(relay, rendered("answered", call_session_id=8))
    clock.forward(minutes=5)
    relay.store.targets.pause("onec", clock())
    clock.forward(days=3)
    relay.store.targets.resume("onec", clock())
    clock.forward(minutes=4)
    target = Scripted(relay.settings.targets["onec"], lambda _: Outcome(name="delivered"))
    dispatcher = dispatch(relay, target, clock=clock)
    eventually(all_are(relay, "delivered"), "neither expired nor given up")
    dispatcher.stop(5)


def test_what_has_outlived_its_time_ends_though_nothing_is_tried(make_relay: Callable[..., Relay], clock: Any) -> None:
    """A target that is down for longer than that: one probe a minute would never get through them."""
    relay = make_relay(target='expire = { incoming = "10m" }\ngive_up_after = "14d"')
    relay.store.leases.take_over(Shard("onec"), "a former owner")
    relay.store.leases.release("a former owner")
    for session in range(40):
        post(relay, rendered("incoming", call_session_id=session))
        post(relay, rendered("answered", call_session_id=session))
    clock.forward(days=14, minutes=1)
    policy = relay.settings.targets["onec"]
    dispatcher = dispatch(relay, Scripted(policy, lambda _: Outcome(name="unreachable", reason="refused")), clock=clock)
    eventually(lambda: "due" not in states(relay) and "sending" not in states(relay), "all have ended")
    dispatcher.stop(5)

    ended = {(d.kind, d.state) for d in relay.store.queries.deliveries(Selection())}
    assert ended == {("incoming", "expired"), ("answered", "dead")}
    [reason] = {d.reason[:24] for d in relay.store.queries.deliveries(Selection(states=("dead",))) if d.reason}
    assert reason.startswith("given up after 14 days")


# --- targets that are no longer configured


def test_the_backlog_of_a_removed_target_is_shown_and_moves_to_another(
    write_config: Callable[..., Path], unused_port: int, onec: Sandbox
) -> None:
    config = write_config(f"http://127.0.0.1:{unused_port}/trade/hs/UIScom", target='events = ["incoming", "answered"]')
    before = settings_room.read({"RELAY_CONFIG": str(config)})
    bootstrap.migrate(before)
    relay = wiring.Relay(before)
    post_call(relay, 7)
    post(relay, rendered("incoming", call_session_id=8))
    epoch = relay.store.leases.take_over(Shard("onec"), "killed")
    job = relay.store.queue.claim(Claim(Shard("onec"), epoch or 0, relay.clock()))
    assert job is not None  # it is being sent when the process is killed
    relay.close()

    text = config.read_text(encoding="utf-8").replace("[targets.onec]", "[targets.new]").replace('["onec"]', '["new"]')
    config.write_text(text.replace(f"http://127.0.0.1:{unused_port}/trade/hs/UIScom", onec.onec_url), encoding="utf-8")
    after = wiring.Relay(settings_room.read({"RELAY_CONFIG": str(config)}))
    after.start()
    try:
        eventually(lambda: "held" in states(after), "what was being sent waits for the operator")
        removed = next(record for record in records(run(config, "status", "--json")) if record.get("target") == "onec")
        assert removed["state"] == "removed"
        moved = run(config, "replay", "--target", "onec", "--to", "new")
        assert "moved 3 of 3 to new" in moved.output
        eventually(all_are(after, "delivered"), "delivered by the other target")
        assert {d.target for d in after.store.queries.deliveries(Selection())} == {"new"}
        assert len(onec.onec.state()["writes"]) == 3
        assert "moved 0 of 0" in run(config, "replay", "--target", "onec", "--to", "new").output
    finally:
        after.stop(5)
        after.close()


@pytest.mark.sqlite
def test_what_a_removed_target_had_in_flight_is_held_when_its_owner_dies_later(
    make_relay: Callable[..., Relay], clock: Any
) -> None:
    """A process with the old configuration is still there when the new one starts: it ends, and nobody asks again."""
    relay = make_relay()
    post(relay, rendered("incoming"))
    seconds = Seconds()
    old = Lease(relay.store, seconds)
    old.start()
    epoch = old.contend(Shard("onec"), {})
    assert relay.store.queue.claim(Claim(Shard("onec"), epoch or 0, clock())) is not None
    new = Scripted(replace(relay.settings.targets["onec"], name="new"), lambda _: Outcome(name="delivered"))
    dispatcher = dispatch(relay, new, clock=clock, monotonic=seconds)
    try:
        eventually(lambda: dispatcher.owned() == ["new"], "the new one delivers")
        assert states(relay) == ["sending"]
        old._lock.close()  # as the kernel does for a killed process
        seconds.now += 16
        eventually(lambda: states(relay) == ["held"], "it may have arrived: it waits for the operator")
        eventually(lambda: relay.store.leases.all()[Shard("onec")].owner is None, "let go: it may be configured again")
    finally:
        dispatcher.stop(5)


def test_a_move_says_what_stays_and_why(make_relay: Callable[..., Relay], tmp_path: Path) -> None:
    """The other target takes no answered calls, and has had the first call already."""
    more = '[sources.side]\ntoken = "x"\ntargets = ["other"]\n[targets.other]\nkind = "1c"\nurl = "http://127.0.0.1:9/x"\nevents = ["incoming", "lost"]\n'
    relay = make_relay(source="", more=more)
    text = relay.settings.file.read_text(encoding="utf-8")
    relay.settings.file.write_text(text.replace('targets = ["onec"]', 'targets = ["onec", "other"]'), encoding="utf-8")
    both = wiring.Relay(settings_room.read({"RELAY_CONFIG": str(relay.settings.file)}), clock=relay.clock)
    post(both, rendered("incoming", call_session_id=1))  # to both
    both.close()
    post(relay, rendered("incoming", call_session_id=2))
    post(relay, rendered("answered", call_session_id=2))

    moved = run(relay.settings.file, "replay", "--target", "onec", "--to", "other")
    assert "moved 1 of 3 to other" in moved.output
    assert "does not take events of their kind" in moved.output
    assert "has these events already" in moved.output
    assert run(relay.settings.file, "replay", "--target", "onec", "--to", "nobody").exit_code == 1
    assert run(relay.settings.file, "replay", "--all", "--to", "other").exit_code == 2


# --- order and slots


def test_without_order_the_deliveries_of_a_call_do_not_wait_for_each_other(stored: Relay) -> None:
    for kind in ("answered", "lost"):
        post(stored, rendered(kind, call_session_id=0))
    hang = threading.Event()
    begun: list[str] = []

    def script(job: ClaimedDelivery) -> Outcome:
        begun.append(str(job.delivery.session))
        hang.wait(10)
        return Outcome(name="delivered")

    policy = replace(POLICY, concurrency=5)
    dispatcher = dispatch(stored, Scripted(policy, script))
    eventually(lambda: len(begun) == 3, "one of each call")
    assert sorted(begun) == ["0", "1", "2"]
    hang.set()
    eventually(all_are(stored, "delivered"), "all")
    dispatcher.stop(5)


def test_a_replayed_event_takes_its_place_among_those_of_its_call_that_still_wait(stored: Relay) -> None:
    """Of the call 0: the first is dead, two more wait; the first is replayed before they have gone."""
    for kind in ("answered", "lost"):
        post(stored, rendered(kind, call_session_id=0))
    refusing = True
    order: list[str] = []

    def script(job: ClaimedDelivery) -> Outcome:
        if job.delivery.session == "0":
            if refusing:
                return Outcome(name="refused" if job.delivery.kind == "incoming" else "later", reason="no")
            order.append(job.delivery.kind)
        return Outcome(name="delivered")

    policy = replace(POLICY, retry_first=timedelta(milliseconds=300), retry_max=timedelta(milliseconds=300))
    dispatcher = dispatch(stored, Scripted(policy, script))
    eventually(lambda: "dead" in states(stored) and states(stored).count("due") == 2, "one dead, two wait")
    stored.store.targets.pause("onec", stored.clock())
    eventually(lambda: "sending" not in states(stored) and is_held(dispatcher), "it has reached the lane")
    refusing = False
    assert run(stored.settings.file, "replay", "--all").exit_code == 0
    stored.store.targets.resume("onec", stored.clock())
    eventually(all_are(stored, "delivered"), "all")
    dispatcher.stop(5)
    assert order == ["incoming", "answered", "lost"]


def test_while_a_backlog_drains_new_calls_get_every_second_slot(make_relay: Callable[..., Relay], clock: Any) -> None:
    relay = make_relay()
    for session in range(30):
        post(relay, rendered("incoming", call_session_id=1000 + session))
    clock.forward(hours=3)
    for session in range(10):
        post(relay, rendered("incoming", call_session_id=session))
    order: list[int] = []

    def script(job: ClaimedDelivery) -> Outcome:
        order.append(int(job.delivery.session or 0))
        return Outcome(name="delivered")

    dispatcher = dispatch(relay, Scripted(replace(POLICY, concurrency=1), script), clock=clock)
    eventually(all_are(relay, "delivered"), "all")
    dispatcher.stop(5)
    fresh = [place for place, session in enumerate(order) if session < 1000]
    assert fresh[-1] < 24  # ten fresh ones among the first two dozen, not behind thirty old ones
    assert [session for session in order if session < 1000] == list(range(10))
    assert [session for session in order if session >= 1000] == list(range(1000, 1030))


# --- a probe


def test_a_poisonous_event_cannot_hold_the_rest_and_what_is_unclear_is_not_a_probe(stored: Relay) -> None:
    """The target is down; of three calls the one that is due first is unclear: the probe goes with another."""
    epoch = stored.store.leases.take_over(Shard("onec"), "a former owner") or 0
    first = stored.store.queue.claim(Claim(Shard("onec"), epoch, stored.clock()))
    assert first is not None
    stored.store.queue.record(result(first, "due", first.delivery.due_at, unclear=1))
    ill = TargetHealth(state="down", reason="it was", since=stored.clock(), probe_at=stored.clock())
    with stored.store.database.write() as connection:
        target_state.save_health(connection, "onec", epoch, ill)
    stored.store.leases.release("a former owner")
    target = Scripted(replace(POLICY, concurrency=1), lambda _: Outcome(name="delivered"))
    dispatcher = dispatch(stored, target)
    eventually(all_are(stored, "delivered"), "all")
    dispatcher.stop(5)
    assert target.sent[0] != first.delivery.id
