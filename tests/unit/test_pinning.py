"""On which core the process runs."""

from __future__ import annotations

import pytest

from relay.cpu_affinity import choose


@pytest.mark.parametrize(
    ("current", "own", "others", "chosen", "remark"),
    [
        (None, 0.1, {0: 0.0, 1: 0.0}, None, "with little to do, anywhere"),
        (0, 0.1, {0: 0.0, 1: 0.0}, None, "and anywhere again when the load has gone"),
        (None, 0.9, {0: 0.5, 1: 0.1}, 1, "at first the freest"),
        (0, 0.9, {0: 0.2, 1: 0.0}, 0, "a little is no reason to move"),
        (0, 0.9, {0: 0.9, 1: 0.1}, 1, "a busy neighbour"),
        (0, 0.9, {0: 0.9, 1: 0.8}, 0, "nowhere is better"),
        (5, 0.9, {0: 0.3, 1: 0.1}, 1, "the core has gone"),
    ],
)
def test_the_core(current: int | None, own: float, others: dict[int, float], chosen: int | None, remark: str) -> None:
    assert choose(current, own, others) == chosen, remark
