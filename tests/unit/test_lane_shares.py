"""How calls are split over lanes, and lanes over processes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.delivery.lease import share, spread
from relay.models import Shard
from relay.store import slot

OWNERS = st.sets(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=6)


@given(OWNERS, st.integers(0, 20), st.data())
def test_all_lanes_are_somebodys_and_nobody_has_two_more_than_another(
    owners: set[str], lanes: int, data: st.DataObject
) -> None:
    owned = Counter({owner: data.draw(st.integers(0, 5)) for owner in owners})
    shares = [share(owner, owners - {owner}, lanes, owned) for owner in owners]
    assert sum(shares) == lanes
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(("owner", "lanes"), [("a", 1), ("b", 2)])
def test_the_odd_lane_stays_with_whoever_has_the_most(owner: str, lanes: int) -> None:
    assert share(owner, {"a", "b"} - {owner}, 3, {"a": 1, "b": 2}) == lanes


def test_a_call_has_the_same_slot_in_every_version() -> None:
    """What waits keeps its place over an update: these numbers may not change."""
    assert [slot("trade", "7"), slot("trade", "8"), slot("side", "7"), slot("trade", None)] == [
        37500,
        20350,
        27839,
        35167,
    ]


@pytest.mark.parametrize("count", [2, 3, 5, 8, 16])
def test_calls_are_split_evenly(count: int) -> None:
    calls = Counter(slot("trade", str(session)) % count for session in range(2_000_000, 2_020_000))
    assert len(calls) == count
    assert max(calls.values()) < 1.15 * min(calls.values())


@given(st.integers(1, 64), st.integers(1, 16))
def test_what_a_target_may_have_is_parted_without_a_rest(whole: int, count: int) -> None:
    parts = [Shard("a", number, count).part(whole) for number in range(count)]
    assert sum(parts) == max(whole, count)
    assert max(parts) - min(parts) <= 1


def lanes(target: str, count: int) -> list[Shard]:
    return [Shard(target, number, count) for number in range(count)]


def test_a_process_has_each_target_once_before_it_has_one_twice() -> None:
    order = spread([*lanes("b", 1), *lanes("a", 3), *lanes("c", 2)])
    assert [shard.target for shard in order] == ["a", "c", "b", "a", "c", "a"]


def test_it_rather_takes_the_targets_that_it_has_not() -> None:
    order = spread([Shard("a", 1, 2), Shard("c", 0, 1)], [Shard("a", 0, 2)])
    assert [shard.target for shard in order] == ["c", "a"]
