"""The operator's page over HTTP: who gets in, what every answer carries, what each view shows and changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from flask.testing import FlaskClient

from relay.events import DELIVERY_STATES, EVENT_STATES, KINDS
from relay.store import Claim, Selection
from relay.store import work as store_work
from relay.web import admin as admin_room
from relay.web import create_app
from relay.wiring import Relay
from tests.calls import rendered
from tests.conftest import FakeClock
from tests.lanes import post
from tests.stories import LINK, answered, finished, incoming

PASSWORD = "open-sesame"
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
    epoch = (
        relay.store.leases()["onec"].epoch if "onec" in relay.store.leases() else relay.store.take_over("onec", "me")
    )
    assert epoch is not None
    for session in sessions:
        post(relay, incoming(session)[1])
        job = relay.store.claim(Claim("onec", epoch, relay.clock()))
        assert job is not None
        now = relay.clock()
        relay.store.record(
            store_work.Result(
                delivery=job.delivery, epoch=epoch, state="dead", due_at=now, failures=1, unclear=0, delivered_at=None,
                reason=reason, remote=None, attempt=None,
            )
        )  # fmt: skip


VIEWS = ["/admin/", "/admin/dead", "/admin/calls", "/admin/calls/trade/7", "/admin/events/x", "/admin/events/x/edit"]
ACTIONS = [
    "/admin/dead/replay", "/admin/dead/discard", "/admin/dead/replay/now", "/admin/dead/discard/now",
    "/admin/targets/onec/pause", "/admin/targets/onec/resume", "/admin/events/x/edit", "/admin/logout",
]  # fmt: skip


# --- who gets in


def test_without_a_password_in_the_configuration_there_is_no_page(make_relay: Callable[..., Relay]) -> None:
    client = create_app(make_relay()).test_client()

    assert [client.get(path).status_code for path in ("/admin", *VIEWS, "/admin/login")] == [404] * 8


@pytest.mark.parametrize("path", VIEWS)
def test_every_view_wants_the_password_first_and_comes_back(stranger: Operator, path: str) -> None:
    answer = stranger.client.get(path)

    assert (answer.status_code, answer.location) == (302, f"/admin/login?to={path}")


@pytest.mark.parametrize("path", ACTIONS)
def test_every_action_wants_the_password_first(stranger: Operator, relay: Relay, path: str) -> None:
    assert stranger.client.post(path, data={"form": stranger.token()}).status_code == 401
    assert not relay.store.look("onec")[1].paused


@pytest.mark.parametrize("path", ACTIONS)
@pytest.mark.parametrize("given", [None, "", "made-up"])
def test_every_action_wants_the_token_of_a_form_of_ours(
    operator: Operator, relay: Relay, path: str, given: Any
) -> None:
    operator.see("/admin/")

    answer = operator.client.post(path, data={} if given is None else {"form": given})

    assert answer.status_code == 400
    assert not relay.store.look("onec")[1].paused


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


def test_five_wrong_passwords_close_the_door_for_a_quarter_of_an_hour(stranger: Operator, clock: FakeClock) -> None:
    assert [stranger.enter("wrong").status_code for _ in range(5)] == [401] * 5

    refused = stranger.enter()
    assert (refused.status_code, int(refused.headers["Retry-After"]) <= 901) == (429, True)
    elsewhere = stranger.client.post(
        "/admin/login", data={"password": PASSWORD, "form": stranger.token()}, environ_base={"REMOTE_ADDR": "192.0.2.7"}
    )
    assert elsewhere.status_code == 302  # another address may still try

    clock.forward(minutes=15, seconds=1)
    assert stranger.enter().status_code == 302


def test_many_addresses_together_close_it_too(stranger: Operator) -> None:
    for number in range(30):
        stranger.client.post(
            "/admin/login", data={"password": "wrong", "form": stranger.token()},
            environ_base={"REMOTE_ADDR": f"192.0.2.{number}"},
        )  # fmt: skip

    assert stranger.enter().status_code == 429


@pytest.mark.parametrize(
    ("to", "goes"),
    [
        ("/admin/calls?phone=1", "/admin/calls?phone=1"),
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
    for path in ("/admin/", "/admin/dead", "/admin/calls", "/admin/calls/trade/1"):
        answer = operator.client.get(path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert not re.search(r"<script(?! src)|<style|\son\w+=|\sstyle=", answer.text), path


# --- what it shows


def test_the_overview_says_how_each_target_and_source_is(operator: Operator, relay: Relay, clock: FakeClock) -> None:
    make_dead(relay, 1, 2)
    post(relay, incoming(3)[1])
    clock.forward(minutes=7)
    seen = operator.see("/admin/", headers={"Accept-Language": "en"})

    assert re.search(r"2 dead letters", seen)
    assert "7 min" in seen  # the oldest that waits
    assert seen.count("<rect") == 2  # taken and dead, in one hour; nothing was delivered
    assert "Taken 3, delivered 0, dead 2." in seen


def test_a_target_that_was_removed_is_still_shown(make_relay: Callable[..., Relay], clock: FakeClock) -> None:
    relay = make_relay(more=ADMIN)
    relay.store.take_over("old-one", "me")
    operator = Operator(create_app(relay).test_client())
    operator.enter()

    assert re.search(r"old-one.*?state removed", operator.see("/admin/"), re.DOTALL)


@pytest.mark.parametrize(
    ("language", "heading"), [("ru", "Обзор"), ("ru-RU,ru;q=0.9,en;q=0.8", "Обзор"), ("en-GB", "Overview"), ("fr", "Обзор"), ("", "Обзор")],
)  # fmt: skip
def test_the_browsers_language_is_spoken(operator: Operator, language: str, heading: str) -> None:
    assert f"<h1>{heading}</h1>" in operator.see("/admin/", headers={"Accept-Language": language})


def test_times_are_those_of_the_accounts_zone(operator: Operator, relay: Relay) -> None:
    event = post(relay, incoming(1)[1])

    assert "02.03.2026 12:45:00" in operator.see(f"/admin/events/{event}")  # accepted at 09:45 UTC
    assert "2026-03-02 12:45:59" in operator.see(f"/admin/events/{event}", headers={"Accept-Language": "en"})


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
        found = re.search(r'href="(/admin/calls\?before=\d+)"', page)
        path = None if found is None else found[1]

    assert seen == [str(session) for session in reversed(range(1000, 1060))]


@pytest.mark.parametrize(
    ("query", "sessions"),
    [
        ("phone=0987", ["2"]),
        ("phone=8 (900) 555-09-87", ["2"]),
        ("session=1", ["1"]),
        ("source=trade", ["2", "1"]),
        ("source=shop", []),
        ("since=2026-03-02T12:46", ["2"]),
        ("until=2026-03-02T12:46", ["1"]),
        ("phone=0987&since=2026-03-03", []),
    ],
)
def test_calls_are_found(operator: Operator, relay: Relay, clock: FakeClock, query: str, sessions: list[str]) -> None:
    post(relay, incoming(1)[1])
    clock.forward(minutes=5)
    for endpoint, body in (
        incoming(2, calling_phone_number="79005550987"),
        finished(2, calling_phone_number="79005550987"),
    ):
        post(relay, body, endpoint)

    assert re.findall(r'href="/admin/calls/trade/(\d+)"', operator.see(f"/admin/calls?{query}")) == sessions


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/admin/dead?kind=nonsense", 400), ("/admin/dead?state=delivered", 400), ("/admin/dead?since=yesterday", 400),
        ("/admin/dead?before=x", 400), ("/admin/dead?before=99999999999999999999", 400),
        ("/admin/calls?until=soon", 400), ("/admin/calls/trade/404", 404), ("/admin/events/nothing", 404),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_said_on_a_page(operator: Operator, path: str, code: int) -> None:
    assert 'role="alert"' in operator.see(path, code=code)


def test_the_link_of_a_recording_is_hidden_until_it_is_asked_for(operator: Operator, relay: Relay) -> None:
    event = post(relay, finished(1)[1], "rec")

    assert LINK not in operator.see(f"/admin/events/{event}")
    assert operator.see(f"/admin/events/{event}?links=shown").count(LINK) == 2


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
    assert relay.store.look("onec")[1].paused
    operator.do("/admin/targets/onec/resume")
    assert not relay.store.look("onec")[1].paused
    operator.do("/admin/targets/nobody/pause", code=404)


@pytest.mark.parametrize("action", ["replay", "discard"])
def test_the_preview_changes_nothing_and_the_second_step_what_was_ticked(
    operator: Operator, relay: Relay, action: str
) -> None:
    make_dead(relay, 1, 2, 3)
    first, *others = relay.store.deliveries(Selection())

    preview = operator.do(f"/admin/dead/{action}", code=200, id=first.id).text
    assert "<li>onec: 1</li>" in preview
    assert {one.state for one in relay.store.deliveries(Selection())} == {"dead"}
    operator.do(f"/admin/dead/{action}/now", id=first.id)

    after = {one.id: one.state for one in relay.store.deliveries(Selection())}
    assert after[first.id] == ("due" if action == "replay" else "discarded")
    assert {after[one.id] for one in others} == {"dead"}


def test_everything_that_fits_the_filters_and_nothing_else_is_replayed(operator: Operator, relay: Relay) -> None:
    make_dead(relay, 1, 2, 3)
    preview = operator.do("/admin/dead/replay", code=200, everything="1", session="2").text
    assert "<li>onec: 1</li>" in preview

    operator.do("/admin/dead/replay/now", everything="1", session="2")

    assert {one.session: one.state for one in relay.store.deliveries(Selection())} == {
        "1": "dead",
        "2": "due",
        "3": "dead",
    }


def test_nothing_ticked_is_said_and_nothing_done(operator: Operator, relay: Relay) -> None:
    make_dead(relay, 1)

    operator.do("/admin/dead/replay", code=400)
    operator.do("/admin/dead/discard/now", code=400)

    assert {one.state for one in relay.store.deliveries(Selection())} == {"dead"}


def test_a_quarantined_event_is_looked_at_and_then_mended(operator: Operator, relay: Relay) -> None:
    receipt = relay.intake.accept(relay.settings.sources["trade"], "in", b"{broken", is_query=False)
    path, mended = f"/admin/events/{receipt.event}/edit", rendered("incoming", call_session_id=9).decode()
    operator.see(path)

    looked = operator.do(path, code=200, body=mended, do="look").text
    assert "+79005550123" in looked
    assert relay.store.event(receipt.event).state == "quarantined"
    still = operator.do(path, code=200, body="{also broken", do="save").text
    assert 'role="alert"' in still
    assert "{also broken" in still  # what was typed is not lost
    operator.do(path, body=mended.replace("\n", "\r\n"), do="save")  # as a browser sends it

    event = relay.store.event(receipt.event)
    assert (event.state, event.session, event.raw) == ("accepted", "9", b"{broken")
    operator.see(path, code=409)


# --- the words


def _extracted() -> set[Any]:
    folder = Path(admin_room.__file__).parent
    methods = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
    return {found[2] for found in extract_from_dir(folder, methods)}


@pytest.fixture
def catalogue() -> Iterator[Any]:
    with (Path(admin_room.__file__).parent / "translations/ru/LC_MESSAGES/admin.po").open("rb") as file:
        yield read_po(file)


def test_every_word_of_the_page_has_a_russian_one(catalogue: Any) -> None:
    for wanted in _extracted():
        message = catalogue.get(wanted if isinstance(wanted, str) else tuple(wanted[:2]))
        assert message is not None and message.string and all(message.string), wanted


def test_every_state_kind_and_outcome_has_a_russian_word(catalogue: Any) -> None:
    states = ("open", "paused", "down", "misconfigured", "removed")
    outcomes = ("refused", "later", "unreachable", "unclear", "failed")
    for word in (*DELIVERY_STATES, *EVENT_STATES, *KINDS, *states, *outcomes):
        assert catalogue.get(word) is not None, word


def test_the_compiled_catalogue_is_that_of_its_source(catalogue: Any) -> None:
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    file = Path(admin_room.__file__).parent / "translations/ru/LC_MESSAGES/admin.mo"

    assert file.read_bytes() == compiled.getvalue(), "run `make translations`"


def test_an_hour_is_counted_where_it_belongs(relay: Relay, clock: FakeClock) -> None:
    post(relay, incoming(1)[1])
    clock.forward(hours=2)
    make_dead(relay, 2)
    hours = relay.store.pages.hours(["trade"], ["onec"], clock.now - timedelta(hours=3), clock.now)

    assert [(hour.taken, hour.delivered, hour.dead) for hour in hours] == [(0, 0, 0), (1, 0, 0), (0, 0, 0), (1, 0, 1)]
