"""The views of the page, a module for each subject."""

from __future__ import annotations

from urllib.parse import quote, unquote

from flask import Blueprint, Flask
from werkzeug.routing import BaseConverter

from relay.web.admin.views import dead_letters, one_event, overview, phone_calls, settings


def register(app: Flask, pages: Blueprint) -> None:
    app.url_map.converters["session"] = SessionInPath
    for subject in (overview, dead_letters, phone_calls, one_event, settings):
        subject.register(pages)


class SessionInPath(BaseConverter):
    """Whatever a call is named with is one step of the path: a `/` does not end it, and `..` leads nowhere."""

    def to_python(self, value: str) -> str:
        return unquote(value)

    def to_url(self, value: str) -> str:
        once = quote(value, safe="").replace(".", "%2E")
        return quote(once, safe="")  # what servers and browsers undo, and then what `to_python` undoes
