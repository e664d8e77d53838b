"""Connections that tell whether they stand, keep their request's deadline, and go only where they may.

urllib3 raises the same errors before and after a connection stands, and its time-outs begin anew with every byte.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NameResolutionError, NewConnectionError

from relay.targets.deadlines import Deadline

Admit = Callable[[str, Sequence[str]], Sequence[str]]
"""Takes a host and its addresses, gives those that may be connected to; raises when there are none."""


class Exchange:
    """One request on its way: what its connection has to know, and what it tells."""

    def __init__(self, deadline: Deadline, admit: Admit | None) -> None:
        self.deadline, self.admit = deadline, admit
        self.stood = False  #: was there a connection: TCP, and TLS where there is TLS?


class _Thread(threading.local):
    exchange: Exchange


_THREAD = _Thread()


@contextlib.contextmanager
def exchanging(deadline: Deadline, admit: Admit | None) -> Iterator[Exchange]:
    """The request that this thread makes now."""
    _THREAD.exchange = Exchange(deadline, admit)
    yield _THREAD.exchange


class _Telling:
    """A mixin for urllib3's connections."""

    _dns_host: str
    host: str
    port: int
    proxy: Any
    sock: socket.socket | None

    def _new_conn(self) -> socket.socket:
        exchange = _THREAD.exchange
        connect: Callable[[], socket.socket] = super()._new_conn  # type: ignore[misc]
        # behind a proxy it is the proxy that looks up the host
        made = connect() if exchange.admit is None or self.proxy else self._admitted(exchange.admit, connect)
        exchange.deadline.guard(made)  # before the handshake, which may drip as well
        return made

    def _admitted(self, admit: Admit, connect: Callable[[], socket.socket]) -> socket.socket:
        """To an address that was looked at: a name that is looked up twice may lead to two places."""
        host = self._dns_host
        try:
            found = socket.getaddrinfo(host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as exc:
            raise NameResolutionError(self.host, self, exc) from exc  # type: ignore[arg-type]
        failed: Exception | None = None
        for address in admit(self.host, list(dict.fromkeys(str(each[4][0]) for each in found))):
            self._dns_host = address
            try:
                return connect()
            except NewConnectionError as exc:
                failed = exc
            finally:
                self._dns_host = host
        raise failed or NewConnectionError(self, "there is no address")  # type: ignore[arg-type]

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        _THREAD.exchange.stood = True

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:  # kept from an earlier request, or made just now
            _THREAD.exchange.stood = True
            _THREAD.exchange.deadline.guard(self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]


class _TellingHTTP(_Telling, HTTPConnection):
    pass


class _TellingHTTPS(_Telling, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _TellingHTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _TellingHTTPS


class TellingAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        return manager

    def forget_connections(self) -> None:
        self.poolmanager.clear()
        for manager in self.proxy_manager.values():
            manager.clear()
