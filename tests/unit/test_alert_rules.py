"""When people are told, and what: each trouble once, its end once, and never a storm."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.alerts import messages
from relay.alerts.evaluate import (
    AT_MOST_EVERY,
    FLAPS_WITHIN,
    SUMMARY,
    SUMMARY_WITHIN,
    Condition,
    Notice,
    Snapshot,
    SourceStatus,
    TargetStatus,
    Transition,
    conditions,
    evaluate,
    summary_moment,
)
from relay.alerts.snapshot import Summary
from relay.config import Alerts
from relay.config.alerting import working_hours
from relay.i18n import Message
from relay.store import CallCounts, ReportState, TargetFigures
from relay.store.alert_state import Alert, ConditionKind

NOW = datetime(2026, 3, 2, 9, 45, tzinfo=UTC)  # a Monday; 12:45 in Moscow
MOSCOW = ZoneInfo("Europe/Moscow")
SAMARA = ZoneInfo("Europe/Samara")
LIMITS = Alerts()
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
KINDS: list[ConditionKind] = [kind for kind in get_args(ConditionKind) if kind != SUMMARY]
TRANSITIONS: tuple[Transition, ...] = get_args(Transition)


def keys(facts: Snapshot, limits: Alerts = LIMITS) -> list[str]:
    return [condition.key for condition in conditions(facts, limits)]


def a_target(**more: Any) -> TargetStatus:
    unset = dict.fromkeys(("reason", "oldest_due_at", "last_error", "retry_not_before"))
    well = {"name": "onec", "state": "open", "open_since": NOW - 24 * HOUR, "due": 0, "delivered": 0, "dead": 0}
    return TargetStatus(**{**unset, **well, **more})


def of_target(**more: Any) -> Snapshot:
    return Snapshot(now=NOW, targets=(a_target(**more),))


def old(minutes: int) -> datetime:
    return NOW - minutes * MINUTE


@pytest.mark.parametrize(
    ("facts", "found", "remark"),
    [
        (of_target(), [], "well"),
        (of_target(state="down", since=old(9)), [], "not for long"),
        (of_target(state="down", since=old(10)), ["target onec"], "for long enough"),
        (of_target(state="misconfigured", since=old(10)), ["target onec"], "likewise"),
        (of_target(state="paused", since=old(600), oldest_due_at=old(600)), [], "as the operator wishes"),
        (of_target(oldest_due_at=old(29)), [], "a short queue"),
        (of_target(oldest_due_at=old(30), due=7), ["backlog onec"], "an old one"),
        (of_target(oldest_due_at=old(600), open_since=old(29)), [], "it is just back, and catches up"),
        (of_target(oldest_due_at=old(600), open_since=old(30)), ["backlog onec"], "it does not catch up"),
        (of_target(state="down", since=old(1), oldest_due_at=old(60)), [], "why it waits is known"),
        (Snapshot(now=NOW, dead={"onec": 1, "b24": 0}), ["dead onec"], "the first"),
        (Snapshot(now=NOW, unreadable=2), ["unreadable"], "quarantine"),
        (Snapshot(now=NOW, free_bytes=499 << 20), ["disk"], "nearly full"),
        (Snapshot(now=NOW, free_bytes=501 << 20), [], "not yet"),
        (Snapshot(now=NOW, token_ends={"amo": NOW + timedelta(days=30)}), ["token amo"], "in good time"),
        (Snapshot(now=NOW, token_ends={"amo": NOW + timedelta(days=31)}), [], "too early"),
        (Snapshot(now=NOW, store_down_since=old(1), unreadable=3), ["store"], "nothing else is known then"),
        (Snapshot(now=NOW, store_down_since=NOW), [], "somebody else writes at this moment"),
    ],
)
def test_what_is_a_trouble(facts: Snapshot, found: list[str], remark: str) -> None:
    assert keys(facts) == found, remark


def unnotified(calls: int, last_at: datetime | None = None, at: datetime = NOW, **more: Any) -> Snapshot:
    """A source with so many calls since half past ten that only its report knows of."""
    first = old(20) if calls else None
    source = SourceStatus(
        name="trade",
        zone=MOSCOW,
        last_at=last_at or old(30),
        watched_since=NOW,
        unnotified=calls,
        unnotified_since=first,
        **more,
    )
    return Snapshot(now=at, sources=(source,))


def test_calls_of_the_report_without_a_notification_are_a_trouble_when_they_are_several() -> None:
    assert (keys(unnotified(2)), keys(unnotified(3))) == ([], ["unnotified trade"])


def test_that_calls_end_too_is_no_end_of_notifications_that_do_not_come() -> None:
    people = People()

    assert people.hear(unnotified(3)) == ["firing unnotified trade"]
    assert people.hear(unnotified(0, at=NOW + 2 * HOUR)) == []  # the evening has come
    assert people.hear(unnotified(0, NOW + 3 * HOUR, NOW + 3 * HOUR)) == ["resolved unnotified trade"]


@pytest.mark.parametrize(("state", "found"), [("open", []), ("later", []), ("misconfigured", ["report trade"])])
def test_a_report_that_somebody_has_to_mend_is_a_trouble(state: Any, found: list[str]) -> None:
    report = ReportState(
        source="trade", began_at=old(90), checked_to=old(30), ran_at=NOW, state=state, reason="set `key`"
    )
    facts = unnotified(0, report=report)
    assert keys(facts) == found
    for condition in conditions(facts, LIMITS):
        said = messages.body((Notice("firing", condition),), "en", MOSCOW)
        assert said == (
            "✖ trade: UIS's report of calls has not been read since 02.03 12:15. set `key`. Mend what it says; "
            "then `relay check --online` tells at once, and within the hour it is read again."
        )


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
    at, until = (datetime.fromisoformat(each).replace(tzinfo=SAMARA).astimezone(UTC) for each in (last, now))
    source = SourceStatus(name="trade", last_at=at, watched_since=at, zone=SAMARA)
    facts = Snapshot(now=until, sources=(source,))

    assert (keys(facts) == ["silent trade"]) is silent, remark
    assert keys(facts, Alerts(silent_for=timedelta(0))) == []
    assert keys(replace(facts, sources=(replace(source, last_at=None),))) == keys(facts), "counts from the start then"


@pytest.mark.parametrize(
    ("missed", "now", "count", "remark"),
    [
        (["2026-03-02T10:00"], "2026-03-02T10:14", 0, "not yet"),
        (["2026-03-02T10:00", "2026-03-02T10:05"], "2026-03-02T10:15", 1, "the other has waited for ten minutes"),
        (["2026-03-02T20:00"], "2026-03-03T09:14", 0, "the night does not count"),
        (["2026-03-02T20:00", "2026-02-27T17:50"], "2026-03-03T09:15", 2, "in the morning, one since Friday"),
    ],
)
def test_who_was_not_called_back_counts_by_working_time(missed: list[str], now: str, count: int, remark: str) -> None:
    *calls, until = (datetime.fromisoformat(each).replace(tzinfo=SAMARA).astimezone(UTC) for each in (*missed, now))
    source = SourceStatus(name="trade", last_at=until, watched_since=until, zone=SAMARA)
    facts = Snapshot(now=until, sources=(source,), missed={"trade": calls})

    found = conditions(facts, Alerts(missed_for=15 * MINUTE))

    assert [(each.key, each.count) for each in found] == ([("missed trade", count)] if count else []), remark
    assert conditions(facts, Alerts()) == []
    people = People(Alerts(missed_for=15 * MINUTE, dead=10))  # each client counts, however many dead letters do
    assert people.hear(facts) == (["firing missed trade"] if count else [])


@pytest.mark.parametrize(
    ("given", "days"),
    [("Mon-Fri 09:00-18:00", 5), ("Sat-Mon 10:00-12:00", 3), ("08:30-20:00", 7), ("sat 10:00-14:00", 1)],
)
def test_working_hours_are_read(given: str, days: int) -> None:
    assert len(working_hours(given).days) == days


@pytest.mark.parametrize(
    "given", ["", "always", "Mon-Fri", "Mon-Fri 18:00-09:00", "Mon-Foo 09:00-18:00", "25:00-26:00", 5]
)
def test_what_are_no_working_hours_is_refused_with_an_example(given: Any) -> None:
    with pytest.raises(ValueError, match="Mon-Fri 09:00-18:00"):
        working_hours(given)


# --- once, and when it is over


class People:
    """Somebody who is told, look by look, unless the message does not reach them."""

    def __init__(self, limits: Alerts = LIMITS) -> None:
        self.told: dict[str, Alert] = {}
        self._limits = limits

    def hear(self, facts: Snapshot, *, deaf: bool = False) -> list[str]:
        evaluation = evaluate(facts, self.told, self._limits)
        self.told = evaluation.unsent if deaf else evaluation.sent
        said = [f"{message.transition} {message.condition.key}" for message in evaluation.notices]
        return [] if deaf else said + [SUMMARY] * evaluation.with_summary


def down(at: datetime, state: str = "down") -> Snapshot:
    return Snapshot(now=at, targets=(a_target(state=state, since=at - HOUR),))


def well(at: datetime) -> Snapshot:
    return Snapshot(now=at, targets=(a_target(),))


def test_a_trouble_is_told_once_reminded_of_once_a_day_and_its_end_is_told_once() -> None:
    people = People()

    assert people.hear(down(NOW)) == ["firing target onec"]
    assert [people.hear(down(NOW + hours * HOUR)) for hours in (1, 12, 23)] == [[], [], []]
    assert people.hear(down(NOW + 24 * HOUR)) == ["still target onec"]
    assert people.hear(well(NOW + 25 * HOUR)) == ["resolved target onec"]
    assert people.hear(well(NOW + 26 * HOUR)) == []
    assert people.told == {}


def test_what_flaps_is_not_told_anew_until_it_stays() -> None:
    people = People()
    people.hear(down(NOW))
    people.hear(well(NOW + 2 * MINUTE))

    flapping = [people.hear((down if minute % 2 else well)(NOW + minute * MINUTE)) for minute in range(3, 300)]
    assert [each for each in flapping if each] == []
    stays = [people.hear(down(NOW + minute * MINUTE)) for minute in range(300, 330)]
    assert [each for each in stays if each] == [["firing target onec"]]
    assert stays.index(["firing target onec"]) == 10, "eleven minutes after it came back, not at once"


def test_what_came_back_to_stay_and_could_not_be_told_is_told_when_it_is_over() -> None:
    people = People()
    people.hear(down(NOW))
    people.hear(well(NOW + 2 * MINUTE))
    people.hear(down(NOW + 3 * MINUTE))

    assert people.hear(down(NOW + 15 * MINUTE), deaf=True) == []
    assert people.hear(well(NOW + 16 * MINUTE)) == ["past target onec"]


def test_there_is_one_message_a_minute_and_what_was_not_said_is_said_then() -> None:
    people = People()
    people.hear(down(NOW))
    more = replace(down(NOW), unreadable=1)

    assert people.hear(replace(more, now=NOW + timedelta(seconds=30))) == []
    assert people.hear(replace(more, now=NOW + timedelta(seconds=60))) == ["firing unreadable"]


@pytest.mark.parametrize(
    ("after", "said", "remark"),
    [
        (down(NOW + HOUR, "misconfigured"), ["firing target onec"], "it has not come back: it is ill in another way"),
        (of_target(state="paused"), ["paused target onec"], "nor when the operator pauses it"),
        (Snapshot(now=NOW), ["gone target onec"], "nor when it is taken out of the configuration"),
        (of_target(state="down", since=NOW + HOUR - MINUTE), [], "nor when it fell again between two looks"),
        (Snapshot(now=NOW, store_down_since=NOW + HOUR), [], "nor when nothing is known"),
        (of_target(), ["resolved target onec"], "now it has"),
    ],
)
def test_what_is_not_well_is_not_said_to_be(after: Snapshot, said: list[str], remark: str) -> None:
    people = People()
    people.hear(down(NOW))

    assert people.hear(replace(after, now=NOW + HOUR)) == said, remark


def test_a_queue_of_a_target_that_falls_has_not_been_worked_off() -> None:
    people = People()

    assert people.hear(of_target(oldest_due_at=old(60))) == ["firing backlog onec"]
    fallen = replace(of_target(state="down", since=NOW, oldest_due_at=old(60)), now=NOW + 5 * MINUTE)
    assert people.hear(fallen) == []
    assert people.hear(well(NOW + HOUR)) == ["resolved backlog onec"]


def test_a_silent_source_of_which_everything_was_deleted_is_not_said_to_be_heard() -> None:
    people = People()
    source = SourceStatus(name="trade", last_at=NOW, watched_since=NOW, zone=MOSCOW)

    assert people.hear(Snapshot(now=NOW + 24 * HOUR, sources=(source,))) == ["firing silent trade"]
    later = NOW + 25 * HOUR
    assert people.hear(Snapshot(now=later, sources=(replace(source, last_at=None, watched_since=later),))) == []
    assert people.hear(Snapshot(now=later, sources=(replace(source, last_at=later),))) == ["resolved silent trade"]


def test_more_dead_letters_are_told_by_the_threshold() -> None:
    people = People(Alerts(dead=5))

    def dead(minute: int, count: int) -> list[str]:
        return people.hear(Snapshot(now=NOW + minute * MINUTE, dead={"onec": count}))

    assert [dead(0, 4), dead(1, 5), dead(2, 9), dead(3, 10)] == [[], ["firing dead onec"], [], ["more dead onec"]]
    assert [dead(4, 2), dead(5, 6), dead(6, 7)] == [[], [], ["more dead onec"]]  # some were replayed
    assert dead(7, 0) == ["resolved dead onec"]


def test_what_did_not_reach_anybody_is_told_later_even_when_it_is_over_by_then() -> None:
    people = People()

    assert people.hear(down(NOW), deaf=True) == []
    assert people.hear(down(NOW + MINUTE), deaf=True) == []
    assert people.hear(well(NOW + HOUR), deaf=True) == []
    assert people.hear(well(NOW + 2 * HOUR)) == ["past target onec"]
    assert people.hear(well(NOW + 3 * HOUR)) == []

    people.hear(down(NOW + 24 * HOUR))
    people.hear(well(NOW + 25 * HOUR), deaf=True)
    assert people.hear(well(NOW + 26 * HOUR)) == ["resolved target onec"]


Look = tuple[int, frozenset[str], bool]
looks = st.lists(
    st.tuples(st.integers(20, 3600), st.frozensets(st.sampled_from(["down", "dead", "disk"])), st.booleans()),
    max_size=60,
)


def facts_of(at: datetime, wrong: frozenset[str]) -> Snapshot:
    return Snapshot(
        now=at,
        targets=(a_target(state="down" if "down" in wrong else "open", since=at - HOUR),),
        dead={"onec": int("dead" in wrong)},
        free_bytes=0 if "disk" in wrong else 1 << 40,
    )


@given(looks)
def test_whatever_goes_wrong_people_are_told_in_order_seldom_and_in_the_end_know_how_it_is(course: list[Look]) -> None:
    people, at, spoken = People(), NOW, NOW - HOUR
    believed: set[str] = set()
    last = course[-1][1] if course else frozenset()
    for seconds, wrong, deaf in [*course, *[(30, last, False)] * 120]:  # at the end nothing changes for an hour
        at += timedelta(seconds=seconds)
        said = people.hear(facts_of(at, wrong), deaf=deaf)
        assert not said or at - spoken >= AT_MOST_EVERY
        spoken = at if said else spoken
        for how, key in (each.split(" ", 1) for each in said):
            assert (key in believed) is (how in ("more", "still", "resolved")), f"{how} {key}"
            believed = believed | {key} if how in ("firing", "more", "still") else believed - {key}
    names = {"down": "target onec", "dead": "dead onec", "disk": "disk"}
    assert believed == {names[each] for each in last}


@given(st.lists(st.integers(20, 299), min_size=2, max_size=200))
def test_a_trouble_that_comes_and_goes_all_the_time_is_told_twice_at_most_in_a_day(pauses: list[int]) -> None:
    people, at, said = People(), NOW, 0
    for number, seconds in enumerate(pauses):
        at += timedelta(seconds=seconds)
        said += len(people.hear(down(at) if number % 2 else well(at)))

    assert at - NOW < LIMITS.remind_after
    assert timedelta(seconds=299 * 2) < FLAPS_WITHIN
    assert said <= 2


# --- the summary of a day


@pytest.mark.parametrize(
    ("now", "moment"),
    [
        ("2026-03-02T09:00", "2026-03-02T09:00"),
        ("2026-03-02T08:59", "2026-03-01T09:00"),
        ("2026-03-02T23:59", "2026-03-02T09:00"),
        ("2026-03-02T00:00", "2026-03-01T09:00"),
    ],
)
def test_the_moment_of_a_summary_is_by_the_clock_of_the_account(now: str, moment: str) -> None:
    at, expected = (datetime.fromisoformat(each).replace(tzinfo=SAMARA) for each in (now, moment))

    assert summary_moment(time(9), SAMARA, at.astimezone(UTC)) == expected


def morning(at: datetime, facts: Snapshot | None = None) -> Snapshot:
    """With a summary wanted at NOW's time of the day."""
    return replace(facts or well(at), now=at, summary_at=summary_moment(NOW.time(), ZoneInfo("UTC"), at))


def test_a_summary_is_sent_once_a_day_at_its_time() -> None:
    people, minutes = People(), range(-30, 3 * 24 * 60, 10)
    people.hear(morning(NOW - HOUR - 24 * HOUR + SUMMARY_WITHIN))

    said = {minute: people.hear(morning(NOW + minute * MINUTE)) for minute in minutes}

    assert {minute: each for minute, each in said.items() if each} == {day * 24 * 60: [SUMMARY] for day in range(3)}


def test_a_summary_that_was_not_taken_is_sent_with_a_later_look_while_it_is_of_use() -> None:
    people = People()

    assert people.hear(morning(NOW), deaf=True) == []
    assert people.hear(morning(NOW + HOUR)) == [SUMMARY]
    assert people.hear(morning(NOW + 2 * HOUR)) == []
    assert people.hear(morning(NOW + 24 * HOUR), deaf=True) == []
    assert people.hear(morning(NOW + 24 * HOUR + SUMMARY_WITHIN + MINUTE)) == []


def test_a_summary_goes_with_what_is_wrong_and_is_no_trouble_itself() -> None:
    people = People()

    assert people.hear(morning(NOW, down(NOW))) == ["firing target onec", SUMMARY]
    assert people.hear(Snapshot(now=NOW + HOUR, store_down_since=NOW)) == ["firing store"]
    assert people.hear(well(NOW + 2 * HOUR)) == ["resolved store", "resolved target onec"], "and nothing of a summary"


def test_a_summary_waits_for_its_minute() -> None:
    people = People()
    people.hear(down(NOW - timedelta(seconds=30)))

    assert people.hear(morning(NOW, down(NOW))) == []
    assert people.hear(morning(NOW + MINUTE, down(NOW))) == [SUMMARY]


def test_a_summary_has_a_line_for_each_source_and_each_target() -> None:
    figures = TargetFigures(
        name="onec",
        state="down",
        reason=None,
        due=3,
        oldest_due_at=NOW,
        delivered=118,
        dead=1,
        last_error=None,
        retry_not_before=None,
    )
    day = Summary(
        sources=(
            ("trade", CallCounts(notifications=90, calls=21, unreadable=2), 4, 1),
            ("service", CallCounts(notifications=0, calls=0, unreadable=0), 0, 0),
        ),
        targets=((figures, 7), (replace(figures, name="b24", state="open", dead=0), 0)),
    )

    assert messages.summary(day, "ru").splitlines() == [
        "За последние сутки:",
        "trade: 21 звонок, из них пропущено: 4; ждут звонка: 1; не удалось разобрать уведомлений: 2",
        "service: 0 звонков, из них пропущено: 0",
        "onec: доставлено: 118, в очереди: 3, не доставлено: 1; неудачных попыток: 7; состояние сейчас: не отвечает",
        "b24: доставлено: 118, в очереди: 3, не доставлено: 0",
    ]
    assert (
        messages.summary(day, "en").splitlines()[1]
        == "trade: 21 calls, missed: 4; wait for a call back: 1; could not be read: 2"
    )


# --- the words

DOWN = Condition(kind="down", name="onec", since=NOW, count=3)


@pytest.mark.parametrize("language", ["ru", "en"])
@pytest.mark.parametrize("transition", TRANSITIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_trouble_and_its_end_have_words(kind: ConditionKind, transition: Transition, language: str) -> None:
    said = messages.body((Notice(transition, Condition(kind=kind, name="onec", since=NOW, count=3)),), language, MOSCOW)

    assert "{" not in said
    assert "  " not in said
    assert ". ." not in said
    assert len(said) > 10
    assert any("а" <= letter <= "я" for letter in said) is (language == "ru")


def test_numbers_have_their_russian_forms() -> None:
    said = [
        messages.body((Notice("firing", replace(DOWN, count=count)),), "ru", MOSCOW).split("; ")[1].split(".")[0]
        for count in (1, 3, 11)
    ]

    assert said == ["ждёт 1 доставка", "ждут 3 доставки", "ждут 11 доставок"]


def test_the_time_is_that_of_the_account() -> None:
    silent = Condition(kind="silent", name="trade", since=NOW, zone=SAMARA)

    assert "02.03 12:45" in messages.body((Notice("firing", DOWN),), "ru", MOSCOW)
    assert "02.03 13:45" in messages.body((Notice("firing", silent),), "ru", MOSCOW)
    assert "02.03.2026" in messages.body(
        (Notice("firing", Condition(kind="token", name="amo", since=NOW)),), "ru", MOSCOW
    )


def test_many_lines_are_summed_up() -> None:
    items = tuple(Notice("firing", Condition(kind="down", name=f"t{number}", since=NOW)) for number in range(25))

    said = messages.body(items, "en", MOSCOW)

    assert said.count("\n") == 10
    assert "and 15 more" in said


def test_a_reason_is_in_the_readers_language_and_by_the_accounts_clock() -> None:
    reason = Message("paused by the operator since %(at)s", at=NOW)

    assert "приостановлен" in messages.body((Notice("firing", replace(DOWN, reason=reason)),), "ru", MOSCOW)
    assert "12:45:00" in messages.body((Notice("firing", replace(DOWN, reason=reason)),), "ru", MOSCOW)


def test_a_targets_own_words_are_told_on_one_line_without_phones_links_and_secrets() -> None:
    reason = (
        "403 for +7 900 555-09-87\r\nat https://portal.example.test/rest/1/S3CRET/ token=S3CRET {name} " + "x" * 500
    )
    said = messages.body((Notice("firing", replace(DOWN, reason=reason)),), "ru", MOSCOW)

    assert "S3CRET" not in said
    assert "555" not in said
    assert "\n" not in said
    assert "403" in said
    assert len(said) < 400
