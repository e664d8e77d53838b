"""The health of a target: it is about the target, attempts are about the event."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from relay.delivery import retry_policy
from relay.delivery.retry_policy import HealthState
from relay.delivery.throttle import Throttle, TokenBucket
from relay.models import Delivery, Outcome, TargetHealth
from tests.factories import FRESH, NOW, POLICY

NO_ANSWERS = ["later", "unreachable", "unclear", "failed", "misconfigured"]


def after(
    known: HealthState,
    name: Any,
    call: str = "a",
    *,
    status: int | None = None,
    probe: bool = False,
    now: datetime = NOW,
    wait: timedelta | None = None,
    jitter: float = 0.0,
    health_hint: Any = None,
) -> HealthState:
    outcome = Outcome(name=name, reason="why", status=status, wait=wait, health_hint=health_hint)
    return retry_policy.health_after(known, outcome, call, probe=probe, now=now, jitter=jitter)


@pytest.mark.parametrize(
    ("first", "second", "state", "remark"),
    [
        (("failed", "a"), ("failed", "a"), "open", "one call that stumbles twice: its own fault, perhaps"),
        (("failed", "a"), ("failed", "b"), "down", "two calls in a row"),
        (("unclear", "a"), ("unclear", "b"), "down", "two calls in a row"),
        (("failed", "a"), ("unclear", "b"), "down", "two calls in a row, whatever it was"),
        (("later", "a"), ("later", "a"), "down", "the target's own doing twice: it need not be two calls"),
        (("unreachable", "a"), ("unreachable", "a"), "down", "nobody listens: no event can cause that"),
        (("failed", "a"), ("later", "a"), "down", "one of the two was the target's own"),
        (("failed", "a"), ("delivered", "b"), "open", "an answer between"),
        (("failed", "a"), ("refused", "b"), "open", "a refusal is an answer like delivered"),
    ],
)
def test_two_in_a_row(first: Any, second: Any, state: str, remark: str) -> None:
    assert after(after(HealthState(), *first), *second).health.state == state, remark


@pytest.mark.parametrize("name", NO_ANSWERS[:4])
def test_one_outcome_alone_changes_nothing(name: str) -> None:
    assert after(HealthState(), name).health.state == "open"


def test_a_wrong_password_is_known_at_once() -> None:
    found = after(HealthState(), "misconfigured", status=401).health

    assert (found.state, found.reason, found.since) == ("misconfigured", "why", NOW)


def test_what_a_restarting_1c_says_too_must_last_for_ten_minutes() -> None:
    perhaps: Any = {"status": 404, "health_hint": "perhaps_restarting"}
    known = after(after(HealthState(), "misconfigured", **perhaps), "misconfigured", "b", **perhaps)
    assert known.health.state == "down"
    later = after(known, "misconfigured", **perhaps, now=NOW + timedelta(minutes=9, seconds=59), probe=True)
    assert later.health.state == "down"
    assert after(later, "misconfigured", **perhaps, now=NOW + timedelta(minutes=10)).health.state == "misconfigured"

    between = after(known, "later", now=NOW + timedelta(minutes=5))
    again = after(between, "misconfigured", **perhaps, now=NOW + timedelta(minutes=11))
    assert again.health.state == "down"  # the ten minutes begin anew


def test_an_error_of_a_target_that_works_opens_it_and_its_wait_is_the_events_own() -> None:
    ill = HealthState(
        health=TargetHealth(state="down", reason="why", since=NOW, probes=7, probe_at=NOW + timedelta(minutes=1))
    )

    for name in ("failed", "later"):
        assert after(ill, name, health_hint="well", wait=timedelta(hours=1)) == HealthState()


@pytest.mark.parametrize("state", ["open", "down", "misconfigured"])
def test_an_outcome_without_a_request_says_nothing_of_the_target(state: Any) -> None:
    known = HealthState(health=TargetHealth(state=state, reason="why", since=NOW), suspect="a")

    assert after(known, "delivered", health_hint="not_asked") == known


@pytest.mark.parametrize("answer", ["delivered", "refused"])
@pytest.mark.parametrize("state", ["down", "misconfigured"])
def test_the_first_answer_opens(state: Any, answer: str) -> None:
    ill = HealthState(
        health=TargetHealth(state=state, reason="why", since=NOW, probes=7, probe_at=NOW + timedelta(minutes=1))
    )

    assert after(ill, answer) == HealthState()


def test_probes_of_a_target_that_is_down_come_after_1_s_and_ever_rarer_up_to_a_minute() -> None:
    known, now, pauses = after(after(HealthState(), "later"), "later"), NOW, []
    for _ in range(9):
        at = retry_policy.request_at(known.health)
        assert at is not None
        pauses.append((at - now).total_seconds())
        now = at
        known = after(known, "later", probe=True, now=now)

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_misconfigured_target_is_asked_every_minute_for_an_hour_and_then_every_quarter() -> None:
    known, now, times = after(HealthState(), "misconfigured", status=401), NOW, []
    for _ in range(63):
        now = retry_policy.request_at(known.health) or now
        times.append((now - NOW).total_seconds() / 60)
        known = after(known, "misconfigured", status=401, probe=True, now=now)

    assert times[:60] == list(range(1, 61))
    assert times[60:] == [75, 90, 105]


def test_what_was_under_way_when_it_went_down_does_not_delay_the_probe() -> None:
    known = after(after(HealthState(), "later"), "later")

    assert after(known, "later", "c").health.probe_at == known.health.probe_at


def test_after_a_restart_a_probe_goes_at_once_but_not_before_the_time_that_was_asked_for() -> None:
    asked = after(after(HealthState(), "later"), "later", wait=timedelta(hours=1)).health
    restarted = retry_policy.at_start(asked, NOW + timedelta(minutes=1))

    assert retry_policy.request_at(restarted) == NOW + timedelta(hours=1)
    plain = replace(asked, retry_not_before=None, probe_at=NOW + timedelta(minutes=1))
    assert retry_policy.request_at(retry_policy.at_start(plain, NOW)) == NOW


def test_the_operator_may_ask_at_once_whatever_the_target_asked_for() -> None:
    asked = after(after(HealthState(), "later"), "later", wait=timedelta(hours=1)).health

    assert retry_policy.request_at(retry_policy.resumed(asked, NOW)) == NOW
    assert retry_policy.resumed(asked, NOW).state == "down"  # until it answers


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*NO_ANSWERS, "delivered", "refused"]),
            st.one_of(st.none(), st.timedeltas(timedelta(0), timedelta(hours=3))),
            st.timedeltas(timedelta(0), timedelta(minutes=30)),
            st.booleans(),
            st.floats(0, 1, exclude_max=True),
        )
    )
)
def test_a_wait_that_was_asked_for_is_never_cut_short_and_jitter_only_lengthens(steps: Any) -> None:
    known, now, asked = HealthState(), NOW, NOW
    for name, wait, passed, probe, jitter in steps:
        now += passed
        quiet = after(known, name, wait=wait, now=now, probe=probe)
        known = after(known, name, wait=wait, now=now, probe=probe, jitter=jitter)
        asked = max(asked, now + (wait or timedelta(0)))
        at = retry_policy.request_at(known.health) or now
        assert at >= asked or asked <= now
        assert at >= (retry_policy.request_at(quiet.health) or now)


def test_what_a_clock_that_was_ahead_has_left_behind_is_not_believed() -> None:
    hour, year = timedelta(hours=1), NOW + timedelta(days=365)
    saved = TargetHealth(
        state="down", reason="why", since=year, retry_not_before=year, forbidden_since=year, probe_at=NOW
    )

    found = retry_policy.believable(saved, NOW, hour)
    assert found == replace(saved, since=NOW, retry_not_before=NOW + hour, forbidden_since=NOW)
    assert retry_policy.believable(found, NOW, hour) == found
    assert retry_policy.believable(TargetHealth(), NOW, hour) == TargetHealth()


def test_a_step_of_the_clock_moves_the_waits() -> None:
    ill = after(after(HealthState(), "later"), "later", wait=timedelta(minutes=5)).health
    hour = timedelta(hours=1)

    assert retry_policy.request_at(retry_policy.shifted(ill, hour)) == NOW + timedelta(minutes=5) + hour


# --- the rule as a whole: a lane over a fake clock, with many calls, in a world that changes


class LaneMachine(RuleBasedStateMachine):
    """Requests as the throttle permits them, outcomes as the world has them, ends as the policy decides."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.seconds = NOW, 0.0
        self.throttle = Throttle(TokenBucket(None, lambda: self.seconds), lambda: self.now, lambda: self.seconds)
        self.policy = replace(POLICY, attempts=3)
        self.waiting: list[Delivery] = []
        self.ended: list[tuple[Delivery, str, str | None]] = []
        self.poison: set[str] = set()
        self.outage: str | None = None
        self.delivered_at: dict[str, datetime] = {}
        self.sent_while_down: list[datetime] = []
        self.retry_not_before = NOW

    @initialize()
    def begin(self) -> None:
        for _ in range(3):
            self.call(poisonous=False)

    @rule(poisonous=st.booleans())
    def call(self, poisonous: bool) -> None:
        seq = len(self.waiting) + len(self.ended) + 1
        delivery = replace(FRESH, seq=seq, event=str(seq), session=str(seq), due_at=self.now, age_started_at=self.now)
        self.waiting.append(delivery)
        if poisonous:
            self.poison.add(str(seq))

    @rule(name=st.sampled_from([None, "later", "unreachable", "misconfigured", "failed"]))
    def world(self, name: str | None) -> None:
        self.outage = name

    @rule(seconds=st.sampled_from([0.2, 1, 5, 61, 3600, 90_000]))
    def time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.seconds += seconds

    @precondition(lambda self: any(one.due_at <= self.now for one in self.waiting))
    @rule(asked=st.sampled_from([None, None, 0.5, 30, 7200]))
    def request(self, asked: float | None) -> None:
        permit = self.throttle.try_acquire()
        if permit is None:
            return
        assert self.now >= self.retry_not_before, "a wait that was asked for was cut short"
        assert permit.probe == (self.throttle.health.state != "open")
        delivery = min((one for one in self.waiting if one.due_at <= self.now), key=lambda one: (one.due_at, one.seq))
        self.waiting.remove(delivery)
        outcome = self.outcome(delivery, asked)
        self.throttle.record_outcome(permit, outcome, str(delivery.session))
        others = [at for session, at in self.delivered_at.items() if session != delivery.session]
        verdict = retry_policy.decide(
            outcome,
            delivery,
            self.policy,
            now=self.now,
            jitter=0.5,
            is_well=self.throttle.is_well,
            target_accepts_others=any(at > (delivery.tried_at or delivery.age_started_at) for at in others),
        )
        after_it = replace(
            delivery,
            attempts=delivery.attempts + 1,
            failures=verdict.failures,
            due_at=verdict.next_try_at or verdict.at,
            tried_at=self.now,
        )
        if verdict.state == "due":
            self.waiting.append(after_it)
        else:
            self.ended.append((after_it, verdict.state, verdict.reason))
        if verdict.state == "delivered":
            self.delivered_at[str(delivery.session)] = self.now

    def outcome(self, delivery: Delivery, asked: float | None) -> Outcome:
        if self.outage == "later" and asked:
            self.retry_not_before = max(self.retry_not_before, self.now + timedelta(seconds=asked))
            return Outcome(name="later", reason="busy", wait=timedelta(seconds=asked))
        if self.outage:
            return Outcome(name=self.outage, reason="outage")
        if delivery.session in self.poison:
            return Outcome(name="failed", reason="poison", status=500)
        return Outcome(name="delivered")

    @invariant()
    def only_poison_dies_of_failures_and_only_among_others_that_pass(self) -> None:
        for delivery, state, reason in self.ended:
            if state == "dead" and "failed" in str(reason):
                assert delivery.session in self.poison or self.was_outage_of_failures
                assert delivery.failures == self.policy.attempts
                assert len(self.delivered_at) >= 1

    @property
    def was_outage_of_failures(self) -> bool:
        """A world in which everything stumbles, between calls that pass: no rule can tell those apart."""
        return len(self.delivered_at) >= self.policy.attempts

    @invariant()
    def target_level_outcomes_are_never_counted(self) -> None:
        for delivery in self.waiting:
            assert delivery.failures <= delivery.attempts
            if not self.delivered_at:
                assert delivery.failures == 0, "an outage of any length uses up no attempts"

    @invariant()
    def nothing_is_due_in_the_past_for_ever(self) -> None:
        for delivery in self.waiting:
            assert delivery.due_at <= max(
                self.now + self.policy.retry_max * 1.25, self.retry_not_before, delivery.age_started_at
            )


LaneMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestTheRule = LaneMachine.TestCase


def test_an_outage_of_any_length_uses_up_no_attempts_and_no_probe_comes_twice_a_minute() -> None:
    """A weekend: the deliveries that served as probes are as good as new."""
    machine = LaneMachine()
    for _ in range(50):
        machine.call(poisonous=False)
    machine.world("unreachable")
    requests = 0
    for _ in range(60 * 60):  # sixty hours
        before = sum(one.attempts for one in machine.waiting)
        machine.request(None)
        requests += sum(one.attempts for one in machine.waiting) - before
        machine.time(60.0)

    assert len(machine.waiting) == 50
    assert not machine.ended
    assert {one.failures for one in machine.waiting} == {0}
    assert requests <= 60 * 60 + 7  # the first ones come within the first minute
    machine.world(None)
    for _ in range(75 + 50 + 1):  # the next probe comes within 75 s, its jitter included; then one a second
        if machine.waiting:
            machine.request(None)
        machine.time(1)
    assert len(machine.ended) == 50
    assert {state for _, state, _ in machine.ended} == {"delivered"}
