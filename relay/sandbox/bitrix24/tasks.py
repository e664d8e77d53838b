"""Keeps the universal activities of a simulated Bitrix24 portal.

By the documentation: b24-rest-docs, api-reference/crm/timeline/activities (crm.activity.todo.add, .update, .list).
"""

from __future__ import annotations

from datetime import datetime

from relay.sandbox.bitrix24.crm import Crm, Fields, is_yes, whole
from relay.sandbox.bitrix24.failures import NO_ACTIVITY, Refusal, Refused

_FIRST_TASK = 901
_REQUIRED = ("ownerTypeId", "ownerId", "deadline")


class Tasks:
    """Keeps them. Not thread-safe: the portal's lock guards it."""

    def __init__(self, crm: Crm) -> None:
        self._crm = crm
        self.reset()

    def reset(self) -> None:
        self.all: dict[int, Fields] = {}

    def add(self, fields: Fields) -> Fields:
        """Do as crm.activity.todo.add."""
        for name in _REQUIRED:
            if fields.get(name.upper()) in (None, ""):
                raise Refused(Refusal(f"Could not find value for parameter {{{name}}}", "100"))
        owner_type, owner = whole(fields["OWNERTYPEID"]), whole(fields["OWNERID"])
        if not self._crm.has(owner_type, owner):
            raise Refused(Refusal("Not found.", "NOT_FOUND"))
        try:
            deadline = datetime.fromisoformat(str(fields["DEADLINE"]))
        except ValueError:
            raise Refused(Refusal("Wrong datetime format.", "WRONG_DATETIME_FORMAT")) from None
        number = _FIRST_TASK + len(self.all)
        self.all[number] = {
            "ID": str(number),
            "OWNER_TYPE_ID": str(owner_type),
            "OWNER_ID": str(owner),
            "PROVIDER_ID": "CRM_TODO",
            "SUBJECT": str(fields.get("TITLE") or ""),
            "DESCRIPTION": str(fields.get("DESCRIPTION") or ""),
            "DEADLINE": deadline.isoformat(),
            "RESPONSIBLE_ID": str(fields.get("RESPONSIBLEID") or ""),
            "COMPLETED": "N",
        }
        return {"id": number}

    def update(self, fields: Fields) -> bool:
        """Do as crm.activity.update, as far as it completes."""
        task = self.all.get(whole(fields.get("ID")) or 0)
        if task is None:
            raise Refused(NO_ACTIVITY)
        task["COMPLETED"] = "Y" if is_yes((fields.get("FIELDS") or {}).get("COMPLETED")) else "N"
        return True

    def listed(self, fields: Fields) -> list[Fields]:
        """Do as crm.activity.list, the newest first."""
        filters = {name: str(value) for name, value in (fields.get("FILTER") or {}).items()}
        rows = [task for task in self.all.values() if all(task.get(name) == filters[name] for name in filters)]
        return rows[::-1]
