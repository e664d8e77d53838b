"""How gunicorn serves the relay, and where the dispatcher starts and stops: after the fork, never at import."""

import ctypes
import os
import signal
import sys
from typing import Any

from relay import hosting
from relay.errors import ConfigError, RelayError
from relay.i18n import gettext, language_of, said, set_language
from relay.observability import logging
from relay.web.notifications import web_threads

set_language(language_of(os.environ))


def _refusal(why: RelayError) -> str:
    return gettext("the relay does not start: %(why)s", why=said(why))


_problem = hosting.environment_problem(os.environ)
if _problem:  # gunicorn itself would say it with a traceback
    sys.exit(_refusal(ConfigError(_problem)))
# On a platform its router stands outside; anywhere else only this machine is served, until RELAY_LISTEN says otherwise.
bind = hosting.bind_address(os.environ)
worker_class = "relay.web.worker.Worker"  # threads that meet whole requests only
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
preload_app = False  # locks and connections are made after the fork
graceful_timeout = 20  # the platform kills after 30
timeout = 30
keepalive = 5
worker_connections = 500  # file descriptors: a process may often have 1024
forwarder_headers = ""  # SCRIPT_NAME and PATH_INFO would be believed
limit_request_line = 8190  # GET notifications carry everything in the address
access_log_format = '%(h)s %(t)s "%(m)s %(U)s" %(s)s %(b)s %(D)s'  # without the query: a secret stands there
control_socket_disable = True  # it would be written into the home directory
wsgi_app = "wsgi:app"

_ARENA_MAX = -8  # M_ARENA_MAX of <malloc.h>
_GRACE_S = {signal.SIGTERM: 18.0, signal.SIGINT: 2.0, signal.SIGQUIT: 2.0}
_grace_s: list[float] = []


def on_starting(server: Any) -> None:
    """Refuses a configuration that would lose calls; brings the database to the newest schema."""
    from relay import bootstrap
    from relay.observability import metrics

    logging.configure(os.environ)
    if server.cfg.is_ssl:
        sys.exit(
            "the relay does not start: it speaks no TLS itself; take certfile and keyfile away, and put nginx in front"
        )
    try:
        bootstrap.prepared = settings = bootstrap.prepare(os.environ, _hosts(server))
        for address in server.cfg.address:
            problem = bootstrap.port_problem(address[:2], os.environ) if isinstance(address, tuple) else None
            if problem:
                raise ConfigError(problem)
    except RelayError as exc:
        sys.exit(_refusal(exc))
    metrics.prepare(settings.storage.path)  # the workers add up


def on_reload(server: Any) -> None:
    """Reads the configuration anew; while it is broken, under edit say, the workers go on with what there was."""
    from relay import bootstrap

    try:
        bootstrap.prepared = bootstrap.prepare(os.environ, _hosts(server))
    except Exception as exc:  # whatever it is: what runs must not end of it
        bootstrap.log.error("reload.refused", reason=str(exc))


def post_fork(server: Any, worker: Any) -> None:
    """Gives the worker its threads, as many as suit its store, and one memory for all of them."""
    from relay import bootstrap

    if bootstrap.prepared is not None and worker.cfg.threads == 1:  # gunicorn's default: nobody has asked for another
        worker.cfg.set("threads", web_threads(bootstrap.prepared.storage))
    _share_free_memory()


def _share_free_memory() -> None:
    """Lets all threads share their free memory: glibc gives each its own, which keeps what its largest body took.

    They take turns anyway, as Python's threads do. Where there is no glibc there is nothing to set.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_ARENA_MAX, 1)


def post_worker_init(worker: Any) -> None:
    """The app is loaded and gunicorn has set its signal handlers: now the lanes may run."""
    from relay import cpu_affinity
    from relay.bootstrap import dispatch_enabled
    from wsgi import relay

    cpu_affinity.start(os.environ)
    if not dispatch_enabled(os.environ):
        relay.alerts.start()  # they are sent where nobody delivers too
        return
    relay.start()
    for number in _GRACE_S:
        _chain(number, relay.stop_claiming)


def worker_exit(server: Any, worker: Any) -> None:
    """In-flight requests have been answered; deliveries in flight finish or are recorded as unclear."""
    wsgi = sys.modules.get("wsgi")
    if wsgi is None or not hasattr(wsgi, "relay"):
        return  # the app did not load
    wsgi.relay.stop(_grace_s[0] if _grace_s else 2.0)
    wsgi.relay.close()


def _hosts(server: Any) -> list[str]:
    return [address[0] if isinstance(address, tuple) else str(address) for address in server.cfg.address]


def _chain(number: signal.Signals, first: Any) -> None:
    """Lanes stop claiming at the signal itself, then gunicorn's own handler runs."""
    following = signal.getsignal(number)

    def handle(received: int, frame: Any) -> None:
        if not _grace_s:
            _grace_s.append(_GRACE_S[number])
        first(_grace_s[0])
        if callable(following):
            following(received, frame)

    signal.signal(number, handle)
