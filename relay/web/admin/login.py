"""Who may see the page: a password, a signed cookie that expires, few tries, and a token on every action."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import deque
from datetime import datetime, timedelta

import structlog
from flask import Flask, redirect, render_template, request, session, url_for
from flask.sessions import SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from relay.settings import Secret
from relay.times import Clock
from relay.web.admin.words import gettext

log = structlog.get_logger("relay.web")

_LASTS = timedelta(hours=12)
_TRIES, _TRIES_OF_ALL = 5, 30
_WITHIN = timedelta(minutes=15)
_OPEN = ("admin.login", "admin.static")


COOKIE = {  # signed; for the page alone; not to be read by scripts; ends with the browser
    "SESSION_COOKIE_NAME": "relay_admin", "SESSION_COOKIE_PATH": "/admin", "SESSION_COOKIE_SAMESITE": "Lax",
    "SESSION_COOKIE_HTTPONLY": True,
}  # fmt: skip


class OwnSession(SecureCookieSessionInterface):
    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002  Flask asks so
        """Over TLS only, where there is TLS."""
        return request.is_secure


class Login:
    def __init__(self, password: Secret, clock: Clock) -> None:
        self._password, self._clock = password.encode(), clock
        self._tries = _Tries(clock)

    @property
    def signing_key(self) -> bytes:
        """From the password: every worker has the same, and another password ends all sessions."""
        return hashlib.scrypt(self._password, salt=b"relay-admin-cookie", n=2**14, r=8, p=1, dklen=32)

    def guard(self) -> ResponseReturnValue | None:
        """Runs before each view."""
        if request.endpoint not in _OPEN and not self._is_in():
            if request.method == "POST":
                return render_template(
                    "admin/login.html", problem=gettext("Your session has ended. Log in again.")
                ), 401
            wanted = (
                request.path if "token" in request.args else request.full_path.rstrip("?")
            )  # nobody's secret comes back
            return redirect(url_for("admin.login", to=wanted))
        if request.method == "POST" and not self._is_meant():
            raise BadRequest(gettext("The form is too old. Go back, reload the page, and try again."))
        return None

    def view(self) -> ResponseReturnValue:
        if request.method == "GET":
            return render_template("admin/login.html", problem=None)
        address = request.remote_addr or "?"
        if wait := self._tries.wait(address):
            problem = gettext("Too many tries. Wait %(minutes)s min.", minutes=int(wait.total_seconds() // 60) + 1)
            headers = {"Retry-After": str(int(wait.total_seconds()) + 1)}
            return render_template("admin/login.html", problem=problem), 429, headers
        if not hmac.compare_digest(request.form.get("password", "").encode(), self._password):
            self._tries.note(address)
            log.warning("admin.refused", address=address)
            return render_template("admin/login.html", problem=gettext("This is not the password.")), 401
        session.clear()
        session["in_until"] = (self._clock() + _LASTS).timestamp()
        log.info("admin.entered", address=address)
        return redirect(_inside(request.form.get("to", "")))

    def leave(self) -> ResponseReturnValue:
        session.clear()
        return redirect(url_for("admin.login"))

    def _is_in(self) -> bool:
        return bool(session.get("in_until", 0) > self._clock().timestamp())

    def _is_meant(self) -> bool:
        """Does the form come from a page of ours?"""
        known = session.get("form")
        return known is not None and hmac.compare_digest(request.form.get("form", ""), known)


def form_token() -> str:
    """What every form carries; the same within a session."""
    token: str = session.setdefault("form", secrets.token_urlsafe(24))
    return token


def _inside(given: str) -> str:
    """Only to a page of ours: never to where somebody else's link points."""
    home = url_for("admin.overview")
    return given if given.startswith(home) and "\\" not in given and "\n" not in given else home


class _Tries:
    """Wrong passwords of late, in this process: of an address, and of all together."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._mutex = clock, threading.Lock()
        self._wrong: deque[tuple[datetime, str]] = deque()

    def note(self, address: str) -> None:
        with self._mutex:
            self._wrong.append((self._clock(), address))

    def wait(self, address: str) -> timedelta:
        """Zero: another try may be made now."""
        with self._mutex:
            now = self._clock()
            while self._wrong and self._wrong[0][0] <= now - _WITHIN:
                self._wrong.popleft()
            own = [at for at, who in self._wrong if who == address]
            if len(own) >= _TRIES:
                return own[-_TRIES] + _WITHIN - now
            if len(self._wrong) >= _TRIES_OF_ALL:
                return self._wrong[-_TRIES_OF_ALL][0] + _WITHIN - now
            return timedelta(0)
