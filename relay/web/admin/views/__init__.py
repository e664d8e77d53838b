"""The views of the page, a module for each subject."""

from __future__ import annotations

from flask import Blueprint, Flask

from relay.web.admin.views import calls, dead, event, overview, settings


def register(app: Flask, pages: Blueprint) -> None:
    overview.register(pages)
    dead.register(pages)
    calls.register(app, pages)
    event.register(pages)
    settings.register(pages)
