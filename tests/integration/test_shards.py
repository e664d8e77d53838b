"""One target split over lanes of several processes: each call in one of them, one breaker, one pause, one pace."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from relay.clock import Clock, now_utc
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.lane import Lane
from relay.delivery.lease import Lease
from relay.models import Outcome, Shard
from relay.store import Claim, ClaimedDelivery, Selection, slot
from relay.wiring import Relay
from tests.factories import POLICY
from tests.fakes import Scripted, Seconds
from tests.lanes import TRADE, add, all_are, deliveries, own, states
from tests.waiting import eventually

CALLS = 12
KINDS = ("incoming", "answered", "finished")
WHOLE, FIRST, SECOND = Shard("onec"), Shard("onec", 0, 2), Shard("onec", 1, 2)
QUICK = replace(POLICY, retry_first=POLICY.retry_first / 1000)


def add_calls(relay: Relay, kinds: tuple[str, ...] = KINDS, clock: Clock = now_utc) -> None:
    for kind in kinds:
        for session in range(CALLS):
            add(relay, "onec", session=session, kind=kind, clock=clock)


def calls_of(shard: Shard) -> set[str]:
    return {str(session) for session in range(CALLS) if slot(TRADE, str(session)) % shard.count == shard.number}


class Split:
    """Processes that deliver to one target, split into `count`; worked by hand, by a clock of their own."""

    def __init__(self, relay: Relay) -> None:
        self.relay, self.seconds = relay, Seconds()
        self.arrived: list[tuple[str, str]] = []  # session and kind, at the target
        self.dispatchers: list[Dispatcher] = []
        self._mutex = threading.Lock()

    def start(self, count: int, outcome: Callable[[ClaimedDelivery], Outcome] | None = None) -> Dispatcher:
        def take(claimed: ClaimedDelivery) -> Outcome:
            with self._mutex:
                self.arrived.append((claimed.delivery.session or "", claimed.delivery.kind))
            return Outcome(name="delivered") if outcome is None else outcome(claimed)

        settings = replace(QUICK, shards=count, concurrency=max(2, count))
        store, seconds = self.relay.store, self.seconds
        lanes = [
            Lane(Scripted(settings, take), store, now_utc, monotonic=seconds, shard=shard) for shard in settings.lanes
        ]
        self.dispatchers.append(Dispatcher(lanes, self.relay.store, now_utc, monotonic=self.seconds))
        return self.dispatchers[-1]

    def stop(self, dispatcher: Dispatcher) -> None:
        """Stop it when what it sends has been answered."""
        dispatcher.stop_claiming()
        eventually(lambda: not any(lane.in_flight for lane in dispatcher._lanes.values()), "it is ready")
        dispatcher.stop(1)
        self.dispatchers.remove(dispatcher)

    def work(self, seconds: int) -> None:
        for _ in range(seconds):
            self.seconds.now += 1
            for dispatcher in self.dispatchers:
                dispatcher._tick()

    def work_until(self, reached: Callable[[], bool], what: str) -> None:
        """Let all look, with no time going by."""

        def worked() -> bool:
            for dispatcher in self.dispatchers:
                dispatcher._tick()
            return reached()

        eventually(worked, what)

    def owned(self) -> list[list[Shard]]:
        return [dispatcher.owned_lanes() for dispatcher in self.dispatchers]


@pytest.fixture
def split(relay: Relay) -> Iterator[Split]:
    made = Split(relay)
    yield made
    for dispatcher in made.dispatchers:
        dispatcher.stop(1)


def assert_in_order(arrived: list[tuple[str, str]]) -> None:
    by_call = defaultdict(list)
    for session, kind in arrived:
        by_call[session].append(kind)
    assert by_call == {str(session): list(KINDS) for session in range(CALLS)}


def test_a_lane_claims_the_calls_of_its_shard_and_no_others(relay: Relay) -> None:
    add_calls(relay, ("incoming",), relay.clock)
    for number, shard in enumerate((FIRST, SECOND)):
        epoch = relay.store.leases.take_over(shard, f"owner {number}")
        assert epoch == number + 1  # no other lane of the target has it
        claimed = set()
        while (one := relay.store.queue.claim(Claim(shard, epoch, relay.clock()))) is not None:
            claimed.add(one.delivery.session)
        assert claimed == calls_of(shard)
    assert calls_of(FIRST)
    assert calls_of(SECOND)


def test_two_processes_deliver_to_one_target_each_call_in_order(split: Split) -> None:
    split.start(2)
    split.start(2)
    split.work(8)
    add_calls(split.relay)
    split.work_until(all_are(split.relay, "delivered"), "all are delivered")

    assert [len(owned) for owned in split.owned()] == [1, 1]
    assert_in_order(split.arrived)


def test_the_shards_of_a_target_go_to_different_processes_though_others_are_there(relay: Relay) -> None:
    """A process that was alone gives away one of two shards, not the target that has only one."""
    seconds = Seconds()

    def start() -> Dispatcher:
        settings = [replace(POLICY, shards=2), replace(POLICY, name="b"), replace(POLICY, name="c")]
        lanes = [
            Lane(
                Scripted(each, lambda _: Outcome(name="delivered")),
                relay.store,
                now_utc,
                monotonic=seconds,
                shard=shard,
            )
            for each in settings
            for shard in each.lanes
        ]
        return Dispatcher(lanes, relay.store, now_utc, monotonic=seconds)

    dispatchers = [start()]
    dispatchers[0]._tick()
    assert len(dispatchers[0].owned_lanes()) == 4
    dispatchers.append(start())
    for _ in range(10):
        seconds.now += 1
        for dispatcher in dispatchers:
            dispatcher._tick()

    owned = [sorted(shard.target for shard in dispatcher.owned_lanes()) for dispatcher in dispatchers]
    assert sorted(owned) == [["b", "onec"], ["c", "onec"]]
    for dispatcher in dispatchers:
        dispatcher.stop(1)


def test_lanes_that_split_otherwise_wait_until_all_others_are_free(relay: Relay) -> None:
    old, other, new = (Lease(relay.store, Seconds()) for _ in range(3))
    for lease in (old, other, new):
        lease.start()

    def contend(lease: Lease, shard: Shard) -> int | None:
        present = relay.store.leases.all()
        lease.look([shard], present)
        return lease.contend(shard, present)

    first, second = contend(old, FIRST), contend(other, SECOND)
    assert first is not None
    assert second is not None
    thirds = [Shard("onec", number, 3) for number in range(3)]
    assert [contend(new, shard) for shard in thirds] == [None] * 3
    old.end()
    assert [contend(new, shard) for shard in thirds] == [None] * 3  # what it would deliver is partly the other's
    other.end()
    epochs = [contend(new, shard) for shard in thirds]
    assert len({first, second, *epochs} - {None}) == 5
    assert relay.store.leases.all().keys() == {*thirds}
    assert contend(old, FIRST) is None
    new.end()


def test_another_number_of_shards_while_deliveries_wait_loses_nothing_and_keeps_the_order(split: Split) -> None:
    """One after the other the processes are started anew with 3 instead of 2, in the middle of a backlog."""
    served, let_go = threading.Semaphore(9), threading.Event()

    def slowly(_: ClaimedDelivery) -> Outcome:
        while not let_go.is_set() and not served.acquire(timeout=0.05):
            pass
        return Outcome(name="delivered")

    split.start(2, slowly)
    split.start(2, slowly)
    split.work(8)
    add_calls(split.relay)
    split.work_until(lambda: len(split.arrived) >= 9, "some are delivered")
    let_go.set()
    for _ in range(2):
        split.stop(split.dispatchers[0])
        split.start(3)
        split.work(1)
    split.work_until(all_are(split.relay, "delivered"), "all are delivered")
    split.work(1)

    assert_in_order(split.arrived)
    assert sorted(len(owned) for owned in split.owned()) == [1, 2]
    assert {delivery.unclear for delivery in split.relay.store.queries.deliveries(Selection())} == {0}


def test_what_a_killed_owner_was_sending_is_found_by_whoever_has_its_call_now(relay: Relay, split: Split) -> None:
    """The target is split otherwise since: the calls of one lane are those of several."""
    add_calls(relay, ("incoming",))
    epoch = relay.store.leases.take_over(WHOLE, "killed")
    assert epoch is not None
    for _ in range(CALLS):
        assert relay.store.queue.claim(Claim(WHOLE, epoch, now_utc())) is not None
    split.start(4)
    split.work(60)
    split.work_until(all_are(relay, "delivered"), "all are delivered")

    assert {delivery.unclear for delivery in relay.store.queries.deliveries(Selection())} == {1}
    assert len(split.arrived) == CALLS


class Pair:
    """Two lanes of one target, each of another process; worked step by step."""

    def __init__(self, relay: Relay, outcomes: dict[Shard, Outcome]) -> None:
        self.relay = relay
        self.seconds = Seconds()
        self.targets = {shard: Scripted(QUICK, lambda _, shard=shard: outcomes[shard]) for shard in (FIRST, SECOND)}
        self.lanes = {
            shard: Lane(target, relay.store, relay.clock, monotonic=self.seconds, shard=shard)
            for shard, target in self.targets.items()
        }
        for lane in self.lanes.values():
            own(lane, relay.store, relay.clock)

    def look(self) -> None:
        """Let each see what the other has learned, as the dispatcher does."""
        for shard, lane in self.lanes.items():
            known = lane.known()
            lane.adopt(self.relay.store.queue.poll("the test")[shard].health, known)


DOWN, UP = Outcome(name="unreachable", reason="no connection"), Outcome(name="delivered")


def test_what_one_lane_learns_of_the_target_all_know(make_relay: Callable[..., Relay], clock: object) -> None:
    relay = make_relay()
    add_calls(relay, ("incoming",), relay.clock)
    outcomes = {FIRST: DOWN, SECOND: UP}
    pair = Pair(relay, outcomes)
    first, second = pair.lanes[FIRST], pair.lanes[SECOND]
    first.step()
    first.step()
    assert first.throttle.health.state == "down"
    pair.look()

    assert second.throttle.health == first.throttle.health
    assert not second.step()  # it waits for the time of the probe
    relay.clock.forward(seconds=2)  # type: ignore[attr-defined]  # a FakeClock
    assert second.step()
    assert second.throttle.is_well
    assert not first.throttle.is_well
    pair.look()
    assert first.throttle.is_well
    assert relay.store.targets.health("onec").state == "open"


def test_of_all_lanes_of_a_target_one_probes_at_a_time(make_relay: Callable[..., Relay], clock: object) -> None:
    relay = make_relay()
    add_calls(relay, ("incoming",), relay.clock)
    pair = Pair(relay, {FIRST: DOWN, SECOND: DOWN})
    first, second = pair.lanes[FIRST], pair.lanes[SECOND]
    first.step()
    first.step()
    pair.look()
    sent = {shard: len(target.sent) for shard, target in pair.targets.items()}
    relay.clock.forward(seconds=2)  # type: ignore[attr-defined]  # a FakeClock
    permit = first.throttle.try_acquire()
    assert permit is not None
    assert permit.probe
    claim = first._claim(permit, first.epoch or 0, first._saved)
    assert relay.store.queue.claim(claim) is not None  # its probe is under way

    assert not second.step()  # though it has not looked since
    pair.look()
    assert not second.step()
    assert len(pair.targets[SECOND].sent) == sent[SECOND]
    relay.clock.forward(seconds=36)  # type: ignore[attr-defined]  # no answer came: its process is gone
    assert second.step()


def test_a_pause_holds_all_lanes_of_a_target(split: Split) -> None:
    relay = split.relay
    split.start(2)
    split.start(2)
    split.work(8)
    assert [len(owned) for owned in split.owned()] == [1, 1]
    relay.store.targets.pause("onec", now_utc())
    split.work(1)
    add_calls(relay)
    split.work(3)
    assert set(states(relay)) == {"due"}
    assert split.arrived == []

    relay.store.targets.resume("onec", now_utc())
    split.work_until(all_are(relay, "delivered"), "all are delivered")
    assert_in_order(split.arrived)


def test_a_notification_is_claimed_in_its_own_commit_for_the_lane_of_its_call(split: Split) -> None:
    relay = split.relay
    dispatcher = split.start(2)
    split.work(2)
    relay.intake._lanes = dispatcher.lanes
    session = next(iter(calls_of(SECOND)))
    place = slot(TRADE, session)
    eventually(lambda: bool(dispatcher.lanes.reserve(["onec"], place)), "a thread is reserved")
    assert len(dispatcher._lanes[SECOND]._reserved) == 1
    assert not dispatcher._lanes[FIRST]._reserved
    dispatcher.lanes.release(["onec"], place)
    assert not dispatcher._lanes[SECOND]._reserved


def test_a_shard_is_taken_over_when_its_owner_is_gone_and_the_others_stay(split: Split) -> None:
    relay = split.relay
    split.start(2)
    split.start(2)
    split.work(8)
    [lost] = split.owned()[0]
    [kept] = split.owned()[1]
    epoch = relay.store.leases.all()[kept].epoch
    gone = split.dispatchers.pop(0)  # it does not look any more, and nobody can say whether it lives
    add_calls(relay)
    split.work(8)
    assert split.owned() == [[kept]]
    split.work(5)
    assert set(split.owned()[0]) == {lost, kept}
    split.work_until(lambda: set(states(relay)) == {"delivered"}, "all are delivered")
    assert relay.store.leases.all()[kept].epoch == epoch
    assert deliveries(relay, "onec")
    assert_in_order(split.arrived)
    gone.stop(1)
