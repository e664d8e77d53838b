"""Looks in amoCRM for what may have been taken there: a call by the note it leaves, an unsorted one by its moment.

That a call's `uniq` stands in its note is inferred from how bridges of telephony write such notes themselves; so
this can be switched off (`look_up = false`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from relay.targets.amocrm.bodies import PLURAL, Bodies
from relay.targets.amocrm.responses import contact_of, embedded
from relay.targets.amocrm.rest import Rest
from relay.targets.crm.missed_task import Task
from relay.targets.http_client import TargetError

_PLACES_MAX = 10  # entities of one phone that are looked at
_PAGE, _PAGES_MAX = 50, 100  # unsorted calls: of more at once the answer is larger than what is read of one
_SINGULAR = {plural: entity for entity, plural in PLURAL.items()}


class Lookup:
    """Looks for what an attempt before this one may have left."""

    def __init__(self, rest: Rest, bodies: Bodies) -> None:
        self._rest, self._bodies = rest, bodies

    def call(self) -> dict[str, Any]:
        """Return what is to be remembered of a call that was taken; nothing when it was not. Raises TargetError."""
        kind = "call_in" if self._bodies.direction == "inbound" else "call_out"
        for place, number in self._places():
            for note in self._notes(place, number, kind):
                params = note.get("params") or {}
                if str(params.get("uniq")) == self._bodies.session:
                    linked = bool(params.get("link"))
                    return {"call": note.get("id"), "entity": [_SINGULAR[place], number], "linked": linked}
        return {}

    def unsorted(self) -> dict[str, Any]:
        """Return the same of an unsorted one. The list does not show `uniq`: a client and a second tell calls apart."""
        for entry in self._unsorted_since(self._bodies.started_at):
            metadata = entry.get("metadata") or {}
            is_ours = str(metadata.get("phone")) == self._bodies.phone
            if is_ours and metadata.get("called_at") == self._bodies.started_at:
                linked = bool(metadata.get("link"))
                return {"unsorted": entry.get("uid"), "entity": contact_of(entry), "linked": linked}
        return {}

    def _unsorted_since(self, began_at: int) -> Iterator[dict[str, Any]]:
        """Yield the unsorted calls that began then or later, the newest first: a backlog may have come after ours."""
        query = {"filter[category][]": "sip", "order[created_at]": "desc", "limit": str(_PAGE)}
        for page in range(1, _PAGES_MAX + 1):
            entries = self._listed("leads/unsorted", {**query, "page": str(page)}, "unsorted")
            yield from entries
            if len(entries) < _PAGE or (entries[-1].get("created_at") or 0) < began_at:
                return

    def note(self, entity: list[Any], link: str) -> dict[str, Any]:
        """Look whether the link was noted already. Raises TargetError."""
        place = PLURAL.get(entity[0], entity[0])
        texts = (str((note.get("params") or {}).get("text")) for note in self._notes(place, entity[1], "common"))
        return {"linked": True} if any(link in text for text in texts) else {}

    def task(self, task: Task, entity: str, number: int) -> str | None:
        """Return the id of the task among the latest of the entity. Raises TargetError, also where nobody may look."""
        of_entity = {"filter[entity_type]": PLURAL.get(entity, entity), "filter[entity_id]": number}
        query = {**of_entity, "order[id]": "desc", "limit": "250"}
        listed = embedded(self._rest.get(f"/api/v4/tasks?{urlencode(query)}"), "tasks")
        return next((str(each["id"]) for each in listed if task.mark in str(each.get("text"))), None)

    def _places(self) -> Iterator[tuple[str, int]]:
        """Yield where a call of this phone may stand: contacts, their leads, companies."""
        places: dict[tuple[str, int], None] = {}
        query = {"query": self._bodies.phone[-10:], "with": "leads"}
        for contact in self._listed("contacts", query, "contacts"):
            places["contacts", contact["id"]] = None
            for lead in embedded(contact, "leads"):
                places["leads", lead["id"]] = None
        for company in self._listed("companies", {"query": self._bodies.phone[-10:]}, "companies"):
            places["companies", company["id"]] = None
        yield from list(places)[:_PLACES_MAX]

    def _notes(self, place: str, number: int, kind: str) -> list[dict[str, Any]]:
        return self._listed(f"{place}/{number}/notes", {"filter[note_type]": kind, "limit": "250"}, "notes")

    def _listed(self, path: str, query: dict[str, str], name: str) -> list[dict[str, Any]]:
        """Return what is listed; empty, too, where amoCRM does not let us look: what cannot be found is sent again."""
        try:
            return embedded(self._rest.get(f"/api/v4/{path}?{urlencode(query)}"), name)
        except TargetError as exc:
            if exc.outcome.name not in ("misconfigured", "refused"):
                raise
            return []
