"""Commands about the set-up: check, migrate."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

import click

from relay import bootstrap, config, hosting
from relay.alerts import channels, messages
from relay.cli.options import say
from relay.clock import now_utc
from relay.config import Settings
from relay.errors import ConfigError, Conflict
from relay.i18n import Message, gettext, translate
from relay.models import Outcome
from relay.operations import readiness
from relay.store import Store
from relay.store.tables import VERSION


@click.command()
@click.option(
    "--online",
    is_flag=True,
    help="Also ask each target whether it would take a delivery, and UIS for report and calls.",
)
def check(online: bool) -> None:
    """Says whether the configuration is right, and what to mend."""
    settings = config.read()
    problem = hosting.environment_problem(os.environ)
    folder = settings.storage.path.parent if settings.storage.is_file else None
    if folder is not None and not folder.is_dir():
        problem = problem or Message(
            "%(file)s: storage.url: the folder %(folder)s does not exist; create it", file=settings.file, folder=folder
        )
    if problem:
        raise ConfigError(problem)
    store = Store(settings.storage.url)
    if unheard := next(filter(None, (channel.problem() for channel in channels.channels(settings.alerts))), None):
        raise ConfigError("%(file)s: %(problem)s", file=settings.file, problem=unheard)
    warnings = bootstrap.refuse_unused_targets(settings, store)
    say(
        "%(file)s: right. Sources: %(sources)s; targets: %(targets)s",
        file=settings.file,
        sources=", ".join(settings.sources),
        targets=", ".join(settings.targets),
    )
    for warning in (*warnings, *readiness.remarks(settings), *readiness.database_remarks(store, now_utc(), os.environ)):
        say("note: %(text)s", text=warning)
    if online:
        failed = _tell(readiness.ask_all(settings, store, now_utc)) + _send_test_alerts(settings)
        if failed:
            raise Conflict("%(failed)s of them are not ready", failed=failed)


def _tell(asked: Iterable[tuple[str, Outcome]]) -> int:
    """Say what each answered; return how many are not ready."""
    failed = 0
    for name, outcome in asked:
        is_ready = outcome.name == "delivered"
        failed += not is_ready
        verdict = gettext("ready") if is_ready else gettext(outcome.name)
        reason = translate(outcome.reason)
        if is_ready and reason:
            reason = f"({reason})"
        click.echo(f"{name}: {verdict}{'' if is_ready else ':'} {reason}".rstrip())
    return failed


def _send_test_alerts(settings: Settings) -> int:
    """Send a test to each channel of the alerts; return how many did not take it."""
    alerts, failed = settings.alerts, 0
    for channel in channels.channels(alerts):
        is_taken = channel.send(
            messages.title(alerts.language, alerts.name or socket.gethostname()), messages.test(alerts.language)
        )
        failed += not is_taken
        result = gettext("took a test alert") if is_taken else gettext("did not take a test alert; look at its address")
        click.echo(f"{channel.name}: {result}")
    return failed


@click.command()
def migrate() -> None:
    """Creates the database, or brings it to the newest schema (a copy is made first)."""
    before = bootstrap.migrate(config.read())
    if before == VERSION:
        say("the database is at version %(version)s already", version=VERSION)
    elif before is None:
        say("the database was created: version %(version)s", version=VERSION)
    else:
        text = gettext(
            "the database was brought from version %(before)s to %(version)s", before=before, version=VERSION
        )
        click.echo(text)
