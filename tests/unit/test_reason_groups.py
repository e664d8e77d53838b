"""What the reasons of dead letters have in common: one cause is one group."""

from __future__ import annotations

from datetime import timedelta

import pytest

from relay.operations.reason_groups import group, pattern
from relay.operations.stats import percentile
from relay.store import ReasonCount
from tests.fakes import FakeClock


@pytest.mark.parametrize(
    ("reason", "common"),
    [
        ("400: не заполнен номер", "400: не заполнен номер"),
        ("400: звонок 3360109114 не найден", "400: звонок … не найден"),
        ("400: 3360109114", "400: …"),
        ("400 3360109114", "400 …"),
        ("404 for 101", "404 for …"),  # a status stays, another number does not
        ("failed 12 times; last: 500: deadlock", "failed … times; last: 500: deadlock"),
        ("given up after 14 days, 0:00:00; last: 503: busy", "given up after … days, …; last: 503: busy"),
        ("{ОбщийМодуль.УИС.Модуль(55,8)}: нет прав", "{ОбщийМодуль.УИС.Модуль(…)}: нет прав"),
        ("no client +7-900-555-01-23 at 2026-03-02T12:45:59.863", "no client … at …T…"),
        ("call 01a22042-3abc-7c05-8fed-09315131c088 is over", "call … is over"),
        ("call 9F86D081884C7D65 is over", "call … is over"),
        ("the field facade is empty", "the field facade is empty"),  # hexadecimal, but a word
        ("", "–"),
        (None, "–"),
    ],
)
def test_a_pattern_leaves_out_what_differs_from_call_to_call(reason: str | None, common: str) -> None:
    assert pattern(reason) == common


def test_a_pattern_stays_what_it_is() -> None:
    """It comes back from a form, and is compared."""
    once = pattern("400: call 3360109114 of 2026-03-02 12:45")

    assert pattern(once) == once


def test_groups_add_up_and_the_largest_comes_first(clock: FakeClock) -> None:
    early, late = clock.now, clock.now + timedelta(hours=1)
    groups = group(
        [
            ReasonCount("onec", "dead", "500: deadlock", 2, early, early),
            ReasonCount("onec", "dead", "400: 7 has no number", 1, late, late),
            ReasonCount("onec", "dead", "400: 8 has no number", 4, early, early),
            ReasonCount("b24", "dead", "400: 8 has no number", 1, early, late),
            ReasonCount("onec", "held", "500: deadlock", 1, early, early),
        ]
    )

    assert [(one.target, one.state, one.text, one.count) for one in groups] == [
        ("onec", "dead", "400: … has no number", 5),
        ("onec", "dead", "500: deadlock", 2),
        ("b24", "dead", "400: 8 has no number", 1),
        ("onec", "held", "500: deadlock", 1),
    ]
    assert (groups[0].oldest, groups[0].newest) == (early, late)


@pytest.mark.parametrize(
    ("seconds", "median", "most"), [([5], 5, 5), ([1, 2], 1, 2), ([3, 1, 2], 2, 3), (range(1, 101), 50, 95)]
)
def test_half_and_95_of_100_took_no_longer(seconds: list[int], median: int, most: int) -> None:
    spans = [timedelta(seconds=each) for each in seconds]

    assert [percentile(spans, 50), percentile(spans, 95)] == [timedelta(seconds=median), timedelta(seconds=most)]
