"""A PostgreSQL of the tests' own, and a PgBouncer in front of it: real servers on loopback, their data in scratch.

Debian's packages bring the programs; what is not installed is a reason to skip, or a failure where
RELAY_TEST_POSTGRES=required says so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg import sql

from tests.ports import unused_port
from tests.waiting import eventually

USER = "relay"
PASSWORD = "an-invented-password"  # the servers do not ask for it; it must stand in no log all the same

# No flush to the disk: a database survives the death of its processes even so, for the kernel has what they wrote.
# synchronous_commit stays: without it a killed server loses commits that it had confirmed.
QUICK = {"fsync": "off", "full_page_writes": "off"}
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "lc_messages": "C",  # a test that starts it may speak Russian
}


def programs() -> Path | None:
    """Return the folder of the newest PostgreSQL that Debian has installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    return folders[-1] if folders else None


def bouncer_program() -> str | None:
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def is_required() -> bool:
    return os.environ.get("RELAY_TEST_POSTGRES") == "required"


def is_wanted() -> bool:
    """Are there tests that run on PostgreSQL? None that would only be skipped."""
    return programs() is not None or is_required()


def missing(package: str) -> str:
    return f"{package} is not installed: apt-get install {package}"


def skip_unless(installed: object, package: str) -> None:
    """Skip the test where a package is not installed; fail where it must be."""
    if not installed and is_required():
        pytest.fail(missing(package))
    if not installed:
        pytest.skip(missing(package))


class Server:
    """A server program in a scratch folder on a port of its own; it ends with the tests, however they end."""

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"relay-{name}-"))
        self.log = self.folder / "server.log"
        self.port = unused_port()
        self.child: subprocess.Popen[bytes] | None = None
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")

    def start(self) -> None:
        """Start it, or start it again on the same port and data; return when it takes connections."""
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [*_unprivileged(), *self.command()],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop it
            )
        eventually(self.is_ready, f"it takes connections; its log: {self.log}", alive=self.child)

    def is_ready(self) -> bool:
        try:
            self.connect(self.ready_database).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it at once, breaking off what its clients do; their commits stay."""
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(number)
            self.child.wait(30)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, scheme: str = "postgresql") -> str:
        return f"{scheme}://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        """Return a connection that commits each statement; pgbouncer's console knows no other."""
        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=5, prepare_threshold=None)

    ready_database: str

    def command(self) -> list[str]:
        raise NotImplementedError


S = TypeVar("S", bound=Server)


class Postgres(Server):
    """PostgreSQL with a cluster of its own. `flushes`: with fsync, for what measures."""

    ready_database = "postgres"

    def __init__(self, *, flushes: bool = False, **settings: str) -> None:
        folder = programs()
        assert folder is not None, "see skip_unless"
        super().__init__("postgres")
        self._programs, self._databases = folder, 0
        self._settings = {**SETTINGS, **({} if flushes else QUICK), **settings}
        initdb = [str(folder / "initdb"), "--pgdata", str(self.folder / "data"), "--username", USER, "--auth", "trust"]
        # C.UTF-8: lower() knows Cyrillic letters, as on the platforms
        initdb += ["--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync", "--no-instructions"]
        subprocess.run([*_unprivileged(), *initdb], cwd=self.folder, check=True, capture_output=True, timeout=60)

    def command(self) -> list[str]:
        settings = {"port": str(self.port), **self._settings}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._programs / "postgres"), "-D", str(self.folder / "data"), *options]

    def create_database(self, template: str = "template1") -> str:
        """Create a database of the next number, as a copy of another one to which nobody is connected."""
        self._databases += 1
        name = f"relay_{self._databases}"
        # file by file takes half as long as block by block; before version 15 there is no other way
        strategy = sql.SQL(" STRATEGY FILE_COPY" if float(self._programs.parent.name) >= 15 else "")
        with self.connect("postgres") as connection:
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            connection.execute(create + strategy)
        return name

    def drop_database(self, name: str) -> None:
        """Drop it, and end whatever is still connected to it."""
        with self.connect("postgres") as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def terminate_backends(self, database: str) -> int:
        """End all sessions in a database, as an administrator or a failover does; return how many there were."""
        with self.connect("postgres") as connection:
            rows = connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [database]
            ).fetchall()
        return len(rows)

    def kill(self) -> None:
        """Kill the server and its backends with SIGKILL; `start` recovers what was committed."""
        assert self.child is not None
        pids = _children(self.child.pid)
        self.child.kill()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.child.wait(10)
        # a new server refuses the data while a backend of the old one lives
        eventually(lambda: not any(map(_is_running, pids)), "the backends are gone")

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Stop all of its processes: it takes connections, as the kernel does for it, and answers nothing."""
        assert self.child is not None
        pids = [self.child.pid]  # first: it starts no others then
        os.kill(self.child.pid, signal.SIGSTOP)
        try:
            pids += _children(self.child.pid)
            for pid in pids[1:]:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


class Bouncer(Server):
    """PgBouncer, which gives each transaction some connection of its pool: sessions do not stay one."""

    ready_database = "pgbouncer"

    def __init__(self, postgres: Postgres, *, pool: int = 10) -> None:
        program = bouncer_program()
        assert program is not None, "see skip_unless"
        super().__init__("pgbouncer")
        self._program = program
        (self.folder / "users.txt").write_text(f'"{USER}" "{PASSWORD}"\n', encoding="utf-8")
        (self.folder / "pgbouncer.ini").write_text(
            f"""
[databases]
* = host=127.0.0.1 port={postgres.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = trust
auth_file = {self.folder}/users.txt
admin_users = {USER}
pool_mode = transaction
default_pool_size = {pool}
server_login_retry = 1
server_connect_timeout = 5
query_wait_timeout = 10
""",
            encoding="utf-8",
        )

    def command(self) -> list[str]:
        return [self._program, str(self.folder / "pgbouncer.ini")]


@contextlib.contextmanager
def running(server: S) -> Iterator[S]:
    """Start a server; at the end stop it and remove what it wrote."""
    try:
        server.start()
        yield server
    finally:
        server.close()


def _unprivileged() -> list[str]:
    """Return what runs a program as Debian's `postgres` when the tests are root's, and ends it with them."""
    user = ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"] if os.getuid() == 0 else []
    return ["setpriv", *user, "--pdeathsig", "INT", "--"]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def _is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
