"""The configuration as it was read, what is to be entered in the UIS cabinet, and a test call. Changes no setting."""

from __future__ import annotations

import os
import platform
from datetime import timedelta
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, NotFound

from relay import __version__, config
from relay.config import Source
from relay.errors import ConfigError
from relay.i18n import gettext, said, translate
from relay.models import Outcome
from relay.operations import configuration, readiness, simulated_call
from relay.store.tables import VERSION
from relay.uis import cabinet
from relay.uis.rendering import template_text
from relay.web.admin.context import relay

_CLICKS = 20
_PATIENCE = timedelta(seconds=10)  # of a person before a page


def register(pages: Blueprint) -> None:
    pages.add_url_rule("/settings", "settings", settings)
    pages.add_url_rule("/settings/ask", "ask_targets", ask_targets, methods=["POST"])
    pages.add_url_rule("/test-call", "test_call", test_call, methods=["GET", "POST"])


def settings() -> ResponseReturnValue:
    return _page([])


def ask_targets() -> ResponseReturnValue:
    """Ask each target, and for each report, as `check --online` does; no answer is waited for longer than a person."""
    own = relay()
    return _page(list(readiness.ask_all(own.settings, own.store, own.clock, _PATIENCE)))


def _page(answers: list[tuple[str, Outcome]]) -> ResponseReturnValue:
    own = relay()
    return render_template(
        "admin/settings.html",
        settings=own.settings,
        sources=[_source(source) for source in own.settings.sources.values()],
        targets=[(target, configuration.keys_of_target(target)) for target in own.settings.targets.values()],
        templates={one: template_text(one.kind) for one in cabinet.NOTIFICATIONS},
        remarks=[*readiness.remarks(own.settings), *readiness.database_remarks(own.store, own.clock(), os.environ)],
        problem=_problem_of_file(),
        answers=answers,
        clicks=[  # with whether the call has been notified, so that there is a page of it
            (click, bool(click.session and own.store.pages.call(click.source, click.session).events))
            for click in own.store.clicks.recent(_CLICKS)
        ],
        facts=_facts(),
    )


def _problem_of_file() -> str | None:
    """Return why the next start would refuse the configuration, which may have been changed since this one."""
    try:
        config.read({**os.environ, "RELAY_CONFIG": str(relay().settings.file)})
    except ConfigError as exc:
        return translate(said(exc))
    return None


def _source(source: Source) -> dict[str, Any]:
    rows = [
        (one, cabinet.address(request.host_url, source.path, one.endpoint, has_secret=bool(source.secrets)))
        for one in cabinet.NOTIFICATIONS
    ]
    rules = [configuration.rule_in_words(rule) for rule in source.rules]
    return {
        "source": source,
        "rows": rows,
        "rules": rules,
        "given": configuration.keys_of_source(source, relay().settings),
    }


def _facts() -> list[tuple[str, str]]:
    database = relay().store.database
    free = database.free_bytes()
    return [
        (gettext("Relay"), __version__),
        ("Python", platform.python_version()),
        (gettext("Configuration"), str(relay().settings.file)),
        (
            gettext("Database"),
            gettext("schema %(version)s, %(size)s MB", version=VERSION, size=database.size_bytes() >> 20),
        ),
        *([] if free is None else [(gettext("Free on its disk"), gettext("%(count)s MB", count=free >> 20))]),
        (gettext("Account's zone"), relay().settings.timezone.key),
    ]


def test_call() -> ResponseReturnValue:
    """Say what a test call would do; with POST place it."""
    name = request.values.get("source") or next(iter(relay().settings.sources))
    source = relay().settings.sources.get(name)
    if source is None:
        raise NotFound(gettext("There is no source %(name)s.", name=name))
    if request.method == "GET":
        real = configuration.real_targets(relay().settings, source)
        return render_template("admin/test_call.html", source=source, real=real, mark=simulated_call.MARK)
    try:
        session = simulated_call.place(
            relay(), source, request.form.get("phone", ""), request.form.get("extension", "")
        )
    except ValueError as exc:
        raise BadRequest(translate(said(exc))) from exc
    return redirect(url_for("admin.call", source=source.name, session=session))
