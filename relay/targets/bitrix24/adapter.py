"""Delivers to Bitrix24 telephony: a call is registered, its card shown and hidden, it is finished, its recording
attached. A missed one may get a task.
"""

from __future__ import annotations

import hashlib
from typing import Any
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from relay import routing
from relay.calls.call_result import CallResult
from relay.clock import Clock
from relay.config import Bitrix24Target
from relay.i18n import Message
from relay.models import CallEvent, ClaimedDelivery, Outcome
from relay.targets.base import Adapter, CallContext, TokenStore
from relay.targets.bitrix24 import plan, recordings
from relay.targets.bitrix24.directory import Directory
from relay.targets.bitrix24.rest import Rest
from relay.targets.crm.missed_task import Task
from relay.targets.crm.workflow import CallWorkflow, Done, Step
from relay.targets.http_client import TargetError
from relay.uis import phones

_LINE_MAX = 50
_REASON_MAX = 255
_OWNER_TYPES = {"LEAD": 1, "DEAL": 2, "CONTACT": 3, "COMPANY": 4}


class Bitrix24(Adapter):
    """Delivers to one portal."""

    settings: Bitrix24Target

    def __init__(self, settings: Bitrix24Target, clock: Clock, token_store: TokenStore) -> None:
        super().__init__(settings, clock, token_store)
        self.rest = Rest(settings, clock, token_store, self.client)
        self.directory = Directory(settings, self.rest, clock)

    def deliver(self, claimed: ClaimedDelivery, call: CallEvent, context: CallContext) -> Outcome:  # noqa: ARG002  # alike for all
        return _Call(self, claimed, context).run()

    def fail_call(self, call_id: str, user: int | None, reason: str) -> None:
        """Finish a call that Bitrix24 has registered itself, and that was never placed. Raises TargetError."""
        default = self.settings.default_user
        params = _finish_params(call_id, user or default, CallResult("other", 0, reason))
        try:
            self.rest.call("telephony.externalcall.finish", params)
        except TargetError as exc:
            if exc.code != "user_unknown":
                raise
            self.rest.call("telephony.externalcall.finish", {**params, "USER_ID": default})

    def _probe(self) -> Outcome:
        """Ask with `externalLine.get`: it needs the rights that a call needs, and changes nothing (inferred)."""
        self.rest.call("telephony.externalLine.get", {})
        remarks = self.directory.remarks()
        if (moved := self.rest.moved_to) is not None:
            remarks.append(
                Message("the portal has been renamed to %(host)s: put that into the configuration", host=moved)
            )
        return Outcome(name="delivered", reason="; ".join(remarks))


class _Call(CallWorkflow):
    _settings: Bitrix24Target
    _remote_ids = ("call_id",)

    def __init__(self, adapter: Bitrix24, claimed: ClaimedDelivery, context: CallContext) -> None:
        super().__init__(adapter, claimed, context)
        self._settings = routing.settings_for(adapter.settings, self._event.source, self._history.calls)
        self._rest, self._directory = adapter.rest, adapter.directory
        self._was_finishing = bool(self._done.get("finishing"))  # by an attempt before this one
        self._has_looked_for_user = False

    def _conclude(self) -> str:
        moved = self._rest.moved_to if self._has_requested else None
        return Message("the portal is %(host)s now: change the configuration", host=moved) if moved else ""

    def _next_step(self) -> Step | Done:
        needs_user = self._history.phase in ("ringing", "over") and not self._done.get("finished")
        if needs_user and not self._has_looked_for_user:
            self._change(user=self._directory.user_of(self._history))
            self._has_looked_for_user = True
        return plan.next_step(self._state, self._settings)

    # --- the steps

    @property
    def _call_id(self) -> str:
        return str(self._done["call_id"])

    def _register(self, show: bool) -> None:
        """Register with the parameters of the first try, if there was one: only then is the answer the same call."""
        params = self._done.get("register") or self._registration(show)
        self._remember(register=params)
        try:
            result = self._call("telephony.externalcall.register", params)
        except TargetError as exc:
            params = {**params, "USER_ID": self._instead_of(params["USER_ID"], exc)}
            self._remember(register=params)
            result = self._call("telephony.externalcall.register", params)
        shown = [params["USER_ID"]] if params["SHOW"] else []
        self._remember(call_id=str(result["CALL_ID"]), shown=shown, **_place(result))

    def _registration(self, show: bool) -> dict[str, Any]:
        history, target = self._history, self._settings
        started = (history.started_at or self._event.received_at).astimezone(ZoneInfo(self._event.zone))
        params = {
            "USER_ID": self._state.user or target.default_user,
            "PHONE_NUMBER": history.client,
            # a call-back (that UIS's sources mean that is inferred), an incoming call, or an outgoing one
            "TYPE": 4 if history.is_call_back else 2 if history.direction == "in" else 1,
            "CALL_START_DATE": started.isoformat(timespec="seconds"),
            "CRM_CREATE": int(target.create_lead),
            "SHOW": int(show),
            "ADD_TO_CHAT": 0,
            "EXTERNAL_CALL_ID": self._session,
        }
        if history.line:
            params["LINE_NUMBER"] = phones.as_uis_writes(history.line)[:_LINE_MAX]
        if target.crm_source:
            params["CRM_SOURCE"] = target.crm_source
        return params

    def _instead_of(self, user: int, exc: TargetError) -> int:
        """Return the default user, for one whom Bitrix24 does not know or has dismissed."""
        if exc.code != "user_unknown":
            raise exc
        default = self._settings.default_user
        if user == default:
            text = Message("%(reason)s: default_user = %(default)s is no active employee; set one who is")
            reason = text.fill(reason=exc.outcome.reason, default=default)
            raise TargetError(Outcome(name="misconfigured", status=exc.outcome.status, reason=reason)) from exc
        self._directory.forget(user)
        return default

    def _show(self, users: tuple[int, ...]) -> None:
        self._optional("telephony.externalcall.show", {"CALL_ID": self._call_id, "USER_ID": list(users)})
        self._remember(shown=[*(self._done.get("shown") or ()), *users])

    def _hide(self, users: tuple[int, ...]) -> None:
        self._optional("telephony.externalcall.hide", {"CALL_ID": self._call_id, "USER_ID": list(users)})
        self._remember(shown=[user for user in self._done.get("shown") or () if user not in users])

    def _ask(self) -> None:
        """Ask whether it was finished, and has its recording; without the right to ask both are done once more."""
        self._change(has_asked=True)
        listed = self._optional("voximplant.statistic.get", {"FILTER": {"CALL_ID": self._call_id}})
        rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
        if rows and not self._done.get("finished"):
            self._remember(finished=True, **_place(rows[0]))
        attaching = self._done.get("attaching")
        if attaching and any(row.get("RECORD_FILE_ID") or row.get("CALL_RECORD_URL") for row in rows):
            self._remember(recorded=attaching)

    def _finish(self, end: CallResult) -> None:
        params = _finish_params(self._call_id, self._state.user or self._settings.default_user, end)
        row = None  # what it says of the call; what the registration said stays, where it says nothing
        with self._sending(finishing=True):
            try:
                row = self._with_default_user("telephony.externalcall.finish", params)
            except TargetError as exc:
                if exc.code != "call_not_found":
                    raise
                if not self._was_finishing:  # it never was finished, and has to be registered anew
                    self._remember(call_id=None, register=None, finishing=None, shown=[])
                    return
        self._remember(finished=True, **_place(row))

    def _with_default_user(self, method: str, params: dict[str, Any]) -> Any:
        try:
            return self._call(method, params)
        except TargetError as exc:
            return self._call(method, {**params, "USER_ID": self._instead_of(params["USER_ID"], exc)})

    def _attach(self, link: str) -> None:
        params: dict[str, Any] = {"CALL_ID": self._call_id}
        if self._settings.attach_record == "upload":
            params |= recordings.as_file(link, self._session, self._settings)
        else:
            params["RECORD_URL"] = link
        digest = hashlib.blake2b(link.encode(), digest_size=8).hexdigest()
        with self._sending(attaching=digest):
            self._beside("telephony.externalcall.attachrecord", params)
        self._remember(recorded=digest)

    # --- the task for a missed call

    @property
    def _is_posted(self) -> bool:
        return bool(self._done.get("finished"))

    def _add_task(self, task: Task) -> str:
        kind, number = self._done["entity"]
        params = {
            "ownerTypeId": _OWNER_TYPES[kind],
            "ownerId": number,
            "deadline": task.deadline.astimezone(ZoneInfo(self._event.zone)).isoformat(timespec="seconds"),
            "title": task.title,
            "description": task.text,
            "responsibleId": self._done.get("responsible") or self._settings.default_user,
        }
        return str(self._beside("crm.activity.todo.add", params)["id"])

    def _find_task(self, task: Task) -> str | None:
        """Look among the latest tasks of the card for one with the same text."""
        kind, number = self._done["entity"]
        of_owner = {"OWNER_TYPE_ID": _OWNER_TYPES[kind], "OWNER_ID": number, "PROVIDER_ID": "CRM_TODO"}
        params = {"order": {"ID": "DESC"}, "filter": of_owner, "select": ["ID", "DESCRIPTION"]}
        listed = self._beside("crm.activity.list", params)
        return next((str(row["ID"]) for row in listed if task.mark in str(row.get("DESCRIPTION"))), None)

    def _close_task(self, task_id: str) -> None:
        """Complete it with its one field: more are marked as required, the documentation's examples send none."""
        self._beside("crm.activity.update", {"id": int(task_id), "fields": {"COMPLETED": "Y"}})

    # --- requests

    def _beside(self, method: str, params: dict[str, Any]) -> Any:
        """Make a request of a method whose operating time, where it is used up, holds up no calls."""
        try:
            return self._call(method, params)
        except TargetError as exc:
            if exc.code != "blocked":
                raise
            raise TargetError(replace(exc.outcome, health_hint="well"), exc.code) from exc

    def _call(self, method: str, params: dict[str, Any]) -> Any:
        return self._rest.call(method, params, self._delivery_id)

    def _optional(self, method: str, params: dict[str, Any]) -> Any:
        """Make a request whose answer changes nothing."""
        try:
            return self._call(method, params)
        except TargetError:
            return None


def _finish_params(call_id: str, user: int, end: CallResult) -> dict[str, Any]:
    status = plan.STATUS_CODES[end.result]
    params = {"CALL_ID": call_id, "USER_ID": user, "DURATION": end.seconds, "STATUS_CODE": status, "ADD_TO_CHAT": 0}
    return {**params, "FAILED_REASON": end.reason[:_REASON_MAX]} if end.reason else params


def _place(row: Any) -> dict[str, Any]:
    """Return what an answer says of whose the call is: the CRM's card, and the user."""
    if not isinstance(row, dict):
        return {}
    kind, number, user = (str(row.get(name)) for name in ("CRM_ENTITY_TYPE", "CRM_ENTITY_ID", "PORTAL_USER_ID"))
    entity = {"entity": [kind, int(number)]} if kind in _OWNER_TYPES and number.isdigit() else {}
    return {**entity, "responsible": int(user)} if user.isdigit() else entity
