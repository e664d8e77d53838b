"""What notifications say of a call together, and how it ended."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import pytest

from relay.calls.call_result import call_result
from relay.calls.history import CallHistory
from relay.config import AmoCrmTarget
from relay.targets.amocrm import adapter as amocrm
from relay.targets.amocrm.plan import CALL_STATUSES
from relay.targets.bitrix24 import adapter as bitrix24
from relay.targets.bitrix24.plan import STATUS_CODES
from relay.targets.crm import workflow
from relay.targets.crm.users import users
from tests import stories
from tests.factories import understood
from tests.stories import CLIENT_E164, LINK, OUT, STORIES, answered, finished, incoming, lost, not_taken, outgoing


def told(*notifications: Any) -> CallHistory:
    return CallHistory(tuple(understood(list(notifications))))


@pytest.mark.parametrize(
    ("story", "stages"),
    [
        ("answered", ["ringing", "ringing", "over"]),
        ("lost by the client", ["ringing", "over", "over"]),
        ("outgoing answered", ["ringing", "over"]),
        ("beginning missed", ["over"]),
        ("out of order", ["over", "nothing", "nothing"]),
        ("lost, out of order", ["over", "over", "nothing"]),
        ("recording later", ["ringing", "ringing", "over", "recorded"]),
        ("recording first", ["ringing", "ringing", "recorded", "over"]),
        ("hung up after a talk", ["ringing", "ringing", "nothing", "over"]),
    ],
)
def test_each_notification_has_its_place_in_the_call(story: str, stages: list[str]) -> None:
    said = understood(STORIES[story])

    assert [CallHistory(tuple(said[: count + 1])).phase for count in range(len(said))] == stages


@pytest.mark.parametrize("question", ["already_ended", "phase"])
def test_a_long_call_is_read_once(question: str) -> None:
    """A call of thousands of notifications, asked of at each of them, must not take longer and longer."""

    def reads(length: int) -> int:
        count = 0

        class Ringing:
            @property
            def kind(self) -> str:
                nonlocal count
                count += 1
                return "incoming"

        getattr(CallHistory((Ringing(),) * length), question)
        return count

    assert 100 <= reads(100) <= 1000
    assert reads(200) <= 2 * reads(100)


# finish_reason, lost_reason, direction; Bitrix24's code and amoCRM's status
ENDINGS = [
    ("subscriber_disconnects", "Абонент разорвал соединение", "in", "304", 6, "the client gave up"),
    ("operator_not_responsible", "Сотрудник не отвечает", "in", "304", 6, "nobody answered"),
    ("timeout", "Время дозвона истекло", "in", "304", 6, "nobody answered in time"),
    ("employee_status_break", 'Сотрудник в статусе "Перерыв"', "in", "304", 6, "nobody was there to answer"),
    ("operator_busy", "Сотрудник занят", "in", "486", 7, "busy"),
    ("subscriber_busy", "Абонент занят", "out", "486", 7, "busy"),
    ("operator_disconnects", "Сотрудник разорвал соединение", "in", "603", 6, "dropped by the operator"),
    ("numb_not_exists", "Виртуальный номер не найден", "in", "404", 5, "no such number"),
    ("incorrect_input", "Некорректный ввод", "out", "404", 5, "a wrong number"),
    ("sip_offline", "SIP-линия не зарегистрирована", "in", "480", 6, "unavailable"),
    ("not_enough_money", "Недостаточно средств", "out", "OTHER", 6, "no CRM has a word for it"),
    ("not_enough_money", "Недостаточно средств", "in", "304", 6, "but somebody called in vain"),
    (
        "a_new_mnemonic",
        "Слово, которого мы не знаем",
        "out",
        "603",
        6,
        "a loss told of at /rec is the operator's doing",
    ),
    ("a_new_mnemonic", "Слово, которого мы не знаем", "in", "304", 6, "an unknown word must not hide a missed call"),
    ("a_new_mnemonic", "Сотрудник занят", "in", "486", 7, "the reason of the loss is the main field"),
    ("operator_busy", "Слово, которого мы не знаем", "in", "486", 7, "then the mnemonic"),
    ("SUBSCRIBER_BUSY", "subscriber_busy", "out", "486", 7, "a mnemonic where the text should be, in any case"),
]


@pytest.mark.parametrize(("finish_reason", "lost_reason", "direction", "code", "status", "remark"), ENDINGS)
def test_words_for_the_end_of_a_lost_call(
    finish_reason: str, lost_reason: str, direction: str, code: str, status: int, remark: str
) -> None:
    own = OUT if direction == "out" else {}
    found = call_result(told(not_taken(finish_reason=finish_reason, lost_reason=lost_reason, **own)))

    assert (STATUS_CODES[found.result], CALL_STATUSES[found.result]) == (code, status), remark
    assert (found.seconds, found.reason) == (0, lost_reason)


@pytest.mark.parametrize(
    ("changes", "result", "seconds", "remark"),
    [
        ({}, "talked", 51, "63 s, of which 12 were waiting"),
        ({"total_time_duration": None, "wait_time_duration": None}, "talked", 0, "answered, and no durations"),
        ({"total_time_duration": 12}, "missed", 0, "nobody talked: UIS's word for the end decides"),
        ({"is_lost": True}, "missed", 0, "UIS says that it was lost"),
        (
            {"total_time_duration": 12, "finish_reason": "not_enough_money"},
            "missed",
            0,
            "no talk, and a word that no CRM has: somebody called in vain",
        ),
        ({"finish_reason": "operator_busy"}, "talked", 51, "answered, then passed on to a colleague who was busy"),
    ],
)
def test_the_end_of_a_call(changes: dict[str, Any], result: str, seconds: int, remark: str) -> None:
    found = call_result(told(incoming(), answered(), finished(**changes)))

    assert (found.result, found.seconds) == (result, seconds), remark


@pytest.mark.parametrize(
    ("changes", "direction", "expected", "remark"),
    [
        # the standard template: durations alone
        ({"talk": 51, "total": 63, "wait": 12}, "in", ("talked", 51, None), "a talk"),
        ({"talk": 0, "total": 12, "wait": 12}, "in", ("missed", 0, None), "no talk: somebody called in vain"),
        ({"total": 12, "wait": 12}, "in", ("missed", 0, None), "the same, by what is left of the total"),
        ({"talk": 0, "total": 12, "wait": 12}, "out", ("missed", 0, None), "nobody answered us"),
        ({"total": 63, "wait": 12}, "in", ("talked", 51, None), "nothing speaks against a talk"),
        ({}, "in", ("other", 0, None), "nothing is known"),
        # a reason counts before a talk that is only derived: a menu takes time too
        (
            {"total": 30, "wait": 10, "finish_reason": "operator_not_responsible"},
            "in",
            ("missed", 0, "Сотрудник не отвечает"),
            "nobody answered after the menu",
        ),
        (
            {"total": 30, "wait": 10, "finish_reason": "timeout"},
            "out",
            ("missed", 0, "Время дозвона истекло"),
            "nobody answered us",
        ),
        (
            {"total": 30, "wait": 10, "finish_reason": "operator_busy", "is_lost": False},
            "in",
            ("busy", 0, "Сотрудник занят"),
            "though UIS does not count it as lost",
        ),
        (
            {"total": 30, "wait": 10, "finish_reason": "not_enough_money"},
            "out",
            ("other", 0, "Недостаточно средств"),
            "a word that no CRM has",
        ),
        (
            {"total": 30, "wait": 10, "finish_reason": "not_enough_money"},
            "in",
            ("missed", 0, "Недостаточно средств"),
            "but somebody called in vain",
        ),
        (
            {"total": 30, "wait": 10, "finish_reason": "subscriber_disconnects"},
            "in",
            ("talked", 20, None),
            "who hung up says nothing of it",
        ),
        (
            {"total": 30, "wait": 10, "finish_reason": "a_new_mnemonic"},
            "in",
            ("talked", 20, None),
            "neither does a word that is not known",
        ),
        (
            {"talk": 20, "total": 30, "wait": 10, "finish_reason": "operator_busy"},
            "in",
            ("talked", 20, None),
            "UIS itself says that they talked",
        ),
        (
            {"talk": 0, "finish_reason": "a_new_mnemonic"},
            "out",
            ("other", 0, "a_new_mnemonic"),
            "a word that is not known",
        ),
        # Novofon's word
        ({"call_status": "answered"}, "in", ("talked", 0, None), "without durations"),
        ({"total": 63, "wait": 12, "call_status": "Success"}, "in", ("talked", 51, None), "in any case"),
        (
            {"total": 30, "wait": 10, "call_status": "no_answer"},
            "in",
            ("missed", 0, "no_answer"),
            "before a derived talk",
        ),
        ({"talk": 0, "total": 12, "wait": 12, "call_status": "busy"}, "in", ("busy", 0, "busy"), "and what of no talk"),
        ({"talk": 20, "call_status": "missed"}, "in", ("talked", 20, None), "never against UIS's own durations"),
        ({"talk": 0, "call_status": "answered"}, "in", ("missed", 0, "answered"), "nor the other way round"),
        (
            {"finish_reason": "operator_disconnects", "call_status": "busy", "talk": 0},
            "in",
            ("declined", 0, "Сотрудник разорвал соединение"),
            "UIS's reason first",
        ),
        ({"talk": 0, "call_status": "x"}, "in", ("missed", 0, "x"), "a word that is not known"),
        ({"call_status": 5}, "in", ("other", 0, None), "no word at all"),
    ],
)
def test_the_end_of_a_call_by_durations_reason_and_status(
    changes: dict[str, Any], direction: str, expected: tuple[Any, ...], remark: str
) -> None:
    names = {"talk": "talk_time_duration", "total": "total_time_duration", "wait": "wait_time_duration"}
    said = {
        "call_session_id": 7,
        "direction": direction,
        **{names.get(key, key): value for key, value in changes.items()},
    }
    found = call_result(told(("rec", json.dumps(said).encode())))

    assert (found.result, found.seconds, found.reason) == expected, remark


def test_a_mnemonic_is_told_by_its_russian_text() -> None:
    story = told(outgoing(), not_taken(finish_reason="subscriber_busy", lost_reason=None, is_lost=None, **OUT))

    assert call_result(story).reason == "Абонент занят"


def test_the_call_as_a_whole_is_known_from_whatever_said_it_first() -> None:
    story = told(incoming(), outgoing(), finished(virtual_phone_number=None))

    assert (story.direction, story.client, story.line) == ("in", CLIENT_E164, "+74955550100")
    assert story.started_at is not None


@pytest.mark.parametrize("number", [None, "Anonymous", ""])
def test_a_withheld_number_is_none(number: str | None) -> None:
    assert told(incoming(calling_phone_number=number)).client is None


@pytest.mark.parametrize(
    ("changes", "link", "remark"),
    [
        ({}, LINK, "the link of the whole call"),
        ({"full_record_file_link": None, "wav_call_records": [LINK]}, LINK, "else that of a part"),
        ({"full_record_file_link": None, "wav_call_records": [17, 18]}, None, "ids are no links"),
        ({"full_record_file_link": None}, None, "no recording"),
    ],
)
def test_the_recordings_link(changes: dict[str, Any], link: str | None, remark: str) -> None:
    assert told(finished(**changes)).record == link, remark


def test_the_link_of_a_recorded_talk_is_found_among_what_has_no_field() -> None:
    assert told(stories.recorded()).record == LINK


CRM = AmoCrmTarget(
    name="crm", url="https://example.test", default_user=1, users={"101": 12, "102": 13}, employees={"5": 14}
)


@pytest.mark.parametrize(
    ("notifications", "found", "remark"),
    [
        ([incoming()], [], "nobody has it yet"),
        ([incoming(), answered()], [12], "by extension"),
        ([incoming(), answered(), answered(extension="102")], [13, 12], "the latest first"),
        ([incoming(), answered(extension="199")], ["199"], "an extension to ask the CRM for"),
        ([finished(extension=None, employee_ids=[4, 5])], [14], "by the employee's id"),
        ([finished(extension="199", employee_ids=[5])], ["199", 14], "the extension first"),
        ([incoming(), lost()], [], "nobody took it"),
    ],
)
def test_whose_call_it_is(notifications: list[Any], found: list[Any], remark: str) -> None:
    assert list(users(told(*notifications), CRM)) == found, remark


@pytest.mark.parametrize("adapter", [amocrm, bitrix24])
def test_a_workflow_can_take_each_step_of_its_plan(adapter: Any) -> None:
    steps = re.findall(r'Step\("(\w+)"', inspect.getsource(adapter.plan) + inspect.getsource(workflow))

    assert len(set(steps)) > 5
    assert not [step for step in steps if not callable(getattr(adapter._Call, f"_{step}", None))]
