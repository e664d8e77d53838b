"""Takes clicks over HTTP: `POST /<source>/hs/UIScom/call`, and the events of Bitrix24.

A call is answered with its session, or with `{"error": a word for programs, "message": a sentence for the person}`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
import structlog
from msgspec import Struct
from werkzeug.exceptions import BadRequest, HTTPException, NotFound, ServiceUnavailable, Unauthorized
from werkzeug.wrappers import Request

from relay.clicks.bitrix24_event import CALL_BACK, CLICK, read_event
from relay.clicks.dialer import TEXT_MAX, CallRequest
from relay.config import ClickToCall, Source
from relay.errors import StoreError
from relay.i18n import LANGUAGES, gettext, in_language, translate
from relay.models import Click, ClickState
from relay.web import access
from relay.wiring import Relay

log = structlog.get_logger("relay.web")

CALL, EVENTS = "call", "bitrix24/events"
_TOGETHER = 8  # threads that may wait for UIS; the others are for notifications
_OF_SOURCE = 4  # of them for one source, where there are several: one whose UIS hangs leaves room for the others
_STATUSES: dict[ClickState, int] = {"started": 202, "refused": 422, "misconfigured": 503, "later": 503, "unclear": 504}


class _Body(Struct, frozen=True):
    employee: str | int
    phone: str | int
    line: str | int | None = ""
    external_id: str | int | None = ""


class Answer(NamedTuple):
    fields: dict[str, Any]
    status: int = 200


class ClickToCallViews:
    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        sources = sum(source.calls is not None for source in relay.settings.sources.values())
        self._most = _OF_SOURCE if sources > 1 else _TOGETHER
        self._waiting: Counter[str] = Counter()  # clicks that wait for UIS, by source
        self._mutex = threading.Lock()

    def answer(self, source: Source, endpoint: str, request: Request, body: bytes) -> Answer:
        with in_language(request.accept_languages.best_match(LANGUAGES) or LANGUAGES[0]):
            try:
                if source.calls is None:
                    raise NotFound(gettext("calls are off: set [sources.%(name)s.calls]", name=source.name))
                take = self._take_call if endpoint == CALL else self._take_event
                return take(source, source.calls, request, body)
            except HTTPException as exc:
                log.warning("click.rejected", source=source.name, status=exc.code, address=request.remote_addr)
                error = exc.name.lower().replace(" ", "_")
                return Answer({"error": error, "message": exc.description}, exc.code or 500)
            except StoreError as exc:
                log.error("click.not_stored", source=source.name, reason=str(exc))
                message = gettext("the click could not be stored: nothing was called, click again")
                return Answer({"error": "not_stored", "message": message}, 503)

    def _take_call(self, source: Source, calls: ClickToCall, request: Request, body: bytes) -> Answer:
        body, _, offered = access.offered_secrets(request, body)
        if not any(access.is_secret(token, calls.token) for token in offered):
            raise Unauthorized(gettext("the secret is missing or wrong: send `token` of [sources.NAME.calls]"))
        asked = _read(body)
        with self._place(source):
            waited = timedelta(seconds=request.environ.get("relay.waited_s", 0.0))
            call = CallRequest(
                phone=str(asked.phone),
                employee=str(asked.employee),
                line=str(asked.line or ""),
                external_id="" if asked.external_id is None else str(asked.external_id),
                clicked_at=self._relay.clock() - waited,
            )
            click = self._relay.dialer.place(source, calls, call)
        self._count_refused(click)
        return _answer(click)

    @contextmanager
    def _place(self, source: Source) -> Iterator[None]:
        """Take one of the threads that may wait for UIS, for as long as the block lasts. Raises ServiceUnavailable."""
        with self._mutex:
            if self._waiting[source.name] >= self._most or self._waiting.total() >= _TOGETHER:
                raise ServiceUnavailable(gettext("too many clicks at once: nothing was called, click again"))
            self._waiting[source.name] += 1
        try:
            yield
        finally:
            with self._mutex:
                self._waiting[source.name] -= 1

    def _count_refused(self, click: Click) -> None:
        """Count a click that was more than the rate: it is not stored, and nobody would see it but who has clicked."""
        if not click.seq:
            self._relay.rejections.add(click.source, HTTPStatus.TOO_MANY_REQUESTS)

    def _take_event(self, source: Source, calls: ClickToCall, _request: Request, body: bytes) -> Answer:
        event = read_event(body)
        if calls.application_token is None or not access.is_secret(event.token, [calls.application_token]):
            raise Unauthorized(gettext("the application_token is wrong: set that of [sources.NAME.calls]"))
        if event.name not in (CLICK, CALL_BACK):
            return Answer({"status": "ignored"})
        _refuse_long(event.call_id, event.phone, event.line)
        call = CallRequest(
            phone=event.phone,
            user=event.user,
            line=event.line,
            external_id=event.call_id,
            is_registered=event.is_registered,
            clicked_at=event.at or self._relay.clock(),
        )
        click = self._relay.dialer.place_later(source, calls, call)
        self._count_refused(click)
        return Answer({"status": "accepted", "external_id": click.external_id})


def _read(body: bytes) -> _Body:
    """Raises BadRequest."""
    try:
        asked = msgspec.json.decode(body, type=_Body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        example = '{"employee": "101", "phone": "+7 900 555-01-23"}'
        raise BadRequest(gettext("send JSON like %(example)s", example=example)) from exc
    if not asked.employee or not asked.phone:
        raise BadRequest(gettext("`employee` and `phone` must not be empty"))
    texts = [str(text) for text in msgspec.structs.astuple(asked)]
    _refuse_long(*texts, *("\0" for text in texts if not text.isprintable()))
    return asked


def _refuse_long(*texts: str) -> None:
    """Raise BadRequest for a text that is too long, or that no database takes: with a zero in it."""
    if any(len(text) > TEXT_MAX or "\0" in text for text in texts):
        raise BadRequest(gettext("at most %(count)s characters each", count=TEXT_MAX))


def _answer(click: Click) -> Answer:
    if click.state == "started":
        session = click.session or ""
        return Answer({"call_session_id": int(session) if session.isdecimal() else session}, 202)
    status = 429 if click.error == "limit_exceeded" else _STATUSES[click.state]
    return Answer({"error": click.error, "message": translate(click.reason or "")}, status)
