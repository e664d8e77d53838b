"""Puts what people read into their language: page, command line, reasons, alerts; moments and spans as they write them.

English stands in the code and is the key of the Russian catalogue (`relay/translations/`, gettext). Nothing that
programs read (`--json`, logs, metrics, answers to UIS) is translated.
"""

from __future__ import annotations

import gettext as catalogues
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

LANGUAGES = ("ru", "en")
_FOLDER = Path(__file__).parent / "translations"
_language: ContextVar[str] = ContextVar("language", default="en")


def language() -> str:
    """Return the language of what is being written: `ru` or `en`."""
    return _language.get()


def set_language(code: str) -> None:
    """Choose the language of this thread: of a request to the page, of a command."""
    _language.set(code if code in LANGUAGES else "en")


@contextmanager
def in_language(code: str) -> Iterator[None]:
    """Write in a language for as long as the block lasts."""
    before = language()
    set_language(code)
    try:
        yield
    finally:
        set_language(before)


def language_of(environ: Mapping[str, str]) -> str:
    """Return the operator's language: of `RELAY_LANG`, else of `LANG` as every program reads it, else English."""
    named = next((environ[name] for name in ("RELAY_LANG", "LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
    return "ru" if named.lower().startswith("ru") else "en"


@cache
def _catalogue(code: str) -> catalogues.NullTranslations:
    return catalogues.NullTranslations() if code == "en" else catalogues.translation("relay", _FOLDER, [code])


def gettext(text: str, **values: Any) -> str:
    """Return a text in the language, with its `%(name)s` filled in."""
    translated = _catalogue(language()).gettext(text)
    return translated % values if values else translated


def plural(one: str, many: str, count: int) -> str:
    """Return the form of a text that fits a number, its names not yet filled in."""
    return _catalogue(language()).ngettext(one, many, count)


def ngettext(one: str, many: str, count: int, **values: Any) -> str:
    """Return the form of a text that fits a number, with `%(count)s` and its other names filled in."""
    return plural(one, many, count) % {"count": count, **values}


def moment(at: datetime | None, zone: ZoneInfo) -> str:
    """Write `02.03.2026 12:45:59` in Russian, `2026-03-02 12:45:59` in English."""
    if at is None:
        return "–"
    return at.astimezone(zone).strftime("%d.%m.%Y %H:%M:%S" if language() == "ru" else "%Y-%m-%d %H:%M:%S")


def took(milliseconds: int) -> str:
    """Write how long something took: `340 ms`, `2.1 s`."""
    if milliseconds < 1000:
        return gettext("%(count)s ms", count=milliseconds)
    return gettext("%(count)s s", count=f"{milliseconds / 1000:.1f}")


def age(span: timedelta) -> str:
    """Write the largest unit that fits, whole."""
    seconds = max(0, int(span.total_seconds()))
    for size, text in ((86400, "%(count)s d"), (3600, "%(count)s h"), (60, "%(count)s min")):
        if seconds >= size:
            return gettext(text, count=seconds // size)
    return gettext("%(count)s s", count=seconds)
