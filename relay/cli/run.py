"""Commands that run something: work, simulate, sandbox."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from datetime import timedelta
from urllib.parse import urljoin

import click
import requests

from relay import bootstrap, config, wiring
from relay.cli.options import counted, per_second, say
from relay.clock import now_utc
from relay.config import SANDBOX_PORT, Settings, Source
from relay.errors import Conflict
from relay.i18n import gettext, said
from relay.observability import logging, metrics
from relay.operations import configuration

_LONG_OVER = timedelta(hours=1)
_GRACE_S = 18.0  # from the signal; platforms kill after 30 s


@click.command()
def work() -> None:
    """Runs only the dispatcher, without a web server."""
    logging.configure(os.environ, buffered=True)
    settings = bootstrap.prepare(os.environ, ["127.0.0.1"])
    metrics.prepare(settings.storage.path)  # a web server beside it shows what is delivered here
    relay = wiring.Relay(settings)
    # the system may hand a signal to any thread, and then it ends no wait of this one but a read of what it writes
    signalled, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: relay.stop_claiming(_GRACE_S))
    relay.start()
    os.read(signalled, 1)
    relay.stop(_GRACE_S)
    relay.close()


@click.command()
@click.option("--calls", default=1, show_default=True, help="How many calls, five notifications each.")
@click.option(
    "--rate",
    callback=per_second,
    metavar="RATE",
    help="Calls a second, like 2/s; as fast as they are taken unless set.",
)
@click.option("--url", help="The relay's address; http://127.0.0.1:$PORT unless set.")
@click.option("--source", "source_name", help="The source to play; the first one unless set.")
@click.option("--damage", is_flag=True, help="Break bodies in the known ways.")
@click.option("--drop", metavar="SHARE", help="Leave out some of so many calls, like 10%; the report has them.")
@click.option("--yes", is_flag=True, help="Do not ask, even when real targets will get the calls.")
def simulate(
    calls: int, rate: float | None, url: str | None, source_name: str | None, damage: bool, drop: str | None, yes: bool
) -> None:
    """Plays UIS: posts realistic calls to the relay."""
    settings = config.read()
    source = _source(settings, source_name)
    real = configuration.real_targets(settings, source)
    if real and not yes:
        click.confirm(
            gettext("%(targets)s will get %(calls)s invented calls. Go on?", targets=", ".join(real), calls=calls),
            abort=True,
        )
    address = (url or f"http://127.0.0.1:{os.environ.get('PORT', '8000')}").rstrip("/")
    pause = 1 / rate if rate else 0.0
    dropped = 0.0 if drop is None else _share(drop)
    if dropped and not config.is_sandbox(source.report):
        raise click.BadParameter(
            gettext(
                'there is no simulated report: set [sources.%(name)s.report] with key = "sandbox-key", '
                'url = "http://127.0.0.1:%(port)s/v2.0"',
                name=source.name,
                port=SANDBOX_PORT,
            ),
            param_hint="--drop",
        )
    answers = _play(address, source, calls, pause, damage=damage, dropped=dropped)
    click.echo(counted(answers))
    refused = sum(count for status, count in answers.items() if status.isdigit() or status == "not sent")
    if refused:
        raise Conflict(
            "%(count)s notifications were not taken; is the relay running at %(address)s?",
            count=refused,
            address=address,
        )


def _source(settings: Settings, name: str | None) -> Source:
    if name is None:
        return next(iter(settings.sources.values()))
    if name not in settings.sources:
        names = ", ".join(settings.sources)
        text = gettext("there is no source %(name)s; there are: %(names)s", name=name, names=names)
        raise click.BadParameter(text, param_hint="--source")
    return settings.sources[name]


def _share(text: str) -> float:
    try:
        share = float(text.rstrip("%")) / 100
    except ValueError as exc:
        raise click.BadParameter(gettext("must be like 10%"), param_hint="--drop") from exc
    if not 0 <= share <= 1:
        raise click.BadParameter(gettext("must be between 0% and 100%"), param_hint="--drop")
    return share


def _play(address: str, source: Source, count: int, pause: float, *, damage: bool, dropped: float) -> Counter[str]:
    from relay.sandbox import corruption, uis
    from relay.sandbox.uis_account import report_row

    answers: Counter[str] = Counter()
    query = {"token": str(source.secrets[0])} if source.secrets else {}
    # a report has a call when it is over: dropped ones are played as if they had been some time ago
    begins = now_utc() - (_LONG_OVER if dropped else timedelta(0))
    with requests.Session() as session:
        session.trust_env = False
        for call in uis.calls(count, begins, source.timezone):
            if dropped and source.report is not None:
                session.post(urljoin(source.report.address, "/_calls"), json=[report_row(call.values)], timeout=30)
            for notification in uis.without_some(call.notifications, dropped):
                body = corruption.corrupted(notification.body) if damage else notification.body
                answers[_post(session, f"{address}/{source.path}/hs/UIScom/{notification.endpoint}", query, body)] += 1
            time.sleep(pause)
    return answers


def _post(session: requests.Session, url: str, query: dict[str, str], body: bytes) -> str:
    """Return what the relay called it: accepted, duplicate, quarantined; else the status, or that it was not sent."""
    try:
        answer = session.post(url, params=query, data=body, headers={"Content-Type": "application/json"}, timeout=30)
        return str(answer.json().get("status")) if answer.ok else str(answer.status_code)
    except requests.RequestException:  # nobody is there, or somebody else
        return "not sent"


@click.command()
@click.option("--port", default=SANDBOX_PORT, show_default=True)
def sandbox(port: int) -> None:
    """Runs only the simulated 1C, Bitrix24 and amoCRM: GET /_state shows what they hold, POST /_fail breaks them."""
    from relay.sandbox.onec.infobase import OneC
    from relay.sandbox.server import Sandbox

    try:
        running = Sandbox(OneC("uis", "sandbox"), port)
    except OSError as exc:
        raise Conflict(
            "port %(port)s of 127.0.0.1 cannot be used: %(why)s; end what listens there (another `make run`?), or "
            "choose another with --port",
            port=port,
            why=said(exc),
        ) from exc
    say("the sandbox listens on http://127.0.0.1:%(port)s (GET /_state, POST /_fail)", port=running.port)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=running.close).start())
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how it is ended
        running.serve()
