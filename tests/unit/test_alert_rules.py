"""When people are told, and what: each trouble once, its end once, and never a storm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.alerts import words
from relay.alerts.rules import FLAPS_WITHIN, Facts, Item, SourceFact, TargetFact, Told, Trouble, news, troubles
from relay.settings import Alerts
from relay.settings.alerts import working_hours

NOW = datetime(2026, 3, 2, 9, 45, tzinfo=UTC)  # a Monday; 12:45 in Moscow
MOSCOW = ZoneInfo("Europe/Moscow")
LIMITS = Alerts()
MINUTE = timedelta(minutes=1)


def keys(facts: Facts, limits: Alerts = LIMITS) -> list[str]:
    return [trouble.key for trouble in troubles(facts, limits)]


def of_target(**more: Any) -> Facts:
    return Facts(now=NOW, targets=(TargetFact(**{"name": "onec", "state": "open", **more}),))


@pytest.mark.parametrize(
    ("facts", "found", "remark"),
    [
        (of_target(), [], "well"),
        (of_target(state="down", since=NOW - 9 * MINUTE), [], "not for long"),
        (of_target(state="down", since=NOW - 10 * MINUTE), ["down onec"], "for long enough"),
        (of_target(state="misconfigured", since=NOW - 10 * MINUTE), ["misconfigured onec"], "likewise"),
        (of_target(state="paused", since=NOW - 600 * MINUTE, oldest_due_at=NOW - 600 * MINUTE), [], "as the operator wishes"),
        (of_target(oldest_due_at=NOW - 29 * MINUTE), [], "a short queue"),
        (of_target(oldest_due_at=NOW - 30 * MINUTE, due=7), ["backlog onec"], "an old one"),
        (of_target(state="down", since=NOW - MINUTE, oldest_due_at=NOW - 60 * MINUTE), [], "why it waits is known"),
        (Facts(now=NOW, dead=1), ["dead"], "the first"),
        (Facts(now=NOW, free_bytes=499 << 20), ["disk"], "nearly full"),
        (Facts(now=NOW, free_bytes=501 << 20), [], "not yet"),
        (Facts(now=NOW, warnings=(("amo", "the token ends"),)), ["token amo"], "in good time"),
        (Facts(now=NOW, store_is_up=False, dead=3), ["store"], "nothing else is known then"),
    ],
)  # fmt: skip
def test_what_is_a_trouble(facts: Facts, found: list[str], remark: str) -> None:
    assert keys(facts) == found, remark


@pytest.mark.parametrize(
    ("last", "now", "silent", "remark"),
    [
        ("2026-03-02T09:00", "2026-03-02T12:59", False, "not quite four hours"),
        ("2026-03-02T09:00", "2026-03-02T13:00", True, "four hours of work"),
        ("2026-03-02T15:00", "2026-03-03T09:30", False, "the night does not count"),
        ("2026-03-02T15:00", "2026-03-03T10:00", True, "three in the evening, one in the morning"),
        ("2026-02-27T17:30", "2026-03-02T12:00", False, "nor does the week-end"),
        ("2026-02-27T17:30", "2026-03-02T12:30", True, "half an hour on Friday, the rest on Monday"),
        ("2026-03-07T10:00", "2026-03-08T20:00", False, "a whole week-end"),
    ],
)
def test_silence_counts_in_working_time_of_the_sources_zone(last: str, now: str, silent: bool, remark: str) -> None:
    at, until = (datetime.fromisoformat(each).replace(tzinfo=MOSCOW).astimezone(UTC) for each in (last, now))
    facts = Facts(now=until, sources=(SourceFact(name="trade", last_at=at, zone=MOSCOW),))

    assert (keys(facts) == ["silent trade"]) is silent, remark
    assert keys(facts, Alerts(silent_for=timedelta(0))) == []


@pytest.mark.parametrize("given", ["Mon-Fri 09:00-18:00", "Sat-Mon 10:00-12:00", "08:30-20:00"])
def test_working_hours_are_read(given: str) -> None:
    found = working_hours(given)

    assert {"Mon-Fri 09:00-18:00": 5, "Sat-Mon 10:00-12:00": 3, "08:30-20:00": 7}[given] == len(found.days)


@pytest.mark.parametrize(
    "given", ["", "always", "Mon-Fri", "Mon-Fri 18:00-09:00", "Mon-Foo 09:00-18:00", "25:00-26:00", 5]
)
def test_what_are_no_working_hours_is_refused_with_an_example(given: Any) -> None:
    with pytest.raises(ValueError, match="Mon-Fri 09:00-18:00"):
        working_hours(given)


# --- once, and when it is over

DOWN = Trouble(what="down", name="onec", since=NOW)


class People:
    """Somebody who is told, look by look."""

    def __init__(self, limits: Alerts = LIMITS) -> None:
        self.told: dict[str, Told] = {}
        self._limits = limits

    def hear(self, at: datetime, *present: Trouble) -> list[str]:
        found = news(list(present), self.told, self._limits, at)
        self.told = found.told
        return [f"{item.how} {item.trouble.key}" for item in found.items]


def test_a_trouble_is_told_once_reminded_of_once_a_day_and_its_end_is_told_once() -> None:
    people = People()

    assert people.hear(NOW, DOWN) == ["new down onec"]
    assert [people.hear(NOW + hours * timedelta(hours=1), DOWN) for hours in (1, 12, 23)] == [[], [], []]
    assert people.hear(NOW + timedelta(hours=24), DOWN) == ["still down onec"]
    assert people.hear(NOW + timedelta(hours=25)) == ["over down onec"]
    assert people.hear(NOW + timedelta(hours=26)) == []
    assert people.told == {}


def test_what_flaps_is_not_told_anew_until_it_stays() -> None:
    people = People()
    people.hear(NOW, DOWN)
    people.hear(NOW + MINUTE)

    heard = [people.hear(NOW + minute * MINUTE, *([DOWN] if minute % 2 else [])) for minute in range(3, 9)]
    assert heard == [[]] * 6
    stays = [people.hear(NOW + minute * MINUTE, DOWN) for minute in range(9, 30)]
    assert [each for each in stays if each] == [["new down onec"]]


def test_more_dead_letters_are_told_by_the_threshold() -> None:
    people = People(Alerts(dead=5))

    def dead(count: int) -> Trouble:
        return Trouble(what="dead", count=count)

    assert people.hear(NOW, dead(1)) == ["new dead"]
    assert people.hear(NOW + MINUTE, dead(5)) == []
    assert people.hear(NOW + 2 * MINUTE, dead(6)) == ["more dead"]
    assert people.hear(NOW + 3 * MINUTE, dead(2)) == []  # some were replayed
    assert people.hear(NOW + 4 * MINUTE, dead(7)) == ["more dead"]
    assert people.hear(NOW + 5 * MINUTE) == ["over dead"]


TROUBLES = [DOWN, Trouble(what="dead", count=1), Trouble(what="silent", name="trade", since=NOW)]


@given(st.lists(st.tuples(st.integers(1, 600), st.sets(st.sampled_from(range(3)))), max_size=60))
def test_in_whatever_order_things_go_wrong_nobody_is_told_the_same_twice_or_of_an_end_without_a_beginning(
    course: list[tuple[int, set[int]]],
) -> None:
    people, at = People(), NOW
    believed: dict[str, bool] = {}
    spoken: dict[str, datetime] = {}
    for minutes, wrong in course:
        at += minutes * MINUTE
        for said in people.hear(at, *(TROUBLES[number] for number in wrong)):
            how, _, key = said.partition(" ")
            assert believed.get(key, False) is (how != "new") or how == "new", said
            if how == "over":
                assert believed[key]
            if how == "new" and key in spoken and believed.get(key):
                assert at - spoken[key] > FLAPS_WITHIN
            believed[key] = how != "over"
            spoken[key] = at
    for _ in range(3):  # when nothing changes, at most one reminder a day
        at += MINUTE
        last = people.hear(at, *(TROUBLES[number] for number in (course[-1][1] if course else ())))
    assert last == []


# --- the words


@pytest.mark.parametrize("language", ["ru", "en"])
def test_every_trouble_and_its_end_have_words(language: str) -> None:
    for what in ("down", "misconfigured", "backlog", "dead", "silent", "token", "disk", "store"):
        trouble = Trouble(what=what, name="onec", since=NOW, count=3, reason="why")  # type: ignore[arg-type]
        for how in ("new", "more", "still", "over"):
            said = words.message((Item(how, trouble),), language, MOSCOW)  # type: ignore[arg-type]
            assert "{" not in said
            assert len(said) > 10
    assert "12:45" in words.message((Item("new", DOWN),), language, MOSCOW)  # the account's zone


def test_many_lines_are_summed_up() -> None:
    items = tuple(Item("new", Trouble(what="down", name=f"t{number}", since=NOW)) for number in range(25))

    said = words.message(items, "en", MOSCOW)

    assert said.count("\n") == 10
    assert "and 15 more" in said


def test_a_targets_own_words_are_told_without_phones_links_and_secrets() -> None:
    reason = "403 for +7 900 555-09-87 at https://portal.example.test/rest/1/S3CRET/ token=S3CRET"
    said = words.message((Item("new", Trouble(what="down", name="b24", since=NOW, reason=reason)),), "ru", MOSCOW)

    assert "S3CRET" not in said
    assert "555-09" not in said
