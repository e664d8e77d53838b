"""A copy in the place of the database: put there rightly, put there wrongly, and how long copies are kept."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from relay import bootstrap
from relay.cli import main
from relay.errors import StoreError
from relay.store import Selection, Store, migrate
from relay.store.sqlite import files
from relay.store.sqlite.backup import back_up
from relay.wiring import Relay
from tests.calls import rendered
from tests.fakes import FakeClock
from tests.lanes import post


@pytest.fixture
def place(relay: Relay, tmp_path: Path) -> Place:
    return Place(relay, tmp_path)


class Place:
    """A database with calls 0 to 4, a copy of it, and calls 5 to 9 that only the journal has; then a kill."""

    def __init__(self, relay: Relay, folder: Path) -> None:
        self.relay, self.folder = relay, folder
        self.database, self.copy = relay.store.database.path, folder / "copy.db"
        self.url = f"sqlite:///{self.database}"
        self._post(range(5))
        with relay.store.database.write() as connection:
            connection.exec_driver_sql("UPDATE heartbeats SET at = 1")
        checkpointed(self.database)
        back_up(relay.store.database.path, self.copy)
        self._post(range(5, 10))

    def _post(self, sessions: range) -> None:
        for session in sessions:
            post(self.relay, rendered("incoming", call_session_id=session, external_id="x" * 3000))

    def kill(self) -> None:
        """What a kill leaves: every file as it is. The very files, so that they keep their inodes."""
        for suffix in ("", "-wal"):
            self.database.with_name(self.database.name + suffix).rename(self.folder / f"kept{suffix}")
        self.relay.close()
        for suffix in ("", "-wal"):
            (self.folder / f"kept{suffix}").rename(self.database.with_name(self.database.name + suffix))
        self.database.with_name(self.database.name + "-shm").unlink(missing_ok=True)

    def restore(self, file: Path | str, code: int = 0) -> str:
        config = {"RELAY_CONFIG": str(self.relay.settings.file)}
        done = CliRunner().invoke(main, ["restore", str(file)], env=config)
        assert done.exit_code == code, done.output + repr(done.exception)
        return done.output

    def sessions(self, database: Path | None = None) -> list[str | None]:
        with closing(Store(f"sqlite:///{database or self.database}")) as store:
            migrate.expect_current(store.database)
            return [event.session for event in store.queries.events(Selection())]


def checkpointed(database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def moved_over(copy: Path, database: Path) -> None:
    copy.replace(database)


def written_over(copy: Path, database: Path) -> None:
    database.write_bytes(copy.read_bytes())


@pytest.mark.parametrize("put", [moved_over, written_over])
def test_a_journal_that_is_not_the_databases_is_refused_and_nothing_is_spoilt(
    place: Place, put: Callable[[Path, Path], None]
) -> None:
    """Killed, then a copy is put in the database's place, and the old journal stays."""
    place.kill()
    put(place.copy, place.database)
    present, old_journal = place.database.read_bytes(), files.journal_of(place.database).read_bytes()

    for begin in (lambda: bootstrap.migrate(place.relay.settings), place.sessions):
        with pytest.raises(StoreError, match="relay restore FILE"):
            begin()
    assert place.database.read_bytes() == present
    assert files.journal_of(place.database).read_bytes() == old_journal

    said = place.restore(place.database)  # the copy that is there already
    assert "5 events" in said
    assert "journal" in said
    assert bootstrap.migrate(place.relay.settings) is not None
    assert place.sessions() == [str(session) for session in range(5)]
    assert sqlite3.connect(place.database).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert [file.read_bytes() for file in place.folder.glob("relay.db.bak-replaced-*.journal")] == [old_journal]


def test_a_raw_copy_that_was_moved_over_the_database_is_found_by_its_inode(place: Place) -> None:
    """It is in WAL mode, as the database itself."""
    shutil.copy(place.database, raw := place.folder / "raw.db")
    place.kill()
    moved_over(raw, place.database)

    with pytest.raises(StoreError, match="another file has been put in its place"):
        place.sessions()


def test_a_reader_of_a_running_relay_does_not_spoil_the_file_either(place: Place) -> None:
    moved_over(place.copy, place.database)
    present = place.database.read_bytes()

    with pytest.raises(StoreError, match="relay restore FILE"):
        place.sessions()
    place.relay.close()
    assert place.database.read_bytes() == present


def test_a_database_that_is_gone_is_not_begun_anew_beside_its_journal(place: Place) -> None:
    place.kill()
    place.database.rename(away := place.folder / "away.db")

    with pytest.raises(StoreError, match="the database is gone"):
        bootstrap.migrate(place.relay.settings)
    assert not place.database.exists()
    away.rename(place.database)
    assert len(place.sessions()) == 10


@pytest.mark.parametrize("moved", [False, True])
def test_its_own_journal_is_taken_after_a_kill_and_after_the_folder_was_moved(
    place: Place, tmp_path: Path, moved: bool
) -> None:
    place.kill()
    database = place.database
    if moved:
        (elsewhere := tmp_path / "elsewhere").mkdir()
        for file in tmp_path.glob("relay.db*"):
            shutil.copy2(file, elsewhere)
        database = elsewhere / "relay.db"

    assert len(place.sessions(database)) == 10


def test_after_the_steps_by_hand_the_relay_starts_as_ever(place: Place) -> None:
    """The next journal may get the very inode of the old one."""
    place.kill()
    for _ in range(3):
        files.journal_of(place.database).unlink(missing_ok=True)
        shutil.copy(place.copy, again := place.folder / "again.db")
        moved_over(again, place.database)
        with closing(Store(place.url)) as store, closing(Store(place.url)) as other:
            store.database.prove_writable(place.relay.clock())
            assert len(list(other.queries.events(Selection()))) == 5


@pytest.mark.parametrize(
    ("noted", "present", "own"),
    [
        (None, (1, 2), True),  # an older version, or a power cut: nobody knows
        ((1, 2), (1, 2), True),
        ((1, 2), (1, 3), True),  # a new journal
        ((1, 2), (8, 9), True),  # moved as a whole
        ((1, 2), (8, 2), False),  # the database alone was replaced
    ],
)
def test_whose_the_journal_is(noted: Any, present: Any, own: bool) -> None:
    assert files.journal_belongs(noted, present) is own


# --- restore


def test_restore_puts_a_copy_there_and_keeps_the_former_whole(place: Place) -> None:
    place.kill()
    said = place.restore(place.copy)

    assert place.sessions() == [str(session) for session in range(5)]
    [former, _its_journal] = sorted(place.folder.glob("relay.db.bak-replaced-*"))
    assert str(former) in said
    assert [file.stat().st_mode & 0o777 for file in (former, place.database)] == [0o600, 0o600]
    place.restore(former)  # with what stood in its journal
    assert len(place.sessions()) == 10


def test_restore_refuses_while_a_process_has_the_database_open(place: Place) -> None:
    before = place.database.stat().st_ino
    assert "stop the relay" in place.restore(place.copy, 1)
    assert place.database.stat().st_ino == before


def test_nothing_opens_the_database_while_it_is_restored(place: Place) -> None:
    place.relay.close()
    with Store(place.url).database.presence.exclusive(), pytest.raises(StoreError, match="relay restore"):
        place.sessions()
    assert len(place.sessions()) == 10


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda file: file.write_bytes(b"no database at all" * 1000), "not a database"),
        (lambda file: file.write_bytes(b""), "no such table"),
        (lambda file: file.write_bytes(file.read_bytes()[:12_000]), "malformed"),
        (lambda file: changed(file, "UPDATE alembic_version SET version_num = '9999'"), "newer"),
    ],
)
def test_restore_refuses_what_is_no_sound_copy_and_leaves_the_database_as_it_is(
    place: Place, damage: Callable[[Path], Any], says: str
) -> None:
    damage(place.copy)
    place.relay.close()

    assert says in place.restore(place.copy, 1)
    assert len(place.sessions()) == 10
    assert list(place.folder.glob("*.bak-*")) == []


def changed(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(statement)


def test_restore_works_where_there_is_no_database_any_more(place: Place) -> None:
    place.kill()
    place.database.unlink()

    assert "journal" in place.restore(place.copy)
    assert len(place.sessions()) == 5


# --- the copies


def test_the_copy_before_a_migration_is_private_is_named_by_check_and_goes_after_30_days(
    old_database: Path,
    make_settings: Callable[..., Any],
    make_relay: Callable[..., Relay],
    clock: FakeClock,
    tmp_path: Path,
) -> None:
    old_database.chmod(0o644)
    with closing(Store(make_settings().storage.url)) as store:
        migrate.migrate(store.database, clock())
    [copy] = tmp_path.glob("relay.db.bak-0001-*")
    assert copy.stat().st_mode & 0o777 == 0o600
    relay = make_relay()
    said = CliRunner().invoke(main, ["check"], env={"RELAY_CONFIG": str(relay.settings.file)}).output
    assert f"{copy} is a copy of the database, kept until 2026-04-01" in said
    assert f"chmod 600 {old_database}" in said  # it came with this mode

    clock.forward(days=29)
    relay.housekeeping.prune()
    assert copy.exists()
    clock.forward(days=1)
    relay.housekeeping.prune()
    assert not copy.exists()


def test_check_names_every_file_that_others_may_read(relay: Relay, clock: FakeClock, tmp_path: Path) -> None:
    relay.store.database.prove_writable(clock())
    copy = tmp_path / "relay.db.bak-0003-20260301000000.part"  # a kill came before it was whole
    foreign = [tmp_path / "relay.db.bak-mine", tmp_path / "other.db.bak-0003-20260301000000"]
    files = [tmp_path / "relay.db", tmp_path / "relay.db-wal", tmp_path / "relay.db-shm", copy, *foreign]
    for file in files:
        file.touch()
        file.chmod(0o640)
    said = CliRunner().invoke(main, ["check"], env={"RELAY_CONFIG": str(relay.settings.file)}).output

    assert [f"{file} is open to other users of this machine (mode 0640)" in said for file in files] == [
        *[True] * 4,
        *[False] * 2,
    ]
    clock.forward(days=400)
    relay.housekeeping.prune()
    assert [file.exists() for file in (copy, *foreign)] == [False, True, True]


# --- root, whose files the relay could not open


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_what_root_makes_beside_the_database_belongs_to_the_folders_owner(place: Place) -> None:
    place.kill()
    for file in place.folder.glob("relay.db.*"):
        file.unlink()
    os.chown(place.folder, 65534, 65534)
    place.restore(place.copy)

    made = [place.database, *(place.folder / f"relay.db.{name}" for name in ("lock", "open"))]
    bootstrap.migrate(place.relay.settings)
    assert [(file.name, file.stat().st_uid) for file in made] == [(file.name, 65534) for file in made]


def test_a_lock_that_is_a_link_is_not_followed(place: Place) -> None:
    """It would be another's file that is written to, and by root."""
    place.kill()
    (victim := place.folder / "victim").write_text("keep me", encoding="utf-8")
    for name in ("lock", "open"):
        (lock := place.folder / f"relay.db.{name}").unlink(missing_ok=True)
        lock.symlink_to(victim)

    with pytest.raises(StoreError, match="cannot be opened"):
        place.sessions()
    place.restore(place.copy, 1)
    assert victim.read_text(encoding="utf-8") == "keep me"
