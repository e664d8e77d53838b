"""Lanes at work: a real database, a simulated 1C over real sockets, the dispatcher as it runs in the web process."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from relay import bootstrap, wiring
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.lane import Lane
from relay.delivery.maintenance import LaneMaintenance
from relay.models import Delivery, Outcome, Shard
from relay.sandbox.onec.infobase import OneC
from relay.sandbox.server import Sandbox
from relay.store import Claim, ClaimedDelivery, LaneView, Selection
from relay.wiring import Relay
from tests.calls import STANDARD, rendered
from tests.factories import POLICY
from tests.fakes import Scripted
from tests.lanes import all_are, dispatch, post, post_call, received, states
from tests.waiting import eventually


def test_the_five_notifications_of_a_call_arrive_in_order_as_uis_would_have_sent_them(
    running: Any, onec: Sandbox
) -> None:
    relay = running(onec.onec_url)
    post_call(relay, 7)

    eventually(all_are(relay, "delivered"), "all delivered")
    sent = [list(json.loads(rendered(kind, call_session_id=7)).items()) for kind in STANDARD]
    arrived = [list(json.loads(record["body"]).items()) for record in onec.onec.state()["writes"]]
    order = ["incoming", "answered", "lost", "outgoing", "finished"]
    assert arrived == [sent[STANDARD.index(kind)] for kind in order]
    assert [record["endpoint"] for record in onec.onec.state()["writes"]] == ["in", "in", "in", "out", "rec"]


def test_the_answer_417_of_a_stored_event_is_not_repeated(running: Any, onec: Sandbox) -> None:
    relay = running(onec.onec_url)
    post(relay, rendered("incoming"))

    eventually(all_are(relay, "delivered"), "delivered")
    assert onec.onec.state()["requests"] == 1
    [event] = relay.store.queries.events(Selection())
    [(_, [attempt])] = relay.store.queries.deliveries_of(event)
    assert attempt.status == 417


def test_a_1c_that_was_down_for_the_whole_of_the_posting_gets_all_in_order(running: Any, unused_port: int) -> None:
    relay = running(f"http://127.0.0.1:{unused_port}/trade/hs/UIScom")
    for session in range(12):
        post_call(relay, 1000 + session)
    eventually(lambda: sum(d.attempts for d in relay.store.queries.deliveries(Selection())) > 0, "it was tried")
    assert "delivered" not in states(relay)

    onec = Sandbox(OneC("Обмен УИС", "пароль"), unused_port).start()
    try:
        eventually(all_are(relay, "delivered"), "all delivered")
        by_call: dict[int, list[str]] = {}
        for call in received(onec):
            by_call.setdefault(call["call_session_id"], []).append(call["notification_name"] + call["endpoint"])
        assert len(by_call) == 12
        assert all([name[-2:] for name in names] == ["in", "in", "in", "ut", "ec"] for names in by_call.values())
    finally:
        onec.close()


@pytest.mark.parametrize(
    "mode", ["locked", "no_licence", "session_wait", "bad_gateway", "not_found", "version_mismatch"]
)
def test_what_is_the_targets_affair_is_tried_again_and_costs_nothing(running: Any, onec: Sandbox, mode: str) -> None:
    onec.onec.fail(mode, 2)
    relay = running(onec.onec_url)
    post(relay, rendered("incoming"))

    eventually(all_are(relay, "delivered"), "delivered")
    [delivery] = relay.store.queries.deliveries(Selection())
    assert (delivery.attempts, delivery.failures) == (3, 0)


def test_a_wrong_password_is_the_targets_affair_and_resume_asks_again_at_once(running: Any, onec: Sandbox) -> None:
    onec.onec.fail("unauthorized", 1)
    relay = running(onec.onec_url)
    post(relay, rendered("incoming"))

    eventually(lambda: relay.store.targets.health("onec").state == "misconfigured", "misconfigured at once")
    assert "password" in (relay.store.targets.health("onec").reason or "")
    relay.store.targets.resume("onec", wiring.now_utc())
    eventually(all_are(relay, "delivered"), "delivered")
    [delivery] = relay.store.queries.deliveries(Selection())
    assert (delivery.attempts, delivery.failures) == (2, 0)
    assert relay.store.targets.health("onec").state == "open"


def test_a_refusal_is_dead_at_once_with_the_targets_words_and_lets_the_call_go_on(running: Any, onec: Sandbox) -> None:
    onec.onec.fail("bad_request", 1)
    relay = running(onec.onec_url)
    post_call(relay, 7)

    eventually(lambda: sorted(states(relay)) == ["dead"] + ["delivered"] * 4, "one dead, four delivered")
    [dead] = relay.store.queries.letters(Selection())
    assert "недопустимое имя" in dead.reason


@pytest.mark.parametrize("mode", ["hang", "reset"])
def test_what_may_have_arrived_is_sent_again_under_the_same_id_and_held_after_three(
    running: Any, onec: Sandbox, mode: str
) -> None:
    onec.onec.fail(f"{mode}_after_writing", -1)
    relay = running(onec.onec_url, target='timeout = "200ms"')
    post(relay, rendered("incoming"))

    eventually(all_are(relay, "held"), "held")
    # a 1C that hangs may write what it read after the relay has given up waiting for its answer
    eventually(lambda: len(onec.onec.state()["writes"]) >= 3, "1C has written what it was sent")
    records = onec.onec.state()["writes"]
    assert len(records) == 3
    assert len({record["delivery"] for record in records}) == 1


def test_unclear_can_wait_for_the_operator_at_once(running: Any, onec: Sandbox) -> None:
    onec.onec.fail("reset_after_writing", 1)
    relay = running(onec.onec_url, target='unclear = "hold"')
    post(relay, rendered("incoming"))

    eventually(all_are(relay, "held"), "held")
    assert len(onec.onec.state()["writes"]) == 1


def test_what_is_too_old_expires_without_a_request(running: Any, make_settings: Any, onec: Sandbox) -> None:
    settings = make_settings(onec.onec_url, target='expire = { incoming = "10m" }')
    bootstrap.migrate(settings)
    yesterday = wiring.Relay(settings, clock=lambda: wiring.now_utc() - timedelta(days=1))
    post(yesterday, rendered("incoming"))
    post(yesterday, rendered("answered"))
    yesterday.close()

    relay = running(onec.onec_url, target='expire = { incoming = "10m" }')
    eventually(lambda: states(relay) == ["expired", "delivered"], "the pop-up expired, the rest went out")
    assert onec.onec.state()["requests"] == 1


def test_what_a_killed_process_had_in_flight_is_delivered_after_the_restart(
    make_settings: Any, running: Any, onec: Sandbox
) -> None:
    settings = make_settings(onec.onec_url)
    bootstrap.migrate(settings)
    killed = wiring.Relay(settings)
    post(killed, rendered("incoming"))
    assert (
        killed.store.queue.claim(
            Claim(Shard("onec"), killed.store.leases.take_over(Shard("onec"), "killed") or 0, wiring.now_utc())
        )
        is not None
    )
    killed.close()  # as a kill leaves it: `sending` on disk, no owner

    relay = running(onec.onec_url, target='timeout = "1s"')  # so long the killed one's request may be under way
    eventually(all_are(relay, "delivered"), "delivered")
    [event] = relay.store.queries.events(Selection())
    [(_, tries)] = relay.store.queries.deliveries_of(event)
    assert [attempt.outcome for attempt in tries] == ["unclear", "delivered"]
    assert "killed" in tries[0].reason  # taken in at the start, not found later as an orphan


def test_only_one_process_delivers_and_the_other_takes_over_at_its_end(
    make_settings: Any, running: Any, onec: Sandbox
) -> None:
    first = running(onec.onec_url)
    eventually(lambda: first.dispatcher.ticked_ago() is not None, "the first owns")
    second = running(onec.onec_url)
    eventually(lambda: second.dispatcher.ticked_ago() is not None, "the second has looked")
    assert second.dispatcher.owned() == []
    post(second, rendered("incoming"))
    eventually(all_are(second, "delivered"), "the first found what the second took in")

    first.dispatcher.stop(5)
    post(second, rendered("answered"))
    eventually(all_are(second, "delivered"), "the second has taken over")


def test_rates_are_kept(running: Any, onec: Sandbox) -> None:
    relay = running(onec.onec_url, target='rate = "20/s burst 1"\nconcurrency = 4')
    began = time.monotonic()
    for session in range(10):
        post(relay, rendered("incoming", call_session_id=session))
    eventually(all_are(relay, "delivered"), "all delivered")

    assert time.monotonic() - began >= 9 / 20


# --- stopping, with a scripted target


def test_a_bad_event_among_good_ones_dies_with_its_reason_and_an_outage_kills_none(stored: Relay) -> None:
    """A handler that stumbles over one call while others pass: counted. While none pass: not."""
    outage = threading.Event()
    outage.set()

    def stumble(job: ClaimedDelivery) -> Outcome:
        bad = job.delivery.session == "0" or outage.is_set()
        return Outcome(name="failed", reason="stumbled", status=500) if bad else Outcome(name="delivered", status=200)

    policy = replace(POLICY, retry_first=timedelta(milliseconds=20), retry_max=timedelta(milliseconds=40), attempts=3)
    dispatcher = dispatch(stored, Scripted(policy, stumble))
    eventually(lambda: stored.store.targets.health("onec").state == "down", "two calls in a row: down")
    eventually(lambda: sum(d.attempts for d in stored.store.queries.deliveries(Selection())) >= 5, "and it is probed")
    assert set(states(stored)) <= {"due", "sending"}
    assert {d.failures for d in stored.store.queries.deliveries(Selection())} == {0}
    outage.clear()
    eventually(lambda: states(stored).count("delivered") == 2, "the good ones pass")
    session = 100
    while "dead" not in states(stored):
        post(stored, rendered("incoming", call_session_id=(session := session + 1)))
        eventually(lambda: states(stored)[-1] == "delivered", "the good one passes")
    dispatcher.stop(5)

    [dead] = stored.store.queries.letters(Selection())
    assert isinstance(dead, Delivery)
    assert dead.session == "0"
    assert dead.reason == "failed 3 times; last: stumbled"


def test_at_the_end_what_is_in_flight_finishes_and_nothing_new_is_begun(stored: Relay) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slowly(_: ClaimedDelivery) -> Outcome:
        entered.set()
        go_on.wait(10)
        return Outcome(name="delivered", status=200)

    target = Scripted(POLICY, slowly)
    dispatcher = dispatch(stored, target)
    entered.wait(10)
    eventually(lambda: len(target.sent) == POLICY.concurrency, "all threads are busy")
    dispatcher.stop_claiming()
    go_on.set()
    dispatcher.stop(10)

    assert sorted(states(stored)) == ["delivered", "delivered", "due"]


def test_what_cannot_finish_is_recorded_as_unclear(stored: Relay) -> None:
    never = threading.Event()

    def hang(_: ClaimedDelivery) -> Outcome:
        never.wait(30)
        return Outcome(name="delivered")

    target = Scripted(POLICY, hang)
    dispatcher = dispatch(stored, target)
    eventually(lambda: len(target.sent) == POLICY.concurrency, "all threads are busy")
    began = time.monotonic()
    dispatcher.stop(0.3)

    assert time.monotonic() - began < 5
    found = sorted((d.state, d.unclear) for d in stored.store.queries.deliveries(Selection()))
    assert found == [("due", 0), ("due", 1), ("due", 1)]
    never.set()


def test_a_fault_of_the_adapter_costs_no_event(stored: Relay) -> None:
    calls: list[int] = []

    def fail_first(_: ClaimedDelivery) -> Outcome:
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("a bug")
        return Outcome(name="delivered", status=200)

    dispatcher = dispatch(stored, Scripted(replace(POLICY, retry_first=timedelta(milliseconds=50)), fail_first))
    eventually(all_are(stored, "delivered"), "all delivered in the end")
    dispatcher.stop(5)


def test_the_quick_tries_are_for_what_was_not_connected_only(stored: Relay) -> None:
    """tenacity repeats `unreachable` within seconds, and nothing else."""
    target = Scripted(POLICY, lambda _: Outcome(name="unreachable", reason="refused"))
    dispatcher = dispatch(stored, target)
    eventually(lambda: all(d.attempts == 1 for d in stored.store.queries.deliveries(Selection())), "each was tried")
    dispatcher.stop(5)
    # three quick tries each, recorded as one attempt; on a busy machine one may have been probed since
    assert sorted(Counter(target.sent).values())[:2] == [3, 3]

    target = Scripted(POLICY, lambda _: Outcome(name="unclear", reason="no answer"))
    [lane] = [Lane(target, stored.store, lambda: wiring.now_utc() + timedelta(hours=1))]
    dispatcher = Dispatcher([lane], stored.store, wiring.now_utc)
    dispatcher.start()
    eventually(
        lambda: all(d.attempts == 2 for d in stored.store.queries.deliveries(Selection())), "each was tried once more"
    )
    dispatcher.stop(5)
    assert len(target.sent) == 3


def test_what_stands_as_sending_in_nobodys_hands_goes_back(stored: Relay) -> None:
    """What a claim leaves whose commit was made but not confirmed: surely not sent."""
    epoch = stored.store.leases.take_over(Shard("onec"), "me")
    assert epoch == 1
    assert stored.store.queue.claim(Claim(Shard("onec"), epoch, wiring.now_utc())) is not None
    ticks = iter(range(0, 1000, 20))
    lane = Lane(Scripted(POLICY, lambda _: Outcome(name="delivered")), stored.store, wiring.now_utc)
    lane.epoch = epoch  # its threads do not run
    maintenance = LaneMaintenance(lane, stored.store, wiring.now_utc, lambda: next(ticks))

    maintenance.sweep(LaneView())
    assert states(stored).count("sending") == 1  # it may only just have been claimed
    maintenance.sweep(LaneView())
    assert states(stored).count("sending") == 0
    assert [d.unclear for d in stored.store.queries.deliveries(Selection())] == [0, 0, 0]


def test_what_could_not_be_recorded_may_have_arrived(stored: Relay) -> None:
    epoch = stored.store.leases.take_over(Shard("onec"), "me")
    assert epoch == 1
    job = stored.store.queue.claim(Claim(Shard("onec"), epoch, wiring.now_utc()))
    assert job is not None
    ticks = iter(range(0, 1000, 20))
    lane = Lane(Scripted(POLICY, lambda _: Outcome(name="delivered")), stored.store, wiring.now_utc)
    lane.epoch = epoch
    lane.unrecorded.add(job.delivery.seq)
    maintenance = LaneMaintenance(lane, stored.store, wiring.now_utc, lambda: next(ticks))

    maintenance.sweep(LaneView())
    maintenance.sweep(LaneView())
    assert [d.unclear for d in stored.store.queries.deliveries(Selection())] == [1, 0, 0]
