"""The page's words in the browser's language, and moments and numbers as people write them.

English stands in the templates, Russian in a gettext catalogue (`translations/`).
"""

from __future__ import annotations

import gettext as catalogues
import re
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from flask import Flask, has_request_context, request
from markupsafe import Markup, escape

LANGUAGES = ("ru", "en")
_FOLDER = Path(__file__).parent / "translations"
_LINK = re.compile(r"https?://[^\s\"'<>\\]+")


def language() -> str:
    """Return that of this request; Russian for a browser that asks for neither."""
    if not has_request_context():
        return LANGUAGES[0]
    return request.accept_languages.best_match(LANGUAGES) or LANGUAGES[0]


@cache
def _catalogue(code: str) -> catalogues.NullTranslations:
    if code == "en":
        return catalogues.NullTranslations()
    return catalogues.translation("admin", _FOLDER, [code])


def gettext(text: str, **values: Any) -> str:
    translated = _catalogue(language()).gettext(text)
    return translated % values if values else translated


def _ngettext(one: str, many: str, count: int) -> str:
    return _catalogue(language()).ngettext(one, many, count)


def install(app: Flask) -> None:
    """Give the templates their words and filters."""
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.install_gettext_callables(  # type: ignore[attr-defined]  # added by the extension
        lambda text: _catalogue(language()).gettext(text), _ngettext, newstyle=True
    )
    app.jinja_env.globals.update(language=language)
    app.jinja_env.filters.update(moment=moment, clock=clock, took=took, age=age, without_links=without_links)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def moment(at: datetime | None, zone: ZoneInfo) -> str:
    """Write `02.03.2026 12:45:59` in Russian, `2026-03-02 12:45:59` in English."""
    if at is None:
        return "–"
    return at.astimezone(zone).strftime("%d.%m.%Y %H:%M:%S" if language() == "ru" else "%Y-%m-%d %H:%M:%S")


def clock(at: datetime, zone: ZoneInfo) -> str:
    """Write `12:45:59.863`, for a time line of one day."""
    local = at.astimezone(zone)
    return f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}"


def took(milliseconds: int) -> str:
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


def without_links(text: str) -> Markup:
    """Return the text with each link hidden but for its host: a recording opens without a login."""
    return Markup(escape(_LINK.sub(lambda match: "/".join(match[0].split("/")[:3]) + "/…", text)))  # noqa: S704  escaped
