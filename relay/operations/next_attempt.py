"""Says of a delivery that waits when it is tried, and what it waits for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from relay.i18n import gettext
from relay.models import UNFINISHED, Delivery, TargetHealth
from relay.wiring import Relay


class NextAttempt(Struct, frozen=True):
    at: datetime | None  #: not before; None: that is not known
    reason: str


def next_attempt(relay: Relay, delivery: Delivery, of_call: Iterable[Delivery]) -> NextAttempt | None:
    """Return it for a delivery among those of its call; None for one that does not wait."""
    if delivery.state not in UNFINISHED:
        return None
    if delivery.target not in relay.settings.targets:
        return NextAttempt(None, gettext("Its target is no longer in the configuration."))
    before = [other for other in of_call if is_behind(delivery, other)]
    if relay.store.targets.is_paused(delivery.target):
        return NextAttempt(None, gettext("Its target is paused."))
    return decide(delivery, relay.store.targets.health(delivery.target), bool(before), relay.clock())


def is_behind(delivery: Delivery, other: Delivery) -> bool:
    """Must it wait until the other has ended?"""
    same_lane = other.target == delivery.target and other.ordered and delivery.ordered
    return same_lane and other.state in UNFINISHED and other.event_seq < delivery.event_seq


def decide(delivery: Delivery, health: TargetHealth, is_behind_another: bool, now: datetime) -> NextAttempt:
    """Return what a delivery of a target that is not paused waits for. Pure."""
    if delivery.state == "sending":
        return NextAttempt(None, gettext("It is being sent now."))
    if is_behind_another:
        return NextAttempt(None, gettext("An earlier notification of this call goes first."))
    if health.state != "open":
        at = max(health.probe_at or now, health.retry_not_before or now)
        if health.state == "down":
            return NextAttempt(at, gettext("Its target does not answer; it is asked again and again."))
        return NextAttempt(at, gettext("Its target is set up wrongly; it is asked rarely."))
    if health.retry_not_before is not None and health.retry_not_before > now:
        return NextAttempt(health.retry_not_before, gettext("Its target has asked to wait."))
    if delivery.due_at <= now:
        return NextAttempt(None, gettext("It goes out as soon as it is its turn."))
    if delivery.attempts:
        return NextAttempt(delivery.due_at, gettext("The last attempt has failed."))
    return NextAttempt(delivery.due_at, gettext("Between two notifications of a call its target wants some time."))
