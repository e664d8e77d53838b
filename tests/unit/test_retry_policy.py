"""What follows from an attempt."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.delivery import retry_policy
from relay.models import Delivery, Outcome, Verdict
from tests.factories import FRESH, NOW, POLICY


def decide(
    name: Any,
    delivery: Delivery = FRESH,
    *,
    policy: Any = POLICY,
    now: datetime = NOW,
    target_accepts_others: bool = True,
    is_well: bool = True,
    wait: timedelta | None = None,
    jitter: float = 0.0,
) -> Verdict:
    outcome = Outcome(name=name, reason="why", wait=wait)
    return retry_policy.decide(
        outcome, delivery, policy, now=now, target_accepts_others=target_accepts_others, is_well=is_well, jitter=jitter
    )


@pytest.mark.parametrize(
    ("outcome", "state", "failures", "remark"),
    [
        ("delivered", "delivered", 0, "done"),
        ("refused", "dead", 0, "never taken as it is: dead at once"),
        ("later", "due", 0, "the target's affair"),
        ("unreachable", "due", 0, "the target's affair"),
        ("misconfigured", "due", 0, "the target's affair"),
        ("unclear", "due", 1, "always counted"),
        ("failed", "due", 1, "others pass: the event's own"),
    ],
)
def test_the_first_attempt(outcome: str, state: str, failures: int, remark: str) -> None:
    verdict = decide(outcome)

    assert (verdict.state, verdict.failures) == (state, failures), remark


def test_a_failure_is_not_counted_while_nothing_else_passes() -> None:
    assert decide("failed", target_accepts_others=False).failures == 0


def test_dead_after_so_many_failures_of_its_own() -> None:
    verdict = decide("failed", replace(FRESH, failures=11))

    assert verdict.state == "dead"
    assert "12" in (verdict.reason or "")
    assert "why" in (verdict.reason or "")


def test_held_after_three_unclear_whatever_the_setting() -> None:
    assert decide("unclear", replace(FRESH, unclear=1)).state == "due"
    assert decide("unclear", replace(FRESH, unclear=2)).state == "held"


def test_unclear_can_be_held_at_once() -> None:
    assert decide("unclear", policy=replace(POLICY, unclear="hold")).state == "held"


def test_an_outage_of_any_length_uses_up_no_attempts_until_it_is_too_old() -> None:
    old = replace(FRESH, attempts=500)

    assert decide("unreachable", old, now=NOW + timedelta(days=13)).state == "due"
    assert decide("unreachable", old, now=NOW + timedelta(days=14)).state == "dead"


def test_the_last_try_is_at_the_end_of_its_time() -> None:
    verdict = decide("later", replace(FRESH, attempts=50), now=NOW + timedelta(days=14) - timedelta(minutes=1))

    assert verdict.next_try_at == NOW + timedelta(days=14)


@given(
    name=st.sampled_from(["later", "unreachable", "unclear", "failed", "misconfigured"]),
    tries=st.integers(0, 5000),
    jitter=st.floats(0, 1, exclude_max=True),
    wait=st.one_of(st.none(), st.timedeltas(timedelta(0), timedelta(days=3))),
    age=st.timedeltas(timedelta(0), timedelta(days=13)),
)
def test_a_wait_that_was_asked_for_is_never_cut_short_and_nothing_is_due_in_the_past(
    name: str, tries: int, jitter: float, wait: timedelta | None, age: timedelta
) -> None:
    now = NOW + age
    verdict = decide(name, replace(FRESH, attempts=tries), now=now, wait=wait, jitter=jitter)

    assert verdict.state == "due"
    pause = (verdict.next_try_at or now) - now
    assert pause >= (wait or timedelta(0))
    assert pause >= POLICY.retry_first
    assert pause <= max(POLICY.retry_max * 1.25, wait or timedelta(0))


def test_a_target_may_ask_for_an_hour_and_gets_no_more() -> None:
    hour = timedelta(hours=1)
    for asked in (None, timedelta(0), timedelta(minutes=59), hour):
        outcome = Outcome(name="later", reason="busy", wait=asked)
        assert retry_policy.limit_wait(outcome, POLICY.retry_after_max) is outcome
    for asked in (timedelta(hours=1, seconds=1), timedelta(days=3), timedelta.max):
        outcome = retry_policy.limit_wait(Outcome(name="later", reason="busy", wait=asked), POLICY.retry_after_max)
        assert outcome.wait == hour
        assert outcome.reason.startswith("busy")
        assert "retry_after_max" in outcome.reason


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_and_jitter_only_lengthens(tries: int, jitter: float) -> None:
    assert (
        retry_policy.pause(POLICY, tries, 0)
        <= retry_policy.pause(POLICY, tries, jitter)
        <= retry_policy.pause(POLICY, tries, 0) * 1.25
    )
    assert retry_policy.pause(POLICY, tries, 0) <= retry_policy.pause(POLICY, tries + 1, 0)


@given(
    st.lists(st.sampled_from(["later", "unreachable", "unclear", "failed", "misconfigured"]), min_size=1), st.booleans()
)
def test_nothing_is_retried_for_ever(names: list[str], target_accepts_others: bool) -> None:
    """Whatever happens, after `give_up_after` it has ended."""
    delivery, now = FRESH, NOW
    for name in names * 1000:
        verdict = decide(name, delivery, now=now, target_accepts_others=target_accepts_others)
        if verdict.state != "due":
            break
        delivery = replace(delivery, attempts=delivery.attempts + 1, failures=verdict.failures, unclear=verdict.unclear)
        now = verdict.next_try_at or now
    assert verdict.state in ("dead", "held")
    assert now <= NOW + POLICY.give_up_after


def test_what_is_too_old_is_not_worth_sending_unless_the_operator_asked() -> None:
    limits: Any = {"incoming": timedelta(minutes=10)}
    later = NOW + timedelta(minutes=11)

    assert retry_policy.is_expired(FRESH, limits, later)
    assert not retry_policy.is_expired(FRESH, limits, NOW + timedelta(minutes=9))
    assert not retry_policy.is_expired(replace(FRESH, kind="finished"), limits, later)
    assert not retry_policy.is_expired(replace(FRESH, replayed=True), limits, later)


@pytest.mark.parametrize(
    ("outcome", "waits", "remark"),
    [
        ("delivered", True, "written"),
        ("unclear", True, "perhaps written"),
        ("failed", True, "the handler may have stumbled after it had written"),
        ("refused", False, "not written"),
        ("later", False, "not written"),
        ("unreachable", False, "not written"),
        ("misconfigured", False, "not written"),
    ],
)
def test_the_next_of_a_call_keeps_its_distance_from_what_may_have_been_written(
    outcome: Any, waits: bool, remark: str
) -> None:
    free_at = retry_policy.call_free_at(Outcome(name=outcome), POLICY, NOW)

    assert free_at == (NOW + timedelta(seconds=1.1) if waits else None), remark


def test_without_a_gap_a_call_is_free_at_once() -> None:
    assert retry_policy.call_free_at(Outcome(name="delivered"), replace(POLICY, call_gap=timedelta(0)), NOW) is None
