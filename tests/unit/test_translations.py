"""Every text that people read has a Russian one, and what is compiled is what was translated."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

import relay
from relay.i18n import age, gettext, language_of, ngettext, set_language
from relay.models import DELIVERY_STATES, EVENT_STATES, KINDS

FOLDER = Path(relay.__file__).parent
CATALOGUE = FOLDER / "translations/ru/LC_MESSAGES/relay.po"


@pytest.fixture(scope="module")
def catalogue() -> Any:
    with CATALOGUE.open("rb") as file:
        return read_po(file)


@pytest.fixture
def russian() -> Iterator[None]:
    set_language("ru")
    yield
    set_language("en")


def test_every_text_has_a_russian_one(catalogue: Any) -> None:
    methods = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
    texts = {row[2] for row in extract_from_dir(FOLDER, methods)}
    assert texts
    for text in texts:
        message = catalogue.get(text if isinstance(text, str) else tuple(text[:2]))
        assert message is not None and message.string and all(message.string), text


def test_every_state_kind_and_outcome_has_a_russian_word(catalogue: Any) -> None:
    states = ("open", "paused", "down", "misconfigured", "removed")
    outcomes = ("refused", "later", "unreachable", "unclear", "failed")
    for word in (*DELIVERY_STATES, *EVENT_STATES, *KINDS, *states, *outcomes):
        assert catalogue.get(word) is not None, word


def test_names_in_a_text_are_those_of_its_translation(catalogue: Any) -> None:
    for message in catalogue:
        assert not list(message.check()), message.id


def test_the_compiled_catalogue_is_that_of_its_source(catalogue: Any) -> None:
    compiled = BytesIO()
    write_mo(compiled, catalogue)

    assert CATALOGUE.with_suffix(".mo").read_bytes() == compiled.getvalue(), "run `make translations`"


@pytest.mark.parametrize(
    ("environ", "code"),
    [
        ({}, "en"),
        ({"LANG": "ru_RU.UTF-8"}, "ru"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "ru_RU.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "ru_RU.UTF-8", "RELAY_LANG": "en"}, "en"),
        ({"LANG": "en_US.UTF-8", "RELAY_LANG": "ru"}, "ru"),
        ({"LANG": "en_US.UTF-8", "RELAY_LANG": ""}, "en"),
    ],
)
def test_the_operators_language(environ: dict[str, str], code: str) -> None:
    assert language_of(environ) == code


@pytest.mark.usefixtures("russian")
def test_russian_with_its_numbers() -> None:
    assert gettext("Discarded: %(count)s.", count=3) == "Отброшено: 3."
    assert age(timedelta(minutes=5)) == "5 мин"


def test_a_text_that_nobody_translated_stays_english() -> None:
    assert gettext("no such text %(name)s", name="x") == "no such text x"
    assert ngettext("%(count)s line", "%(count)s lines", 2) == "2 lines"
