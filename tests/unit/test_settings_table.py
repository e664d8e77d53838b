"""The table of settings in the documents: from the schema, whole, and in both languages."""

from __future__ import annotations

import pytest

from docs import settings_table as table


@pytest.mark.parametrize("language", ["en", "ru"])
def test_every_key_stands_there_with_its_default_and_its_meaning(language: str) -> None:
    text = table.markdown(language)

    keys = [key for _, rows in table.sections(language) for key, _ in rows]
    assert {"timezone", "keep_dead", "working_hours", "integration_key", "give_up_after", "call_gap"} <= set(keys)
    assert sum(line.startswith("| `") for line in text.splitlines()) == len(keys)
    assert '| `timeout` | `"30s"` |' in text
    assert '| `rate` | `"1.9/s burst 45"` |' in text
    assert "| `name` | – |" in text, "that of the alerts"


def test_no_meaning_is_left_of_a_key_that_is_gone() -> None:
    meanings = table.meanings()
    keys = {section: {key for key, _ in rows} for section, rows in table.sections("en")}
    keys["crm"] = keys["bitrix24"] & keys["amocrm"]
    keys["targets"] |= keys["1c"] & keys["http"]

    for section, texts in meanings.items():
        assert set(texts) - {"heading"} <= keys[section], section
        assert all(set(text) == {"en", "ru"} for text in texts.values()), section


@pytest.mark.parametrize("language", ["en", "ru"])
def test_the_documents_hold_the_table_as_it_is_now(language: str) -> None:
    text = table.document(language).read_text(encoding="utf-8")

    assert table.markdown(language).strip() in text, "make documents"
    assert table.with_tables(text, language) == text
