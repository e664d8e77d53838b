"""How lanes are spread over processes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.delivery.lease import share

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
