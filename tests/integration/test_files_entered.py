"""One notification, from the POST to the outcome: how many files somebody opens who follows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import trace

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "architecture.md"
FILES_AT_MOST = 25  # of relay/, as measured; lower it with each file fewer


@pytest.fixture(scope="module")
def files() -> list[str]:
    return [entry.file for entry in trace.trace()]


def test_a_notification_enters_no_more_files_than_before(files: list[str]) -> None:
    rooms = {file.split("/")[0] for file in files}
    assert {"web", "intake", "uis", "store", "delivery", "targets"} <= rooms, "the whole way was traced"
    assert len(files) <= FILES_AT_MOST, "\n".join(files)


def test_the_document_names_the_files_of_the_way_and_no_others(files: list[str]) -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    way = text[text.index("## The way of a notification") : text.index("## Packages")]

    assert set(re.findall(r"`relay/([\w/]+\.py)`", way)) == set(files)
