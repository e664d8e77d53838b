"""Keeps the calls of a simulated Bitrix24 portal: what is registered, what is finished, and the records of it.

Behaviour by the documentation (b24-rest-docs, api-reference/telephony) and, where that is silent, by the source of
the module `voximplant` (lib/rest/helper.php, classes/general/vi_rest.php).
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from relay.clock import Clock
from relay.sandbox.bitrix24.crm import NOBODY, Crm, Entity, Fields, is_yes, listed, whole
from relay.sandbox.bitrix24.failures import NO_CALL, Refusal, Refused

_SAME_CALL = timedelta(minutes=30)
_NOT_OF_A_NUMBER = re.compile(r"[^0-9#*+,;]")
_TYPES = range(1, 6)  # outgoing, incoming, incoming redirected, callback, information
_INCOMING = (2, 3)
_LINE_MAX = 50


class Call(Struct, frozen=True, kw_only=True):
    """Holds a call that is registered."""

    call_id: str
    user_id: int
    phone: str
    type: int
    line: str
    external_id: str | None
    started: datetime
    crm_create: bool
    app: str | None  #: REST_APP_ID; None: of a webhook
    entity: Entity
    answer: Fields  #: what register said; it says it again to a repeat
    shown_to: tuple[int, ...] = ()


class Finished(Struct, frozen=True, kw_only=True):
    """Holds a row of the statistics."""

    id: int
    call: Call
    user_id: int
    duration: int
    status: str
    reason: str
    vote: int | None
    records: tuple[dict[str, Any], ...] = ()  #: at most one
    record_writes: int = 0
    file_id: int | None = None


class Calls:
    """Keeps them. Not thread-safe: the portal's lock guards it."""

    def __init__(self, crm: Crm, clock: Clock) -> None:
        self._crm, self._clock = crm, clock
        self.reset()

    def reset(self) -> None:
        self.open: dict[str, Call] = {}
        self.finished: dict[str, Finished] = {}
        self.lines: dict[str, Fields] = {}
        self.cards: list[list[Any]] = []
        self.missed: list[str | None] = []
        self.chat: list[list[str | None]] = []
        self.registered = 0

    def register(self, fields: Fields, *, app: str | None, creates_leads: bool = True) -> Fields:
        """Register a call; one that is there already is answered as it was: nothing is made, no card shown again."""
        user = self._crm.user(fields)
        if whole(fields.get("TYPE")) not in _TYPES:
            raise Refused(Refusal("Unknown TYPE"))
        call = Call(
            call_id="",
            user_id=user,
            phone=_phone(fields),
            type=int(fields["TYPE"]),
            line=str(fields.get("LINE_NUMBER") or "").strip()[:_LINE_MAX],
            external_id=_external_id(fields),
            started=self._started(fields),
            crm_create=is_yes(fields.get("CRM_CREATE")),
            app=app,
            entity=NOBODY,
            answer={},
        )
        return (self._same(call) or self._new(call, fields, creates_leads=creates_leads)).answer

    def _started(self, fields: Fields) -> datetime:
        """Return when it began. The real portal is less strict: without an offset it is its server's own time."""
        text = fields.get("CALL_START_DATE")
        if text in (None, ""):
            return self._clock()
        try:
            moment = datetime.fromisoformat(str(text))
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise Refused(Refusal("CALL_START_DATE should be in the ISO-8601 format"))
        return moment

    def _same(self, new: Call) -> Call | None:
        """Return the call that this one repeats: line and EXTERNAL_CALL_ID count only if given."""
        after = self._clock() - _SAME_CALL
        for call in self.open.values():
            of_person = (call.user_id, call.phone) == (new.user_id, new.phone)
            of_kind = (call.type, call.app) == (new.type, new.app)
            of_line = not new.line or call.line == new.line
            of_session = new.external_id is None or call.external_id == new.external_id
            if of_person and of_kind and of_line and of_session and call.started > after:
                return call
        return None

    def _new(self, call: Call, fields: Fields, *, creates_leads: bool) -> Call:
        self.registered += 1
        if call.line:  # a line that is not known is made (older portals refused it)
            line = {"NUMBER": call.line, "NAME": "", "CRM_AUTO_CREATE": "Y"}
            self.lines.setdefault(call.line, line)
        entity, answer = self._entity(call, fields, creates_leads=creates_leads)
        name = hashlib.md5(str(self.registered).encode(), usedforsecurity=False).hexdigest()
        call_id = f"externalCall.{name}.{int(self._clock().timestamp())}"
        call = replace(call, call_id=call_id, entity=entity, answer={"CALL_ID": call_id, **answer})
        self.open[call_id] = call
        if is_yes(fields.get("ADD_TO_CHAT", 1)):
            self.chat.append(["register", call.external_id])
        if is_yes(fields.get("SHOW", 1)):
            self._show(call, [call.user_id])
        return self.open[call_id]

    def _entity(self, call: Call, fields: Fields, *, creates_leads: bool) -> tuple[Entity, Fields]:
        entity, created, more = self._known_entity(call, fields), NOBODY, {}
        is_stranger = entity is NOBODY and not self._crm.is_inner(call.phone)  # calls among colleagues have no CRM
        if is_stranger and call.crm_create and not creates_leads:
            more = {"LEAD_CREATION_ERROR": "Lead creation is disabled for local users"}
        elif is_stranger and call.crm_create:
            entity = created = self._crm.make_lead(call.phone)
        made = [] if created is NOBODY else [{"ENTITY_TYPE": created.type, "ENTITY_ID": created.id}]
        answer = {"CRM_CREATED_LEAD": created.id, "CRM_CREATED_ENTITIES": made}
        return entity, {**answer, "CRM_ENTITY_TYPE": entity.type, "CRM_ENTITY_ID": entity.id, **more}

    def _known_entity(self, call: Call, fields: Fields) -> Entity:
        kind, number = fields.get("CRM_ENTITY_TYPE"), whole(fields.get("CRM_ENTITY_ID"))
        if kind and number:
            return Entity(str(kind), number)
        return NOBODY if self._crm.is_inner(call.phone) else self._crm.owner_of(call.phone)

    def finish(self, fields: Fields) -> Fields:
        """End a call. Its row goes, so that a second finish does not find it."""
        if not isinstance(fields.get("CALL_ID"), str):
            raise Refused(Refusal("CALL_ID must be a string", "INVALID_ARGUMENT"))
        user = self._crm.user(fields)
        call = self.open.pop(fields["CALL_ID"], None)
        if call is None:
            raise Refused(NO_CALL)
        duration = whole(fields.get("DURATION")) or 0
        row = Finished(
            id=len(self.finished) + 1,
            call=call,
            user_id=user,
            duration=duration,
            status=str(fields.get("STATUS_CODE") or (200 if duration else 304)),
            reason=str(fields.get("FAILED_REASON") or ""),
            vote=whole(fields.get("VOTE")),
        )
        self.finished[call.call_id] = row
        if is_yes(fields.get("ADD_TO_CHAT")):  # the documentation says 1 where it is not given, the source acts as 0
            self.chat.append(["finish", call.external_id])
        if row.status == "304" and call.type in _INCOMING:
            self.missed.append(call.external_id)
        return _finish_answer(row)

    def show(self, fields: Fields) -> bool:
        """Show the card. False: there is no such call."""
        return self._cards(fields, self._show)

    def hide(self, fields: Fields) -> bool:
        return self._cards(fields, self._hide)

    def _cards(self, fields: Fields, act: Any) -> bool:
        call = self.open.get(str(fields.get("CALL_ID")))
        if call is None:
            return False
        named = fields.get("USER_ID")
        users = [call.user_id] if named in (None, "", []) else [int(user) for user in listed(named)]
        act(call, users)
        return True

    def _show(self, call: Call, users: list[int]) -> None:
        self.cards += [["show", call.external_id, user] for user in users]
        shown = (*call.shown_to, *(user for user in users if user not in call.shown_to))
        self.open[call.call_id] = replace(call, shown_to=shown)

    def _hide(self, call: Call, users: list[int]) -> None:
        self.cards += [["hide", call.external_id, user] for user in users]
        shown = tuple(user for user in call.shown_to if user not in users)
        self.open[call.call_id] = replace(call, shown_to=shown)


def _phone(fields: Fields) -> str:
    phone = _NOT_OF_A_NUMBER.sub("", str(fields.get("PHONE_NUMBER") or ""))
    if not phone:
        raise Refused(Refusal("Unsupported phone number format"))
    return phone


def _external_id(fields: Fields) -> str | None:
    external_id = fields.get("EXTERNAL_CALL_ID")
    return None if external_id in (None, "") else str(external_id)


def _finish_answer(row: Finished) -> Fields:
    """Return what `finish` answers. CALL_START_DATE is a PHP object that prints as `{}`: nobody can read it there."""
    call = row.call
    return {
        "CALL_ID": call.call_id,
        "EXTERNAL_CALL_ID": call.external_id,
        "PORTAL_USER_ID": row.user_id,
        "PHONE_NUMBER": call.phone,
        "PORTAL_NUMBER": call.line,
        "INCOMING": str(call.type),
        "CALL_DURATION": row.duration,
        "CALL_START_DATE": {},
        "CALL_STATUS": int(row.status == "200"),
        "CALL_VOTE": row.vote,
        "COST": 0,
        "COST_CURRENCY": "",
        "CALL_FAILED_CODE": row.status,
        "CALL_FAILED_REASON": row.reason,
        "REST_APP_ID": call.app,
        "REST_APP_NAME": call.app and "Приложение",
        "CRM_ACTIVITY_ID": 7000 + row.id,
        "COMMENT": None,
        "CRM_ENTITY_TYPE": call.entity.type,
        "CRM_ENTITY_ID": call.entity.id,
        "ID": row.id,
    }
