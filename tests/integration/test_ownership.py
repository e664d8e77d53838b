"""One owner per lane: taken over when the owner has ended or hangs, and never two that send."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from relay import bootstrap, wiring
from relay.clock import now_utc
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.lane import Lane
from relay.delivery.lease import HOLDS_FOR_S, Lease
from relay.errors import OwnershipLost, StoreBusy, StoreError
from relay.models import Outcome, Shard
from relay.sandbox.server import Sandbox
from relay.store import Claim, ClaimedDelivery, Selection
from relay.store.leases import TAKEN_OVER_AFTER_S, Leases
from relay.wiring import Relay
from tests.calls import rendered
from tests.factories import POLICY
from tests.fakes import Scripted, Seconds, Told
from tests.lanes import add, all_are, deliveries, dispatch, own, post, states
from tests.waiting import eventually

ONEC = Shard("onec")


def contend(lease: Lease, relay: Relay) -> int | None:
    present = relay.store.leases.all()
    lease.look([ONEC], present)
    return lease.contend(ONEC, present)


def test_a_lane_that_is_nobodys_is_taken_at_once(relay: Relay) -> None:
    lease = Lease(relay.store, Seconds())
    lease.start()

    assert contend(lease, relay) == 1
    assert lease.ends_at(ONEC) == 1009
    lease.end()


def test_a_lane_of_one_that_lives_is_not_taken(relay: Relay) -> None:
    seconds = Seconds()
    first, second = Lease(relay.store, seconds), Lease(relay.store, seconds)
    first.start()
    second.start()
    assert contend(first, relay) == 1
    for _ in range(20):
        assert contend(second, relay) is None
        seconds.now += 4
        assert first.renew() == {ONEC}
    first.end()
    second.end()


def test_at_the_end_of_its_owner_it_is_free_at_once(relay: Relay) -> None:
    first, second = Lease(relay.store, Seconds()), Lease(relay.store, Seconds())
    first.start()
    second.start()
    contend(first, relay)
    first.end()
    assert contend(second, relay) == 3  # it rose when the first let go, too
    second.end()


@pytest.mark.sqlite
def test_the_end_of_a_process_that_was_killed_is_seen_by_its_lock_at_once(relay: Relay) -> None:
    first, second = Lease(relay.store, Seconds()), Lease(relay.store, Seconds())
    first.start()
    second.start()
    contend(first, relay)
    first._lock.close()  # as the kernel does for a killed process
    assert contend(second, relay) == 2
    second.end()


def test_one_that_does_not_move_for_12_s_is_taken_over_and_has_stopped_sending_before(relay: Relay) -> None:
    owners, contenders = Seconds(), Seconds()
    first, second = Lease(relay.store, owners), Lease(relay.store, contenders)
    first.start()
    second.start()
    assert contend(first, relay) == 1
    held_until = None
    for tick in range(200):  # tenths of a second
        owners.now += 0.1
        contenders.now += 0.1
        if held_until is None and owners.now >= first.ends_at(ONEC):
            held_until = tick
        if contend(second, relay) is not None:
            break
    assert tick >= 119
    assert held_until is not None
    assert held_until < tick - 20  # two seconds between
    assert relay.store.leases.renew(first.owner) == set()  # it learns that the lane is another's
    first.end()
    second.end()


def test_of_two_that_contend_at_once_one_gets_it(relay: Relay) -> None:
    first, second = Lease(relay.store, Seconds()), Lease(relay.store, Seconds())
    first.start()
    second.start()
    seen = relay.store.leases.all()

    assert [first.contend(ONEC, seen), second.contend(ONEC, seen)] == [1, None]
    first.end()
    second.end()


def test_an_owner_that_was_stopped_sends_nothing_more_and_its_late_answers_settle_what_waits(stored: Relay) -> None:
    """Three calls; the owner hangs in the first. Another takes over; then the first one's answer comes."""
    answer = threading.Event()
    owners, contenders = Seconds(), Seconds()

    def hang(_: ClaimedDelivery) -> Outcome:
        answer.wait(20)
        return Outcome(name="delivered", remote_id="the first one's")

    slow = Scripted(POLICY, hang)
    first = dispatch(stored, slow, monotonic=owners)
    eventually(lambda: len(slow.sent) == POLICY.concurrency, "the first is sending")
    first._stopping.set()  # its dispatcher stands still, as after SIGSTOP: no renewal; its lanes are in their requests
    eventually(lambda: first._thread is not None and not first._thread.is_alive(), "it stands still")
    later = Scripted(POLICY, lambda _: Outcome(name="later", reason="busy"))
    second = dispatch(stored, later, monotonic=contenders)
    eventually(lambda: second.ticked_ago() is not None, "the second contends")
    assert second.owned() == []
    owners.now += 16
    contenders.now += 16
    eventually(lambda: second.owned() == ["onec"], "the second has taken over")
    sending = {delivery.id for delivery in stored.store.queries.deliveries(Selection(states=("sending",)))}
    assert sending >= set(slow.sent)  # these requests may be under way
    contenders.now += 30  # and now they must have ended
    eventually(
        lambda: not [d for d in stored.store.queries.deliveries(Selection()) if d.state == "sending"], "recovered"
    )
    answer.set()
    eventually(lambda: states(stored).count("delivered") == POLICY.concurrency, "the late answers settle")
    second.stop(5)
    first.stop(1)

    assert len(slow.sent) == POLICY.concurrency  # nothing more after it lost the lane
    for delivery in stored.store.queries.deliveries(Selection(states=("delivered",))):
        assert delivery.remote_id == "the first one's"


def test_a_request_that_outlasts_the_lease_is_not_made_again_while_it_may_be_under_way(stored: Relay) -> None:
    """The owner cannot renew, but its requests go on: the next owner delivers the other calls, and leaves these."""
    answer = threading.Event()
    owners, contenders = Seconds(), Seconds()
    slow = Scripted(POLICY, lambda _: Outcome(name="delivered" if answer.wait(60) else "failed", remote_id="slow"))
    first = dispatch(stored, slow, monotonic=owners)
    eventually(lambda: len(slow.sent) == POLICY.concurrency, "the first is sending")
    first._stopping.set()
    eventually(lambda: first._thread is not None and not first._thread.is_alive(), "it does not renew")
    quick = Scripted(POLICY, lambda _: Outcome(name="delivered", remote_id="quick"))
    lane = Lane(quick, stored.store, now_utc, monotonic=contenders)
    second = Dispatcher([lane], stored.store, now_utc, monotonic=contenders)
    second._tick()  # it is worked by hand
    began = contenders.now
    owners.now += TAKEN_OVER_AFTER_S
    contenders.now += TAKEN_OVER_AFTER_S
    second._tick()
    eventually(lambda: states(stored).count("delivered") == 1, "the other call goes on")
    longest = POLICY.connect_timeout + POLICY.timeout
    contenders.now = began + HOLDS_FOR_S + longest.total_seconds() - 0.1
    second._tick()
    second._tick()
    assert states(stored).count("sending") == POLICY.concurrency
    answer.set()
    eventually(all_are(stored, "delivered"), "each once")
    second.stop(5)
    first.stop(1)

    assert len(quick.sent) + len(slow.sent) == 3
    remote_ids = [delivery.remote_id for delivery in stored.store.queries.deliveries(Selection())]
    assert sorted(map(str, remote_ids)) == ["quick", "slow", "slow"]
    assert {delivery.unclear for delivery in stored.store.queries.deliveries(Selection())} == {0}


def test_one_that_has_lost_a_lane_does_not_hold_it_when_it_renews_the_others(relay: Relay) -> None:
    """Before anybody has told the lane: its threads ask the lease itself."""
    owners, contenders = Seconds(), Seconds()
    first, second = Lease(relay.store, owners), Lease(relay.store, contenders)
    first.start()
    second.start()
    for target in ("onec", "other"):
        first.contend(Shard(target), relay.store.leases.all())
    contend(second, relay)
    owners.now += 16
    contenders.now += 16
    assert contend(second, relay) == 2

    assert first.renew() == {Shard("other")}
    assert first.ends_at(ONEC) < owners.now < first.ends_at(Shard("other"))
    assert second.ends_at(ONEC) > contenders.now
    first.end()
    second.end()


def test_an_owner_that_was_stopped_in_a_call_goes_no_step_further_when_it_wakes(stored: Relay) -> None:
    """It hangs in the first request of a call; another takes over; it wakes, renews, and has its answer."""
    answer = threading.Event()
    owners, contenders = Seconds(), Seconds()
    requests: list[str] = []

    def script(job: ClaimedDelivery, steps: Any) -> Outcome:
        for number in range(3):
            steps.acquire()
            requests.append(job.delivery.id)
            assert answer.wait(20)
            steps.save_progress(**{f"step {number}": "the first one's"})
        return Outcome(name="delivered")

    first = dispatch(stored, Told(POLICY, script), monotonic=owners)
    eventually(lambda: len(requests) == POLICY.concurrency, "the first is sending")
    first._stopping.set()  # its dispatcher stands still, as after SIGSTOP
    eventually(lambda: first._thread is not None and not first._thread.is_alive(), "it stands still")
    later = Scripted(POLICY, lambda _: Outcome(name="later", reason="busy"))
    second = dispatch(stored, later, monotonic=contenders)
    eventually(lambda: second.ticked_ago() is not None, "the second contends")
    owners.now += 16
    contenders.now += 16
    eventually(lambda: second.owned() == ["onec"], "the second has taken over")

    first._tick()  # it wakes and renews; only then do the answers come
    answer.set()
    eventually(lambda: not first._lanes[ONEC].in_flight, "its threads have put down what they held")
    assert len(requests) == POLICY.concurrency
    assert [stored.store.calls.progress(d) for d in stored.store.queries.deliveries(Selection())] == [{}, {}, {}]
    second.stop(5)
    first.stop(1)


def test_what_was_done_for_a_call_is_remembered_under_the_lanes_own_epoch_alone(relay: Relay) -> None:
    post(relay, rendered("incoming"))
    [delivery] = relay.store.queries.deliveries(Selection())
    assert relay.store.leases.take_over(ONEC, "the former") == 1
    relay.store.calls.save_progress(delivery, 1, {"call_id": "a"})
    assert relay.store.leases.take_over(ONEC, "the present", relay.store.leases.all()[ONEC]) == 2
    relay.store.calls.save_progress(delivery, 2, {"call_id": "b"})

    with pytest.raises(OwnershipLost, match="another process"):
        relay.store.calls.save_progress(delivery, 1, {"call_id": "c", "shown": [1]})
    assert relay.store.calls.progress(delivery) == {"call_id": "b"}


def test_a_reservation_is_used_or_released_though_the_lane_is_lost_meanwhile(stored: Relay) -> None:
    """A notification that is being stored while another process takes the lane: no thread stays reserved for ever."""
    seconds = Seconds()
    busy = Scripted(POLICY, lambda _: Outcome(name="delivered"))
    dispatcher = dispatch(stored, busy, monotonic=seconds)
    lane = dispatcher._lanes[ONEC]
    eventually(all_are(stored, "delivered"), "nothing waits")
    eventually(lambda: bool(dispatcher.lanes.reserve(["onec"], 0)), "a thread is reserved")
    lane.lose_ownership()
    dispatcher.lanes.release(["onec"], 0)
    assert not lane._reserved
    assert not dispatcher.lanes.reserve(["onec"], 0)
    assert not lane._reserved
    dispatcher.stop(5)


@pytest.mark.sqlite
def test_the_removed_lock_file_of_an_owner_that_lives_costs_it_the_lane_but_nothing_else(
    running: Any, onec: Sandbox
) -> None:
    relay = running(onec.onec_url)
    eventually(lambda: relay.dispatcher.owned() == ["onec"], "owned")
    for file in relay.store.database.path.parent.glob("*.owner-*"):
        file.unlink()
    second = running(onec.onec_url)
    eventually(lambda: second.dispatcher.owned() == ["onec"], "the second takes it for dead")
    post(second, rendered("incoming"))
    eventually(all_are(second, "delivered"), "delivered")
    assert onec.onec.state()["requests"] == 1


def test_nothing_is_handed_over_under_an_epoch_that_has_passed(make_settings: Any) -> None:
    """A lane that was taken over between the promise and the commit gets nothing: the event is due for the next."""
    settings = make_settings()
    bootstrap.migrate(settings)
    relay = wiring.Relay(settings)
    target = Scripted(POLICY, lambda _: Outcome(name="delivered"))
    dispatcher = dispatch(relay, target)
    eventually(lambda: bool(dispatcher.owned()), "owned")
    relay.store.leases.take_over(ONEC, "another", relay.store.leases.all()[ONEC])
    relay.intake._lanes = dispatcher.lanes
    post(relay, rendered("incoming"))

    assert states(relay) == ["due"]
    assert relay.store.queue.claim(Claim(ONEC, 2, relay.clock())) is not None
    dispatcher.stop(5)
    assert target.sent == []
    relay.close()


def test_a_lane_that_was_lost_and_won_back_makes_no_further_request_of_what_it_held_before(stored: Relay) -> None:
    """The lease holds again; but the call may have gone on under the epoch between."""
    leases, requests = stored.store.leases, list[str]()

    def script(job: ClaimedDelivery, steps: Any) -> Outcome:
        steps.acquire()
        requests.append(job.delivery.id)
        if len(requests) == 1:
            leases.take_over(ONEC, "another", leases.all()[ONEC])
            lane.epoch = leases.take_over(ONEC, "me again", leases.all()[ONEC])
        steps.acquire()
        return Outcome(name="delivered")

    lane = Lane(Told(POLICY, script), stored.store, stored.clock)
    own(lane, stored.store, stored.clock)
    assert lane.step()
    assert len(requests) == 1


class Processes:
    """Dispatchers of one store, worked by hand: a look of each every second of a clock of their own."""

    def __init__(self, relay: Relay, *names: str) -> None:
        self.relay, self.names, self.seconds = relay, names, Seconds()
        self.dispatchers: list[Dispatcher] = []

    def start(self) -> Dispatcher:
        lanes = [
            Lane(
                Scripted(replace(POLICY, name=name), lambda _: Outcome(name="delivered")),
                self.relay.store,
                now_utc,
                monotonic=self.seconds,
            )
            for name in self.names
        ]
        self.dispatchers.append(Dispatcher(lanes, self.relay.store, now_utc, monotonic=self.seconds))
        return self.dispatchers[-1]

    def work(self, seconds: int) -> None:
        for _ in range(seconds):
            self.seconds.now += 1
            for dispatcher in self.dispatchers:
                with contextlib.suppress(StoreError):
                    dispatcher._tick()

    def owned(self) -> list[int]:
        return [len(dispatcher.owned()) for dispatcher in self.dispatchers]


@pytest.fixture
def processes(relay: Relay) -> Iterator[Processes]:
    made = Processes(relay, "one", "two", "three", "four")
    yield made
    for dispatcher in made.dispatchers:
        dispatcher.stop(1)


def test_lanes_are_spread_evenly_and_go_to_who_is_left(processes: Processes) -> None:
    processes.start()
    processes.work(2)
    assert processes.owned() == [4]
    processes.start()
    processes.work(10)
    assert processes.owned() == [2, 2]
    processes.start()
    processes.work(10)
    assert sorted(processes.owned()) == [1, 1, 2]
    processes.dispatchers.pop(0).stop(1)
    processes.work(10)
    assert processes.owned() == [2, 2]


def test_a_lane_whose_giving_away_fails_is_given_away_later(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = processes.start()
    processes.work(2)
    processes.start()
    release, failures = processes.relay.store.leases.release, iter([StoreBusy("it is busy")] * 3)

    def fails(*args: Any) -> None:
        for failure in failures:
            raise failure
        release(*args)

    monkeypatch.setattr(processes.relay.store.leases, "release", fails)
    processes.work(20)
    assert processes.owned() == [2, 2]
    assert len(first.owned()) == 2


def test_a_lane_is_not_given_away_while_something_is_being_claimed_for_it(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim's commit is made, but its thread has not begun: the next owner would take it for sent."""
    store, claimed, go_on = processes.relay.store, threading.Event(), threading.Event()
    claim = store.queue.claim

    def slowly(wanted: Claim) -> ClaimedDelivery | None:
        found = claim(wanted)
        if found is not None and found.delivery.target == "four":
            claimed.set()
            assert go_on.wait(20)
        return found

    monkeypatch.setattr(store.queue, "claim", slowly)
    first = processes.start()
    processes.work(2)
    add(processes.relay, "four")
    processes.work(1)
    assert claimed.wait(20)
    second = processes.start()
    processes.work(8)
    assert Shard("four") in first._leaving
    assert Shard("four") not in second.owned_lanes()
    go_on.set()
    eventually(lambda: deliveries(processes.relay, "four")[0].state == "delivered", "the first has delivered it")
    processes.work(8)

    assert processes.owned() == [2, 2]
    [delivery] = deliveries(processes.relay, "four")
    assert (delivery.attempts, delivery.unclear) == (1, 0)


def test_nothing_is_claimed_under_the_epoch_of_a_lane_that_was_let_go(stored: Relay) -> None:
    lease = Lease(stored.store, Seconds())
    lease.start()
    epoch = contend(lease, stored)
    assert epoch is not None
    claimed = stored.store.queue.claim(Claim(ONEC, epoch, stored.clock()))
    assert claimed is not None
    lease.release(ONEC)

    assert stored.store.queue.claim(Claim(ONEC, epoch, stored.clock())) is None
    with pytest.raises(OwnershipLost):
        stored.store.calls.save_progress(claimed.delivery, epoch, {"a": 1})
    assert stored.store.leases.all()[ONEC].epoch > epoch
    lease.end()


def test_whether_anybody_delivers_is_seen_from_the_leases_on_every_engine(relay: Relay) -> None:
    """Of a process that was killed on another machine the leases only stand still."""
    seconds = Seconds()
    looks = Leases(relay.store.database, seconds)
    assert not looks.is_worked(["onec"])
    lease = Lease(relay.store, seconds)
    lease.start()
    assert contend(lease, relay)
    for _ in range(10):
        assert looks.is_worked(["other", "onec"])
        assert not looks.is_worked(["other"])
        seconds.now += 4
        lease.renew()
    assert looks.is_worked(["onec"])
    seconds.now += TAKEN_OVER_AFTER_S
    assert not looks.is_worked(["onec"])
    lease.renew()
    assert looks.is_worked(["onec"])
    lease.end()
    assert not looks.is_worked(["onec"])
