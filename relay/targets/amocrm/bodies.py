"""Makes what amoCRM is sent for a call. Pure. Nothing in it is ever null: amoCRM refuses that (NotNullable)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from relay.calls.call_result import call_result
from relay.calls.history import CallHistory
from relay.config import AmoCrmTarget
from relay.models import Event
from relay.targets.amocrm.plan import CALL_STATUSES
from relay.targets.crm.missed_task import Task
from relay.uis import phones

PLURAL = {"contact": "contacts", "lead": "leads", "company": "companies", "customer": "customers"}
_TALKED = "Разговор состоялся"
_RESULT_MAX = 255
_TASK_CALL = 1  # the standard type «Звонок»
_SERVICE = "uis_relay"


class Bodies:
    """Makes the bodies of one call, for the user whose it is."""

    def __init__(self, history: CallHistory, event: Event, target: AmoCrmTarget, user: int) -> None:
        self._history, self._target, self._user = history, target, user
        self.session = event.session or event.id
        self.phone = phones.as_uis_writes(history.client or "")  # no plus, as in the documentation's examples
        self.started_at = int((history.started_at or event.received_at).timestamp())
        self.direction = "inbound" if history.direction == "in" else "outbound"

    def popup(self, users: Sequence[int]) -> dict[str, Any]:
        return {"add": [{"type": "phone_call", "phone_number": self.phone, "users": list(users)}]}

    def call(self, kept_link: str | None) -> dict[str, Any]:
        end = call_result(self._history)
        body = {
            "direction": self.direction,
            "uniq": self.session,
            "duration": end.seconds,
            "source": self._target.source_name,
            "phone": self.phone,
            "call_result": (_TALKED if end.result == "talked" else end.reason or "")[:_RESULT_MAX],
            "call_status": CALL_STATUSES[end.result],
            "call_responsible": self._user,
            "responsible_user_id": self._user,
            "created_by": self._user,
            "created_at": self.started_at,
            "request_id": self.session,
            "link": self._history.record or kept_link or "",
        }
        return {name: value for name, value in body.items() if value != "" or name == "phone"}

    def unsorted(self, kept_link: str | None) -> dict[str, Any]:
        """Return the body: `phone` is the client's number; the documentation muddles which field means whom."""
        metadata = {
            "is_call_event_needed": True,
            "uniq": self.session,
            "duration": call_result(self._history).seconds,
            "service_code": _SERVICE,
            "link": self._history.record or kept_link or "",
            "phone": self.phone,
            "called_at": self.started_at,
            "from": self._target.source_name,
            "call_responsible": self._user,
        }
        body: dict[str, Any] = {
            "request_id": self.session,
            "source_name": self._target.source_name,
            "source_uid": _SERVICE,
            "created_at": self.started_at,
            "metadata": metadata,
            "_embedded": {"contacts": [self._person()], "leads": [{"name": f"Звонок {self.phone}"}]},
        }
        if self._target.pipeline_id is not None:
            body["pipeline_id"] = self._target.pipeline_id
        return body

    def contact(self) -> dict[str, Any]:
        return {"request_id": self.session, "responsible_user_id": self._user, **self._person()}

    def note(self, link: str) -> dict[str, Any]:
        return {"request_id": self.session, "note_type": "common", "params": {"text": f"Запись звонка: {link}"}}

    def task(self, task: Task, entity: str, number: int) -> dict[str, Any]:
        return {
            "request_id": self.session,
            "task_type_id": _TASK_CALL,
            "text": f"{task.title}. {task.text}",
            "complete_till": int(task.deadline.timestamp()),
            "entity_type": PLURAL.get(entity, entity),
            "entity_id": number,
            "responsible_user_id": self._user,
        }

    def _person(self) -> dict[str, Any]:
        number = {"value": self._history.client or "", "enum_code": "WORK"}
        fields = [{"field_code": "PHONE", "values": [number]}]
        return {"name": self._history.client or "", "custom_fields_values": fields}
