"""The operator's page over HTTP: who gets in, what every answer carries, what each view shows and changes."""

from __future__ import annotations

import html
import json
import re
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from flask.testing import FlaskClient

from relay.models import DeliveryState, Shard
from relay.observability.logging import hide_links
from relay.operations import simulated_call
from relay.sandbox.server import Sandbox
from relay.store import Claim, Selection
from relay.web import create_app
from relay.web.admin.views import phone_calls
from relay.wiring import Relay
from tests.calls import rendered
from tests.factories import result
from tests.fakes import FakeClock
from tests.lanes import post
from tests.stories import LINK, answered, finished, incoming, not_taken, own

PASSWORD = "open-sesame"
FORM = "application/x-www-form-urlencoded"
ADMIN = f'[admin]\npassword = "{PASSWORD}"\n'


class Operator:
    """Somebody with a browser."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def token(self, path: str = "/admin/login") -> str:
        found = re.search(r'name="form" value="([^"]+)"', self.client.get(path).text)
        assert found is not None, path
        return found[1]

    def enter(self, password: str = PASSWORD, **more: Any) -> Any:
        return self.client.post("/admin/login", data={"password": password, "form": self.token(), **more})

    def see(self, path: str, code: int = 200, **more: Any) -> str:
        answer = self.client.get(path, **more)
        assert answer.status_code == code, answer.text
        return answer.text

    def change(self, action: str, **chosen: Any) -> Any:
        """Look at what it would touch, and then do it."""
        preview = self.do(f"/admin/dead/{action}", code=200, **chosen).text
        [shown] = re.findall(r'name="shown" value="(\w+)"', preview)
        return self.do(f"/admin/dead/{action}/now", shown=shown, **chosen)

    def do(self, path: str, code: int = 302, **data: Any) -> Any:
        answer = self.client.post(path, data={"form": self.token("/admin/"), **data})
        assert answer.status_code == code, answer.text
        return answer


@pytest.fixture
def relay(make_relay: Callable[..., Relay]) -> Relay:
    return make_relay(more=ADMIN)


@pytest.fixture
def stranger(relay: Relay) -> Operator:
    return Operator(create_app(relay).test_client())


@pytest.fixture
def operator(stranger: Operator) -> Operator:
    assert stranger.enter().status_code == 302
    return stranger


def make_dead(relay: Relay, *sessions: int, reason: str = "400: a field is missing") -> None:
    for session in sessions:
        record(relay, session, state="dead", reason=reason)


def record(
    relay: Relay,
    session: int,
    *,
    state: DeliveryState,
    reason: str | None = None,
    after: timedelta = timedelta(0),
    clock: FakeClock | None = None,
) -> None:
    """Accept a notification, and record the result of its delivery after a while."""
    epoch = (
        relay.store.leases.all()[Shard("onec")].epoch
        if Shard("onec") in relay.store.leases.all()
        else relay.store.leases.take_over(Shard("onec"), "me")
    )
    assert epoch is not None
    post(relay, incoming(session)[1])
    job = relay.store.queue.claim(Claim(Shard("onec"), epoch, relay.clock()))
    assert job is not None
    if clock is not None:
        clock.forward(seconds=after.total_seconds())
    now = relay.clock()
    relay.store.queue.record(result(job, state, now, reason=reason))


VIEWS = [
    "/admin/",
    "/admin/dead",
    "/admin/settings",
    "/admin/test-call",
    "/admin/calls",
    "/admin/calls/trade/7",
    "/admin/missed",
    "/admin/missed.csv",
    "/admin/events/x",
    "/admin/events/x/edit",
]
ACTIONS = [
    "/admin/dead/replay",
    "/admin/dead/discard",
    "/admin/dead/replay/now",
    "/admin/dead/discard/now",
    "/admin/targets/onec/pause",
    "/admin/targets/onec/resume",
    "/admin/events/x/edit",
    "/admin/test-call",
    "/admin/settings/ask",
    "/admin/logout",
]


# --- who gets in


def test_without_a_password_in_the_configuration_there_is_no_page(make_relay: Callable[..., Relay]) -> None:
    client = create_app(make_relay()).test_client()

    assert [client.get(path).status_code for path in ("/admin", *VIEWS, "/admin/login")] == [404] * (len(VIEWS) + 2)


@pytest.mark.parametrize("path", VIEWS)
def test_every_view_wants_the_password_first_and_comes_back(stranger: Operator, path: str) -> None:
    answer = stranger.client.get(path)

    assert (answer.status_code, answer.location) == (302, f"/admin/login?to={path}")


@pytest.mark.parametrize("path", ACTIONS)
def test_every_action_wants_the_password_first(stranger: Operator, relay: Relay, path: str) -> None:
    assert stranger.client.post(path, data={"form": stranger.token()}).status_code == 401
    assert not relay.store.targets.is_paused("onec")


@pytest.mark.parametrize("path", ACTIONS)
@pytest.mark.parametrize("given", [None, "", "made-up"])
def test_every_action_wants_the_token_of_a_form_of_ours(
    operator: Operator, relay: Relay, path: str, given: Any
) -> None:
    operator.see("/admin/")

    answer = operator.client.post(path, data={} if given is None else {"form": given})

    assert answer.status_code == 400
    assert not relay.store.targets.is_paused("onec")


def test_the_login_wants_a_token_too(stranger: Operator) -> None:
    assert stranger.client.post("/admin/login", data={"password": PASSWORD}).status_code == 400


def test_a_session_ends_after_twelve_hours(operator: Operator, clock: FakeClock) -> None:
    operator.see("/admin/")
    clock.forward(hours=12, seconds=1)

    operator.see("/admin/", code=302)


def test_a_made_up_cookie_opens_nothing(relay: Relay, make_relay: Any, operator: Operator) -> None:
    other = Operator(create_app(relay).test_client())
    other.client.set_cookie("relay_admin", "eyJpbl91bnRpbCI6OTk5OTk5OTk5OX0.x.y", path="/admin")

    other.see("/admin/", code=302)


def test_a_cookie_signed_with_another_password_opens_nothing(
    operator: Operator, relay: Relay, make_relay: Callable[..., Relay]
) -> None:
    cookie = operator.client.get_cookie("relay_admin", path="/admin")
    assert cookie is not None
    other = Operator(create_app(make_relay(more=ADMIN.replace(PASSWORD, "another"))).test_client())
    other.client.set_cookie("relay_admin", cookie.value, path="/admin")

    other.see("/admin/", code=302)


def test_the_cookie_is_for_the_page_alone_and_not_for_scripts(stranger: Operator) -> None:
    plain = stranger.client.get("/admin/login").headers["Set-Cookie"]
    over_tls = stranger.client.get("/admin/login", base_url="https://relay.example.test").headers["Set-Cookie"]

    assert [part in plain for part in ("HttpOnly", "Path=/admin", "SameSite=Lax", "Secure")] == [
        True,
        True,
        True,
        False,
    ]
    assert "Secure" in over_tls


def cookie_of(operator: Operator) -> str:
    found = operator.client.get_cookie("relay_admin", path="/admin")
    assert found is not None
    return found.value


def with_cookie(relay: Relay, value: str) -> Operator:
    """Another browser, with somebody's cookie."""
    other = Operator(create_app(relay).test_client())
    other.client.set_cookie("relay_admin", value, path="/admin")
    return other


def test_nothing_that_a_stranger_is_given_depends_on_the_password(
    stranger: Operator, make_relay: Callable[..., Relay]
) -> None:
    """Else he could try passwords at home until one fits what he was given."""
    stranger.see("/admin/login")
    given = cookie_of(stranger)
    other = with_cookie(make_relay(more=ADMIN.replace(PASSWORD, "another")), given)
    answer = other.client.get("/admin/login")

    assert answer.text == stranger.see("/admin/login")
    assert "Set-Cookie" not in answer.headers  # it is as good there


def test_logging_out_ends_the_session_for_whoever_has_the_cookie(operator: Operator, relay: Relay) -> None:
    kept = with_cookie(relay, cookie_of(operator))
    kept.see("/admin/")

    operator.do("/admin/logout")

    kept.see("/admin/", code=302)
    operator.see("/admin/", code=302)


def test_every_process_of_a_database_knows_who_is_in_and_who_has_left(
    operator: Operator, relay: Relay, make_relay: Callable[..., Relay]
) -> None:
    elsewhere = with_cookie(make_relay(more=ADMIN), cookie_of(operator))
    elsewhere.see("/admin/")

    elsewhere.do("/admin/logout")

    operator.see("/admin/", code=302)


def test_the_password_brings_a_new_cookie_and_ends_the_old_session(operator: Operator, relay: Relay) -> None:
    before = cookie_of(operator)
    operator.enter()

    assert cookie_of(operator) != before
    with_cookie(relay, before).see("/admin/", code=302)
    operator.see("/admin/")


def test_a_cookie_that_was_planted_is_not_the_one_that_opens(relay: Relay) -> None:
    planted = "x" * 43
    victim = with_cookie(relay, planted)
    assert victim.enter().status_code == 302

    with_cookie(relay, planted).see("/admin/", code=302)


@pytest.mark.sqlite
def test_the_database_holds_neither_cookies_nor_the_password(operator: Operator, relay: Relay) -> None:
    kept = b"".join(file.read_bytes() for file in relay.store.database.path.parent.glob("relay.db*") if file.is_file())

    assert cookie_of(operator).encode() not in kept
    assert PASSWORD.encode() not in kept


@pytest.mark.sqlite
def test_sessions_that_are_over_are_not_kept(operator: Operator, relay: Relay, clock: FakeClock) -> None:
    for _ in range(3):
        clock.forward(hours=13)
        Operator(create_app(relay).test_client()).enter()
    with sqlite3.connect(relay.store.database.path) as connection:
        assert connection.execute("SELECT count(*) FROM admin_sessions").fetchone() == (1,)
    connection.close()


def test_a_store_that_cannot_be_read_is_said_without_its_place(relay: Relay) -> None:
    stranger = with_cookie(relay, "x" * 43)
    relay.store.close()

    assert "relay.db" not in stranger.see("/admin/", code=503)


@pytest.mark.parametrize("given", ["ñ", "проверка", "\udcff".encode("utf-8", "surrogatepass"), "\x00", "x" * 100_000])
def test_a_strange_token_of_a_form_is_no_fault_of_the_relay(stranger: Operator, given: Any) -> None:
    stranger.see("/admin/login")

    assert stranger.client.post("/admin/login", data={"password": PASSWORD, "form": given}).status_code == 400
    assert stranger.client.post("/admin/login", data={"password": given, "form": stranger.token()}).status_code == 401


def test_an_upload_is_refused_by_its_length_with_or_without_one_said(stranger: Operator) -> None:
    much = b"x" * (2 * 1024 * 1024 + 1)
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    upload = {"data": head + much, "headers": {"Content-Type": "multipart/form-data; boundary=b"}}
    form = {"data": b"form=" + much, "headers": {"Content-Type": FORM}}
    in_chunks = {
        "input_stream": BytesIO(form["data"]),
        "headers": {"Content-Type": FORM, "Transfer-Encoding": "chunked"},
        "environ_overrides": {"CONTENT_LENGTH": "", "wsgi.input_terminated": True},  # as gunicorn says it
    }

    assert [stranger.client.post("/admin/login", **sent).status_code for sent in (upload, form, in_chunks)] == [413] * 3


def test_a_large_body_can_be_mended(operator: Operator, relay: Relay) -> None:
    receipt = relay.intake.accept(relay.settings.sources["trade"], "in", b"{broken", is_query=False)

    operator.do(f"/admin/events/{receipt.event}/edit", code=200, body="x" * 900_000, do="look")


def test_only_over_tls_a_browser_is_told_to_come_by_tls_alone(operator: Operator) -> None:
    for path in ("/admin/login", "/admin/", "/admin/static/admin.css", "/admin/events/nothing"):
        over_tls = operator.client.get(path, base_url="https://localhost", buffered=True).headers
        assert over_tls["Strict-Transport-Security"] == "max-age=31536000"
        assert "Strict-Transport-Security" not in operator.client.get(path, buffered=True).headers


def test_wrong_passwords_make_an_address_wait_longer_and_longer(stranger: Operator, clock: FakeClock) -> None:
    assert [stranger.enter("wrong").status_code for _ in range(5)] == [401] * 5

    refused = stranger.enter()
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "11")
    other = Operator(stranger.client.application.test_client())
    elsewhere = other.client.post(
        "/admin/login", data={"password": PASSWORD, "form": other.token()}, environ_base={"REMOTE_ADDR": "192.0.2.7"}
    )
    assert elsewhere.status_code == 302  # another address may still try

    clock.forward(seconds=11)
    assert stranger.enter("wrong").status_code == 401
    assert stranger.enter().headers["Retry-After"] == "21"
    clock.forward(seconds=21)
    assert stranger.enter().status_code == 302


def test_wrong_passwords_from_everywhere_close_the_door_to_nobody_else(stranger: Operator) -> None:
    for number in range(60):
        stranger.client.post(
            "/admin/login",
            data={"password": "wrong", "form": stranger.token()},
            environ_base={"REMOTE_ADDR": f"192.0.2.{number}"},
        )

    assert stranger.enter().status_code == 302


def test_whoever_is_in_is_not_kept_out_by_a_neighbour_at_his_address(operator: Operator, relay: Relay) -> None:
    neighbour = Operator(operator.client.application.test_client())
    assert [neighbour.enter("wrong").status_code for _ in range(40)][-1] == 429

    operator.see("/admin/")
    assert operator.enter().status_code == 302  # nor when he logs in anew
    for _ in range(40):
        neighbour.enter("wrong")
    assert int(neighbour.enter("wrong").headers["Retry-After"]) <= 11  # a colleague who was not in yet waits little


@pytest.mark.parametrize(
    ("to", "goes"),
    [
        ("/admin/calls?q=1", "/admin/calls?q=1"),
        ("https://elsewhere.example.test/", "/admin/"),
        ("//elsewhere.example.test/admin/", "/admin/"),
        ("/admin/\\elsewhere", "/admin/"),
        ("/elsewhere", "/admin/"),
        ("", "/admin/"),
    ],
)
def test_after_the_password_one_goes_only_to_a_page_of_ours(stranger: Operator, to: str, goes: str) -> None:
    assert stranger.enter(to=to).location == goes


@pytest.mark.parametrize("path", ["/admin/login", "/admin/", "/admin/events/nothing", "/admin/static/admin.css"])
def test_every_answer_forbids_inline_scripts_frames_and_guessing(operator: Operator, path: str) -> None:
    headers = operator.client.get(path, buffered=True).headers
    policy = headers["Content-Security-Policy"]

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_pages_are_not_kept_by_anybody_and_have_no_inline_script_or_style(operator: Operator, relay: Relay) -> None:
    make_dead(relay, 1)
    for path in (
        "/admin/",
        "/admin/dead",
        "/admin/settings",
        "/admin/test-call",
        "/admin/calls",
        "/admin/calls/trade/1",
        "/admin/missed",
    ):
        answer = operator.client.get(path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert not re.search(r"<script(?! src)|<style|\son\w+=|\sstyle=", answer.text), path


# --- what it shows


def test_the_overview_says_how_each_target_and_source_is(operator: Operator, relay: Relay, clock: FakeClock) -> None:
    make_dead(relay, 1, 2)
    post(relay, incoming(3)[1])
    clock.forward(minutes=7)
    seen = operator.see("/admin/", headers={"Accept-Language": "en"})

    assert "onec: 2 notifications were not delivered" in seen
    assert "oldest 7 min" in seen
    assert seen.count("<rect") == 2  # taken and dead, in one hour; nothing was delivered
    assert "By the hour: taken 3" in seen
    assert "By the hour: delivered 0, dead 2" in seen


def test_the_overview_says_how_long_deliveries_take(operator: Operator, relay: Relay, clock: FakeClock) -> None:
    for session, seconds in ((1, 2), (2, 3), (3, 90)):
        record(relay, session, state="delivered", after=timedelta(seconds=seconds), clock=clock)
    seen = operator.see("/admin/", headers={"Accept-Language": "en"})

    assert re.search(r"3\.0 s\s+<small>95 of 100: up to 1 min", seen)


def test_the_overview_says_how_many_calls_the_report_brought(operator: Operator, relay: Relay) -> None:
    receipt = relay.intake.accept_reported(relay.settings.sources["trade"], rendered("finished"), "its report has it")
    relay.intake.dispatch(receipt)

    assert "missing calls found: 1" in operator.see("/admin/", headers={"Accept-Language": "en"})


def test_before_the_first_notification_the_overview_says_where_it_is_to_go(operator: Operator, relay: Relay) -> None:
    seen = operator.see("/admin/", headers={"Accept-Language": "en"})
    assert "http://localhost/trade/hs/UIScom/rec?token=SECRET" in seen
    assert 'href="/admin/test-call"' in seen

    post(relay, incoming(1)[1])

    assert "No notification has come yet" not in operator.see("/admin/", headers={"Accept-Language": "en"})


def test_a_target_that_was_removed_is_still_shown(make_relay: Callable[..., Relay], clock: FakeClock) -> None:
    relay = make_relay(more=ADMIN)
    relay.store.leases.take_over(Shard("old-one"), "me")
    operator = Operator(create_app(relay).test_client())
    operator.enter()

    assert re.search(r"old-one.*?state removed", operator.see("/admin/"), re.DOTALL)


@pytest.mark.parametrize(
    ("language", "heading"),
    [("ru", "Обзор"), ("ru-RU,ru;q=0.9,en;q=0.8", "Обзор"), ("en-GB", "Overview"), ("fr", "Обзор"), ("", "Обзор")],
)
def test_the_browsers_language_is_spoken(operator: Operator, language: str, heading: str) -> None:
    assert f"<h1>{heading}</h1>" in operator.see("/admin/", headers={"Accept-Language": language})


def test_times_are_those_of_the_accounts_zone(operator: Operator, relay: Relay) -> None:
    event = post(relay, incoming(1)[1])

    assert "02.03.2026 12:45:00" in operator.see(f"/admin/events/{event}")  # accepted at 09:45 UTC
    assert "2026-03-02 12:45:59" in operator.see(f"/admin/events/{event}", headers={"Accept-Language": "en"})


def test_times_are_those_of_a_source_s_zone_and_say_so(make_relay: Callable[..., Relay], clock: FakeClock) -> None:
    """In Samara the call came at 00:30 of the 3rd, where the file's clock showed 23:30 of the 2nd."""
    relay = make_relay(source='timezone = "Europe/Samara"', more=ADMIN)
    operator = Operator(create_app(relay).test_client())
    operator.enter()
    clock.forward(hours=11)
    client = {"calling_phone_number": "79005550987", "start_time": "2026-03-03 00:30:00"}
    endpoint, body = not_taken(5, **client)
    event = post(relay, body, endpoint)
    relay.intake.accept(relay.settings.sources["trade"], "in", b"not readable", is_query=False)

    there = "03.03.2026 00:30:00 UTC+04:00"
    for path in ("/admin/calls", "/admin/calls/trade/5", "/admin/missed", f"/admin/events/{event}"):
        assert there in operator.see(path), path
    assert "03.03.2026 00:45:00 UTC+04:00" in operator.see("/admin/dead")
    assert "Europe/Moscow" in operator.see("/admin/missed")
    assert '"03.03.2026 00:30:00";' in operator.see("/admin/missed.csv")
    assert '"Europe/Samara"' in operator.see("/admin/missed.csv")

    found = [f"/admin/calls?source={source}&since=2026-03-03" for source in ("trade", "")]
    assert ['href="/admin/calls/trade/5"' in operator.see(path) for path in found] == [True, False]
    days = re.findall(r"since=([\d-]+)T", operator.see("/admin/calls?source=trade"))
    assert days == ["2026-03-03", "2026-03-02"]


def test_the_dead_letters_come_by_page_each_of_them_once(operator: Operator, relay: Relay) -> None:
    make_dead(relay, *range(1000, 1120))
    relay.intake.accept(relay.settings.sources["trade"], "in", b"not readable", is_query=False)
    seen: list[str] = []
    path: str | None = "/admin/dead"
    while path is not None:
        page = operator.see(path)
        seen += re.findall(r'name="id" value="([^"]+)"', page)
        found = re.search(r'href="(/admin/dead\?before=\d+)"', page)
        path = None if found is None else found[1]

    assert len(seen) == len(set(seen)) == 121


def test_the_calls_come_by_page_each_of_them_once(operator: Operator, relay: Relay) -> None:
    for session in range(1000, 1060):
        post(relay, incoming(session)[1])
    for session in range(1000, 1060):
        post(relay, answered(session)[1])
    seen: list[str] = []
    path: str | None = "/admin/calls"
    while path is not None:
        page = operator.see(path)
        seen += re.findall(r'href="/admin/calls/trade/(\d+)"', page)
        found = re.search(r'href="(/admin/calls\?before=\d+-\d+)"', page)
        path = None if found is None else found[1]

    assert seen == [str(session) for session in reversed(range(1000, 1060))]


@pytest.mark.parametrize(
    ("query", "sessions"),
    [
        ("q=0987", ["2"]),
        ("q=8 (900) 555-09-87", ["2"]),
        ("q=1", ["3", "2", "1"]),  # the line's number has it
        ("q=сидоров", ["2"]),
        ("q=102", ["2"]),
        ("q=%", []),
        ("q=nobody", []),
        ("source=trade", ["3", "2", "1"]),
        ("source=shop", []),
        ("since=2026-03-02T12:46", ["3", "2"]),
        ("until=2026-03-02T12:46", ["1"]),
        ("q=0987&since=2026-03-03", []),
        ("show=missed", ["3"]),
        ("show=missed&until=2026-03-02T12:46", []),
        ("show=undelivered", ["3", "2"]),
    ],
)
def test_calls_are_found(operator: Operator, relay: Relay, clock: FakeClock, query: str, sessions: list[str]) -> None:
    record(relay, 1, state="delivered")
    client, began = "79005550987", "2026-03-02 12:50:00"
    talk = {"direction": "in", "talk_time_duration": 51, "total_time_duration": 63}
    for endpoint, body in (
        incoming(2, calling_phone_number=client, start_time=began),
        finished(2, extension="102", calling_phone_number=client, start_time=began),
        own("Завершение звонка", 2, employee_full_name="Иван Сидоров", start_time=began, **talk),
        not_taken(3, start_time="2026-03-02 12:51:00"),
    ):
        post(relay, body, endpoint)

    assert re.findall(r'href="/admin/calls/trade/(\d+)"', operator.see(f"/admin/calls?{query}")) == sessions


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/admin/dead?kind=nonsense", 400),
        ("/admin/dead?state=delivered", 400),
        ("/admin/dead?since=yesterday", 400),
        ("/admin/dead?before=x", 400),
        ("/admin/dead?before=99999999999999999999", 400),
        ("/admin/calls?until=soon", 400),
        ("/admin/calls?show=nonsense", 400),
        ("/admin/calls?before=1", 400),
        ("/admin/missed?days=2", 400),
        ("/admin/calls?q=%00", 400),
        ("/admin/calls/trade/%2500", 400),
        ("/admin/events/%00", 400),
        ("/admin/dead?phone=%00", 400),
        ("/admin/missed?show=nonsense", 400),
        ("/admin/calls/trade/404", 404),
        ("/admin/events/nothing", 404),
        ("/admin/calls?since=99999999999d", 400),
        ("/admin/calls?since=999999d", 400),
        (f"/admin/dead?since={'9' * 400}s", 400),
        ("/admin/dead?until=9999-12-31T23:59:59-12:00", 400),
        ("/admin/calls?since=0001-01-01T00:00", 400),
    ],
)
def test_what_makes_no_sense_is_said_on_a_page(operator: Operator, path: str, code: int) -> None:
    assert 'role="alert"' in operator.see(path, code=code)


@pytest.mark.parametrize("at", ["9999-12-31 23:59:59+00:00", "0001-01-01 00:00:00+00:00", "9999-12-30 12:00:00"])
def test_a_call_at_the_edge_of_the_calendar_is_shown(operator: Operator, relay: Relay, at: str) -> None:
    event = post(relay, incoming(1, start_time=at)[1])

    operator.see(f"/admin/events/{event}")
    operator.see("/admin/calls/trade/1")


def test_the_whole_number_of_a_call_opens_it(operator: Operator, relay: Relay) -> None:
    post(relay, incoming(3360109114)[1])

    assert operator.client.get("/admin/calls?q=3360109114").location == "/admin/calls/trade/3360109114"
    assert "/admin/calls/trade/3360109114" in operator.see("/admin/calls?q=336010911")


def test_missed_calls_stand_on_a_page_and_in_a_table(operator: Operator, relay: Relay) -> None:
    client = {"calling_phone_number": "79005550987", "start_time": "2026-03-02 12:30:00"}
    endpoint, body = not_taken(5, **client)
    post(relay, body, endpoint)
    waiting = operator.see("/admin/missed", headers={"Accept-Language": "en"})
    assert re.findall(r'href="/admin/calls/trade/(\d+)"', waiting) == ["5"]
    assert "has waited for 15 min" in waiting

    talk = {"direction": "in", "talk_time_duration": 51, "total_time_duration": 63, "call_session_id": 6}
    own_number = {"contact_phone_number": "79005550987", "start_time": "2026-03-02 12:40:00"}
    post(relay, own("Завершение звонка", 6, **{**talk, **own_number})[1], "any")

    assert "called again after 10 min" in operator.see("/admin/missed", headers={"Accept-Language": "en"})
    assert "No missed calls." in operator.see("/admin/missed?show=waiting", headers={"Accept-Language": "en"})
    assert operator.see("/admin/missed?source=shop&days=1", headers={"Accept-Language": "en"}).count("<tbody>") == 0
    table = operator.see("/admin/missed.csv?days=1")
    assert '"02.03.2026 12:30:00";"+79005550987";' in table


def of_call(session: str) -> bytes:
    return json.dumps({**json.loads(incoming()[1]), "call_session_id": session}).encode()


@pytest.mark.parametrize(
    "session", ["a/b", "/", "//x/", "..", "a/../../dead", "100%", "%2F", "a b?c#d", "сеанс", "\\", "."]
)
def test_a_call_is_opened_by_its_link_whatever_its_session_is(operator: Operator, relay: Relay, session: str) -> None:
    post(relay, of_call(session))
    link = re.search(r'href="(/admin/calls/trade/[^"]*)"', operator.see("/admin/calls"))
    assert link is not None
    assert urljoin("https://relay.example.test/admin/calls", link[1]).endswith(link[1])  # as a browser resolves it

    assert "incoming" in operator.see(link[1], headers={"Accept-Language": "en"})


def test_after_the_password_one_comes_to_the_call_that_was_wanted(stranger: Operator, relay: Relay) -> None:
    post(relay, of_call("a/b"))
    wanted = stranger.client.get("/admin/calls/trade/a%252Fb").location
    assert wanted is not None
    to = parse_qs(urlsplit(wanted).query)["to"][0]

    stranger.see(stranger.enter(to=to).location)


def test_the_link_of_a_recording_is_hidden_until_it_is_asked_for(operator: Operator, relay: Relay) -> None:
    event = post(relay, finished(1)[1], "rec")

    assert LINK not in operator.see(f"/admin/events/{event}")
    assert operator.see(f"/admin/events/{event}?links=shown").count(LINK) == 2


@pytest.mark.parametrize(
    "link",
    [
        "https://media.example.test/rec/7",
        r"https:\/\/media.example.test\/rec\/7",
        "https%3A%2F%2Fmedia.example.test%2Frec%2F7",
    ],
)
def test_a_link_is_hidden_however_it_is_written(link: str) -> None:
    text = hide_links(f'a "{link}" b')

    assert (text, hide_links(text)) == ('a "https://media.example.test/…" b',) * 2


def test_a_call_of_which_a_part_lies_within_the_span_is_found(operator: Operator, relay: Relay) -> None:
    undated = json.loads(incoming(5)[1])
    del undated["start_time" if "start_time" in undated else "Start_time"]
    post(relay, json.dumps(undated).encode())  # it stands where it was accepted, at 12:45
    post(relay, finished(5, start_time="2026-03-02 11:00:00")[1], "rec")

    assert "/admin/calls/trade/5" in operator.see("/admin/calls?until=2026-03-02T12:00")
    assert "/admin/calls/trade/5" in operator.see("/admin/calls?since=2026-03-02T12:00")


def test_more_missed_calls_than_a_page_bears_are_in_the_table(
    operator: Operator, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phone_calls, "_MISSED_MAX", 2)
    for session in (5, 6, 7):
        post(relay, not_taken(session, start_time=f"2026-03-02 12:3{session}:00")[1], "rec")
    page = operator.see("/admin/missed", headers={"Accept-Language": "en"})

    assert re.findall(r'href="/admin/calls/trade/(\d+)"', page) == ["7", "6"]
    assert "1 older one stands in the table for Excel alone." in page
    assert operator.see("/admin/missed.csv").count("\r\n") == 4


def test_what_uis_or_a_target_sends_is_shown_as_text(operator: Operator, relay: Relay) -> None:
    make_dead(relay, 1, reason="<script>alert(1)</script>")
    event = post(relay, rendered("incoming", call_session_id=2, scenario_name="<b>x</b>"))
    for path in ("/admin/dead", "/admin/calls/trade/1", f"/admin/events/{event}"):
        seen = operator.see(path)
        assert "<script>alert" not in seen
        assert "<b>x" not in seen


# --- what it changes


def test_pause_and_resume_reach_the_lane(operator: Operator, relay: Relay) -> None:
    operator.do("/admin/targets/onec/pause")
    assert relay.store.targets.is_paused("onec")
    operator.do("/admin/targets/onec/resume")
    assert not relay.store.targets.is_paused("onec")
    operator.do("/admin/targets/nobody/pause", code=404)


@pytest.mark.parametrize("action", ["replay", "discard"])
def test_the_preview_changes_nothing_and_the_second_step_what_was_ticked(
    operator: Operator, relay: Relay, action: str
) -> None:
    make_dead(relay, 1, 2, 3)
    first, *others = relay.store.queries.deliveries(Selection())

    preview = operator.do(f"/admin/dead/{action}", code=200, id=first.id).text
    assert "<li>onec: 1</li>" in preview
    assert {one.state for one in relay.store.queries.deliveries(Selection())} == {"dead"}
    operator.do(f"/admin/dead/{action}/now", id=first.id)

    after = {one.id: one.state for one in relay.store.queries.deliveries(Selection())}
    assert after[first.id] == ("due" if action == "replay" else "discarded")
    assert {after[one.id] for one in others} == {"dead"}


def test_what_was_not_there_when_the_preview_was_shown_is_looked_at_first(operator: Operator, relay: Relay) -> None:
    make_dead(relay, 1, 2)
    preview = operator.do("/admin/dead/discard", code=200, everything="1").text
    [shown] = re.findall(r'name="shown" value="(\w+)"', preview)
    make_dead(relay, 3)

    again = operator.do("/admin/dead/discard/now", code=409, everything="1", shown=shown).text

    assert "<li>onec: 3</li>" in again
    operator.do("/admin/dead/discard/now", code=409, everything="1")  # nobody has looked at any
    assert {one.state for one in relay.store.queries.deliveries(Selection())} == {"dead"}
    [shown] = re.findall(r'name="shown" value="(\w+)"', again)
    operator.do("/admin/dead/discard/now", everything="1", shown=shown)
    assert {one.state for one in relay.store.queries.deliveries(Selection())} == {"discarded"}


def test_everything_that_fits_the_filters_and_nothing_else_is_replayed(operator: Operator, relay: Relay) -> None:
    make_dead(relay, 1, 2, 3)
    preview = operator.do("/admin/dead/replay", code=200, everything="1", session="2").text
    assert "<li>onec: 1</li>" in preview

    operator.change("replay", everything="1", session="2")

    assert {one.session: one.state for one in relay.store.queries.deliveries(Selection())} == {
        "1": "dead",
        "2": "due",
        "3": "dead",
    }


def test_dead_letters_are_grouped_by_reason_and_target(operator: Operator, relay: Relay) -> None:
    make_dead(relay, 1, 2, reason="400: the call 3360109114 has no number")
    make_dead(relay, 3, reason="400: the call 3360109115 has no number")
    make_dead(relay, 4, reason="500: deadlock")
    relay.intake.accept(relay.settings.sources["trade"], "in", b"not readable", is_query=False)
    seen = operator.see("/admin/dead", headers={"Accept-Language": "en"})

    assert "400: the call … has no number" in seen
    assert re.findall(r"Replay (\d+)<span", seen) == ["3", "1", "1"]
    assert "Replay all 5 that are found" in seen
    assert not re.search(r'<details class="folded" open', seen)


def test_a_group_is_looked_at_and_replayed_and_nothing_else(operator: Operator, relay: Relay) -> None:
    make_dead(relay, *range(1, 4), reason="400: the call 1234567 has no number")
    make_dead(relay, 4, reason="500: deadlock")
    group = {"target": "onec", "state": "dead", "reason": "400: the call … has no number"}
    seen = operator.see("/admin/dead", query_string=group, headers={"Accept-Language": "en"})
    assert len(re.findall(r'type="checkbox" name="id"', seen)) == 3
    assert "deadlock" not in seen

    preview = operator.do("/admin/dead/replay", code=200, everything="1", **group).text
    assert "<li>onec: 3</li>" in preview
    assert 'name="reason" value="400: the call … has no number"' in preview
    operator.change("replay", everything="1", **group)

    assert {one.session: one.state for one in relay.store.queries.deliveries(Selection())} == {
        "1": "due",
        "2": "due",
        "3": "due",
        "4": "dead",
    }


def test_the_letters_of_a_group_come_by_page_each_of_them_once(operator: Operator, relay: Relay) -> None:
    for session in range(1000, 1130):
        make_dead(relay, session, reason=f"400: {session} has no number" if session % 2 else "500: deadlock")
    seen: list[str] = []
    path: str | None = "/admin/dead?reason=400: … has no number"
    while path is not None:
        page = operator.see(path)
        seen += re.findall(r'name="id" value="([^"]+)"', page)
        more = re.search(r'href="(/admin/dead\?before=[^"]+)"', page)
        path = None if more is None else html.unescape(more[1])

    assert len(seen) == len(set(seen)) == 65


def test_a_group_of_letters_without_a_reason_is_no_filter_for_all(operator: Operator, relay: Relay) -> None:
    make_dead(relay, 1, reason="")
    make_dead(relay, 2, reason="500: deadlock")
    [group] = re.findall(r'name="reason" value="(–)"', operator.see("/admin/dead"))

    operator.change("discard", everything="1", target="onec", state="dead", reason=group)

    assert {one.session: one.state for one in relay.store.queries.deliveries(Selection())} == {
        "1": "discarded",
        "2": "dead",
    }


def test_nothing_ticked_is_said_and_nothing_done(operator: Operator, relay: Relay) -> None:
    make_dead(relay, 1)

    operator.do("/admin/dead/replay", code=400)
    operator.do("/admin/dead/discard/now", code=400)

    assert {one.state for one in relay.store.queries.deliveries(Selection())} == {"dead"}


def test_a_quarantined_event_is_looked_at_and_then_mended(operator: Operator, relay: Relay) -> None:
    receipt = relay.intake.accept(relay.settings.sources["trade"], "in", b"{broken", is_query=False)
    path, mended = f"/admin/events/{receipt.event}/edit", rendered("incoming", call_session_id=9).decode()
    operator.see(path)

    looked = operator.do(path, code=200, body=mended, do="look").text
    assert "+79005550123" in looked
    assert relay.store.queries.event(receipt.event).state == "quarantined"
    still = operator.do(path, code=200, body="{also broken", do="save").text
    assert 'role="alert"' in still
    assert "{also broken" in still  # what was typed is not lost
    operator.do(path, body=mended.replace("\n", "\r\n"), do="save")  # as a browser sends it

    event = relay.store.queries.event(receipt.event)
    assert (event.state, event.session, event.raw) == ("accepted", "9", b"{broken")
    operator.see(path, code=409)


def test_an_hour_is_counted_where_it_belongs(relay: Relay, clock: FakeClock) -> None:
    post(relay, incoming(1)[1])
    clock.forward(hours=2)
    make_dead(relay, 2)
    hours = relay.store.pages.hours(["trade"], ["onec"], clock.now - timedelta(hours=3), clock.now)

    assert (hours.taken, hours.delivered) == ({"trade": [0, 1, 0, 1]}, {"onec": [0, 0, 0, 0]})
    assert hours.dead == {"onec": [0, 0, 0, 1]}


# --- the settings, and a test call


def test_the_settings_say_what_is_to_be_entered_in_the_cabinet_and_hide_secrets(
    make_relay: Callable[..., Relay],
) -> None:
    relay = make_relay(more=ADMIN)
    operator = Operator(create_app(relay).test_client())
    operator.enter()
    seen = operator.see("/admin/settings", headers={"Accept-Language": "en"})

    for endpoint in ("in", "out", "rec"):
        assert f"http://localhost/trade/hs/UIScom/{endpoint}?token=SECRET" in seen
    secrets = [*relay.settings.sources["trade"].secrets, relay.settings.targets["onec"].password, PASSWORD]  # type: ignore[attr-defined]
    assert all(secrets)
    assert not [secret for secret in secrets if secret in seen]


def test_a_test_call_says_first_where_it_goes_and_is_taken_only_then(operator: Operator, relay: Relay) -> None:
    said = operator.see("/admin/test-call", headers={"Accept-Language": "en"})
    assert "These are real: onec" in said
    assert not list(relay.store.queries.events(Selection()))

    answer = operator.do("/admin/test-call", source="trade", phone="+7 (900) 555-09-87", extension="101")

    events = list(relay.store.queries.events(Selection()))
    assert [event.kind for event in events] == ["incoming", "answered", "finished"]
    assert {(event.call.client_number, event.call.scenario) for event in events if event.call} == {
        ("+79005550987", simulated_call.MARK)
    }
    assert answer.location == f"/admin/calls/trade/{events[0].session}"
    assert len(list(relay.store.queries.deliveries(Selection(target="onec")))) == 3


@pytest.mark.parametrize("sent", [{"phone": "none"}, {"phone": ""}, {"phone": "1" * 80}, {}])
def test_a_test_call_wants_a_phone(operator: Operator, relay: Relay, sent: dict[str, str]) -> None:
    refused = operator.do("/admin/test-call", code=400, source="trade", **sent).text
    assert "не номер телефона" in refused

    assert not list(relay.store.queries.events(Selection()))


def test_a_test_call_wants_a_source_that_there_is(operator: Operator) -> None:
    operator.do("/admin/test-call", code=404, source="nobody", phone="+79005550987")


def test_targets_are_asked_whether_they_would_take_a_delivery(make_relay: Callable[..., Relay], onec: Sandbox) -> None:
    operator = Operator(create_app(make_relay(onec.onec_url, more=ADMIN)).test_client())
    operator.client.environ_base["HTTP_ACCEPT_LANGUAGE"] = "en"
    operator.enter()

    ready = operator.do("/admin/settings/ask", code=200).text
    assert re.search(r'onec</th>\s+<td[^>]*><span class="state open">ready', ready)
    onec.onec.fail("unauthorized", -1)
    refused = operator.do("/admin/settings/ask", code=200).text
    assert re.search(r'onec</th>\s+<td[^>]*><span class="state down">misconfigured', refused)
    assert "401" in refused


def test_the_settings_say_what_the_next_start_would_refuse(operator: Operator, relay: Relay) -> None:
    assert 'role="alert"' not in operator.see("/admin/settings")
    with relay.settings.file.open("a", encoding="utf-8") as file:
        file.write("\n[no_such_table]\n")

    assert "no_such_table" in operator.see("/admin/settings")


def test_the_settings_of_every_kind_of_target_are_shown_without_their_secrets(
    make_relay: Callable[..., Relay],
) -> None:
    every_kind = """
    [sources.all]
    token = "S3CRET-source"
    targets = ["b24", "amo", "crm"]
    allow_from = ["192.0.2.0/24"]
    [[sources.all.rules]]
    line = ["74950000001"]
    targets = ["b24"]
    default_user = 7
    [targets.b24]
    kind = "bitrix24"
    webhook = "https://portal.example.test/rest/1/S3CRET-hook/"
    default_user = 1
    users = { "101" = 12 }
    proxy = "http://user:S3CRET-proxy@proxy.example.test:3128"
    [targets.amo]
    kind = "amocrm"
    url = "https://example.amocrm.ru"
    token = "S3CRET-amo"
    default_user = 504141
    expire = { incoming = "10m" }
    [targets.crm]
    kind = "http"
    url = "https://crm.example.test/hook?key=S3CRET-key"
    headers = { "X-Key" = "S3CRET-header" }
    query = { key = "S3CRET-query" }
    secrets = ["whsec_UzNDUkVUIFMzQ1JFVCBTM0NSRVQ="]
    """
    operator = Operator(create_app(make_relay(more=ADMIN + every_kind)).test_client())
    operator.enter()
    seen = html.unescape(operator.see("/admin/settings", headers={"Accept-Language": "en"}))

    assert "S3CRET" not in seen
    assert "UzNDUkVU" not in seen
    for said in (
        "<code>{ 101 = 12 }</code>",
        "https://crm.example.test/hook",
        "proxy.example.test:3128",
        '<code>{ incoming = "10m" }</code>',
        "<code>192.0.2.0/24</code>",
        "<code>line = 74950000001</code>",
        "<code>targets = b24, default_user = 7</code>",
    ):
        assert said in seen, said
