"""Places a call for a click, at most once: the click is on disk before UIS is asked, and nothing is asked twice.

A call whose answer was lost is looked for among those that go on. Where it is not found nobody can tell what UIS did:
the click stays `unclear`, and a person looks whether the phone rings. A call costs money, and rings at a client's.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime, timedelta

import structlog
from msgspec import Struct
from msgspec.structs import replace

from relay.clock import Clock, new_id
from relay.config import ClickToCall, Source
from relay.errors import StoreError
from relay.i18n import Message, in_language, join, said, translate
from relay.models import Click
from relay.store import Store
from relay.targets.bitrix24.adapter import Bitrix24
from relay.targets.crm.users import employee_of
from relay.targets.http_client import TargetError
from relay.uis import phones
from relay.uis_api.call_api import CallApi
from relay.uis_api.data_api import Account, DataApi
from relay.uis_api.json_rpc import ApiError

log = structlog.get_logger("relay.clicks")

TEXT_MAX = 100  # of an external id, and of who clicked
_TOO_OLD = timedelta(seconds=30)
_PATIENCE = timedelta(seconds=10)  # of a person who has clicked
_UNANSWERED = Message("nobody knows whether the call was placed: look whether the phone rings before you click again")
_UNKNOWN_EMPLOYEE = Message(
    "UIS has no employee for %(employee)s: add him to `employees` of [sources.NAME.calls], or, at Bitrix24, to `users`"
)


class CallRequest(Struct, frozen=True, kw_only=True):
    """What a click asks for."""

    phone: str
    clicked_at: datetime
    employee: str = ""  #: his extension in UIS
    user: int | None = None  #: of Bitrix24, instead
    line: str = ""  #: empty: the configured one
    external_id: str = ""  #: empty: one is made
    is_registered: bool = False  #: has Bitrix24 registered the call under the external id?


class Dialer:
    """Places the calls of all sources. Threads share it."""

    def __init__(
        self, store: Store, clock: Clock, portals: Mapping[str, Bitrix24], accounts: Mapping[str, Account]
    ) -> None:
        self._store, self._clock, self._portals, self._accounts = store, clock, portals, accounts
        self._threads: set[threading.Thread] = set()

    def place(self, source: Source, calls: ClickToCall, request: CallRequest) -> Click:
        """Place the call, and return what became of it; of a click that was there before, what became of that.

        Raises StoreError when the click could not be kept: nothing was called.
        """
        click, is_new = self._begin(source, calls, request)
        return self._call(source, calls, request, click) if is_new else click

    def place_later(self, source: Source, calls: ClickToCall, request: CallRequest) -> Click:
        """Return when the click is on disk, and place the call then. Raises StoreError likewise."""
        click, is_new = self._begin(source, calls, request)

        def go_on() -> None:
            try:
                if is_new:
                    self._call(source, calls, request, click)
                else:  # there were too many
                    self._fail(source, request, click)
            except Exception:  # a fault of ours, or the store: on disk it is unclear, and is called no second time
                log.exception("click.failed", source=source.name)
            finally:
                self._threads.discard(threading.current_thread())

        if is_new or not click.seq:
            thread = threading.Thread(target=go_on, name="click")
            self._threads.add(thread)
            thread.start()
        return click

    def stop(self, grace_s: float) -> None:
        """Wait for the answers of calls that are being placed, so that they are recorded."""
        ends = time.monotonic() + grace_s
        for thread in list(self._threads):
            thread.join(max(0.0, ends - time.monotonic()))

    def _begin(self, source: Source, calls: ClickToCall, request: CallRequest) -> tuple[Click, bool]:
        now = self._clock()
        click = Click(
            source=source.name,
            external_id=request.external_id or f"click-{new_id(now)}",
            at=now,
            phone=request.phone,
            employee=request.employee or f"Bitrix24: {request.user}",
            target=self._portal(source).settings.name if request.is_registered else None,
            error="unclear",
            reason=_UNANSWERED,
        )
        stored, is_new = self._store.clicks.begin(click, most=calls.rate, since=now - timedelta(minutes=1))
        if stored is None:
            reason = Message("more than %(count)s clicks a minute: nothing was called, click later", count=calls.rate)
            stored = replace(click, state="later", error="limit_exceeded", reason=reason)
            _tell(stored)
        elif not is_new:
            log.info("click.repeated", source=source.name, external_id=stored.external_id, state=stored.state)
        return stored, is_new

    def _call(self, source: Source, calls: ClickToCall, request: CallRequest, click: Click) -> Click:
        try:
            session = self._start(source, calls, request, click.external_id)
            done = replace(click, state="started", session=session, error=None, reason=None)
        except ApiError as exc:
            reason = join(_UNANSWERED, said(exc)) if exc.state == "unclear" else said(exc)
            done = replace(click, state=exc.state, error=exc.mnemonic or exc.state, reason=reason)
        _tell(done)
        try:
            if not self._store.clicks.finish(done):
                log.warning("click.registered_twice", source=source.name, target=click.target, session=done.session)
        except StoreError as exc:  # on disk it stays unclear, and is called no second time
            log.error("click.not_recorded", source=source.name, session=done.session, reason=str(exc))
        self._fail(source, request, done)
        if done.error == "employee_not_found" and source.report is not None:
            self._accounts[source.report.key].extensions_until = done.at  # what was learnt is out of date
        return done

    def _start(self, source: Source, calls: ClickToCall, request: CallRequest, external_id: str) -> str:
        """Return the call's session. Raises ApiError."""
        contact = _number(request.phone, "phone")
        patterns = (allowed.replace("X", "[0-9]").replace("*", "[0-9]*") for allowed in calls.allowed)
        if not any(re.fullmatch(pattern, contact) for pattern in patterns):
            reason = Message("this number may not be called: `allowed` of [sources.NAME.calls] has no pattern for it")
            raise ApiError("refused", reason, mnemonic="phone_not_allowed")
        line = _number(request.line, "line") if request.line else calls.line
        employee = self._employee(source, calls, request)
        with closing(CallApi(calls, self._clock)) as api:  # a connection of its own: a kept one may just be closing
            if self._clock() - request.clicked_at > _TOO_OLD:
                reason = Message("the click came more than %(seconds)s s late: click again", seconds=_TOO_OLD.seconds)
                raise ApiError("refused", reason, mnemonic="too_old")
            return api.start(employee=employee, contact=contact, line=line, external_id=external_id)

    def _employee(self, source: Source, calls: ClickToCall, request: CallRequest) -> int:
        """Return the employee's id in UIS. Raises ApiError."""
        extension: str | None = request.employee
        if not extension:
            portal = self._portal(source)
            user = portal.settings.default_user if request.user is None else request.user
            employee, extension = employee_of(user, portal.settings)
            if employee is not None:
                return employee
            extension = extension or portal.directory.extension_of(user)
        employees = calls.employees or self._learnt(source)
        if extension is None or extension not in employees:
            who = extension or f"Bitrix24: {request.user}"
            raise ApiError("refused", _UNKNOWN_EMPLOYEE.fill(employee=who), mnemonic="employee_unknown")
        return employees[extension]

    def _learnt(self, source: Source) -> dict[str, int]:
        """Return the ids of UIS's employees by extension, as the report's key shows them. Raises ApiError."""
        if source.report is None:
            return {}
        hasty = replace(source.report, timeout=_PATIENCE)
        with closing(DataApi(hasty, self._clock, self._accounts[source.report.key])) as api:
            return {ext: int(employee) for employee, ext in api.extensions().items() if employee.isdigit()}

    def _portal(self, source: Source) -> Bitrix24:
        """Return the source's one Bitrix24."""
        return next(self._portals[name] for name in source.targets if name in self._portals)

    def _fail(self, source: Source, request: CallRequest, click: Click) -> None:
        """Finish what Bitrix24 has registered, where no call was placed: its card would stay open. Asked once."""
        if click.target is None or click.state in ("started", "unclear"):
            return
        portal = self._portals[click.target]
        with in_language("ru"):  # it stands in the CRM
            reason = translate(click.reason or "")
        try:
            portal.fail_call(click.external_id, request.user, reason)
        except TargetError as exc:
            log.warning("click.not_finished", source=source.name, target=click.target, reason=exc.outcome.reason)
        finally:
            portal.close()


def _tell(click: Click) -> None:
    level = log.info if click.state == "started" else log.warning
    fields = {name: getattr(click, name) for name in ("source", "external_id", "session", "error")}
    level(f"click.{click.state}", **fields, reason=None if click.reason is None else str(click.reason))


def _number(text: str, name: str) -> str:
    """Return a number as UIS takes it. Raises ApiError."""
    number = phones.international(text)
    if number is None:
        reason = Message("this is no phone number: write it with its country, like +7 900 555-01-23")
        raise ApiError("refused", reason, mnemonic=f"{name}_invalid")
    return phones.as_uis_writes(number)
