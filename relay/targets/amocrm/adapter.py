"""Delivers to amoCRM: a pop-up while it rings, the call when it is over, its recording's link when that comes later."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from relay import routing
from relay.clock import Clock
from relay.config import AmoCrmTarget
from relay.i18n import Message, join
from relay.models import CallEvent, ClaimedDelivery, Outcome
from relay.targets.amocrm import bodies, plan, responses
from relay.targets.amocrm.lookup import Lookup
from relay.targets.amocrm.rest import Rest, jwt_expires_at
from relay.targets.base import Adapter, CallContext, TokenStore
from relay.targets.crm.missed_task import RESULT, Task
from relay.targets.crm.users import users
from relay.targets.crm.workflow import CallWorkflow, Done, Step
from relay.targets.http_client import Response, TargetError

_WARN_BEFORE = timedelta(days=30)
_RETRIED_POPUP = ("unreachable", "later")


class AmoCrm(Adapter):
    """Delivers to one account."""

    settings: AmoCrmTarget

    def __init__(self, settings: AmoCrmTarget, clock: Clock, token_store: TokenStore) -> None:
        super().__init__(settings, clock, token_store)
        self.rest = Rest(settings, clock, token_store, self.client)

    def deliver(self, claimed: ClaimedDelivery, call: CallEvent, context: CallContext) -> Outcome:  # noqa: ARG002  # alike for all
        return _Call(self, claimed, context).run()

    def _probe(self) -> Outcome:
        """Ask with `GET /account`, and whether the users of the settings are there."""
        self.rest.get("/api/v4/account")
        return Outcome(name="delivered", reason=join(*self._missing_users(), *self.warnings(self.clock())))

    def expires_at(self) -> datetime | None:
        return jwt_expires_at(self.settings.token or "")

    def warnings(self, now: datetime) -> list[str]:
        ends = self.expires_at()
        if ends is None or ends - now > _WARN_BEFORE:
            return []
        day = ends.strftime("%d.%m.%Y")
        if ends > now:
            return [Message("access ends on %(day)s: make a new long-lived token", day=day)]
        return [Message("access ended on %(day)s: make a new long-lived token", day=day)]

    def _missing_users(self) -> list[str]:
        try:
            document = self.rest.get("/api/v4/users?limit=250")
        except TargetError as exc:  # only an administrator's token may ask
            return [Message("the users could not be checked (%(reason)s)", reason=exc.outcome.reason)]
        there = {user.get("id") for user in responses.embedded(document, "users")}
        named = dict.fromkeys((self.settings.default_user, *self.settings.mapped_users))
        return [Message("there is no user %(user)s in amoCRM", user=user) for user in named if user not in there]


class _Call(CallWorkflow):
    _settings: AmoCrmTarget
    _remote_ids = ("call", "unsorted")

    def __init__(self, adapter: AmoCrm, claimed: ClaimedDelivery, context: CallContext) -> None:
        super().__init__(adapter, claimed, context)
        self._rest = adapter.rest
        self._settings = routing.settings_for(adapter.settings, self._event.source, self._history.calls)
        owners = users(self._history, self._settings)
        self._change(user=next((user for user in owners if isinstance(user, int)), None))
        self._responsible = self._state.user or self._settings.default_user
        self._is_unknown = False  # amoCRM has just said that nobody has this phone
        self._bodies = bodies.Bodies(self._history, self._event, self._settings, self._responsible)
        self._lookup = Lookup(self._rest, self._bodies)

    def _conclude(self) -> str:
        if self._is_unknown and not self._done.get("unsorted"):
            self._remember(skipped=True)
        return ""

    def _next_step(self) -> Step | Done:
        return plan.next_step(self._state, self._settings, is_unknown=self._is_unknown)

    # --- the steps

    def _pop_up(self, whom: tuple[int, ...]) -> None:
        """Try again while it is of use; whatever else it comes to, the call goes on without."""
        try:
            self._call("/api/v2/events", self._bodies.popup(whom))
        except TargetError as exc:
            if exc.outcome.name in _RETRIED_POPUP:
                raise
        self._remember(popup=True)

    def _post_call(self) -> None:
        body = self._bodies.call(self._done.get("record_waits"))
        try:
            with self._sending(posting="calls"):
                taken = self._post("/api/v4/calls", body, "calls")
        except TargetError as exc:
            if exc.code != "unknown_phone":
                raise
            if self._done.get("contact"):
                reason = Message("amoCRM does not find the contact that it has taken yet")
                raise TargetError(Outcome(name="failed", reason=reason, health_hint="well")) from exc
            self._is_unknown = True
            return
        entity = [taken.get("entity_type"), taken.get("entity_id")]
        self._remember(call=taken.get("id"), entity=entity if all(entity) else None, linked="link" in body)

    def _post_unsorted(self) -> None:
        body = self._bodies.unsorted(self._done.get("record_waits"))
        self._remember(accept=self._settings.status_id)
        with self._sending(posting="unsorted"):
            taken = self._post("/api/v4/leads/unsorted/sip", body, "unsorted")
        linked = bool(body["metadata"]["link"])
        self._remember(unsorted=taken.get("uid"), entity=responses.contact_of(taken), linked=linked)

    def _accept(self, uid: str, status_id: int) -> None:
        """Take it out of the unsorted. 404: an earlier attempt, or a person, was quicker (unsorted-api)."""
        body = {"user_id": self._responsible, "status_id": status_id}
        try:
            self._call(f"/api/v4/leads/unsorted/{uid}/accept", body)
        except TargetError as exc:
            if exc.outcome.status != 404:
                raise
        self._remember(accept=None)

    def _post_contact(self) -> None:
        taken = self._post("/api/v4/contacts", self._bodies.contact(), "contacts")
        self._remember(contact=taken.get("id"))
        self._is_unknown = False

    def _post_note(self, link: str) -> None:
        entity, number = self._done["entity"]
        path = f"/api/v4/{bodies.PLURAL.get(entity, entity)}/{number}/notes"
        with self._sending(noting=True):
            self._post(path, self._bodies.note(link), "notes")
        self._remember(linked=True)

    def _look_up(self) -> None:
        self._change(has_asked=True)
        done = self._done
        if done.get("noting"):
            left = self._lookup.note(done["entity"], str(self._history.record or done.get("record_waits")))
        else:
            left = self._lookup.unsorted() if done.get("posting") == "unsorted" else self._lookup.call()
        if left:
            self._remember(**left)

    # --- the task for a missed call

    @property
    def _is_posted(self) -> bool:
        return plan.is_posted(self._state) and not self._done.get("accept")

    def _add_task(self, task: Task) -> str:
        taken = self._post("/api/v4/tasks", self._bodies.task(task, *self._done["entity"]), "tasks")
        return str(taken.get("id"))

    def _find_task(self, task: Task) -> str | None:
        return self._lookup.task(task, *self._done["entity"])

    def _close_task(self, task_id: str) -> None:
        body = {"is_completed": True, "result": {"text": RESULT}}
        self._rest.call("PATCH", f"/api/v4/tasks/{task_id}", body, responses.read, self._delivery_id)

    # --- requests

    def _post(self, path: str, body: dict[str, Any], kind: str) -> dict[str, Any]:
        return self._rest.post(path, body, kind, self._delivery_id)

    def _call(self, path: str, body: dict[str, Any]) -> None:
        """Send what is answered with something that is not documented: the status is all."""
        self._rest.call("POST", path, body, _read_status, self._delivery_id)


def _read_status(response: Response, now: datetime) -> None:
    if response.status >= 300:
        responses.read(response, now)
