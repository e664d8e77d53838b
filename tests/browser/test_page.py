"""The operator's page as its operator uses it, with JavaScript and without."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from relay.sandbox.server import Sandbox
from tests.acceptance.process import Process
from tests.browser.login import enter
from tests.stories import STORIES, answered, finished, incoming, not_taken
from tests.waiting import eventually

Open = Callable[..., Page]
QUARANTINED = (
    '{"direction":"in","call_session_id":31,"calling_phone_number":"79005550987","scenario_name":"ООО "Ромашка", "x":}'
)


def tell(relay: Process, *notifications: tuple[str, bytes | str]) -> None:
    for endpoint, body in notifications:
        content = body if isinstance(body, bytes) else body.encode()
        status, _ = relay.request("POST", f"/trade/hs/UIScom/{endpoint}?token=correct-horse", content)
        assert status == 200


def go(page: Page, name: str) -> None:
    page.get_by_role("navigation").get_by_role("link", name=name).click()


def reload_until(page: Page, reached: Callable[[], bool], what: str) -> None:
    """As one without JavaScript does."""

    def looks() -> bool:
        page.reload()
        return reached()

    eventually(looks, what, 30)


def letters(page: Page) -> Locator:
    return page.locator(".letters tbody tr")


def state_of(page: Page, target: str) -> str:
    return page.get_by_role("row", name=re.compile(f"^{target}")).locator(".state").inner_text()


def test_a_wrong_password_is_refused_and_the_right_one_lets_in(open_page: Open) -> None:
    page = open_page(enters=False)
    enter(page, "wrong")
    expect(page.get_by_role("alert")).to_have_text("This is not the password.")

    enter(page)

    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    page.get_by_role("button", name="Log out").click()
    expect(page.locator("#password")).to_be_visible()
    page.goto(page.url.replace("login", ""))  # nor is it there by its address
    expect(page.locator("#password")).to_be_visible()


def test_the_page_that_was_wanted_comes_after_the_password(open_page: Open) -> None:
    page = open_page("/admin/calls?q=987")

    expect(page.get_by_role("heading", level=1)).to_have_text("Calls")
    expect(page.get_by_label("Phone")).to_have_value("987")


def test_a_target_goes_down_and_comes_back(open_page: Open, relay: Process, systems: Sandbox) -> None:
    page = open_page()
    assert state_of(page, "onec") == "open"
    systems.onec.fail("bad_gateway", -1)
    tell(relay, incoming(1), incoming(2), incoming(3))
    reload_until(page, lambda: state_of(page, "onec") == "down", "1C is shown as down")
    trouble = page.get_by_role("listitem").filter(has_text="onec has not answered since")
    expect(trouble).to_contain_text("502")

    systems.onec.fail("ok", 0)
    with page.expect_navigation():
        trouble.get_by_role("button", name="Try now").click()

    reload_until(page, lambda: state_of(page, "onec") == "open", "1C is shown as open again")
    eventually(lambda: systems.onec.recorded() == 3, "what waited is delivered")


def test_the_overview_stays_fresh_by_itself(open_page: Open, relay: Process, request: Any) -> None:
    if "without" in request.node.callspec.id:
        pytest.skip("without JavaScript the page is reloaded by hand: shown above")
    page = open_page()

    tell(relay, *STORIES["answered"])

    expect(page.get_by_role("row", name=re.compile("^trade")).locator("td").nth(1)).to_have_text("3")


def test_a_target_goes_down_and_its_sentence_appears_without_reloading(
    open_page: Open, relay: Process, systems: Sandbox, request: Any
) -> None:
    if "without" in request.node.callspec.id:
        pytest.skip("without JavaScript the page is reloaded by hand: shown above")
    page = open_page()
    tell(relay, incoming(1))
    expect(page.get_by_text("All is well")).to_be_visible()
    page.evaluate("window.loadedOnce = true")
    page.get_by_role("button", name="Pause b24").focus()  # somebody is about to press something: that part stays

    systems.onec.fail("bad_gateway", -1)
    tell(relay, incoming(2), incoming(3), incoming(4))

    expect(page.get_by_text("onec has not answered since")).to_be_visible()
    expect(page.get_by_role("button", name="Pause b24")).to_be_focused()
    assert page.evaluate("window.loadedOnce")


def test_pause_and_resume(open_page: Open, relay: Process, systems: Sandbox) -> None:
    page = open_page()
    page.get_by_role("button", name="Pause onec").click()
    assert state_of(page, "onec") == "paused"
    told = 0

    def is_held() -> bool:
        """Does a call wait? The pause reaches the lane within a quarter of a second, and later on a busy machine."""
        nonlocal told
        before, told = systems.onec.recorded(), told + 1
        tell(relay, incoming(told))
        relay.command("status")  # takes longer than a call that is not held
        return systems.onec.recorded() == before

    eventually(is_held, "the lane has learned of the pause")

    page.get_by_role("button", name="Resume onec").click()

    assert state_of(page, "onec") == "open"
    eventually(lambda: systems.onec.recorded() == told, "what waited is delivered")


@pytest.fixture
def with_dead(relay: Process, systems: Sandbox) -> None:
    """Three deliveries that 1C refused, one that Bitrix24 refused, a body that could not be read."""
    systems.onec.fail("bad_request", 3)
    tell(relay, incoming(21), incoming(22), answered(23))
    eventually(lambda: len(dead(relay)) == 3, "three are dead")
    systems.onec.fail("ok", 0)
    tell(relay, finished(24, calling_phone_number=None), ("in", QUARANTINED))
    eventually(lambda: len(dead(relay)) == 6, "a call without a number is refused by both CRMs, a body is quarantined")


def dead(relay: Process) -> list[str]:
    return [line for line in relay.command("dead", "--json").stdout.splitlines() if line]


@pytest.mark.usefixtures("with_dead")
def test_the_dead_letters_are_filtered_and_one_is_replayed(open_page: Open, relay: Process, systems: Sandbox) -> None:
    page = open_page()
    page.get_by_role("link", name="Look at them onec").click()
    go(page, "Dead letters")
    expect(letters(page)).to_have_count(6)
    page.get_by_text("Filters").click()
    page.get_by_label("Target").select_option("onec")
    page.get_by_role("button", name="Show").click()
    expect(letters(page)).to_have_count(3)
    page.get_by_label("Kind").select_option("answered")
    page.get_by_role("button", name="Show").click()
    expect(letters(page)).to_have_count(1)

    page.locator(".letters input").check()
    page.get_by_role("button", name="Replay the ticked").click()
    expect(page.locator("main")).to_contain_text("1 dead letter is meant")
    page.get_by_role("button", name="Replay 1").click()

    expect(page.get_by_role("status")).to_have_text("Replayed: 1.")
    eventually(lambda: systems.onec.recorded() == 2, "it is delivered")  # with the call without a number
    go(page, "Dead letters")
    expect(letters(page)).to_have_count(5)


@pytest.mark.usefixtures("with_dead")
def test_a_group_is_replayed(open_page: Open, relay: Process, systems: Sandbox) -> None:
    page = open_page("/admin/dead")
    group = page.locator(".groups").get_by_role("row").filter(has_text="onec")

    group.get_by_role("button", name="Replay 3").click()
    expect(page.locator("main")).to_contain_text("onec: 3")
    page.get_by_role("button", name="Replay 3").click()

    expect(page.get_by_role("status")).to_have_text("Replayed: 3.")
    eventually(lambda: systems.onec.recorded() == 4, "all of it is delivered")
    assert len(dead(relay)) == 3  # the others are not touched


@pytest.mark.usefixtures("with_dead")
def test_a_group_is_looked_at_and_how_many_are_ticked_stands_on_the_button(open_page: Open, request: Any) -> None:
    page = open_page("/admin/dead")
    page.locator(".groups").get_by_role("row").filter(has_text="onec").get_by_role("link").click()
    expect(letters(page)).to_have_count(3)
    page.locator(".letters input").first.check()
    page.locator(".letters input").last.check()

    counted = "Replay the ticked" if "without" in request.node.callspec.id else "Replay the ticked: 2"
    page.get_by_role("button", name=counted, exact=True).click()

    expect(page.locator("main")).to_contain_text("onec: 2")


@pytest.mark.usefixtures("with_dead")
def test_all_of_a_target_is_replayed(open_page: Open, relay: Process, systems: Sandbox) -> None:
    page = open_page("/admin/dead?target=onec")
    page.locator(".letters input").first.check()  # what is ticked does not matter for all that is found

    page.get_by_role("button", name="Replay all 3 that are found").click()
    if "3 dead letters are meant" not in page.locator("main").inner_text():  # without JavaScript the tick counts
        page.get_by_role("link", name="Back").click()
        page.get_by_role("button", name="Replay all 3 that are found").click()
    expect(page.locator("main")).to_contain_text("onec: 3")
    page.get_by_role("button", name="Replay 3").click()

    expect(page.get_by_role("status")).to_have_text("Replayed: 3.")
    eventually(lambda: systems.onec.recorded() == 4, "all are delivered")


@pytest.mark.usefixtures("with_dead")
def test_a_letter_is_discarded(open_page: Open, relay: Process) -> None:
    page = open_page("/admin/dead?target=amo")
    page.locator(".letters input").check()
    page.get_by_role("button", name="Discard the ticked").click()
    page.get_by_role("button", name="Discard 1").click()

    expect(page.get_by_role("status")).to_have_text("Discarded: 1.")
    assert len(dead(relay)) == 5


@pytest.mark.usefixtures("with_dead")
def test_a_quarantined_body_is_mended(open_page: Open, relay: Process, systems: Sandbox) -> None:
    page = open_page("/admin/dead?state=quarantined")
    page.get_by_role("link", name="Mend").click()
    expect(page.get_by_role("alert")).to_contain_text("unescaped quotes")
    page.get_by_label("The body").fill(QUARANTINED.replace('"ООО "Ромашка", "x":', '"ООО Ромашка"'))

    page.get_by_role("button", name="See what would be understood").click()
    expect(page.locator("main")).to_contain_text("incoming")
    expect(page.locator("main")).to_contain_text("+79005550987")
    assert len(dead(relay)) == 6  # nothing is saved yet
    page.get_by_role("button", name="Save and deliver").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("Event")
    expect(page.locator("main")).to_contain_text("mended by the operator")
    eventually(lambda: systems.onec.recorded() == 2, "it is delivered")


def test_a_test_call_is_placed_and_seen_where_it_went(open_page: Open, systems: Sandbox) -> None:
    page = open_page()
    page.get_by_role("link", name="Place a test call").click()
    expect(page.locator("main")).to_contain_text("onec, b24, amo")
    page.get_by_label("The client's phone").fill("+7 900 555-09-87")
    page.get_by_role("button", name="Send the test call to 3 targets").click()

    expect(page.get_by_role("row", name=re.compile("finished"))).to_be_visible()
    eventually(lambda: systems.onec.recorded() == 3, "1C has it")


def test_why_1c_has_not_got_a_call_of_yesterday_is_three_steps_away(
    open_page: Open, relay: Process, systems: Sandbox
) -> None:
    systems.onec.fail("bad_gateway", -1)
    began = datetime.now(ZoneInfo("Europe/Moscow")) - timedelta(days=1)
    mine = {"calling_phone_number": "79005550987", "start_time": f"{began:%Y-%m-%d} 15:20:00"}
    old = {"calling_phone_number": "79005550987", "start_time": f"{began - timedelta(days=3):%Y-%m-%d} 15:20:00"}
    tell(relay, incoming(31, **mine), answered(31, **mine), finished(31, **mine), incoming(32), incoming(33, **old))
    page = open_page()
    page.get_by_role("searchbox").fill("0987")

    page.get_by_role("button", name="Find").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_role("link", name="Yesterday").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("talked 0:51")
    page.locator("tbody tr").get_by_role("link").first.click()

    expect(page.locator("tbody tr")).to_have_count(3)
    reload_until(page, lambda: "502" in page.locator("tbody").inner_text(), "why 1C has not got it is said")
    expect(page.locator("tbody tr").nth(1)).to_contain_text("An earlier notification of this call goes first.")
    page.get_by_role("row", name=re.compile("finished")).get_by_role("link").first.click()
    expect(page.locator("main")).not_to_contain_text("/record/")
    page.get_by_role("link", name="Show the links of recordings").click()
    expect(page.locator("main")).to_contain_text("https://media.example.test/record/7/abc")


def test_what_was_sent_is_copied(open_page: Open, relay: Process, systems: Sandbox, request: Any) -> None:
    tell(relay, incoming(1))
    eventually(lambda: systems.onec.recorded() == 1, "1C has it")
    page = open_page("/admin/calls")
    page.locator("tbody tr").get_by_role("link").first.click()
    page.locator("tbody tr").get_by_role("link").first.click()
    has_scripts = "without" not in request.node.callspec.id

    expect(page.get_by_role("button", name="Copy").first).to_be_visible(visible=has_scripts)
    if has_scripts:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy").first.click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert '"call_session_id":1' in page.evaluate("navigator.clipboard.readText()").replace(" ", "")


def test_who_called_in_vain_waits_until_somebody_has_talked_to_him(open_page: Open, relay: Process) -> None:
    client = {"calling_phone_number": "79005550987"}
    tell(relay, incoming(41, **client), not_taken(41, **client))
    page = open_page()
    page.get_by_role("link", name="Missed calls").click()
    expect(page.locator("tbody tr")).to_contain_text("has waited for")
    tell(relay, incoming(42, **client), answered(42, **client))

    page.reload()

    expect(page.locator("tbody tr")).to_contain_text("called again")


VIEWS = [
    "/admin/",
    "/admin/dead",
    "/admin/calls",
    "/admin/missed",
    "/admin/settings",
    "/admin/test-call",
    "/admin/dead?state=quarantined",
    "the call",
    "the event",
    "the mending",
    "the preview",
]


@pytest.mark.usefixtures("with_dead")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_anybody_out_in_either_language_on_a_desk_or_in_the_hand(
    scheme: str, open_page: Open, request: Any
) -> None:
    """axe-core finds no serious fault, and nothing is wider than the screen."""
    if "without" in request.node.callspec.id:
        pytest.skip("axe-core is a script itself")
    for language, width in (("ru", 1280), ("en", 390)):
        page = open_page(
            "/admin/login", enters=False, color_scheme=scheme, locale=language, viewport={"width": width, "height": 900}
        )
        _assert_accessible(page, "the login")
        enter(page)
        for view in VIEWS:
            _visit(page, view)
            _assert_accessible(page, f"{view} {scheme} {width}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, view


def _visit(page: Page, view: str) -> None:
    base = page.url.split("/admin")[0]
    if view.startswith("/"):
        page.goto(base + view)
        return
    page.goto(f"{base}/admin/dead?target=onec")
    if view == "the call":
        letters(page).first.locator("td").nth(4).get_by_role("link").click()
    elif view == "the event":
        letters(page).first.locator("td").nth(1).get_by_role("link").click()
    elif view == "the preview":
        page.locator(".letters input").first.check()
        page.get_by_role("button", name=re.compile("Replay the ticked|Отправить отмеченное заново")).click()
    else:
        page.goto(f"{base}/admin/dead?state=quarantined")
        letters(page).first.locator("td").last.get_by_role("link").click()


def _assert_accessible(page: Page, what: str) -> None:
    found = Axe().run(page).response["violations"]
    grave = [
        (each["id"], [node["target"] for node in each["nodes"]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
    assert grave == [], what
