"""amoCRM: a pop-up while it rings, the call when it is over, the link of its recording when that comes later.

What was done stands in the store before the next request is made. A call that may have been taken is looked for in
the notes before it is sent again: amoCRM does not recognise a repeated `uniq`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, assert_never

from relay.clock import Clock
from relay.config import AmoCrmTarget
from relay.models import Outcome
from relay.targets.amocrm import bodies, responses
from relay.targets.amocrm import plan as plan
from relay.targets.amocrm.lookup import Lookup
from relay.targets.amocrm.rest import Rest, jwt_expires_at
from relay.targets.base import Adapter, CallContext, Shipment, TokenStore
from relay.targets.crm.history import users
from relay.targets.crm.workflow import CallWorkflow, Done, Reject, StashRecording
from relay.targets.http_client import Response, TargetError

POPUP_FRESH = timedelta(seconds=30)  # one that comes later disturbs another call
_WARN_BEFORE = timedelta(days=30)
_RETRIED_POPUP = ("unreachable", "later")


class AmoCrm(Adapter):
    settings: AmoCrmTarget

    def __init__(self, settings: AmoCrmTarget, clock: Clock, token_store: TokenStore) -> None:
        super().__init__(settings)
        self._clock = clock
        self.rest = Rest(settings, clock, token_store, lambda: self.client)

    def send(self, shipment: Shipment, steps: CallContext) -> Outcome:
        if shipment.event.call is None:
            return Outcome(name="refused", reason="the event is quarantined: there is nothing to send")
        is_fresh = self._clock() - shipment.event.received_at <= POPUP_FRESH
        return _Call(self, shipment, steps, is_fresh=is_fresh).run()

    def check(self) -> Outcome:
        """`GET /account`, and whether the users of the settings are there."""
        try:
            self.rest.get("/api/v4/account", _unthrottled)
        except TargetError as exc:
            return exc.outcome
        return Outcome(name="delivered", reason="; ".join([*self._missing_users(), *self.warnings(self._clock())]))

    def expires_at(self) -> datetime | None:
        return jwt_expires_at(self.settings.token or "")

    def warnings(self, now: datetime) -> list[str]:
        ends = self.expires_at()
        if ends is None or ends - now > _WARN_BEFORE:
            return []
        day = ends.strftime("%d.%m.%Y")
        return [f"access {'ends' if ends > now else 'ended'} on {day}: make a new long-lived token"]

    def _missing_users(self) -> list[str]:
        try:
            document = self.rest.get("/api/v4/users?limit=250", _unthrottled)
        except TargetError as exc:  # only an administrator's token may ask
            return [f"the users could not be checked ({exc.outcome.reason})"]
        there = {user.get("id") for user in document.get("_embedded", {}).get("users", [])}
        named = dict.fromkeys((self.settings.default_user, *self.settings.mapped_users))
        return [f"there is no user {user} in amoCRM" for user in named if user not in there]


class _Call(CallWorkflow[plan.Step]):
    """One delivery's course."""

    def __init__(self, adapter: AmoCrm, shipment: Shipment, steps: CallContext, *, is_fresh: bool) -> None:
        super().__init__(shipment, steps)
        self._settings = self._settings_of_call(adapter.settings)
        self._rest, self._is_fresh = adapter.rest, is_fresh
        found = (user for user in users(self._history, self._settings) if isinstance(user, int))
        self._user = next(found, None)
        self._has_looked_up = self._is_unknown = False
        self._texts = bodies.Bodies(
            self._history, shipment.event, self._settings, self._user or self._settings.default_user
        )
        self._lookup = Lookup(self._rest, self._texts, self._leave)

    def _delivered(self, note: str) -> Outcome:
        if self._is_unknown and not self._done.get("unsorted"):
            self._remember(skipped=True)
        remote = self._done.get("call") or self._done.get("unsorted")
        return Outcome(
            name="delivered", remote=None if remote is None else str(remote), reason=note, health_hint=self._target_is
        )

    def _next(self) -> plan.Step | StashRecording | Done | Reject:
        view = plan.CallState(
            history=self._history, done=self._done, user=self._user, is_fresh=self._is_fresh,
            looked_up=self._has_looked_up, acted=self._has_acted, is_unknown=self._is_unknown,
        )  # fmt: skip
        return plan.next_step(view, self._settings)

    def _take(self, step: plan.Step) -> None:
        match step:
            case plan.PopUp(whom):
                self._pop_up(whom)
            case plan.LookUp():
                self._look_up()
            case plan.PostCall():
                self._post_call()
            case plan.PostUnsorted():
                self._post_unsorted()
            case plan.Accept(uid, status_id):
                self._accept(uid, status_id)
            case plan.PostContact():
                self._post_contact()
            case plan.PostNote(link):
                self._post_note(link)
            case _:
                assert_never(step)

    # --- the steps

    def _pop_up(self, whom: tuple[int, ...]) -> None:
        """Tried again while it is of use; whatever else it comes to, the call goes on without."""
        try:
            self._rest.call(
                "POST", "/api/v2/events", self._texts.popup(whom), self._leave, _taken, self._shipment.delivery.id
            )
        except TargetError as exc:
            if exc.outcome.name in _RETRIED_POPUP:
                raise
        self._remember(popup=True)

    def _post_call(self) -> None:
        body = self._texts.call(self._done.get("record_waits"))
        try:
            taken = self._post("/api/v4/calls", body, "calls")
        except TargetError as exc:
            if exc.code != "unknown_phone":
                raise
            if self._done.get("contact"):
                reason = "amoCRM does not find the contact that it has taken yet"
                raise TargetError(Outcome(name="failed", reason=reason, health_hint="well")) from exc
            self._is_unknown = True
            return
        entity = [taken.get("entity_type"), taken.get("entity_id")]
        self._remember(call=taken.get("id"), entity=entity if all(entity) else None, linked="link" in body)

    def _post_unsorted(self) -> None:
        body = self._texts.unsorted(self._done.get("record_waits"))
        self._remember(accept=self._settings.status_id)
        taken = self._post("/api/v4/leads/unsorted/sip", body, "unsorted")
        contacts = (taken.get("_embedded") or {}).get("contacts") or [{}]
        entity = ["contact", contacts[0].get("id")]
        linked = bool(body["metadata"]["link"])
        self._remember(unsorted=taken.get("uid"), entity=entity if all(entity) else None, linked=linked)

    def _accept(self, uid: str, status_id: int) -> None:
        """404: it is unsorted no longer; an attempt before this one, or a person, was quicker (unsorted-api)."""
        body = {"user_id": self._user or self._settings.default_user, "status_id": status_id}
        path = f"/api/v4/leads/unsorted/{uid}/accept"
        try:
            self._rest.call("POST", path, body, self._leave, _taken, self._shipment.delivery.id)
        except TargetError as exc:
            if exc.outcome.status != 404:
                raise
        self._remember(accept=None)

    def _post_contact(self) -> None:
        taken = self._rest.post(
            "/api/v4/contacts", self._texts.contact(), "contacts", self._leave, self._shipment.delivery.id
        )
        self._remember(contact=taken.get("id"))
        self._is_unknown = False

    def _post_note(self, link: str) -> None:
        entity, number = self._done["entity"]
        path = f"/api/v4/{bodies.PLURAL.get(entity, entity)}/{number}/notes"
        self._remember(noting=True)
        try:
            self._rest.post(path, self._texts.note(link), "notes", self._leave, self._shipment.delivery.id)
        except TargetError as exc:
            if exc.outcome.name != "unclear":
                self._remember(noting=None)
            raise
        self._remember(linked=True)

    def _look_up(self) -> None:
        """Finds what an attempt before this one may have left."""
        self._has_looked_up = True
        done = self._done
        if done.get("noting"):
            found = self._lookup.note(done["entity"], str(self._history.record or done.get("record_waits")))
        else:
            found = self._lookup.unsorted() if done.get("posting") == "unsorted" else self._lookup.call()
        if found:
            self._remember(**found)

    # --- requests

    def _post(self, path: str, body: dict[str, Any], kind: str) -> dict[str, Any]:
        """That it may have been taken is on disk before it goes out."""
        self._remember(posting=kind)
        try:
            return self._rest.post(path, body, kind, self._leave, self._shipment.delivery.id)
        except TargetError as exc:
            if exc.outcome.name != "unclear":
                self._remember(posting=None)
            raise


def _taken(answer: Response, now: datetime) -> None:
    """The pop-up's answer is not documented: its status is all."""
    if answer.status >= 300:
        responses.read(answer, now)


def _unthrottled() -> None:
    """The leave of a check: nobody delivers meanwhile from this process."""
