"""The command line: `python -m relay …`. Works beside a running relay, on the same database."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from typing import Any

import click

from relay import __version__
from relay.cli import check, forget, init, maintain, reconcile, replay, run, show
from relay.cli.options import say
from relay.errors import ConfigError, RelayError
from relay.i18n import bind_catalogue, gettext, language_of, said, set_language
from relay.observability import logging

EXIT_FAILED, EXIT_USAGE = 1, 2


class _Group(click.Group):
    """Speaks the operator's language, and turns what he can mend into a sentence and an exit code."""

    def main(self, *args: Any, **more: Any) -> Any:
        code = language_of(os.environ)
        set_language(code)
        bind_catalogue(code)  # click has its own words from gettext
        _translate_help(self)
        return super().main(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RelayError as exc:
            say("Error: %(why)s", why=said(exc), err=True)
            sys.exit(EXIT_USAGE if isinstance(exc, ConfigError) else EXIT_FAILED)
        except BrokenPipeError:  # `… | head` has seen enough
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  stays open to the end of the process
            sys.exit(0)


_english: dict[click.Command | click.Option, str] = {}  # texts of help as they were written


def _translate_help(command: click.Command) -> None:
    """Put the help of a command, of its options and of all below it into the language."""
    described: list[click.Command | click.Option] = [command]
    described += [option for option in command.params if isinstance(option, click.Option)]
    for each in described:
        if each.help:
            each.help = gettext(_english.setdefault(each, inspect.cleandoc(each.help)))
    for below in getattr(command, "commands", {}).values():
        _translate_help(below)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="relay")
def main() -> None:
    """A relay between UIS telephony and 1C, Bitrix24, amoCRM or any HTTP CRM.

    Takes call notifications, keeps them, and delivers each to every target in the order of the call.
    What could not be delivered: `dead`; one event whole: `show ID`; once more: `replay`.
    """
    logging.configure({"LOG_LEVEL": "WARNING", **os.environ})


for _module in (check, forget, init, maintain, reconcile, replay, run, show):
    for _command in vars(_module).values():
        if isinstance(_command, click.Command):
            main.add_command(_command)
