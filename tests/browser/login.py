"""How one enters the page."""

from __future__ import annotations

from playwright.sync_api import Page

PASSWORD = "open-sesame"


def enter(page: Page, password: str = PASSWORD) -> None:
    page.locator("#password").fill(password)
    page.locator("form.login button").click()
