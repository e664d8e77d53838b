"""How the relay gets into Bitrix24 and amoCRM: tokens that serve once, and the check that says what to mend."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from relay.cli import main
from relay.config import Secret
from relay.errors import StoreBusy, StoreError
from relay.models import TokenPair
from relay.sandbox.server import Sandbox
from relay.store import Store
from relay.targets.base import TokenStore
from relay.targets.oauth import Tokens
from relay.wiring import Relay
from tests.factories import jwt
from tests.fakes import FakeClock
from tests.lanes import Killed, SteppedLane, deliveries, post, tell
from tests.stories import CLIENT, STORIES, finished, incoming


def pair(fingerprint: str = "s", access: str = "a", refresh: str = "r") -> TokenPair:
    return TokenPair(fingerprint=fingerprint, access=access, refresh=refresh, expires_at=FakeClock().now)


@pytest.mark.parametrize("target", ["b24", "amo"])
def test_a_call_by_oauth_ends_like_one_by_webhook_or_token(
    target: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    systems.amocrm.add_contact(CLIENT)
    relay = make_crm(oauth=True)
    lane = SteppedLane(relay, target, clock)

    tell(relay, STORIES["answered"], clock, lane)

    assert {one.state for one in deliveries(relay, target)} == {"delivered"}
    lane.close()


@pytest.mark.parametrize("target", ["b24", "amo"])
def test_tokens_that_have_run_out_are_exchanged_once_and_a_restart_goes_on_with_the_new_ones(
    target: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm(oauth=True)
    for session in range(1, 4):
        lane = SteppedLane(relay, target, clock)
        tell(relay, [incoming(session), finished(session)], clock, lane)
        lane.close()
        systems.bitrix24.expire_token()
        systems.amocrm.expire_token()
        clock.forward(days=2)

    assert {one.state for one in deliveries(relay, target)} == {"delivered"}
    stored = relay.store.token_store(target).load()
    assert stored is not None
    assert stored.refresh.endswith("-4")  # one exchange for each of the three days


@pytest.mark.parametrize("target", ["b24", "amo"])
def test_the_new_pair_is_on_disk_before_it_is_used(
    target: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    """Killed right after the exchange: the refresh token has been used up, and its successor must be known."""
    relay = make_crm(oauth=True)
    post(relay, finished()[1], "rec")

    def moment(what: str) -> None:
        if what.startswith("to send") and "oauth" not in what:
            raise Killed

    lane = SteppedLane(relay, target, clock, moment)
    with pytest.raises(Killed):
        lane.deliver()
    lane.close()
    survivor = SteppedLane(relay, target, clock)
    clock.forward(seconds=2)
    survivor.deliver()
    survivor.close()

    assert {one.state for one in deliveries(relay, target)} == {"delivered"}


@pytest.mark.parametrize("target", ["b24", "amo"])
def test_a_refresh_token_that_was_used_elsewhere_is_a_matter_of_the_configuration(
    target: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm(oauth=True)
    thief = SteppedLane(relay, target, clock)
    tell(relay, [incoming(1)], clock, thief)
    thief.close()
    stored = relay.store.token_store(target).load()
    assert stored is not None
    relay.store.token_store(target).save(pair(stored.fingerprint, refresh="refresh-1"))
    post(relay, finished()[1], "rec")
    lane = SteppedLane(relay, target, clock)

    [outcome] = lane.deliver()
    lane.close()

    assert outcome.name == "misconfigured"
    assert "refresh_token" in outcome.reason


def test_a_newly_configured_refresh_token_begins_anew(relay: Relay) -> None:
    token_store = relay.store.token_store("onec")
    token_store.save(pair(fingerprint="of another token"))
    asked: list[str] = []

    def exchange(refresh: str, fingerprint: str) -> TokenPair:
        asked.append(refresh)
        return pair(fingerprint, access="new", refresh="next")

    tokens = Tokens(Secret("configured"), token_store)
    assert tokens.current() is None
    assert tokens.renewed(None, exchange).access == "new"
    assert Tokens(Secret("configured"), token_store).current() == tokens.current()
    assert asked == ["configured"]


def test_two_processes_exchange_a_token_once(relay: Relay) -> None:
    """Each has an object of its own on the same database."""
    begun, go_on, asked = threading.Event(), threading.Event(), []

    def exchange(refresh: str, fingerprint: str) -> TokenPair:
        asked.append(refresh)
        begun.set()
        assert go_on.wait(10)
        return pair(fingerprint, access="new", refresh="next")

    first = Tokens(Secret("configured"), relay.store.token_store("onec"))
    second = Tokens(Secret("configured"), Store(relay.settings.storage.url).token_store("onec"))
    found: list[TokenPair] = []
    threads = [
        threading.Thread(target=lambda each=each: found.append(each.renewed(None, exchange)))
        for each in (first, second)
    ]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(10)

    assert [one.access for one in found] == ["new", "new"]
    assert asked == ["configured"]


class FailingVault:
    """Takes no pair until it has refused `failures` of them."""

    def __init__(self, token_store: TokenStore, failures: int) -> None:
        self._token_store, self.failures, self.others = token_store, failures, list[bool]()

    def load(self) -> TokenPair | None:
        return self._token_store.load()

    def save(self, pair: TokenPair) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreError("the disk is full")
        self._token_store.save(pair)

    def exclusive(self) -> AbstractContextManager[None]:
        return self._token_store.exclusive()


def test_a_pair_that_could_not_be_saved_is_kept_saved_again_and_used_only_then(relay: Relay) -> None:
    """The refresh token has been used up: its successor is all that there is."""
    token_store = FailingVault(relay.store.token_store("onec"), 3)
    asked: list[str] = []
    meanwhile: list[TokenPair | None] = []

    def exchange(refresh: str, fingerprint: str) -> TokenPair:
        asked.append(refresh)
        return pair(fingerprint, access="new", refresh="next")

    def pause(_: float) -> None:
        meanwhile.append(tokens.current())
        lock = relay.store.database.token_lock("onec")
        assert not lock.try_acquire()  # nobody else exchanges what is on disk: it has been used up
        lock.close()

    tokens = Tokens(Secret("configured"), token_store, pause=pause)
    assert tokens.renewed(None, exchange).access == "new"
    assert meanwhile == [None] * 3
    assert asked == ["configured"]
    stored = relay.store.token_store("onec").load()
    assert stored is not None
    assert stored.refresh == "next"


def test_no_token_is_used_up_while_the_store_takes_no_writes(relay: Relay) -> None:
    """To take the write lock is not enough: the disk must take something."""
    with relay.store.database.write() as connection:
        connection.exec_driver_sql("PRAGMA query_only=ON")  # as a disk that has become read-only

    def exchange(_refresh: str, _fingerprint: str) -> TokenPair:
        raise AssertionError("the token would be used up")

    with pytest.raises(StoreError, match="write"):
        Tokens(Secret("configured"), relay.store.token_store("onec")).renewed(None, exchange)


def test_without_a_database_no_token_is_used_up(make_settings: Any) -> None:
    store = Store(make_settings().storage.url)

    with pytest.raises(Exception, match="relay migrate"), store.token_store("onec").exclusive():
        raise AssertionError("a token would have been exchanged that could not be kept")


# --- check --online


@pytest.fixture
def check(make_crm: Any, systems: Sandbox, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    def check(**more: Any) -> tuple[int, str]:
        make_crm(**more)
        result = CliRunner().invoke(main, ["check", "--online"], env={"RELAY_CONFIG": str(tmp_path / "relay.toml")})
        return result.exit_code, result.output

    return check


@pytest.mark.parametrize("oauth", [False, True])
def test_check_says_that_all_three_are_ready(check: Any, oauth: bool) -> None:
    code, said = check(oauth=oauth)

    assert code == 0
    assert [f"{name}: ready" in said for name in ("onec", "b24", "amo")] == [True, True, True]


@pytest.mark.parametrize(
    ("target", "mode", "method", "words"),
    [
        ("bitrix24", "insufficient_scope", "telephony.externalline.get", "telephony, crm and user"),
        ("bitrix24", "invalid_credentials", None, "make a new incoming webhook"),
        ("bitrix24", "wrong_auth_type", "telephony.externalline.get", "create a local application"),
        ("bitrix24", "wrong_auth_type", "telephony.externalline.get", "local application"),
        ("amocrm", "unauthorized", None, "make a new long-lived token"),
        ("amocrm", "payment_required", None, "not paid for"),
        ("amocrm", "blocked", None, "ask its support"),
        ("onec", "unauthorized", None, "username and password"),
    ],
)
def test_check_says_what_to_mend(
    target: str, mode: str, method: str | None, words: str, check: Any, systems: Sandbox
) -> None:
    getattr(systems, target).fail(mode, -1, method)

    code, said = check()

    assert code == 1
    assert words in said


@pytest.mark.parametrize(
    ("target", "mode", "method", "words"),
    [
        ("bitrix24", "insufficient_scope", "crm.duplicate.findbycomm", "right crm"),
        ("bitrix24", "access_denied", "voximplant.statistic.get", "call details"),
        ("bitrix24", "insufficient_scope", "user.get", "right user"),
        ("amocrm", "scope", "users", "could not be checked"),
    ],
)
def test_check_says_what_does_not_go_on_beside_the_calls(
    target: str, mode: str, method: str, words: str, check: Any, systems: Sandbox
) -> None:
    getattr(systems, target).fail(mode, -1, method)

    code, said = check()

    assert (code, words in said) == (0, True)


def test_check_names_users_who_are_not_there(check: Any, systems: Sandbox) -> None:
    systems.bitrix24.deactivate(13)

    code, said = check(amo='employees = { "5" = 999 }')

    assert code == 0
    assert "user 13 is no active employee" in said
    assert "no user 999 in amoCRM" in said


# --- whose call it is, asked of Bitrix24 itself


def test_a_user_is_learnt_by_the_extension_once(make_crm: Any, systems: Sandbox, clock: FakeClock) -> None:
    relay = make_crm(b24_users="")
    lane = SteppedLane(relay, "b24", clock)

    tell(relay, [*STORIES["answered"], incoming(8), finished(8, "102"), finished(9, "199")], clock, lane)
    lane.close()

    found = {row["EXTERNAL_CALL_ID"]: row["USER_ID"] for row in systems.bitrix24.state()["statistics"]}
    assert found == {"7": 12, "8": 13, "9": 1}
    assert systems.bitrix24.state()["methods"].count("user.get") == 3


@pytest.mark.parametrize("mode", ["insufficient_scope", "html_503", "internal_server_error"])
def test_that_a_user_cannot_be_learnt_costs_the_call_nothing(
    mode: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm()
    systems.bitrix24.fail(mode, -1, "user.get")
    lane = SteppedLane(relay, "b24", clock)

    tell(relay, [incoming(), finished(extension="199")], clock, lane)
    lane.close()

    assert {one.state for one in deliveries(relay, "b24")} == {"delivered"}
    assert systems.bitrix24.state()["statistics"][0]["USER_ID"] == 1


def test_a_dismissed_employees_call_goes_to_the_default_user(make_crm: Any, systems: Sandbox, clock: FakeClock) -> None:
    relay = make_crm()
    systems.bitrix24.deactivate(12)
    lane = SteppedLane(relay, "b24", clock)

    tell(relay, STORIES["answered"], clock, lane)
    lane.close()

    assert [row["USER_ID"] for row in systems.bitrix24.state()["statistics"]] == [1]


def test_a_lock_on_the_tokens_that_is_not_let_go_is_said(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.store.tokens._EXCLUSIVE_WITHIN_S", 0.0)
    lock = relay.store.database.token_lock("onec")
    assert lock.try_acquire()
    try:
        with pytest.raises(StoreBusy, match="onec"), relay.store.token_store("onec").exclusive():
            pass
    finally:
        lock.close()


@pytest.mark.parametrize(("days", "warned"), [(10, True), (40, False)])
def test_the_log_warns_of_a_long_lived_tokens_end(
    days: int, warned: bool, make_crm: Any, clock: FakeClock, logged: list[Any]
) -> None:
    ends = (clock.now + timedelta(days=days)).timestamp()
    relay = make_crm(amo_access=f'token = "{str.__str__(jwt(ends))}"')

    relay.housekeeping.warn()

    assert [line["target"] for line in logged if line["event"] == "target.warning"] == ["amo"] * warned
