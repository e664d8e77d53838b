"""Every text that people read has a Russian one, and what is compiled is what was translated."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import pytest
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import relay
from relay import errors
from relay.cli import main
from relay.errors import RelayError
from relay.i18n import Message, age, decode, encode, gettext, join, language_of, ngettext, set_language, translate
from relay.models import DELIVERY_STATES, EVENT_STATES, KINDS
from tests.catalogue import CATALOGUE

FOLDER = Path(relay.__file__).parent
ERRORS = [name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, RelayError)]


@pytest.fixture(scope="module")
def catalogue() -> Any:
    with CATALOGUE.open("rb") as file:
        return read_po(file)


@pytest.fixture
def russian() -> Iterator[None]:
    set_language("ru")
    yield
    set_language("en")


def texts() -> set[Any]:
    """All that people read: what the code marks, the page's, and the help of the commands."""
    methods = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
    keywords = {**DEFAULT_KEYWORDS, "Message": None, "say": None, "plural": (1, 2), **dict.fromkeys(ERRORS)}
    CliRunner().invoke(main, ["--help"], env={"RELAY_LANG": "en"})  # another test may have had them in Russian
    marked = {row[2] for row in extract_from_dir(FOLDER, methods, keywords=keywords)}
    return {text if isinstance(text, str) else tuple(text[:2]) for text in marked} | set(helps(main))


def helps(command: click.Command) -> Iterator[str]:
    options = [option for option in command.params if isinstance(option, click.Option)]
    yield from (inspect.cleandoc(each.help) for each in (command, *options) if each.help)
    for below in getattr(command, "commands", {}).values():
        yield from helps(below)


def is_translated(catalogue: Any, text: Any) -> bool:
    message = catalogue.get(text)
    return message is not None and bool(message.string) and all(message.string)


def test_every_text_has_a_russian_one(catalogue: Any) -> None:
    missing = [text for text in texts() if not is_translated(catalogue, text)]
    assert missing == []


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


# --- what is said now, and read later


def said() -> Message:
    at = datetime(2026, 3, 2, 9, 45, 59, 863000, tzinfo=UTC)
    return Message(
        "%(reason)s; last: %(last)s",
        reason=Message("paused by the operator since %(at)s", at=at),
        last="100% 1C: {не найдено}",
    )


def test_a_message_is_its_english_text() -> None:
    text = "paused by the operator since 2026-03-02T09:45:59.863+00:00; last: 100% 1C: {не найдено}"
    assert said() == text
    assert json.loads(json.dumps([said()])) == [text]


@pytest.mark.usefixtures("russian")
def test_a_message_is_put_into_words_when_it_is_read() -> None:
    moscow = ZoneInfo("Europe/Moscow")
    text = "приостановлен оператором с 02.03.2026 12:45:59; последняя ошибка: 100% 1C: {не найдено}"
    assert translate(said(), moscow) == text
    assert translate(decode(encode(said())), moscow) == text
    assert translate("слова получателя") == "слова получателя"


@given(
    st.recursive(
        st.text() | st.integers(),
        lambda parts: st.builds(lambda a, b: Message("%(a)s: %(b)s", a=a, b=b), parts, parts),
        max_leaves=5,
    )
)
def test_the_store_gives_back_what_was_said(value: Any) -> None:
    message = Message("given up after %(span)s; %(value)s", span=timedelta(days=14), value=value)
    back = decode(encode(message))
    assert isinstance(back, Message)
    assert (back, back.template, back.values) == (message, message.template, message.values)


@pytest.mark.parametrize(
    "text", ["", "refused", "\x1e", "\x1e[]", '\x1e["%(a)s", {}]', '\x1e["%(a)s", {"b": 1}]', '\x1e["x", {"a": {}}]']
)
def test_a_text_of_an_older_program_or_of_nobody_stays_readable(text: str) -> None:
    assert decode(text) == text.removeprefix("\x1e") or isinstance(decode(text), Message)


def test_what_is_not_its_own_can_be_changed_in_a_message() -> None:
    masked = Message("%(status)s: %(words)s", status=400, words=Message("OAuth: %(words)s", words="secret")).map(
        lambda text: text.replace("secret", "***")
    )
    assert masked == "400: OAuth: ***"
    assert masked.values["status"] == 400


@pytest.mark.parametrize(
    ("parts", "joined"),
    [((), ""), (("a",), "a"), (("a", "", "b"), "a; b"), ((Message("x"), "b"), "x; b"), (("", Message("x")), "x")],
)
def test_parts_are_joined(parts: tuple[str, ...], joined: str) -> None:
    assert join(*parts) == joined
    assert isinstance(join(*parts), Message) == any(isinstance(part, Message) for part in parts)
