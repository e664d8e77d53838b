"""`relay init`: asks for what a first configuration needs, writes it with new secrets, and says what to type where."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import click

from relay import config
from relay.cli.options import say
from relay.config import ROOT, TARGET_KINDS
from relay.errors import ConfigError, Conflict
from relay.i18n import Message, Value, gettext, said, translate
from relay.uis import cabinet


class _Question(NamedTuple):
    """What a kind of target needs."""

    key: str
    text: Message
    example: str | int  #: what stands in its place until it is answered
    default: int | None = None


_USER = Message("Id of the user who gets the calls that nobody took")
_QUESTIONS: Mapping[str, tuple[_Question, ...]] = {
    "1c": (
        _Question("url", Message("Address of the HTTP service, with /hs/UIScom at its end"), "https://1c/hs/UIScom"),
        _Question("username", Message("User of the 1C base"), "uis"),
        _Question("password", Message("Password of this user"), "secret"),
    ),
    "bitrix24": (
        _Question(
            "webhook", Message("Incoming webhook, with the rights telephony, crm and user"), "https://b24/rest/1/code/"
        ),
        _Question("default_user", _USER, 1, default=1),
    ),
    "amocrm": (
        _Question("url", Message("Address of the account, like https://example.amocrm.ru"), "https://amo"),
        _Question("token", Message("Long-lived token"), "secret"),
        _Question("default_user", _USER, 1),
    ),
    "http": (_Question("url", Message("Address that takes the calls"), "https://crm"),),
}
_SECRETS = ("password", "webhook", "token")
_DEFAULTS = {"source": "trade", "timezone": "Europe/Moscow", "host": "https://relay.example.ru", "kind": "1c"}
_BARE = re.compile(r"[A-Za-z0-9_-]+")  # a key that TOML takes without quotes


@click.command()
@click.option(
    "--file", type=click.Path(path_type=Path, dir_okay=False), help="Where to write it; config/my.toml unless set."
)
def init(file: Path | None) -> None:
    """Asks six questions, and writes a configuration with new secrets.

    Prints the addresses to type into the UIS cabinet. Overwrites nothing without asking.
    """
    file = file or ROOT / "config" / "my.toml"
    if file.exists():
        click.confirm(gettext("%(file)s is there already. Overwrite it?", file=file), abort=True)
    token, password = secrets.token_urlsafe(24), secrets.token_urlsafe(12)
    with _draft_of(file) as draft:
        answers = _ask_all(draft, token, password)
    _say_what_is_next(file.resolve(), answers["source"], answers["host"].rstrip("/"), token, password)


@contextmanager
def _draft_of(file: Path) -> Iterator[Path]:
    """Lend a file that only its owner may read, and that takes the place of the other in the end. Raises Conflict."""
    draft = file.with_name(f"{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))  # it will hold secrets
        yield draft
        draft.replace(file)
    except OSError as exc:
        raise Conflict("%(file)s cannot be written: %(why)s", file=file, why=said(exc)) from exc
    finally:
        with suppress(OSError):
            draft.unlink()


def _ask_all(draft: Path, token: str, password: str) -> dict[str, Any]:
    """Ask for everything, each until the draft with the answer in it is a configuration; return the answers."""
    answers: dict[str, Any] = dict(_DEFAULTS)

    def ask(key: str, text: str, **more: Any) -> None:
        while True:
            answers[key] = click.prompt(text, **more)
            draft.write_text(_written(answers, token, password), encoding="utf-8")
            if (problem := _problem(draft, answers["host"])) is None:
                return
            say("Error: %(why)s", why=problem, err=True)

    ask("source", gettext("Short name of the firm, in Latin letters"), default=answers["source"])
    ask("timezone", gettext("Time zone of the UIS account"), default=answers["timezone"])
    ask("host", gettext("Address at which UIS will reach the relay"), default=answers["host"])
    ask("kind", gettext("Where do the calls go"), type=click.Choice(list(TARGET_KINDS)), default=answers["kind"])
    for key, text, example, default in _QUESTIONS[answers["kind"]]:
        ask(key, translate(text), type=type(example), default=default, hide_input=key in _SECRETS)
    return answers


def _problem(draft: Path, host: str) -> Value | None:
    """Return what is wrong with an answer."""
    for _, problem in config.address_problems("", host):
        return problem
    try:
        config.read({**os.environ, "DATABASE_URL": "", "RELAY_CONFIG": str(draft)})
    except ConfigError as exc:
        why = said(exc)
        return why.values.get("problem", why) if isinstance(why, Message) else why
    return None


def _written(answers: Mapping[str, Any], token: str, password: str) -> str:
    def quoted(value: str | int) -> str:
        return json.dumps(value, ensure_ascii=False)

    kind, source = answers["kind"], answers["source"]
    target = {"1c": "onec", "bitrix24": "b24", "amocrm": "amo", "http": "crm"}[kind]
    lines = [
        f"timezone = {quoted(answers['timezone'])}",
        "",
        "[admin]",
        f"password = {quoted(password)}",
        "",
        f"[sources.{source if _BARE.fullmatch(source) else quoted(source)}]",
        f"token = {quoted(token)}",
        f"targets = [{quoted(target)}]",
        "",
        f"[targets.{target}]",
        f"kind = {quoted(kind)}",
        *(f"{one.key} = {quoted(answers.get(one.key, one.example))}" for one in _QUESTIONS[kind]),
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
    click.echo(f"  export RELAY_CONFIG={shlex.quote(str(file))}")
    click.echo(f"  {sys.argv[0]} check --online")
    click.echo("  make run")
