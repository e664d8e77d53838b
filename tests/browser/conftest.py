"""A real browser before a real relay: gunicorn, the three simulated systems, Debian's Chromium without a window."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from relay.sandbox.server import Sandbox
from tests.acceptance.process import Process
from tests.browser.login import PASSWORD, enter
from tests.systems import configuration

_PATIENCE_MS = 20_000
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: the tests in a real browser are left out (apt install chromium)")
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def systems() -> Iterator[Sandbox]:
    running = Sandbox().start()
    yield running
    running.close()


@pytest.fixture
def relay(systems: Sandbox, tmp_path: Path, unused_port: int) -> Iterator[Process]:
    """A relay with the page; probes come quickly."""
    config = tmp_path / "relay.toml"
    more = {"b24": 'rate = "100/s burst 100"', "amo": 'rate = "100/s burst 100"'}
    text = configuration(systems, tmp_path / "relay.db", **more)
    config.write_text(f'{text}\n[admin]\npassword = "{PASSWORD}"\n', encoding="utf-8")
    process = Process(config, unused_port, tmp_path / "relay.log").start()
    yield process
    process.end()


@pytest.fixture(params=["with JavaScript", "without JavaScript"])
def open_page(request: Any, browser: Browser, relay: Process) -> Iterator[Callable[..., Page]]:
    """Opens a page of the relay; whatever the console says against it fails the test."""
    complaints: list[str] = []
    contexts = []

    def note(said: Any) -> None:
        is_the_refusal = "status of 401" in said.text  # how a browser tells of a wrong password
        if said.type in ("error", "warning") and not is_the_refusal:
            complaints.append(said.text)

    def open_page(path: str = "/admin/", *, enters: bool = True, **more: Any) -> Page:
        more = {"locale": "en", "viewport": {"width": 1280, "height": 900}, **more}
        context = browser.new_context(java_script_enabled=request.param == "with JavaScript", **more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"http://127.0.0.1:{relay.port}{path}")
        if enters:
            enter(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == [], "the browser's console"
