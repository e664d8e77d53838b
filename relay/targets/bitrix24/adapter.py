"""Bitrix24 telephony: each call is registered, its card shown and hidden, the call finished, its recording attached.

What was done stands in the store before the next request is made, so that a kill between two of them repeats none.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any, assert_never
from zoneinfo import ZoneInfo

from relay.clock import Clock
from relay.config import Bitrix24Target
from relay.models import Outcome
from relay.targets.base import Adapter, CallContext, Shipment, TokenStore
from relay.targets.bitrix24 import plan as plan
from relay.targets.bitrix24 import recordings
from relay.targets.bitrix24.directory import Directory
from relay.targets.bitrix24.rest import Rest
from relay.targets.crm.workflow import CallWorkflow, Done, Reject, StashRecording
from relay.targets.http_client import TargetError
from relay.uis import phones

CARD_FRESH = timedelta(seconds=30)  # a card that comes later disturbs another call
_LINE_MAX = 50
_REASON_MAX = 255


class Bitrix24(Adapter):
    settings: Bitrix24Target

    def __init__(self, settings: Bitrix24Target, clock: Clock, token_store: TokenStore) -> None:
        super().__init__(settings)
        self._clock = clock
        self.rest = Rest(settings, clock, token_store, lambda: self.client)
        self.directory = Directory(settings, self.rest, clock)

    def send(self, shipment: Shipment, steps: CallContext) -> Outcome:
        if shipment.event.call is None:
            return Outcome(name="refused", reason="the event is quarantined: there is nothing to send")
        is_fresh = self._clock() - shipment.event.received_at <= CARD_FRESH
        return _Call(self, shipment, steps, is_fresh=is_fresh).run()

    def check(self) -> Outcome:
        """`externalLine.get` asks for the same rights as a call does, and changes nothing (inferred, see README)."""
        try:
            self.rest.call("telephony.externalLine.get", {}, _unthrottled)
        except TargetError as exc:
            return exc.outcome
        remarks = self.directory.remarks(_unthrottled)
        if self.rest.moved_to is not None:
            remarks.append(f"the portal has been renamed to {self.rest.moved_to}: put that into the configuration")
        return Outcome(name="delivered", reason="; ".join(remarks))


class _Call(CallWorkflow[plan.Step]):
    """One delivery's course."""

    def __init__(self, adapter: Bitrix24, shipment: Shipment, steps: CallContext, *, is_fresh: bool) -> None:
        super().__init__(shipment, steps)
        self._settings = self._settings_of_call(adapter.settings)
        self._rest, self._directory = adapter.rest, adapter.directory
        self._is_fresh = is_fresh
        self._was_finishing = bool(self._done.get("finishing"))  # by an attempt before this one
        self._has_asked = False
        self._user: int | None = None
        self._user_is_known = False

    def _delivered(self, note: str) -> Outcome:
        moved = self._rest.moved_to
        notes = [note, f"the portal is {moved} now: change the configuration" if moved and self._requested else ""]
        return Outcome(
            name="delivered", remote=self._done.get("call_id"), reason="; ".join(text for text in notes if text),
            health_hint=self._target_is,
        )  # fmt: skip

    def _next(self) -> plan.Step | StashRecording | Done | Reject:
        needs_user = self._history.phase in ("ringing", "over") and not self._done.get("finished")
        if needs_user and not self._user_is_known:
            self._user, self._user_is_known = self._directory.user_of(self._history, self._leave), True
        view = plan.CallState(
            history=self._history, done=self._done, user=self._user, is_fresh=self._is_fresh, asked=self._has_asked,
            acted=self._has_acted,
        )  # fmt: skip
        return plan.next_step(view, self._settings)

    def _take(self, step: plan.Step) -> None:
        match step:
            case plan.Register():
                self._register(show=step.show)
            case plan.Show(users):
                self._optional("telephony.externalcall.show", {"CALL_ID": self._call_id, "USER_ID": list(users)})
                self._remember(shown=[*(self._done.get("shown") or ()), *users])
            case plan.Hide(users):
                self._optional("telephony.externalcall.hide", {"CALL_ID": self._call_id, "USER_ID": list(users)})
                self._remember(shown=[user for user in self._done.get("shown") or () if user not in users])
            case plan.Ask():
                self._ask()
            case plan.Finish():
                self._finish(step)
            case plan.Attach(link):
                self._attach(link)
            case _:
                assert_never(step)

    # --- the steps

    @property
    def _call_id(self) -> str:
        return str(self._done["call_id"])

    def _register(self, *, show: bool) -> None:
        """With the parameters of the first try, if there was one: only then is the answer the same call."""
        params = self._done.get("register") or self._registration(show=show)
        self._remember(register=params)
        try:
            result = self._call("telephony.externalcall.register", params)
        except TargetError as exc:
            params = {**params, "USER_ID": self._instead_of(params["USER_ID"], exc)}
            self._remember(register=params)
            result = self._call("telephony.externalcall.register", params)
        shown = [params["USER_ID"]] if params["SHOW"] else []
        self._remember(call_id=str(result["CALL_ID"]), shown=shown)

    def _registration(self, *, show: bool) -> dict[str, Any]:
        history, event = self._history, self._shipment.event
        started = (history.started_at or event.received_at).astimezone(ZoneInfo(event.zone))
        params = {
            "USER_ID": self._user or self._settings.default_user, "PHONE_NUMBER": history.client,
            "TYPE": plan.call_type(history), "CALL_START_DATE": started.isoformat(timespec="seconds"),
            "CRM_CREATE": int(self._settings.create_lead), "SHOW": int(show), "ADD_TO_CHAT": 0,
            "EXTERNAL_CALL_ID": event.session or event.id,
        }  # fmt: skip
        if history.line:
            params["LINE_NUMBER"] = phones.as_uis_writes(history.line)[:_LINE_MAX]
        if self._settings.crm_source:
            params["CRM_SOURCE"] = self._settings.crm_source
        return params

    def _instead_of(self, user: int, exc: TargetError) -> int:
        """The default user, for one whom Bitrix24 does not know or has dismissed."""
        if exc.code != "user_unknown":
            raise exc
        default = self._settings.default_user
        if user == default:
            reason = f"{exc.outcome.reason}: default_user = {default} is no active employee; set one who is"
            raise TargetError(Outcome(name="misconfigured", status=exc.outcome.status, reason=reason)) from exc
        self._directory.forget(user)
        return default

    def _ask(self) -> None:
        """Whether the call stands among the finished ones, and with a recording.

        Without the right to ask it is finished, and the recording attached, once more: a repeat replaces it.
        """
        self._has_asked = True
        found = self._optional("voximplant.statistic.get", {"FILTER": {"CALL_ID": self._call_id}})
        rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
        if rows and not self._done.get("finished"):
            self._remember(finished=True)
        attaching = self._done.get("attaching")
        if attaching and any(row.get("RECORD_FILE_ID") or row.get("CALL_RECORD_URL") for row in rows):
            self._remember(recorded=attaching)

    def _finish(self, step: plan.Finish) -> None:
        params: dict[str, Any] = {
            "CALL_ID": self._call_id, "USER_ID": self._user or self._settings.default_user, "DURATION": step.seconds,
            "STATUS_CODE": step.status_code, "ADD_TO_CHAT": 0,
        }  # fmt: skip
        if step.reason:
            params["FAILED_REASON"] = step.reason[:_REASON_MAX]
        self._remember(finishing=True)
        try:
            try:
                self._call("telephony.externalcall.finish", params)
            except TargetError as exc:
                params["USER_ID"] = self._instead_of(params["USER_ID"], exc)
                self._call("telephony.externalcall.finish", params)
        except TargetError as exc:
            if exc.code == "call_not_found":
                self._not_found()
                return
            if exc.outcome.name != "unclear":
                self._remember(finishing=None)
            raise
        self._remember(finished=True)

    def _not_found(self) -> None:
        """A call that was finished is forgotten; one that never was has to be registered anew."""
        if self._was_finishing:
            self._remember(finished=True)
        else:
            self._remember(call_id=None, register=None, finishing=None, shown=[])

    def _attach(self, link: str) -> None:
        params: dict[str, Any] = {"CALL_ID": self._call_id}
        if self._settings.attach_record == "upload":
            params |= recordings.as_file(link, self._shipment.event.session or self._shipment.event.id, self._settings)
        else:
            params["RECORD_URL"] = link
        digest = hashlib.blake2b(link.encode(), digest_size=8).hexdigest()
        self._remember(attaching=digest)
        try:
            self._call("telephony.externalcall.attachrecord", params)
        except TargetError as exc:
            if exc.outcome.name != "unclear":
                self._remember(attaching=None)
            raise _about_the_recording(exc) from exc
        self._remember(recorded=digest)

    # --- requests

    def _call(self, method: str, params: dict[str, Any]) -> Any:
        return self._rest.call(method, params, self._leave, self._shipment.delivery.id)

    def _optional(self, method: str, params: dict[str, Any]) -> Any:
        """What an optional call answers changes nothing."""
        try:
            return self._call(method, params)
        except TargetError:
            return None


def _about_the_recording(exc: TargetError) -> TargetError:
    """That a method is blocked for its operating time holds up the recordings, and not the calls."""
    if exc.code != "blocked":
        return exc
    outcome = exc.outcome
    return TargetError(
        Outcome(name="later", status=outcome.status, reason=outcome.reason, wait=outcome.wait, health_hint="well")
    )


def _unthrottled() -> None:
    """The leave of a check: nobody delivers meanwhile from this process."""
