"""A number is found however it is spelt, and nobody else's with it."""

from __future__ import annotations

import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.store.spelling import mask, mentions
from relay.uis.phones import significant_digits

DIGITS = "9005550123"


@pytest.mark.parametrize("written", ["+7 (900) 555-01-23", "8 900 555-01-23", "79005550123", "9005550123"])
def test_every_way_to_name_a_russian_number_is_the_same_number(written: str) -> None:
    assert significant_digits(written) == DIGITS


def test_a_foreign_number_is_all_of_its_digits() -> None:
    assert significant_digits("+374 10 12-34-56") == "37410123456"
    assert mentions("00 374 10 12-34-56 +37410123456", "37410123456")


@pytest.mark.parametrize(
    "text",
    [
        "79005550123",
        "+79005550123",
        "89005550123",
        "9005550123",
        "+7 (900) 555-01-23",
        "8(900)555 01 23",
        "8-10-7-900-555-01-23",
        "7.900.555.01.23",
        "+7\u00a0900\u00a0555\u00a001\u00a023",
        "+7 900 555\u201301\u201323",
        "79005550123...9.2.3",
        "tel:+79005550123;ext=1",
    ],
)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text.encode(),
        lambda text: json.dumps({"numa": text, "n": 1}).encode(),
        lambda text: urlencode({"numa": text, "n": 1}).encode(),
        lambda text: f"a=1&numa={quote(text, safe='')}".encode(),
        lambda text: text.encode("cp1251"),
        lambda text: text.encode("utf-16-le"),
    ],
    ids=["plain", "json", "form", "query", "cp1251", "utf-16"],
)
def test_a_number_is_found_in_every_spelling(text: str, wrap: object) -> None:
    assert callable(wrap)
    assert mentions(wrap(text), DIGITS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        "79005550124",
        "790055501234",
        "129005550123",
        '{"a": "900", "b": "5550123"}',
        '{"a": 900555, "b": 123}',
        "900555012",
        "a9005550_x_123",
    ],
)
def test_another_number_is_not(text: str | None) -> None:
    assert not mentions(text, DIGITS)


def test_a_masked_text_keeps_everything_else() -> None:
    assert mask("400: the phone +7 (900) 555-01-23 is taken by 79005550124", DIGITS) == (
        "400: the phone … is taken by 79005550124"
    )
    assert json.loads(mask('{"phone": "89005550123", "id": 12}', DIGITS)) == {"phone": "…", "id": 12}


@given(st.text(max_size=20), st.text(max_size=20), st.sampled_from(["79005550123", "+7 (900) 555-01-23"]))
def test_what_is_masked_mentions_it_no_more(before: str, after: str, number: str) -> None:
    text = f"{before} {number} {after}"

    assert mentions(text, DIGITS)
    assert not mentions(mask(text, DIGITS), DIGITS)
