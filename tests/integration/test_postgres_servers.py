"""The servers that the tests of PostgreSQL stand on do what those tests take for granted."""

from __future__ import annotations

import psycopg
import pytest

from tests import postgres as servers
from tests.postgres import Bouncer, Postgres


def fill(server: Postgres, database: str) -> None:
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE notes (words text)")
        connection.execute("INSERT INTO notes VALUES ('Звонок')")


def notes(server: servers.Server, database: str) -> list[tuple[str, ...]]:
    with server.connect(database) as connection:
        return connection.execute("SELECT lower(words) FROM notes").fetchall()


def test_a_database_is_a_copy_of_its_template(postgres: Postgres, postgres_database: str) -> None:
    fill(postgres, postgres_database)
    copy = postgres.create_database(template=postgres_database)

    assert notes(postgres, copy) == [("звонок",)]

    postgres.drop_database(copy)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        postgres.connect(copy)


def test_each_test_has_an_empty_database(postgres: Postgres, postgres_database: str) -> None:
    with postgres.connect(postgres_database) as connection:
        assert connection.execute("SELECT * FROM pg_tables WHERE schemaname = 'public'").fetchall() == []


def test_what_was_committed_survives_a_restart(postgres: Postgres, postgres_database: str) -> None:
    fill(postgres, postgres_database)
    postgres.restart()
    assert notes(postgres, postgres_database) == [("звонок",)]


def test_what_was_committed_survives_a_kill(postgres: Postgres, postgres_database: str) -> None:
    fill(postgres, postgres_database)
    with postgres.connect(postgres_database) as connection, pytest.raises(psycopg.OperationalError):
        postgres.kill()
        connection.execute("SELECT 1")
    assert not postgres.is_ready()

    postgres.start()
    assert notes(postgres, postgres_database) == [("звонок",)]


def test_sessions_are_ended_by_the_administrator(postgres: Postgres, postgres_database: str) -> None:
    with postgres.connect(postgres_database) as connection:
        assert postgres.terminate_backends(postgres_database) == 1
        with pytest.raises(psycopg.OperationalError, match="administrator command"):
            connection.execute("SELECT 1")


def test_pgbouncer_gives_a_connection_for_a_transaction(
    postgres: Postgres, bouncer: Bouncer, postgres_database: str
) -> None:
    """Two clients share one session of the server, as no two clients of the server itself would."""
    fill(postgres, postgres_database)
    session = "SELECT pg_backend_pid()"
    with bouncer.connect(postgres_database) as first, bouncer.connect(postgres_database) as second:
        assert first.execute(session).fetchall() == second.execute(session).fetchall()
    assert notes(bouncer, postgres_database) == [("звонок",)]


def test_pgbouncer_is_stopped_and_started_alone(postgres: Postgres, bouncer: Bouncer, postgres_database: str) -> None:
    bouncer.stop()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        bouncer.connect(postgres_database)

    bouncer.start()
    fill(postgres, postgres_database)
    assert notes(bouncer, postgres_database) == [("звонок",)]


def test_nothing_stays_of_a_server(postgres: Postgres) -> None:
    second = Postgres(work_mem="8MB")
    with servers.running(second), second.connect("postgres") as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("8MB",)
        assert second.port != postgres.port

    assert not second.folder.exists()
    assert not second.is_ready()


def test_a_missing_program_is_a_failure_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELAY_TEST_POSTGRES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install pgbouncer"):
        servers.skip_unless(None, "pgbouncer")

    monkeypatch.setenv("RELAY_TEST_POSTGRES", "required")
    with pytest.raises(pytest.fail.Exception, match="apt-get install pgbouncer"):
        servers.skip_unless(None, "pgbouncer")
