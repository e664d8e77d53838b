"""Commands about the set-up: check, migrate."""

from __future__ import annotations

import socket
from datetime import timedelta

import click

from relay import bootstrap, config, targets, wiring
from relay.alerts import channels, messages
from relay.clock import now_utc
from relay.config import OneCTarget, Settings
from relay.errors import ConfigError, Conflict, StoreError
from relay.store import Store
from relay.store.tables import VERSION

_PUSH_WAITS = timedelta(seconds=300)  # the time-out in the receiver's source


@click.command()
@click.option("--online", is_flag=True, help="Also ask each target whether it would take a delivery.")
def check(online: bool) -> None:
    """Says whether the configuration is right, and what to mend."""
    found = config.read()
    store = Store(found.storage.url)
    _refuse_deaf_alerts(found)
    warnings = wiring.refuse_unused_targets(found, store)
    click.echo(f"{found.file}: right. Sources: {', '.join(found.sources)}; targets: {', '.join(found.targets)}")
    for warning in (*warnings, *_remarks(found), *_database_remarks(store)):
        click.echo(f"note: {warning}")
    if online:
        ill = _ask_targets(found, store) + _tell(found)
        if ill:
            raise Conflict(f"{ill} of them would not take what they are sent")


def _remarks(found: Settings) -> list[str]:
    remarks = config.warnings(found)
    for name, target in found.targets.items():
        if config.is_sandbox(target):
            remarks.append(f"targets.{name} is the sandbox: calls end nowhere")
        elif target.address.startswith("http://"):
            remarks.append(f"targets.{name} is reached over plain http: fine inside your own network only")
        if isinstance(target, OneCTarget) and target.timeout <= _PUSH_WAITS and not config.is_sandbox(target):
            remarks.append(
                f"targets.{name}: a UIScom service waits for Centrifugo for up to {_PUSH_WAITS.seconds} s, and writes "
                'the call even so: with timeout = "310s" it is not sent again meanwhile'
            )
        if not target.verify_tls:
            remarks.append(f"targets.{name}: verify_tls is off; ca_file with the company's certificate is better")
    remarks += [
        f"sources.{name} is open: anybody may send to it" for name, source in found.sources.items() if source.open
    ]
    remarks.append("on a plain server put nginx in front: it takes the TLS (see docs/en/deployment.md)")
    return remarks


def _database_remarks(store: Store) -> list[str]:
    try:
        return store.database.remarks(now_utc())
    except StoreError as exc:
        return [str(exc)]


def _ask_targets(found: Settings, store: Store) -> int:
    """How many would not take a delivery."""
    ill = 0
    for name, target in found.targets.items():
        outcome = targets.build(target, now_utc, store.token_store(name)).check()
        well = outcome.name == "delivered"
        ill += not well
        remarks = f" ({outcome.reason})" if outcome.reason else ""
        click.echo(f"{name}: {f'ready{remarks}' if well else f'{outcome.name}: {outcome.reason}'}")
    return ill


def _refuse_deaf_alerts(found: Settings) -> None:
    """Raises ConfigError when there are addresses at which nobody would hear anything."""
    if found.alerts.urls and channels.is_missing():
        raise ConfigError(f"{found.file}: {channels.MISSING}")
    problem = next((said for channel in channels.channels(found.alerts) if (said := channel.problem())), None)
    if problem is not None:
        raise ConfigError(f"{found.file}: {problem}")


def _tell(found: Settings) -> int:
    """Sends a test to each channel of the alerts; how many did not take it."""
    alerts, deaf = found.alerts, 0
    for channel in channels.channels(alerts):
        well = channel.send(
            messages.title(alerts.language, alerts.name or socket.gethostname()), messages.TEST[alerts.language]
        )
        deaf += not well
        click.echo(
            f"{channel.name}: {'took a test alert' if well else 'did not take a test alert; look at its address'}"
        )
    return deaf


@click.command()
def migrate() -> None:
    """Creates the database, or brings it to the newest schema (a copy is made first)."""
    before = bootstrap.migrate(config.read())
    if before == VERSION:
        click.echo(f"the database is at version {VERSION} already")
    else:
        click.echo(
            f"the database was {'created' if before is None else f'brought from version {before}'}: version {VERSION}"
        )
