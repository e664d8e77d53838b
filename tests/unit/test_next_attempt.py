"""When the next attempt of a delivery that waits is due, and why then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from relay.models import Delivery, TargetHealth
from relay.operations.next_attempt import decide, is_behind

NOW = datetime(2026, 3, 2, 9, 46, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


def delivery(**more: Any) -> Delivery:
    own: dict[str, Any] = {
        "seq": 1,
        "id": "d",
        "event_seq": 7,
        "event": "e",
        "target": "onec",
        "kind": "finished",
        "source": "trade",
    }
    own |= {"session": "7", "age_started_at": NOW}
    return Delivery(**{**own, "state": "due", "attempts": 0, "due_at": NOW, "ordered": True, **more})


@pytest.mark.parametrize(
    ("waits", "health", "is_second", "at", "reason"),
    [
        ({"state": "sending"}, {}, False, None, "sent now"),
        ({}, {}, True, None, "earlier notification"),
        ({}, {}, False, None, "its turn"),
        ({"due_at": LATER}, {}, False, LATER, "some time"),
        ({"due_at": LATER, "attempts": 2}, {}, False, LATER, "has failed"),
        ({}, {"retry_not_before": LATER}, False, LATER, "asked to wait"),
        ({}, {"retry_not_before": NOW - timedelta(seconds=1)}, False, None, "its turn"),
        ({}, {"state": "down", "probe_at": LATER}, False, LATER, "does not answer"),
        ({}, {"state": "down", "probe_at": NOW, "retry_not_before": LATER}, False, LATER, "does not answer"),
        ({}, {"state": "misconfigured", "probe_at": LATER}, False, LATER, "set up wrongly"),
    ],
)
def test_what_a_delivery_waits_for(
    waits: dict[str, Any], health: dict[str, Any], is_second: bool, at: datetime | None, reason: str
) -> None:
    said = decide(delivery(**waits), TargetHealth(**health), is_second, NOW)

    assert said.at == at
    assert reason in said.reason


@pytest.mark.parametrize(
    ("other", "waits"),
    [
        ({"event_seq": 6}, True),
        ({"event_seq": 8}, False),
        ({"event_seq": 6, "state": "delivered"}, False),
        ({"event_seq": 6, "state": "dead"}, False),
        ({"event_seq": 6, "target": "b24"}, False),
        ({"event_seq": 6, "ordered": False}, False),
    ],
)
def test_only_what_is_unfinished_and_earlier_at_the_same_target_goes_first(other: dict[str, Any], waits: bool) -> None:
    assert is_behind(delivery(), delivery(**{"id": "other", **other})) is waits
