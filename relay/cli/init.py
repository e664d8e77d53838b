"""`relay init`: asks for what a first configuration needs, writes it with new secrets, and says what to type where."""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path

import click

from relay import config
from relay.cli.options import say
from relay.config import ROOT, TARGET_KINDS
from relay.errors import ConfigError
from relay.i18n import gettext
from relay.uis import cabinet


@click.command()
@click.option("--file", type=click.Path(path_type=Path), help="Where to write it; config/my.toml unless set.")
def init(file: Path | None) -> None:
    """Asks six questions, and writes a configuration with new secrets.

    Prints the addresses to type into the UIS cabinet. Overwrites nothing without asking.
    """
    file = file or ROOT / "config" / "my.toml"
    if file.exists():
        click.confirm(gettext("%(file)s is there already. Overwrite it?", file=file), abort=True)
    source = click.prompt(gettext("Short name of the firm, in Latin letters"), default="trade")
    zone = click.prompt(gettext("Time zone of the UIS account"), default="Europe/Moscow")
    host = click.prompt(gettext("Address at which UIS will reach the relay"), default="https://relay.example.ru")
    token, password = secrets.token_urlsafe(24), secrets.token_urlsafe(12)
    kind = click.prompt(gettext("Where do the calls go"), type=click.Choice(list(TARGET_KINDS)), default="1c")
    target = _asked(kind)
    text = _written(source, zone, token, password, kind, target)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # it holds secrets
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    try:
        config.read({"RELAY_CONFIG": str(draft)})  # what was typed may be wrong
    except ConfigError:
        draft.unlink()
        raise
    draft.replace(file)
    _say_what_is_next(file, source, host.rstrip("/"), token, password)


def _asked(kind: str) -> dict[str, str | int]:
    """Ask what this kind of target needs."""
    if kind == "1c":
        url = click.prompt(gettext("Address of the HTTP service, with /hs/UIScom at its end"))
        username = click.prompt(gettext("User of the 1C base"))
        secret = click.prompt(gettext("Password of this user"), hide_input=True)
        return {"url": url, "username": username, "password": secret}
    if kind == "bitrix24":
        webhook = click.prompt(gettext("Incoming webhook, with the rights telephony, crm and user"), hide_input=True)
        user = click.prompt(gettext("Id of the user who gets the calls that nobody took"), type=int, default=1)
        return {"webhook": webhook, "default_user": user}
    if kind == "amocrm":
        url = click.prompt(gettext("Address of the account, like https://example.amocrm.ru"))
        secret = click.prompt(gettext("Long-lived token"), hide_input=True)
        user = click.prompt(gettext("Id of the user who gets the calls that nobody took"), type=int)
        return {"url": url, "token": secret, "default_user": user}
    return {"url": click.prompt(gettext("Address that takes the calls"))}


def _written(source: str, zone: str, token: str, password: str, kind: str, target: dict[str, str | int]) -> str:
    def quoted(value: str | int) -> str:
        return json.dumps(value, ensure_ascii=False)

    name = {"1c": "onec", "bitrix24": "b24", "amocrm": "amo", "http": "crm"}[kind]
    lines = [
        f"timezone = {quoted(zone)}",
        "",
        "[admin]",
        f"password = {quoted(password)}",
        "",
        f"[sources.{source}]",
        f"token = {quoted(token)}",
        f"targets = [{quoted(name)}]",
        "",
        f"[targets.{name}]",
        f"kind = {quoted(kind)}",
        *(f"{key} = {quoted(value)}" for key, value in target.items()),
    ]
    return "\n".join(lines) + "\n"


def _say_what_is_next(file: Path, source: str, host: str, token: str, password: str) -> None:
    say("\nWritten: %(file)s (secrets stand in it; only you may read it).", file=file)
    say("\nType these addresses into the HTTP notifications of the UIS cabinet:")
    for notification in cabinet.NOTIFICATIONS:
        where = cabinet.address(host, source, notification.endpoint, has_secret=True).replace("SECRET", token)
        click.echo(f"  {notification.name:<24} {where}")
    say("\nPassword of the page %(host)s/admin/: %(password)s", host=host, password=password)
    say("\nWhat is next:")
    click.echo(f"  export RELAY_CONFIG={file}")
    click.echo(f"  {sys.argv[0]} check --online")
    click.echo("  make run")
