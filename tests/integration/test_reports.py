"""Calls whose notification never came are found in UIS's report and brought, once; over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from relay.cli import main
from relay.i18n import in_language
from relay.models import Event
from relay.operations.troubles import Trouble, troubles
from relay.reports import reconciler
from relay.reports.reconciler import BROUGHT, ReportLoop
from relay.sandbox.faults import IN_FRONT
from relay.sandbox.server import Sandbox
from relay.sandbox.uis_account import ERRORS, UisAccount, report_row
from relay.store import Selection
from relay.uis_api import data_api
from relay.wiring import Relay
from tests.calls import VALUES, rendered
from tests.fakes import FakeClock
from tests.lanes import TRADE, all_are, post
from tests.waiting import eventually

LINK = "https://media.example.test/1/abc"


@pytest.fixture
def uis(clock: FakeClock) -> Iterator[Sandbox]:
    clock.now = datetime(2026, 3, 2, 11, 0, tzinfo=UTC)  # 14:00 by the account's clock
    sandbox = Sandbox(uis=UisAccount(clock=clock)).start()
    yield sandbox
    sandbox.close()


@pytest.fixture
def reporting(uis: Sandbox, make_relay: Callable[..., Relay]) -> Callable[..., Relay]:
    def make(*lines: str, zone: str = "Europe/Moscow", **more: str) -> Relay:
        report = ["[sources.trade.report]", f'url = "{uis.data_api_url}"', 'key = "sandbox-key"', *lines]
        return make_relay(source="\n".join([f'timezone = "{zone}"', *report]), **more)

    return make


@pytest.fixture
def loop(reporting: Callable[..., Relay], clock: FakeClock) -> ReportLoop:
    """A relay whose report was read before: it has been there for a while."""
    return seasoned(reporting(), clock)


def seasoned(relay: Relay, clock: FakeClock) -> ReportLoop:
    clock.now -= timedelta(days=2)
    relay.reports.run_due()
    clock.now += timedelta(days=2)
    return relay.reports


def call(session: int = 7, at: str = "2026-03-02 12:45:59", **more: Any) -> dict[str, Any]:
    """A call of the report; it lasted a minute."""
    begins = datetime.fromisoformat(at)
    times = {"start_time": f"{at}.000", "finish_time": f"{begins + timedelta(minutes=1)}.000"}
    return report_row({**VALUES, "call_session_id": session, **times, **more})


def again(loop: ReportLoop, clock: FakeClock) -> None:
    clock.forward(minutes=10)
    loop.run_due()


def events(relay: Relay) -> list[Event]:
    return sorted(relay.store.queries.events(Selection()), key=lambda event: event.seq)


def store_of(loop: ReportLoop) -> Any:
    return loop._store


def events_of(loop: ReportLoop) -> list[Event]:
    return list(store_of(loop).queries.events(Selection()))


def kinds(loop: ReportLoop) -> list[tuple[str | None, str | None]]:
    found = sorted(store_of(loop).queries.events(Selection()), key=lambda event: event.seq)
    return [(event.kind, event.origin) for event in found]


def test_a_call_that_was_never_notified_is_brought_as_its_notification(
    uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    relay = reporting()
    loop = seasoned(relay, clock)
    uis.uis.add([call(employee_ids=[323409])])
    again(loop, clock)

    (event,) = events(relay)
    assert (event.kind, event.origin, event.endpoint, event.session) == ("finished", "report", "rec", "7")
    assert BROUGHT in event.notes
    times = {"start_time": "2026-03-02 12:45:59.000", "finish_time": "2026-03-02 12:46:59.000"}
    name = {"notification_name": "Завершение звонка", "call_session_id": 7, "employee_ids": [323409]}
    body = json.loads(event.raw)
    assert body.pop("talk_time_duration") == 51, "which no template of UIS has"
    assert body == json.loads(rendered("finished", **times, **name))
    (delivery, _), *_ = relay.store.queries.deliveries_of(event)
    assert (delivery.target, delivery.state) == ("onec", "due")


def test_what_is_brought_is_brought_once(uis: Sandbox, loop: ReportLoop, clock: FakeClock) -> None:
    uis.uis.add([call(7), call(8)])
    again(loop, clock)
    again(loop, clock)

    assert kinds(loop) == [("finished", "report")] * 2


def deep(levels: int) -> list[Any]:
    return [deep(levels - 1)] if levels else []


@pytest.mark.parametrize("wrong", [{"finish_time": "2026-03-02 12:60"}, {"scenario_name": deep(200)}])
def test_a_row_that_cannot_be_read_costs_no_other(
    wrong: dict[str, Any], uis: Sandbox, loop: ReportLoop, clock: FakeClock, logged: list[Any]
) -> None:
    uis.uis.add([call(7), {**call(8), **wrong}, call(9)])
    again(loop, clock)
    again(loop, clock)

    assert kinds(loop) == [("finished", "report")] * 2
    assert store_of(loop).reports.states()[TRADE].state == "open"
    told = [line for line in logged if line["event"] == "report.row_left_out"]
    assert [line["session"] for line in told] == ["8"]  # once, though it still stands there


@pytest.mark.parametrize(
    ("kind", "endpoint", "brought"),
    [("finished", "rec", 0), ("lost", "in", 0), ("answered", "in", 1), ("incoming", "in", 1)],
)
def test_a_call_whose_end_is_known_is_left_alone(
    kind: Any, endpoint: str, brought: int, uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    relay = reporting()
    loop = seasoned(relay, clock)
    post(relay, rendered(kind, call_session_id=7), endpoint)
    uis.uis.add([call(7, is_lost=kind == "lost")])
    again(loop, clock)

    assert sum(event.origin == "report" for event in events(relay)) == brought


def test_a_client_who_hangs_up_after_an_answer_is_no_end_of_the_call(
    uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    relay = reporting()
    loop = seasoned(relay, clock)
    for kind in ("incoming", "answered", "lost"):
        post(relay, rendered(kind, call_session_id=7), "in")  # type: ignore[arg-type]
    uis.uis.add([call(7)])
    again(loop, clock)
    assert kinds(loop)[-1] == ("finished", "report")

    post(relay, rendered("finished", call_session_id=7, employee_ids=None), "rec")
    assert "adds nothing" in " ".join(events(relay)[-1].notes)


def test_a_quarantined_end_does_not_stand_for_the_call(
    uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    relay = reporting()
    loop = seasoned(relay, clock)
    relay.intake.accept(relay.settings.sources[TRADE], "rec", b'{"call_session_id":7,', is_query=False)
    uis.uis.add([call(7)])
    again(loop, clock)

    [broken, brought] = events(relay)
    assert (broken.origin, brought.origin) == (None, "report")
    mended = rendered("finished", call_session_id=7, full_record_file_link=None, wav_call_records=None)

    assert relay.intake.reprocess(broken, mended).call is not None

    broken = relay.store.queries.event(broken.id)
    assert (broken.state, relay.store.queries.deliveries_of(broken)) == ("accepted", [])
    assert any("brought this call already" in note for note in broken.notes)


def test_a_notification_that_comes_late_is_delivered_only_where_it_adds_something(
    uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    relay = reporting()
    loop = seasoned(relay, clock)
    uis.uis.add([call(7), call(8, full_record_file_link=None)])
    again(loop, clock)
    for session in (7, 8):
        post(relay, rendered("finished", call_session_id=session, employee_ids=[323409], external_id=None), "rec")

    brought = {event.session: event for event in events(relay) if event.origin is None}
    assert not relay.store.queries.deliveries_of(brought["7"])
    assert "adds nothing" in " ".join(brought["7"].notes)
    assert len(relay.store.queries.deliveries_of(brought["8"])) == 1


def test_what_goes_on_or_has_just_ended_is_not_looked_at_yet(uis: Sandbox, loop: ReportLoop, clock: FakeClock) -> None:
    uis.uis.add([{**call(7), "finish_time": None}, call(8, "2026-03-02 14:00:00")])
    loop.run_due()
    clock.now = datetime(2026, 3, 2, 11, 10, tzinfo=UTC)  # nine minutes after its end
    loop.run_due()
    assert kinds(loop) == []

    clock.now = datetime(2026, 3, 2, 11, 16, tzinfo=UTC)
    loop.run_due()
    assert kinds(loop) == [("finished", "report")]


def test_lines_that_send_no_notifications_are_left_out(
    uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    relay = reporting('skip_lines = ["+7 495 555-01-99"]')
    loop = seasoned(relay, clock)
    uis.uis.add([call(7, virtual_phone_number="74955550199"), call(8)])
    again(loop, clock)

    assert [event.session for event in events(relay)] == ["8"]


def test_a_recording_that_comes_later_is_brought(
    uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    relay = reporting()
    loop = seasoned(relay, clock)
    post(relay, rendered("finished", call_session_id=7, full_record_file_link=None), "rec")
    uis.uis.add([call(7, "2026-03-02 13:30:00", full_record_file_link=None)])
    again(loop, clock)
    assert kinds(loop) == [("finished", None)]

    uis.uis.add([call(7, "2026-03-02 13:30:00")])
    again(loop, clock)
    again(loop, clock)
    assert kinds(loop) == [("finished", None), ("recorded", "report")]
    assert events(relay)[1].call is not None and events(relay)[1].call.record_link == LINK  # type: ignore[union-attr]


def test_after_two_hours_nobody_waits_for_a_recording(
    uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    relay = reporting()
    loop = seasoned(relay, clock)
    post(relay, rendered("finished", call_session_id=7, full_record_file_link=None), "rec")
    uis.uis.add([call(7, "2026-03-02 11:00:00")])
    again(loop, clock)

    assert kinds(loop) == [("finished", None)]


def test_all_pages_are_read(uis: Sandbox, loop: ReportLoop, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_api, "PAGE", 100)
    uis.uis.add([call(session) for session in range(1, 232)])
    again(loop, clock)

    assert len(kinds(loop)) == 231
    assert uis.uis.state()["requests"].count("get.calls_report") == 3


def test_more_calls_than_uis_lets_page_through_are_asked_for_in_halves(
    uis: Sandbox, loop: ReportLoop, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_api, "_OFFSET_MAX", 20)
    monkeypatch.setattr(reconciler, "_LEGS_AT_ONCE", 5)
    uis.uis.add([call(session, f"2026-03-02 12:{session}:00") for session in range(10, 50)])

    clock.forward(minutes=30)
    again(loop, clock)

    assert len({event.session for event in events_of(loop)}) == len(kinds(loop)) == 40


@pytest.mark.parametrize("fault", [OverflowError("a fault"), data_api.TooManyRows()])
def test_a_fault_while_reading_is_told_and_moves_nothing(
    loop: ReportLoop, clock: FakeClock, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store_of(loop).reports.states()[TRADE]

    def fails(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(reconciler.Reconciler, "run", fails)
    again(loop, clock)

    after = store_of(loop).reports.states()[TRADE]
    assert (after.state, after.checked_to, after.began_at) == ("later", before.checked_to, before.began_at)
    assert after.reason


def test_what_was_before_the_relay_is_not_its_own(
    uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    uis.uis.add([call(7, "2026-03-02 13:00:00")])
    loop = reporting().reports
    loop.run_due()
    again(loop, clock)

    assert kinds(loop) == []


def test_what_happened_while_the_relay_was_off_is_brought(uis: Sandbox, loop: ReportLoop, clock: FakeClock) -> None:
    clock.forward(days=20)
    uis.uis.add([call(7, "2026-03-05 12:00:00"), call(8, "2026-03-22 12:00:00")])
    loop.run_due()

    assert len(kinds(loop)) == 2


def test_a_relay_that_was_off_for_half_a_year_asks_for_three_months_at_a_time(
    uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    loop = seasoned(reporting(storage='keep_delivered = "400d"'), clock)
    clock.forward(days=200)
    uis.uis.add([call(7, "2026-03-05 12:00:00"), call(8, "2026-06-15 12:00:00"), call(9, "2026-09-17 12:00:00")])
    loop.run_due()

    assert kinds(loop) == [("finished", "report")] * 3
    assert uis.uis.state()["requests"].count("get.calls_report") == 3


def test_a_call_that_is_late_in_the_report_is_found_by_a_later_look(
    uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    uis.uis.delay = timedelta(hours=3)
    loop = seasoned(reporting(), clock)
    uis.uis.add([call(7, "2026-03-02 13:00:00")])
    again(loop, clock)
    assert kinds(loop) == []

    clock.forward(hours=2)
    loop.run_due()
    assert kinds(loop) == [("finished", "report")]


@pytest.mark.parametrize("configured", ["Asia/Yekaterinburg", "Europe/Moscow"])
def test_a_call_over_the_accounts_midnight_is_found_by_the_accounts_clock(
    configured: str, uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    """At 00:40 in Yekaterinburg it is 22:40 of the day before by the source's zone, should that be set wrongly."""
    uis.uis.timezone = "Asia/Yekaterinburg"
    relay = reporting(zone=configured)
    clock.now = datetime(2026, 3, 2, 19, 40, tzinfo=UTC)
    loop = seasoned(relay, clock)
    uis.uis.add([call(7, "2026-03-02 23:59:30"), call(8, "2026-03-03 00:00:30"), call(9, "2026-03-03 00:45:00")])
    again(loop, clock)

    found = events(relay)
    assert [event.session for event in found] == ["7", "8"]  # the third ended four minutes ago
    assert b"2026-03-02 23:59:30.000" in found[0].raw and b"2026-03-03 00:00:30.000" in found[0].raw
    if configured == "Asia/Yekaterinburg":
        assert found[0].call is not None and found[0].call.started_at == datetime(2026, 3, 2, 18, 59, 30, tzinfo=UTC)


MISCONFIGURED = {
    "access_token_expired": "new key",
    "access_token_blocked": "new key",
    "access_token_invalid": "new key",
    "ip_not_whitelisted": "203.0.113.9",
    "forbidden": "Звонки",
    "method_component_disabled": "tariff",
    "account_inactive": "ask UIS",
    "method_not_found": "url",
}


PASSES = ("internal_error", "limit_exceeded", "status_451", "reset")


@pytest.mark.parametrize("mode", [*(name for name in ERRORS if name != "unexpected_parameters"), "status_451", "reset"])
def test_an_error_of_uis_costs_nothing_and_says_what_to_do(
    mode: str, uis: Sandbox, loop: ReportLoop, clock: FakeClock
) -> None:
    uis.uis.add([call(7)])
    uis.uis.fail(mode, -1)
    again(loop, clock)
    state = store_of(loop).reports.states()[TRADE]

    assert state.state == ("later" if mode in PASSES else "misconfigured")
    assert MISCONFIGURED.get(mode, "") in state.reason
    assert "sandbox-key" not in state.reason
    assert kinds(loop) == []

    uis.uis.fail("ok", 0)
    clock.forward(hours=1)
    loop.run_due()
    assert store_of(loop).reports.states()[TRADE].state == "open"
    assert len(kinds(loop)) == 1


def test_every_page_in_front_of_uis_is_no_answer(uis: Sandbox, loop: ReportLoop, clock: FakeClock) -> None:
    for mode in IN_FRONT:
        uis.uis.fail(mode, -1)
        clock.forward(hours=1)
        loop.run_due()
        assert store_of(loop).reports.states()[TRADE].state in ("later", "misconfigured")


def test_without_the_right_to_legs_and_employees_the_report_alone_will_do(
    uis: Sandbox, loop: ReportLoop, clock: FakeClock
) -> None:
    uis.uis.fail("forbidden", -1, "get.call_legs_report")
    uis.uis.fail("forbidden", -1, "get.employees")
    uis.uis.add([call(7)])
    again(loop, clock)

    (event,) = store_of(loop).queries.events(Selection())
    body = json.loads(event.raw)
    assert (body["calling_phone_number"], body["extension_phone_number"]) == ("79005550123", "")


def test_a_source_in_trouble_does_not_hold_up_another(
    uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    broken = f'[sources.first]\nopen = true\ntargets = ["onec"]\n[sources.first.report]\nkey = "wrong"\nurl = "{uis.data_api_url}"'
    relay = reporting(broken)
    loop = seasoned(relay, clock)
    uis.uis.add([call(7)])
    again(loop, clock)

    states = relay.store.reports.states()
    assert (states["first"].state, states[TRADE].state) == ("misconfigured", "open")
    assert len(events(relay)) == 1


def test_a_key_that_is_withdrawn_stops_that_report_alone_and_no_delivery(
    uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    second = Sandbox(uis=UisAccount(clock=clock, key="of-another-firm")).start()
    lines = ["open = true", 'targets = ["onec"]', "[sources.other.report]", 'key = "of-another-firm"']
    relay = reporting("[sources.other]", *lines, f'url = "{second.data_api_url}"', url=uis.onec_url)
    loop = seasoned(relay, clock)
    second.uis.key = "made anew"
    uis.uis.add([call(7)])
    again(loop, clock)
    second.close()

    states = relay.store.reports.states()
    assert (states["other"].state, states[TRADE].state) == ("misconfigured", "open")
    assert told(relay)["report"].name == "other"
    relay.dispatcher.start()
    post(relay, rendered("incoming", call_session_id=8))
    eventually(all_are(relay, "delivered"), "what was brought and what came are delivered")
    relay.dispatcher.stop(5)


def test_the_limits_are_never_exceeded_and_a_fifth_is_left_to_others(
    uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    other = f'[sources.other]\nopen = true\ntargets = ["onec"]\n[sources.other.report]\nkey = "sandbox-key"\nurl = "{uis.data_api_url}"\nevery = "10s"'
    relay = reporting('every = "10s"', other)
    uis.uis.day_limit, uis.uis.minute_limit = 200, 3
    ran: dict[str, set[datetime]] = {"other": set(), TRADE: set()}
    for _ in range(24 * 60 * 2):
        clock.forward(seconds=30)
        relay.reports.run_due()
        for name, state in relay.store.reports.states().items():
            if state.state == "open":
                ran[name].add(state.ran_at)

    state = uis.uis.state()
    assert state["most_in_a_minute"] <= 3
    assert 100 <= len(state["requests"]) <= 160
    counts = [len(times) for times in ran.values()]
    assert min(counts) >= 40 and max(counts) - min(counts) <= 10  # shared fairly


def test_a_field_that_uis_does_not_know_is_left_out(
    uis: Sandbox, loop: ReportLoop, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.sandbox.uis_account._CALL_FIELDS", frozenset(call()) - {"contact_id"})
    uis.uis.add([call(7)])
    again(loop, clock)

    assert kinds(loop) == [("finished", "report")]


# --- what people are told


def told(relay: Relay) -> dict[str, Trouble]:
    with in_language("en"):
        return {trouble.kind: trouble for trouble in troubles(relay, [])}


def test_notifications_that_stopped_while_the_report_has_calls_are_told_until_one_comes(
    uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    relay = reporting()
    loop = seasoned(relay, clock)
    clock.now -= timedelta(minutes=40)
    post(relay, rendered("incoming", call_session_id=6))
    clock.now += timedelta(minutes=40)
    uis.uis.add([call(7, "2026-03-02 13:10:00"), call(8, "2026-03-02 13:25:00"), call(9, "2026-03-02 13:30:00")])
    again(loop, clock)
    assert "unnotified" not in told(relay)  # the first of them began before that notification

    uis.uis.add([call(10, "2026-03-02 13:40:00")])
    again(loop, clock)
    assert (
        "since 2026-03-02 13:25:00 calls come without a notification; UIS's report has 3"
        in told(relay)["unnotified"].sentence
    )
    assert relay.store.queries.taken_since(TRADE, clock())[1] == datetime(2026, 3, 2, 10, 20, tzinfo=UTC)

    post(relay, rendered("incoming", call_session_id=11))
    assert "unnotified" not in told(relay)


def test_a_report_that_cannot_be_read_is_told_with_the_reason(
    uis: Sandbox, reporting: Callable[..., Relay], clock: FakeClock
) -> None:
    relay = reporting()
    loop = seasoned(relay, clock)
    uis.uis.fail("ip_not_whitelisted", -1)
    again(loop, clock)

    trouble = told(relay)["report"]
    assert "has not been read since" in trouble.sentence and "203.0.113.9" in str(trouble.reason)


# --- the commands


@pytest.mark.parametrize(
    ("mode", "method", "says"),
    [
        ("ok", None, "ready\n"),
        ("ip_not_whitelisted", None, "misconfigured: UIS does not let the address 203.0.113.9 in"),
        ("access_token_invalid", None, "misconfigured: UIS does not know the key"),
        ("forbidden", "get.calls_report", "misconfigured: the user of the key may not see the calls"),
        ("forbidden", "get.employees", "ready (the key may not see get.employees"),
        ("internal_error", None, "later: UIS has an internal error"),
    ],
)
def test_check_online_says_whether_the_report_may_be_read(
    mode: str, method: str | None, says: str, uis: Sandbox, reporting: Callable[..., Relay]
) -> None:
    uis.uis.fail(mode, -1, method)
    done = check_online(reporting(url=uis.onec_url))

    assert f"trade, UIS's report of calls: {says}" in done.output
    assert done.exit_code == (0 if says.startswith("ready") else 1)


def test_check_online_says_when_the_account_has_another_zone(uis: Sandbox, reporting: Callable[..., Relay]) -> None:
    uis.uis.timezone = "Asia/Yekaterinburg"
    output = check_online(reporting(url=uis.onec_url)).output

    assert "Asia/Yekaterinburg, the source's is Europe/Moscow" in output
    assert 'set `timezone = "Asia/Yekaterinburg"`' in output


def check_online(relay: Relay) -> Any:
    return CliRunner().invoke(main, ["check", "--online"], env={"RELAY_CONFIG": str(relay.settings.file)})


@pytest.fixture
def command(reporting: Callable[..., Relay], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    relay = reporting()
    monkeypatch.setenv("RELAY_CONFIG", str(relay.settings.file))

    def run(*args: str) -> Any:
        return CliRunner().invoke(main, ["reconcile", *args])

    return run


@pytest.fixture
def ended(uis: Sandbox) -> list[dict[str, Any]]:
    """Calls that ended an hour ago by the real clock."""
    uis.uis._clock = lambda: datetime.now(UTC)
    at = datetime.now(UTC) - timedelta(hours=1)
    moscow = (at + timedelta(hours=3)).strftime("%Y-%m-%d %H:%M:%S")
    calls = [call(7, moscow), call(8, moscow), call(9, moscow, virtual_phone_number="74955550199")]
    uis.uis.add(calls)
    return calls


@pytest.mark.usefixtures("ended")
def test_the_command_says_what_is_missing_and_brings_it(command: Callable[..., Any]) -> None:
    dry = command("--since", "1d", "--dry-run")
    assert dry.exit_code == 0
    assert "3 calls compared, 3 were missing" in dry.output
    assert "74955550100  2" in dry.output and "74955550199  1" in dry.output

    assert "3 were missing" in command("--since", "1d").output
    assert "3 calls compared, 0 were missing" in command("--since", "1d").output


def test_the_command_says_what_is_wrong(command: Callable[..., Any], uis: Sandbox) -> None:
    uis.uis.fail("ip_not_whitelisted", -1)
    failed = command("--since", "1d")
    assert failed.exit_code == 1 and "203.0.113.9" in failed.output
    assert command("--source", "nobody").exit_code == 1
    too_old = command("--since", "40d")
    assert too_old.exit_code == 2 and "brought twice" in too_old.output
