"""What is understood of a body that is broken in the known ways, alone and in pairs.

Each row is a remark, the body at /in, and what must be understood: fields of the CallEvent, or QUARANTINED.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.calls import read

QUARANTINED = "quarantined"
Row = tuple[str, str | bytes, Any]

_TAIL = '"call_session_id":7,"direction":"in"'

ROWS: list[Row] = [
    # quoted placeholders: the template put them into quotes, UIS renders quotes of its own
    ("quoted text", '{"scenario_name":""Основной"",' + _TAIL + "}", {"scenario": "Основной", "session_id": "7"}),
    ("quoted phone", '{"calling_phone_number":""79005550123"",' + _TAIL + "}", {"caller": "+79005550123"}),
    ("quoted number", '{"call_session_id":"7","direction":""in""}', {"session_id": "7", "direction": "in"}),
    ("quoted null", '{"lost_reason":"null",' + _TAIL + "}", {"lost_reason": None, "kind": "incoming"}),
    ("quoted list", '{"employee_ids":"[1,2]",' + _TAIL + "}", {"employee_ids": (1, 2)}),
    ("quoted list of texts", '{"wav_call_records":"["a","b"]",' + _TAIL + "}", {"wav_records": ("a", "b")}),
    ("quoted empty text", '{"scenario_name":"""",' + _TAIL + "}", {"scenario": None, "session_id": "7"}),
    ("quoted, the last field", "{" + _TAIL + ',"scenario_name":""Основной""}', {"scenario": "Основной"}),
    ("quoted, escaped inside", '{"scenario_name":""ООО \\"А\\""",' + _TAIL + "}", {"scenario": 'ООО "А"'}),
    (
        "quoted, an unknown field after it",
        '{"scenario_name":""А"","zz":1,' + _TAIL + "}",
        {"scenario": "А", "extra": {"zz": 1}},
    ),
    (
        "all quoted",
        '{"direction":""in"","call_session_id":"7","scenario_name":""А""}',
        {"session_id": "7", "scenario": "А"},
    ),
    ("quoted in single quotes", '{"scenario_name":\'"А"\',' + _TAIL + "}", {"scenario": "А"}),
    (
        "quoted, all in single quotes",
        "{'scenario_name':''А'','call_session_id':''7''}",
        {"scenario": "А", "session_id": "7"},
    ),
    (
        "doubled quotes inside",
        '{"scenario_name":""ТД ""Сокол" опт",' + _TAIL + "}",
        {"scenario": None, "session_id": "7"},
    ),
    (
        "in doubt, but surely filled",
        '{"lost_reason":""А" и "Б"",' + _TAIL + "}",
        {"lost_reason": None, "kind": "lost", "is_lost": True},
    ),
    # placeholders that were left
    ("bare placeholder", '{"scenario_name":{{scenario_name}},' + _TAIL + "}", {"scenario": None, "session_id": "7"}),
    ("quoted placeholder left", '{"scenario_name":"{{scenario_name}}",' + _TAIL + "}", {"scenario": None}),
    ("placeholder with spaces", '{"scenario_name":{{ scenario_name }},' + _TAIL + "}", {"scenario": None}),
    (
        "placeholder at the end",
        "{" + _TAIL + ',"scenario_name":{{scenario_name}}}',
        {"scenario": None, "session_id": "7"},
    ),
    (
        "bare field name",
        '{"extension_phone_number":extension_phone_number,' + _TAIL + "}",
        {"extension": None, "kind": "incoming"},
    ),
    (
        "quoted field name",
        '{"extension_phone_number":"extension_phone_number",' + _TAIL + "}",
        {"extension": None, "kind": "incoming"},
    ),
    # too long, too large, too many
    (
        "a phone of 65 characters",
        '{"calling_phone_number":"+7' + " " * 52 + '79005550123",' + _TAIL + "}",
        {"caller": None, "session_id": "7"},
    ),
    (
        "a phone of 64 characters",
        '{"calling_phone_number":"+' + " " * 52 + '79005550123",' + _TAIL + "}",
        {"caller": "+79005550123"},
    ),
    (
        "a session of 65 characters",
        '{"call_session_id":"' + "7" * 65 + '","direction":"in"}',
        {"session_id": None, "direction": "in"},
    ),
    (
        "an extension of 65 characters",
        '{"extension_phone_number":"' + "1" * 65 + '",' + _TAIL + "}",
        {"extension": None},
    ),
    ("a thousand ids", '{"employee_ids":"' + "1," * 1000 + '",' + _TAIL + "}", {"employee_ids": (1,) * 1000}),
    (
        "more ids than that",
        '{"employee_ids":"' + "1," * 1001 + '",' + _TAIL + "}",
        {"employee_ids": (), "session_id": "7"},
    ),
    ("a number without end in a list", '{"attributes":[1e999],' + _TAIL + "}", {"extra": {"attributes": "[1e999]"}}),
    # a hole, commas
    ("missing value", '{"scenario_name":,' + _TAIL + "}", {"scenario": None, "session_id": "7"}),
    ("missing last value", "{" + _TAIL + ',"scenario_name":}', {"scenario": None, "session_id": "7"}),
    ("trailing comma", "{" + _TAIL + ",}", {"session_id": "7", "direction": "in"}),
    ("trailing comma and lines", "{" + _TAIL + ",\n\n}\n", {"session_id": "7"}),
    ("doubled comma", '{"direction":"in",,"call_session_id":7}', {"session_id": "7", "direction": "in"}),
    (
        "forgotten comma between lines",
        '{"direction":"in"\n"call_session_id":7}',
        {"session_id": "7", "direction": "in"},
    ),
    # quotes and line breaks inside a value
    ("quotes at the end of a value", '{"scenario_name":"ООО "Ромашка"",' + _TAIL + "}", {"scenario": 'ООО "Ромашка"'}),
    ("quotes in the middle", '{"scenario_name":"ТД "Сокол" опт",' + _TAIL + "}", {"scenario": 'ТД "Сокол" опт'}),
    ("one quote", '{"scenario_name":"монитор 27" дюймов",' + _TAIL + "}", {"scenario": 'монитор 27" дюймов'}),
    ("quotes and a comma", '{"scenario_name":"Рога", "Копыта",' + _TAIL + "}", {"scenario": 'Рога", "Копыта'}),
    ("quotes, the last field", "{" + _TAIL + ',"scenario_name":"ООО "Ромашка""}', {"scenario": 'ООО "Ромашка"'}),
    (
        "quotes in an unknown field",
        '{"company":"ООО "Ромашка"",' + _TAIL + "}",
        {"extra": {"company": 'ООО "Ромашка"'}},
    ),
    ("a brace inside broken quotes", '{"scenario_name":"а "}" б",' + _TAIL + "}", {"scenario": 'а "}" б'}),
    ("raw line break", '{"scenario_name":"Отдел\nпродаж",' + _TAIL + "}", {"scenario": "Отдел\nпродаж"}),
    ("raw tab", '{"scenario_name":"Отдел\tпродаж",' + _TAIL + "}", {"scenario": "Отдел\tпродаж"}),
    ("a quote is missing", '{"scenario_name":"Основной,' + _TAIL + "}", QUARANTINED),
    ("quotes before an unknown field", '{"scenario_name":"ООО "Рога", "inn":"77"",' + _TAIL + "}", QUARANTINED),
    (
        "quotes all around, and more inside",
        '{"scenario_name":""А" и "Б"",' + _TAIL + "}",
        {"scenario": None, "session_id": "7"},
    ),
    ("not an escape", '{"scenario_name":"С:\\Архив",' + _TAIL + "}", {"scenario": None, "session_id": "7"}),
    # single quotes
    (
        "single quotes",
        "{'scenario_name':'Основной','call_session_id':7,'direction':'in'}",
        {"scenario": "Основной", "session_id": "7"},
    ),
    (
        "single quotes around a double",
        "{'scenario_name':'ООО \"А\"','call_session_id':7}",
        {"scenario": 'ООО "А"', "session_id": "7"},
    ),
    (
        "an apostrophe in single quotes",
        "{'scenario_name':'О'Кей','call_session_id':7}",
        {"scenario": "О'Кей", "session_id": "7"},
    ),
    # cut off
    ("only the brace is missing", "{" + _TAIL + ',"scenario_name":"А"\n', {"session_id": "7", "scenario": "А"}),
    ("cut inside a value", '{"call_session_id":7,"scenario_name":"Осно', QUARANTINED),
    ("cut inside a number", '{"direction":"in","call_session_id":33', QUARANTINED),
    ("cut after a comma", '{"direction":"in","call_session_id":7,', QUARANTINED),
    ("cut inside a name", '{"direction":"in","call_sess', QUARANTINED),
    ("cut after a colon", '{"direction":"in","call_session_id":', QUARANTINED),
    ("cut between two fields", '{"direction":"in","call_session_id":"7"', QUARANTINED),
    # encodings
    ("byte order mark", b"\xef\xbb\xbf" + '{"scenario_name":"А",'.encode() + _TAIL.encode() + b"}", {"scenario": "А"}),
    ("windows-1251", ('{"scenario_name":"Основной",' + _TAIL + "}").encode("cp1251"), {"scenario": "Основной"}),
    ("windows-1251, ё and «»", ('{"scenario_name":"«Пётр»",' + _TAIL + "}").encode("cp1251"), {"scenario": "«Пётр»"}),
    ("not text", b"\xff\xfe\x00\x98\x01", QUARANTINED),
    # forms
    ("form", "direction=in&call_session_id=7&scenario_name=%D0%90", {"session_id": "7", "scenario": "А"}),
    (
        "form, windows-1251",
        b"direction=in&call_session_id=7&scenario_name=%CE%F1%ED%EE%E2%ED%EE%E9",
        {"scenario": "Основной"},
    ),
    ("form, an & is missing", "direction=incall_session_id=7&scenario_name=A", {"direction": "in", "session_id": "7"}),
    (
        "form, a raw & in a value",
        "direction=in&call_session_id=7&scenario_name=A&B",
        {"scenario": None, "session_id": "7"},
    ),
    ("form, a list", "call_session_id=7&employee_ids=%5B1%2C2%5D", {"employee_ids": (1, 2)}),
    (
        "form, empty and left",
        "call_session_id=7&lost_reason=&scenario_name={{scenario_name}}",
        {"lost_reason": None, "scenario": None},
    ),
    ("form, equal names are a list", "call_session_id=7&employee_ids=1&employee_ids=2", {"employee_ids": (1, 2)}),
    (
        "form, equal names in another case",
        "call_session_id=7&Employee_ids=1&employee_ids=2&employee_ids=1",
        {"employee_ids": (1, 2, 1)},
    ),
    (
        "form, one value twice",
        "call_session_id=7&call_session_id=7&direction=in",
        {"session_id": "7", "direction": "in"},
    ),
    ("form, empty and filled", "call_session_id=7&scenario_name=&scenario_name=A", {"scenario": "A"}),
    (
        "form, two texts for one",
        "call_session_id=7&scenario_name=A&scenario_name=B",
        {"scenario": None, "extra": {"scenario_name": ["A", "B"]}},
    ),
    (
        "form, a raw & behind nothing",
        "call_session_id=7&scenario_name=&B",
        {"scenario": None, "extra": {"scenario_name": "&B"}},
    ),
    ("form, a raw & and the name again", "call_session_id=7&a=1&b&a=2", {"extra": {"a": "1&b or '2'"}}),
    (
        "form, brackets without end",
        "call_session_id=7&a=" + "[" * 5000,
        {"session_id": "7", "extra": {"a": "[" * 5000}},
    ),
    (
        "form, ids in brackets without end",
        "call_session_id=7&employee_ids=" + "[" * 5000,
        {"employee_ids": (), "session_id": "7"},
    ),
    ("form, deep brackets", "call_session_id=7&a=" + "[" * 100 + "]" * 100, {"extra": {"a": "[" * 100 + "]" * 100}}),
    (
        "form, glued thrice",
        "direction=inis_lost=falsecall_session_id=7",
        {"direction": "in", "is_lost": False, "session_id": "7"},
    ),
    ("form, a plus in a phone", "call_session_id=7&calling_phone_number=+79005550123", {"caller": "+79005550123"}),
    # names
    ("names in any case", '{"Call_Session_ID":7,"DIRECTION":"in"}', {"session_id": "7", "direction": "in"}),
    ("twice, the same", '{"direction":"in","Direction":"in","call_session_id":7}', {"direction": "in"}),
    (
        "twice, different",
        '{"scenario_name":"А","scenario_name":"Б",' + _TAIL + "}",
        {"scenario": None, "session_id": "7"},
    ),
    (
        "nested",
        '{"call_info":{"call_session_id":7,"direction":"in"},"contact_info":{"contact_phone_number":"79005550123"}}',
        {"session_id": "7", "client_number": "+79005550123"},
    ),
    (
        "twice inside a list",
        '{"attributes":[{"b":1,"b":2}],' + _TAIL + "}",
        {"extra": {"attributes": [{"b": None}]}, "session_id": "7"},
    ),
    (
        "twice inside a group's object",
        '{"g":{"h":{"b":1,"b":2},"call_session_id":7}}',
        {"extra": {"g.h": {"b": None}}, "session_id": "7"},
    ),
    (
        "in three groups, different",
        '{"a":{"call_session_id":1},"b":{"call_session_id":2},"c":{"call_session_id":3},"direction":"in"}',
        {"session_id": None},
    ),
    (
        "in two groups, different, but surely filled",
        '{"a":{"lost_reason":"А"},"b":{"lost_reason":"Б"},"call_session_id":7}',
        {"lost_reason": None, "kind": "lost"},
    ),
    ("nested, empty group", '{"call_info":{"call_session_id":7},"contact_info":{}}', {"session_id": "7"}),
    # pairs
    (
        "quoted and hole",
        '{"scenario_name":""А"","call_source":,' + _TAIL + "}",
        {"scenario": "А", "call_source": None, "session_id": "7"},
    ),
    ("quoted and trailing comma", '{"scenario_name":""А"",' + _TAIL + ",}", {"scenario": "А", "session_id": "7"}),
    (
        "quotes and hole",
        '{"scenario_name":"ООО "А"","call_source":,' + _TAIL + "}",
        {"scenario": 'ООО "А"', "session_id": "7"},
    ),
    (
        "quotes and placeholder",
        '{"scenario_name":"ООО "А"","call_source":{{call_source}},' + _TAIL + "}",
        {"scenario": 'ООО "А"', "call_source": None},
    ),
    (
        "quotes and a missing brace",
        "{" + _TAIL + ',"scenario_name":"ООО "А""\n',
        {"scenario": 'ООО "А"', "session_id": "7"},
    ),
    (
        "quotes and windows-1251",
        ('{"scenario_name":"ООО "Ромашка"",' + _TAIL + "}").encode("cp1251"),
        {"scenario": 'ООО "Ромашка"'},
    ),
    (
        "mark, quoted and comma",
        b"\xef\xbb\xbf" + ('{"scenario_name":""А"",' + _TAIL + ",}").encode(),
        {"scenario": "А"},
    ),
    (
        "nested and quoted",
        '{"call_info":{"call_session_id":""7"","direction":"in",},"scenario_name":"А"}',
        {"session_id": "7", "scenario": "А"},
    ),
    (
        "nested and a hole",
        '{"call_info":{"call_session_id":7,"direction":},"scenario_name":"А"}',
        {"session_id": "7", "scenario": "А"},
    ),
    ("single quotes and comma", "{'scenario_name':'А','call_session_id':7,}", {"scenario": "А", "session_id": "7"}),
    ("quotes, and cut", '{"scenario_name":"ООО "А"","call_session_id":7,"calling_phone_n', QUARANTINED),
    # not damage, but not a notification either
    ("empty", "", QUARANTINED),
    ("an empty object", "{}", QUARANTINED),
    ("a list", '[{"call_session_id":7}]', QUARANTINED),
    ("nothing of UIS", '{"hello":"world"}', QUARANTINED),
    ("a page", "<html><body>hello</body></html>", QUARANTINED),
    ("text after the object", "{" + _TAIL + '} {"a":1}', QUARANTINED),
    ("nested more deeply than a notification", '{"call_session_id":7,"a":' + "[" * 100 + "]" * 100 + "}", QUARANTINED),
    ("nested too deeply, damaged", '{"call_session_id":7,"a":' + "[" * 100 + "]" * 100 + ",}", QUARANTINED),
    ("nested too deeply", '{"call_session_id":7,"a":' + "[" * 5000 + "]" * 5000 + "}", QUARANTINED),
]


@pytest.mark.parametrize(("body", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_is_understood_of_a_damaged_body(body: str | bytes, expected: Any) -> None:
    understood = read(body.encode() if isinstance(body, str) else body)

    if expected is QUARANTINED:
        assert understood.call is None
        assert understood.problem
    else:
        assert understood.call is not None, understood.problem
        assert {name: getattr(understood.call, name) for name in expected} == expected


def test_the_table_is_as_large_as_promised() -> None:
    assert len(ROWS) >= 40


REPAIRED = [
    row for row in ROWS if row[0] in ("quoted text", "missing value", "trailing comma", "one quote", "windows-1251")
]


@pytest.mark.parametrize("row", REPAIRED, ids=[row[0] for row in REPAIRED])
def test_every_repair_is_noted(row: Row) -> None:
    body = row[1]
    call = read(body.encode() if isinstance(body, str) else body).call

    assert call is not None
    assert call.notes


def test_a_sound_body_has_no_notes() -> None:
    assert read(("{" + _TAIL + "}").encode()).notes == ()
