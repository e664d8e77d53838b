"""A person is forgotten: every row that holds the number, and in SQLite every byte of the files."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from sqlalchemy import LargeBinary, Text, insert, select, update

from relay.cli import forget as forget_command
from relay.cli import main
from relay.errors import StoreError
from relay.models import Outcome
from relay.store import ClaimedDelivery, Selection, retention, tables
from relay.store.erasure import _erase_call, may_mention
from relay.store.sqlite import backup
from relay.store.sqlite.database import SqliteDatabase
from relay.wiring import Relay
from tests.calls import rendered
from tests.fakes import FakeClock, Scripted
from tests.lanes import SteppedLane, deliveries, dispatch, post
from tests.waiting import eventually

CLIENT = "79005550123"
OTHER = "79005550777"
DIGITS = "9005550123"
SPELLINGS = ("+7 (900) 555-01-23", "89005550123", "8-900-555-01-23", "+79005550123", "7 900 555 01 23")


def forget(relay: Relay, *args: str, phone: str = "+7 (900) 555-01-23", answer: str = "") -> tuple[int, str]:
    """The command, beside the relay."""
    environ = {"RELAY_CONFIG": str(relay.settings.file), "DATABASE_URL": relay.settings.storage.url}
    result = CliRunner().invoke(main, ["forget", "--phone", phone, *args], env=environ, input=answer)
    return result.exit_code, result.output


def post_call(relay: Relay, session: int, client: str) -> None:
    for kind, endpoint in (("incoming", "in"), ("answered", "in"), ("finished", "rec")):
        body = rendered(kind, call_session_id=session, calling_phone_number=client)  # type: ignore[arg-type]
        post(relay, body.replace(b"79005550123", client.encode()), endpoint)


def quarantine(relay: Relay, body: bytes, *, is_query: bool = False) -> str:
    receipt = relay.intake.accept(relay.settings.sources["trade"], "in", body, is_query=is_query)
    assert receipt.status == "quarantined"
    return receipt.event


def everything(relay: Relay) -> str:
    """All texts of all tables."""
    texts: list[str] = []
    with relay.store.database.read() as connection:
        for table in tables.metadata.sorted_tables:
            columns = [column for column in table.c if isinstance(column.type, (Text, LargeBinary))]
            for row in connection.execute(select(*columns)) if columns else ():
                texts += [value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in row]
    return "\n".join(texts)


def holds(text: str, digits: str = DIGITS) -> bool:
    return digits in re.sub(r"\D", "", text)


def sessions(relay: Relay) -> list[str | None]:
    return [event.session for event in relay.store.queries.events(Selection())]


def test_a_persons_calls_go_whole_and_nobody_elses(relay: Relay) -> None:
    post_call(relay, 1, CLIENT)
    post_call(relay, 2, OTHER)

    code, said = forget(relay, "--yes")

    assert code == 0, said
    assert "Calls: 1\nNotifications: 3, of them not readable: 0\nDeliveries: 3, attempts: 0\n" in said
    assert "Forgotten: notifications: 3" in said
    assert sessions(relay) == ["2", "2", "2"]
    assert {delivery.session for delivery in deliveries(relay, "onec")} == {"2"}
    assert not holds(everything(relay))
    assert forget(relay, "--yes")[1].startswith("Nothing is kept of this number.\n")


def test_what_was_broken_off_says_so_and_the_next_time_forgets_the_rest(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    for session in range(20):
        post_call(relay, session, CLIENT)
    with monkeypatch.context() as broken:
        broken.setattr("relay.store.erasure._erase_call", _Broken(after=10))
        code, said = forget(relay, "--yes")
    assert (code, "Done before that: 24 of 60; do the same once more" in said) == (1, True), said
    assert len(sessions(relay)) == 36

    code, said = forget(relay, "--yes")
    assert (code, "Forgotten: notifications: 36" in said) == (0, True), said
    assert not holds(everything(relay))


class _Broken:
    """Erases some calls, then the line breaks."""

    def __init__(self, after: int) -> None:
        self._left = after

    def __call__(self, *args: Any) -> int:
        self._left -= 1
        if self._left < 0:
            raise StoreError("the line has broken")
        return _erase_call(*args)


def test_what_names_no_client_goes_with_its_call(relay: Relay) -> None:
    """A recording is the person's voice."""
    post_call(relay, 1, CLIENT)
    post_call(relay, 2, OTHER)
    for session in (1, 2):
        record = f'{{"call_session_id": {session}, "full_record_file_link": "https://media.example.test/1/{session}"}}'
        post(relay, record.encode(), "any")

    assert forget(relay, "--yes")[0] == 0
    assert sessions(relay) == ["2"] * 4


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("encode", [lambda text: text, lambda text: quote(text, safe="")], ids=["plain", "escaped"])
def test_a_body_that_could_not_be_read_goes_in_every_spelling(
    relay: Relay, spelling: str, encode: Callable[[str], str]
) -> None:
    quarantine(relay, f"who knows {encode(spelling)} what".encode())
    kept = quarantine(relay, b"who knows +7 (900) 555-07-77 what")

    code, said = forget(relay, "--yes")

    assert (code, "Calls: 0\nNotifications: 1, of them not readable: 1" in said) == (0, True), said
    assert [event.id for event in relay.store.queries.events(Selection())] == [kept]


def test_what_only_mentions_the_number_loses_it_alone(relay: Relay) -> None:
    post_call(relay, 2, OTHER)
    with relay.store.database.write() as connection:
        [seq, *_] = connection.execute(select(tables.deliveries.c.seq)).scalars()
        words = {"reason": "409: a duplicate of +7 900 555-01-23, sorry", "remote_id": f"contact {CLIENT}"}
        connection.execute(update(tables.deliveries).where(tables.deliveries.c.seq == seq).values(words))
        attempt = {"delivery_seq": seq, "number": 1, "at": 1, "took_ms": 1, "outcome": "failed"}
        connection.execute(insert(tables.attempts), {**attempt, "reason": f"no client {CLIENT} in 1C"})
        progress = {"target": "onec", "source": "trade", "session": "2", "done": f'{{"phone":"{CLIENT}","id":7}}'}
        progress["task_of"] = CLIENT
        connection.execute(insert(tables.call_links), progress)
        error = {"last_error": f"what is {SPELLINGS[0]}?", "reason": f"down because of {CLIENT}"}
        for number in (CLIENT, SPELLINGS[0]):  # both are named alike without it
            click = {"source": "trade", "external_id": f"call-{number}", "at": 1, "phone": CLIENT}
            connection.execute(insert(tables.clicks), {**click, "employee": "101", "state": "started"})
        row = {"name": "onec", "state": "down", "epoch": 0, "renewals": 0, "probes": 0}
        connection.execute(insert(tables.targets), {**row, "pause_counted_to": 0, "resumes": 0, **error})

    code, said = forget(relay, "--yes")

    assert code == 0, said
    for table in ("attempts: 1", "call_links: 1", "clicks: 2", "deliveries: 1", "targets: 1"):
        assert table in said
    assert "the number was taken out of other rows: 6" in said
    text = everything(relay)
    assert not holds(text)
    for kept in (
        "409: a duplicate of …, sorry",
        "contact …",
        "no client … in 1C",
        '{"phone":"…","id":7}',
        "what is …?",
    ):
        assert kept in text
    assert sessions(relay) == ["2", "2", "2"]


def test_a_dry_run_says_what_there_is_and_touches_nothing(relay: Relay) -> None:
    post_call(relay, 1, CLIENT)
    before = everything(relay)

    code, said = forget(relay, "--dry-run")

    assert (code, everything(relay)) == (0, before)
    assert "Notifications: 3" in said
    assert "Forgotten" not in said


def test_what_is_not_delivered_is_said_first_and_asked_about(relay: Relay) -> None:
    post_call(relay, 1, CLIENT)

    code, said = forget(relay, answer="n\n")

    assert said.startswith("Not delivered yet, and never will be: onec: due: 3\n")
    assert "Forget all of it?" in said
    assert (code, len(sessions(relay))) == (1, 3)
    assert forget(relay, answer="y\n")[0] == 0
    assert sessions(relay) == []


def test_a_number_of_ones_own_is_pointed_out(relay: Relay) -> None:
    post_call(relay, 1, CLIENT)

    code, said = forget(relay, "--dry-run", phone="74955550100")

    assert code == 0
    assert "Is this a number of your own?" in said


@pytest.mark.parametrize("phone", ["", "101", "555-01-23", "+7 900 555"])
def test_a_part_of_a_number_is_refused(relay: Relay, phone: str) -> None:
    code, said = forget(relay, "--yes", phone=phone)

    assert (code, "the whole number" in said) == (2, True)


# --- beside a running relay


def test_what_is_being_sent_is_kept_until_it_has_ended(relay: Relay, clock: FakeClock) -> None:
    post_call(relay, 1, CLIENT)
    [first, *_] = deliveries(relay, "onec")
    with relay.store.database.write() as connection:
        is_first = tables.deliveries.c.seq == first.seq
        connection.execute(update(tables.deliveries).where(is_first).values(state="sending"))

    code, said = forget(relay, "--yes")
    assert (code, "being sent just now" in said) == (1, True)
    assert len(sessions(relay)) == 3

    with relay.store.database.write() as connection:
        connection.execute(update(tables.deliveries).where(is_first).values(state="delivered"))
    assert forget(relay, "--yes")[0] == 0
    assert sessions(relay) == []


def test_whoever_waited_behind_a_forgotten_event_gets_its_turn(relay: Relay, clock: FakeClock) -> None:
    """One session, two clients: the template's session is a constant, or the call was passed on."""
    post(relay, rendered("incoming", call_session_id=1, calling_phone_number=CLIENT))
    body = rendered("answered", call_session_id=1, calling_phone_number=OTHER)
    post(relay, body.replace(CLIENT.encode(), OTHER.encode()))
    assert [delivery.state for delivery in deliveries(relay, "onec")] == ["due", "due"]

    assert forget(relay, "--yes")[0] == 0

    [left] = deliveries(relay, "onec")
    lane = SteppedLane(relay, "onec", clock)
    [outcome] = lane.deliver()
    lane.close()
    assert (left.session, outcome.name) == ("1", "unreachable"), "nobody is there, but it was tried"


def test_a_running_relay_delivers_the_others_meanwhile(relay: Relay) -> None:
    goes_on = threading.Event()

    def hangs(_: ClaimedDelivery) -> Outcome:
        goes_on.wait(20)
        return Outcome(name="delivered")

    scripted = Scripted(relay.settings.targets["onec"], hangs)
    dispatcher = dispatch(relay, scripted, clock=relay.clock)
    try:
        for session in range(20):
            post_call(relay, session, CLIENT if session % 2 else OTHER)
        eventually(lambda: len(scripted.sent) == 2, "one of each is being sent")
        assert forget(relay, "--yes")[0] == 1
        assert len(sessions(relay)) == 33, "of the person the call that is being sent"
        goes_on.set()
        eventually(lambda: forget(relay, "--yes")[0] == 0, "it is not being sent any more")
        eventually(lambda: {each.state for each in deliveries(relay, "onec")} == {"delivered"}, "the others have come")
    finally:
        dispatcher.stop(5)
    assert not holds(everything(relay))
    assert len(sessions(relay)) == 30


# --- the bytes of the files


@pytest.fixture
def long_lived(relay: Relay, clock: FakeClock) -> Iterator[Relay]:
    """A relay whose file has seen inserts, updates, deletions, long bodies, and a journal."""
    for session in range(60):
        post_call(relay, session, CLIENT if session % 7 == 0 else OTHER)
        quarantine(relay, f"{session} {SPELLINGS[session % 5]}".encode() + b" " * 9000 + str(session).encode())
        clock.forward(minutes=1)
    with relay.store.database.write() as connection:
        changed = {"reason": f"500: {CLIENT}", "attempts": 1, "state": "delivered", "turn": False}
        connection.execute(update(tables.deliveries).values(changed))
    old = clock.now - timedelta(minutes=40)
    assert retention.prune(relay.store.database, old, old, lambda: False) > 0
    yield relay


def bytes_of(database: SqliteDatabase) -> bytes:
    files = [database.path, database.path.with_name(database.path.name + "-wal")]
    return b"".join(file.read_bytes() for file in files if file.exists())


@pytest.mark.sqlite
def test_no_byte_of_the_files_has_the_number(long_lived: Relay) -> None:
    database = long_lived.store.database
    assert isinstance(database, SqliteDatabase)
    assert b"9005550123" in bytes_of(database)

    code, said = forget(long_lived, "--yes")

    assert code == 0, said
    left = bytes_of(database)
    spelt = [*SPELLINGS, CLIENT, DIGITS, "555-01-23", "555 01 23"]
    assert [each for each in spelt if each.encode() in left] == []
    assert not holds(re.sub(rb"[^0-9 ()+-]", b"x", left).decode().replace("x", ""), "5550123")
    assert OTHER.encode() in left, "the others are there"
    assert len(sessions(long_lived)) > 0


@pytest.mark.sqlite
def test_a_reader_who_keeps_the_journal_is_told_of(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forget_command, "_WIPE_TIMEOUT_S", 0.1)
    post_call(relay, 1, CLIENT)
    with relay.store.database.read() as connection:
        connection.execute(select(tables.events.c.seq)).all()
        code, said = forget(relay, "--yes")

    assert (code, "its journal still holds it" in said) == (1, True)
    assert forget(relay, "--yes")[0] == 0
    assert isinstance(relay.store.database, SqliteDatabase)
    assert b"9005550123" not in bytes_of(relay.store.database)


@pytest.mark.sqlite
def test_copies_are_named(relay: Relay, clock: FakeClock) -> None:
    post_call(relay, 1, CLIENT)
    assert isinstance(relay.store.database, SqliteDatabase)
    path = relay.store.database.path
    copy: Path = backup.copy_name(path, "0001", clock.now)
    backup.copy_whole(path, copy)

    code, said = forget(relay, "--yes")

    assert (code, f"delete it yourself: {copy}" in said) == (0, True)
    assert copy.exists()


def test_every_text_that_may_hold_a_phone_is_looked_at(relay: Relay) -> None:
    """A new column falls under it by itself; one that cannot hold a phone is named here."""
    looked_at = {
        f"{table.name}.{column.name}"
        for table in tables.metadata.sorted_tables
        for column in table.c
        if may_mention(column)
    }

    assert {
        "deliveries.reason",
        "deliveries.remote",
        "attempts.reason",
        "targets.reason",
        "targets.last_error",
    } < looked_at
    assert {"call_links.done", "call_links.task_of", "reports.reason"} < looked_at
