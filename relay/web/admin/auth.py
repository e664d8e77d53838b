"""Who may see the page: a password, a session that the store knows, delays after wrong tries, a token on every form.

A browser's cookie holds a random number and nothing else. Nothing is signed, so nothing can be guessed from it:
the number opens the page when the store knows its digest, which is keyed with the password.
"""

from __future__ import annotations

import hmac
import re
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from flask import Response, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, ServiceUnavailable

from relay.clock import EPOCH, Clock
from relay.config import Secret
from relay.config.addresses import site
from relay.errors import StoreError
from relay.i18n import age, gettext
from relay.store import AdminSessions
from relay.web.access import is_secret

log = structlog.get_logger("relay.web")

_LASTS = timedelta(hours=12)
_OPEN = ("admin.login", "admin.static")
_COOKIE = "relay_admin"
_NUMBER = re.compile(r"[A-Za-z0-9_-]{43}")  # of 32 random bytes
_FREE_TRIES = 5  # wrong passwords that cost no wait
_FIRST_WAIT, _LONGEST_WAIT = timedelta(seconds=10), timedelta(minutes=15)
_REMEMBERED = timedelta(hours=24)
_ADDRESSES = 4096  # those that did something last: memory has an end


class Login:
    def __init__(self, password: Secret, sessions: AdminSessions, clock: Clock) -> None:
        self._password, self._sessions, self._clock = password, sessions, clock
        self._throttle = LoginThrottle(clock)

    def require_login(self) -> ResponseReturnValue | None:
        """Run before each view."""
        if request.method == "POST":
            _refuse_cut_form()
        if request.endpoint not in _OPEN:
            if not self._is_in():
                return _turn_away()
            self._throttle.greet(request.remote_addr or "")
        if request.method == "POST" and not is_secret(request.form.get("form", ""), (csrf_token(),)):
            raise BadRequest(gettext("The form is too old. Go back, reload the page, and try again."))
        return None

    def view(self) -> ResponseReturnValue:
        if request.method == "GET":
            return render_template("admin/login.html", problem=None)
        address = request.remote_addr or ""
        wait = self._throttle.try_acquire(address)
        if wait and not self._is_in():  # who is in already need not wait for others' mistakes
            whole = timedelta(seconds=int(wait.total_seconds()) + 1)
            problem = gettext("Too many wrong passwords. Wait %(span)s.", span=age(whole))
            headers = {"Retry-After": str(int(whole.total_seconds()))}
            return render_template("admin/login.html", problem=problem), 429, headers
        if not is_secret(request.form.get("password", ""), (self._password,)):
            log.warning("admin.refused", address=address)
            return render_template("admin/login.html", problem=gettext("This is not the password.")), 401
        self._throttle.succeed(address)
        self._begin_session()
        log.info("admin.entered", address=address)
        return redirect(_inside(request.form.get("to", "")))

    def logout(self) -> ResponseReturnValue:
        self._sessions.end(self._digest(_number()))
        _renew_number()
        return redirect(url_for("admin.login"))

    def _begin_session(self) -> None:
        """Under a new number: nobody can have planted it."""
        before = self._digest(_number())
        now = self._clock()
        self._sessions.begin(self._digest(_renew_number()), now, now + _LASTS, instead_of=before)

    def _is_in(self) -> bool:
        number = _number_of_cookie()
        try:
            return number is not None and self._sessions.lasts(self._digest(number), self._clock())
        except StoreError as exc:  # a stranger is told neither what nor where
            log.error("admin.store_unusable", reason=str(exc))
            raise ServiceUnavailable(gettext("The store cannot be read now; the log says why.")) from exc

    def _digest(self, number: str) -> str:
        """Return what the store knows a session by: another password makes another of it, and so ends all sessions."""
        return hmac.digest(self._password.encode(), number.encode(), "sha256").hex()


def delay(wrong: int, *, is_logged_in: bool) -> timedelta:
    """Return how long after so many wrong passwords the next may be tried.

    Where somebody is logged in from it stays short: the operator must not be kept out by a neighbour.
    """
    if wrong < _FREE_TRIES:
        return timedelta(0)
    doublings = min(wrong - _FREE_TRIES, 30)
    return _FIRST_WAIT if is_logged_in else min(_FIRST_WAIT * 2**doublings, _LONGEST_WAIT)


@dataclass
class _Address:
    wrong: int = 0
    last: datetime = EPOCH
    logged_in_until: datetime = EPOCH


class LoginThrottle:
    """How long to wait after wrong passwords: each address for itself, longer with each, and nobody for ever.

    Counts in this process alone.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._mutex = clock, threading.Lock()
        self._addresses: OrderedDict[str, _Address] = OrderedDict()

    def try_acquire(self, address: str) -> timedelta:
        """Zero: a password may be tried now, and is counted as a wrong one until `succeed`; else how long to wait."""
        with self._mutex:
            now, record = self._clock(), self._of(address)
            if now - record.last > _REMEMBERED:
                record.wrong = 0
            span = delay(record.wrong, is_logged_in=now < record.logged_in_until)
            wait = min(record.last + span - now, span)  # the clock may have been put back
            if wait > timedelta(0):
                return wait
            record.wrong, record.last = record.wrong + 1, now
            return timedelta(0)

    def succeed(self, address: str) -> None:
        """The password was right: what was wrong before is forgiven."""
        with self._mutex:
            self._of(address).wrong = 0

    def greet(self, address: str) -> None:
        """Somebody who is logged in has come from there."""
        with self._mutex:
            self._of(address).logged_in_until = self._clock() + _REMEMBERED

    def _of(self, address: str) -> _Address:
        key = site(address)
        record = self._addresses.setdefault(key, _Address())
        self._addresses.move_to_end(key)
        if len(self._addresses) > _ADDRESSES:
            self._addresses.popitem(last=False)
        return record


def csrf_token() -> str:
    """Return what every form carries; the same as long as the browser's number is."""
    return hmac.digest(_number().encode(), b"form", "sha256").hex()


def give_number(response: Response) -> Response:
    """Run after each view: the browser gets its number, where it has none or another."""
    if "number" in g and g.number != _number_of_cookie():
        over_tls = request.is_secure
        response.set_cookie(_COOKIE, g.number, path="/admin", httponly=True, samesite="Lax", secure=over_tls)
    return response


def _number_of_cookie() -> str | None:
    cookie = request.cookies.get(_COOKIE, "")
    return cookie if _NUMBER.fullmatch(cookie) else None


def _number() -> str:
    """The browser's; a new one if it brought none."""
    if "number" not in g:
        g.number = _number_of_cookie() or secrets.token_urlsafe(32)
    return str(g.number)


def _renew_number() -> str:
    g.number = secrets.token_urlsafe(32)
    return str(g.number)


def _refuse_cut_form() -> None:
    """Raise RequestEntityTooLarge also where Werkzeug does not: a form that comes in chunks it cuts at the limit."""
    _ = request.form
    request.stream.read(1)  # raises where the limit was reached


def _turn_away() -> ResponseReturnValue:
    if request.method == "POST":
        return render_template("admin/login.html", problem=gettext("Your session has ended. Log in again.")), 401
    address = url_for(str(request.endpoint), **(request.view_args or {}))
    if request.query_string and "token" not in request.args:  # nobody's secret comes back
        address += f"?{request.query_string.decode('ascii', 'replace')}"
    return redirect(url_for("admin.login", to=address))


def _inside(address: str) -> str:
    """Only to a page of ours: never to where somebody else's link points."""
    home = url_for("admin.overview")
    return address if address.startswith(home) and "\\" not in address and address.isprintable() else home
