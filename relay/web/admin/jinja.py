"""Gives the page's templates their words and filters."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from flask import Flask, request
from markupsafe import Markup, escape

from relay.clock import iso
from relay.i18n import LANGUAGES, age, gettext, language, local, plural, set_language, set_zone, took, translate
from relay.observability.logging import hide_links
from relay.web.admin.context import relay


def choose_language(zone: ZoneInfo) -> None:
    """Speak the browser's language; Russian where it asks for neither. Times are by this zone's clock."""
    set_language(request.accept_languages.best_match(LANGUAGES) or LANGUAGES[0])
    set_zone(zone)


def install(app: Flask) -> None:
    """Add the catalogue and the filters."""
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.install_gettext_callables(  # type: ignore[attr-defined]  # added by the extension
        gettext, plural, newstyle=True
    )
    app.jinja_env.globals.update(language=language)
    app.jinja_env.filters.update(
        moment=local, ago=ago, clock=clock, took=took, age=age, span=span, without_links=without_links
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def clock(at: datetime, zone: ZoneInfo) -> str:
    """Write `12:45:59.863`, for a time line of one day."""
    local = at.astimezone(zone)
    return f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}"


def ago(at: datetime | None, zone: ZoneInfo) -> Markup:
    """Write how far a moment of these 24 hours is from now, the moment itself on hover; any other moment as it is."""
    exact, now = local(at, zone), relay().clock()
    if at is None or abs(now - at) >= timedelta(days=1):
        return escape(exact)
    words = gettext("%(age)s ago", age=age(now - at)) if at <= now else gettext("in %(age)s", age=age(at - now))
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso(at), exact, words)


def span(length: timedelta) -> str:
    """Write how long something took or waited, exactly where it is short."""
    return took(round(length / timedelta(milliseconds=1))) if length < timedelta(minutes=1) else age(length)


def without_links(text: str) -> Markup:
    """Return the text in the reader's language, links hidden but for their hosts: recordings open without a login."""
    return Markup(escape(hide_links(translate(text))))  # noqa: S704  escaped
