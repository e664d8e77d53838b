"""What must be right before the relay serves or delivers: configuration, store, and that no call is swallowed."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path

import structlog

from relay import config, hosting
from relay.clock import now_utc
from relay.config import Settings
from relay.errors import ConfigError, StoreError
from relay.i18n import Message, said
from relay.store import Store
from relay.store import migrate as schema
from relay.store.tables import VERSION

log = structlog.get_logger("relay.start")

_PORT_TRIES = 3  # a second apart

prepared: Settings | None = None
"""What this process, or the one it was forked from, serves by; None: nobody has prepared it."""


def prepare(environ: Mapping[str, str], hosts: Iterable[str]) -> Settings:
    """Return the settings, with the store migrated. Raises ConfigError or StoreError. `hosts`: what is listened on.

    A process that serves already asks for them anew, and its store may be away now: it was migrated at the start.
    """
    settings = config.read(environ)
    problem = hosting.environment_problem(environ)
    if environ.get("RELAY_DEMO") != "1":
        problem = problem or config.demo_config_problem(settings, hosts, on_platform=hosting.on_platform(environ))
    if problem:
        raise ConfigError(problem)
    if settings.storage.is_file:
        mounts = ""  # where there is no Linux to say what is mounted where
        with suppress(OSError):
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        thrown_away = hosting.disk_problem(environ, settings.storage.path.resolve(), hosting.parse_mounts(mounts))
        if thrown_away:
            log.warning("start.disk_is_thrown_away", reason=thrown_away)
    try:
        _migrate_apart(settings, environ)
        with closing(Store(settings.storage.url)) as store:
            for warning in (*config.warnings(settings), *store.database.start_warnings(now_utc())):
                log.warning("start.unwise", reason=warning)
    except StoreError as exc:
        if prepared is None or prepared.storage.url != settings.storage.url:
            raise
        log.warning("start.unwise", reason=said(exc))
    return settings


def migrate(settings: Settings) -> str | None:
    """Create or upgrade the database; return the version it was at before, None for a new one."""
    with closing(Store(settings.storage.url)) as store:
        before = schema.migrate(store.database, now_utc())
        _warn_of_unused_targets(settings, store)
    return before


def _migrate_apart(settings: Settings, environ: Mapping[str, str]) -> None:
    """Migrate in a process of its own, if there is something to do: what it loads would stay in every worker."""
    with closing(Store(settings.storage.url)) as store:
        _warn_of_unused_targets(settings, store)
        if schema.current(store.database) == VERSION:
            return
    command = [sys.executable, "-m", "relay", "migrate"]
    done = subprocess.run(command, cwd=config.ROOT, env=dict(environ), capture_output=True, text=True, check=False)
    if done.returncode:
        raise StoreError(done.stderr.strip().removeprefix("Error: "))


def _warn_of_unused_targets(settings: Settings, store: Store) -> None:
    for warning in refuse_unused_targets(settings, store):
        log.warning("start.unused_target", reason=warning)


def refuse_unused_targets(settings: Settings, store: Store) -> list[str]:
    """Return a warning of each unused target with a backlog. Raises ConfigError for one without: it is misspelt."""
    unused = settings.unused_targets()
    has_tables = bool(unused) and schema.current(store.database) is not None
    idle = [name for name in unused if not (has_tables and store.queries.has_backlog(name))]
    if idle:
        raise ConfigError(
            "%(file)s: targets.%(name)s: no source uses it; name it in some [sources.*] targets, or remove it",
            file=settings.file,
            name=idle[0],
        )
    text = Message("%(file)s: targets.%(name)s: no source uses it, but it still has deliveries waiting")
    return [text.fill(file=settings.file, name=name) for name in unused]


def dispatch_enabled(environ: Mapping[str, str]) -> bool:
    """Does this process deliver, or does it only take notifications?"""
    return environ.get("RELAY_DISPATCH", "on") != "off"


def port_problem(address: tuple[str, int], environ: Mapping[str, str]) -> str | None:
    """Return whether somebody else listens there already, and what to do; waits for one who is just going."""
    if "GUNICORN_FD" in environ:  # an upgrade on the run: the socket is handed over
        return None
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    for _ in range(_PORT_TRIES):
        with socket.socket(family) as tried:  # bound as gunicorn binds: an IPv6 address takes IPv4 too
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(address)
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE:
                    return None  # gunicorn says it
            else:
                return None
        time.sleep(1)
    text = Message(
        "port %(port)s of %(host)s is in use: another relay runs there, or another program; end it, or set PORT to a "
        "free one"
    )
    return text.fill(host=address[0], port=address[1])
