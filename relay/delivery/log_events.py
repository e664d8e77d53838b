"""What the log says of attempts and targets: one line each, with ids, without bodies and phones."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from relay.models import Delivery, Outcome, TargetHealth
from relay.store import AttemptResult

Watch = Callable[[Delivery, Outcome, AttemptResult], None]
"""Is told of each attempt; must be quick, and never fail."""

log = structlog.get_logger("relay.delivery")


def fields(delivery: Delivery) -> dict[str, object]:
    return {
        "target": delivery.target, "kind": delivery.kind, "event_id": delivery.event, "delivery_id": delivery.id,
        "session": delivery.session,
    }  # fmt: skip


def attempt(delivery: Delivery, result: AttemptResult, outcome: Outcome) -> None:
    level = log.info if result.state == "delivered" else log.error if result.state in ("dead", "held") else log.warning
    made = result.attempt
    level(
        f"delivery.{outcome.name}", **fields(delivery), attempt=made.number if made else None,
        status=outcome.status, took_ms=made.took_ms if made else None, now=result.state,
        reason=outcome.reason or None,
    )  # fmt: skip


def health(target: str, before: TargetHealth, after: TargetHealth) -> None:
    """Says when a target changes between open, down and misconfigured; not each probe."""
    if before.state != after.state:
        level = log.info if after.state == "open" else log.error
        level(f"target.{after.state}", target=target, reason=after.reason, since=before.since or after.since)
