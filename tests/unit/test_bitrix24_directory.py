"""Whose call it is at Bitrix24: what is learnt of extensions, and that it stays small."""

from __future__ import annotations

import gc
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from relay.calls.history import CallHistory
from relay.config import Bitrix24Target, Secret
from relay.models import CallEvent
from relay.targets.bitrix24.directory import Directory
from relay.targets.bitrix24.rest import Rest

SETTINGS = Bitrix24Target(name="b24", webhook=Secret("https://portal.example.test/rest/1/code/"), default_user=1)
NOW = datetime(2026, 3, 2, 9, 45, tzinfo=UTC)


class FakeRest:
    """A portal where every extension is user 12's."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def call(self, method: str, params: Any) -> list[dict[str, str]]:
        self.asked.append(params["FILTER"]["UF_PHONE_INNER"])
        return [{"ID": "12"}]


def _user_of(directory: Directory, extension: str) -> int | None:
    call = CallEvent(kind="answered", session_id="7", extension=extension)
    return directory.user_of(CallHistory((call,)))


def test_an_extension_is_asked_for_once_an_hour() -> None:
    rest, now = FakeRest(), [NOW]
    directory = Directory(SETTINGS, cast(Rest, rest), lambda: now[0])

    assert [_user_of(directory, "101") for _ in range(3)] == [12, 12, 12]
    now[0] += timedelta(hours=1)
    assert _user_of(directory, "101") == 12
    assert rest.asked == ["101", "101"]


def test_extensions_that_differ_each_time_are_not_kept() -> None:
    """They come from outside: 20,000 of them would be 3 MB, and a year has more."""
    rest = FakeRest()
    directory = Directory(SETTINGS, cast(Rest, rest), lambda: NOW)
    tracemalloc.start()
    try:
        for number in range(20_000):
            assert _user_of(directory, f"{number:064d}") == 12
            rest.asked.clear()
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 500_000
