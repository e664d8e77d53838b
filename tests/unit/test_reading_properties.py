"""Rules of reading, tested over whatever hypothesis can think of."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from relay.models import CallEvent, Kind
from relay.sandbox.corruption import CORRUPTIONS
from relay.sandbox.uis import render
from relay.uis import parser as bodies
from relay.uis.rendering import render as as_uis
from relay.uis.rendering import template_text
from relay.uis.variables import VARIABLES
from tests.calls import ENDPOINT, MOSCOW, STANDARD, VALUES, read

_TEXT = st.text(
    alphabet=st.one_of(
        st.sampled_from("\"',:{}[]\\/ -«»№;&=%"),
        st.characters(min_codepoint=0x410, max_codepoint=0x44F),
        st.characters(min_codepoint=0x20, max_codepoint=0x7E),
    ),
    min_size=1,
    max_size=25,
).filter(lambda text: text.strip() not in VARIABLES)
_COMPANY = st.sampled_from(['ООО "Ромашка"', 'ТД "Сокол" опт', 'Рога, "Копыта" и Ко', "О'Кей", 'монитор 27" дюймов'])
_PHONE = st.from_regex(r"7900555[0-9]{4}", fullmatch=True)


@st.composite
def values(draw: Any) -> dict[str, Any]:
    """What a call may hold: the standard values, with free text where UIS has free text."""
    total = draw(st.integers(0, 9999))
    return {
        **VALUES,
        "call_session_id": draw(st.integers(1, 2**40)),
        "calling_phone_number": draw(_PHONE),
        "scenario_name": draw(st.one_of(st.none(), _COMPANY, _TEXT)),
        "lost_reason": draw(st.one_of(st.none(), st.just("Абонент разорвал соединение"))),
        "total_time_duration": total,
        "wait_time_duration": draw(st.integers(0, total)),
        "extension_phone_number": draw(st.one_of(st.none(), st.just("101"))),
        "employee_ids": draw(st.one_of(st.none(), st.lists(st.integers(1, 10**6), max_size=3))),
        "is_lost": draw(st.booleans()),
    }


def _comparable(call: CallEvent) -> dict[str, Any]:
    """Everything but how it was read."""
    return {name: getattr(call, name) for name in CallEvent.__struct_fields__ if name != "notes"}


@given(st.binary(max_size=400), st.sampled_from(["in", "out", "rec", "any"]), st.booleans())
def test_any_bytes_at_all_are_understood_or_quarantined(body: bytes, endpoint: str, is_query: bool) -> None:
    understood = read(body, endpoint, is_query=is_query)

    assert (understood.call is None) == (understood.problem is not None)
    assert "reader failed" not in (understood.problem or "")
    if understood.call is not None:
        msgspec.json.encode(understood.call)  # can be stored


@given(st.text(alphabet="{}[]\"':,\\ntrue0123456789direction_call_sesid=&\n ", max_size=120))
def test_almost_json_never_breaks_the_reader(text: str) -> None:
    understood = read(('{"call_session_id":1,' + text).encode())

    assert "reader failed" not in (understood.problem or "")
    if understood.call is not None:
        sent = as_uis(
            bodies.read(('{"call_session_id":1,' + text).encode()), understood.call, endpoint="in", zone=MOSCOW
        )
        msgspec.json.decode(sent)  # what a target gets is strict JSON, whatever came


@pytest.mark.parametrize("damage", CORRUPTIONS.values(), ids=CORRUPTIONS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(kind=st.sampled_from(STANDARD), said=values(), chance=st.integers(0, 2**32))
def test_one_damage_never_makes_a_wrong_value(damage: Any, kind: Kind, said: dict[str, Any], chance: int) -> None:
    """The same CallEvent, or a field left empty with a note, or a quarantine."""
    sound = render(template_text(kind), said)
    damaged = damage(sound.decode(), random.Random(chance))
    expected = read(sound, ENDPOINT[kind]).call
    assert expected is not None
    assume(_damage_is_visible(damage.__name__, said["scenario_name"] or ""))

    found = read(damaged, ENDPOINT[kind]).call

    if found is None:
        return
    for name, value in _comparable(found).items():
        if name != "extra":
            assert value == getattr(expected, name) or _left_empty(name, value, found, damage.__name__), name


def _damage_is_visible(damage: str, scenario: str) -> bool:
    """Leaves out what no reader could tell: text that reads differently and soundly once it is broken so."""
    if damage == "windows_1251":
        return scenario.encode("cp1251", "replace").decode("cp1251") == scenario and not _is_utf8(scenario)
    if damage == "unescaped_quotes":
        return "\\" not in scenario and not (scenario.startswith('"') and scenario.endswith('"'))
    return not (damage == "raw_newline" and scenario)  # a line break put into a text is part of that text then


def _is_utf8(text: str) -> bool:
    try:
        return not text.isascii() and bool(text.encode("cp1251").decode("utf-8"))
    except UnicodeDecodeError:
        return False


_REPLACED = {"left_placeholder": "scenario", "bare_name": "scenario", "missing_value": "call_source"}


def _left_empty(name: str, value: Any, found: CallEvent, damage: str) -> bool:
    return value in (None, ()) and (bool(found.notes) or _REPLACED.get(damage) == name)


@given(values(), st.sampled_from(STANDARD))
def test_a_raw_line_break_stays_in_its_field(said: dict[str, Any], kind: Kind) -> None:
    said = {**said, "scenario_name": "Отдел\nпродаж"}
    sound = render(template_text(kind), said)
    broken = sound.decode().replace("Отдел\\nпродаж", "Отдел\nпродаж").encode()

    assert sound != broken
    found, expected = read(broken, ENDPOINT[kind]).call, read(sound, ENDPOINT[kind]).call
    assert found is not None
    assert expected is not None
    assert _comparable(found) == _comparable(expected)


@given(values(), st.sampled_from(STANDARD))
def test_a_sound_rendering_arrives_unchanged(said: dict[str, Any], kind: Kind) -> None:
    """The drop-in rule: same names, order and types."""
    sound = render(template_text(kind), said)
    call = read(sound, ENDPOINT[kind]).call
    assert call is not None

    sent = as_uis(bodies.read(sound), call, endpoint=ENDPOINT[kind], zone=MOSCOW)

    assert list(msgspec.json.decode(sent).items()) == list(msgspec.json.decode(sound).items())
