"""Keeps what a simulated amoCRM account holds: contacts, leads, calls, notes and what is unsorted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from relay.sandbox.amocrm.validation import Item

_FIRST_CONTACT, _FIRST_LEAD, _FIRST_CALL, _FIRST_NOTE = 11070881, 7706509, 37512063, 42709001
_FIRST_TASK = 4745251
_OF_A_CALL = ("uniq", "duration", "source", "link", "phone", "call_result", "call_status", "call_responsible")
_NOTE_OF = {"inbound": "call_in", "outbound": "call_out"}
_SINGULAR = {"contacts": "contact", "leads": "lead", "companies": "company", "customers": "customer"}


class Contact(Struct, frozen=True, kw_only=True):
    """Holds a contact."""

    id: int
    name: str
    phones: tuple[str, ...]
    responsible_user_id: int
    leads: tuple[int, ...] = ()
    is_unsorted: bool = False


class Note(Struct, frozen=True, kw_only=True):
    """Holds a note."""

    id: int
    entity_type: str  #: in the singular, as the answer of /calls names it
    entity_id: int
    note_type: str
    params: dict[str, Any]
    created_at: int


class Unsorted(Struct, frozen=True, kw_only=True):
    """Holds what is unsorted."""

    uid: str
    posted: Item
    created_at: int
    contact_id: int
    contact_phone: str | None
    lead_id: int
    lead_name: str | None


class Account:
    """Keeps it all. Not thread-safe: the simulator's lock guards it."""

    def __init__(self, phones: Iterable[str], responsible: int) -> None:
        self._phones, self._responsible = tuple(phones), responsible
        self.reset()

    def reset(self) -> None:
        self._contact_ids, self._lead_ids = count(_FIRST_CONTACT), count(_FIRST_LEAD)
        self._call_ids, self._note_ids = count(_FIRST_CALL), count(_FIRST_NOTE)
        self._contacts: dict[int, Contact] = {}
        self._leads: set[int] = set()  # the active ones
        self.calls: list[Item] = []
        self.notes: list[Note] = []
        self.tasks: dict[int, Item] = {}
        self.unsorted: dict[str, Unsorted] = {}
        self.popups: list[Item] = []
        self.accepted: list[Item] = []  #: what was taken out of the unsorted, and to which stage
        for phone in self._phones:
            self.add_contact(phone, [phone])

    def add_contact(
        self, name: str, phones: Iterable[str], *, responsible: int | None = None, leads: int = 0
    ) -> Contact:
        contact = Contact(
            id=next(self._contact_ids),
            name=name,
            phones=tuple(phones),
            responsible_user_id=self._responsible if responsible is None else responsible,
            leads=tuple(next(self._lead_ids) for _ in range(leads)),
        )
        self._contacts[contact.id] = contact
        self._leads.update(contact.leads)
        return contact

    def post_contact(self, item: Item) -> Contact:
        return self.add_contact(
            item.get("name", ""), phones_of(item), responsible=item.get("responsible_user_id") or None
        )

    def contacts(self) -> list[Contact]:
        """Return those that a search finds: what is unsorted is not, until somebody accepts it."""
        return [contact for contact in self._contacts.values() if not contact.is_unsorted]

    def find(self, query: str) -> list[Contact]:
        """Return the contacts that have this in their name, or in a number."""
        digits = _digits(query)
        return [contact for contact in self.contacts() if query in contact.name or _has(contact, digits)]

    def add_call(self, item: Item, now: int) -> Item | None:
        """Add a call, and return it as it was written; None: there is no entity with this phone."""
        owner = self._owner(item["phone"])
        if owner is None:
            return None
        call = {**item, "id": next(self._call_ids), "entity_id": owner[1], "entity_type": owner[0]}
        self.calls.append(call)
        params = {name: item[name] for name in _OF_A_CALL if name in item}
        self.add_note(*owner, _NOTE_OF[item["direction"]], params, now)
        return call

    def _owner(self, phone: str) -> tuple[str, int] | None:
        """Return whose call it is, by the last ten digits; one active lead goes before its contact (calls-api)."""
        for contact in self.contacts():
            if any(_last_ten(own) == _last_ten(phone) for own in contact.phones):
                active = [lead for lead in contact.leads if lead in self._leads]
                return ("lead", active[0]) if len(active) == 1 else ("contact", contact.id)
        return None

    def has(self, entities: str, entity_id: int) -> bool:
        return entity_id in {"contacts": self._contacts.keys(), "leads": self._leads}.get(entities, ())

    def add_note(self, entity_type: str, entity_id: int, note_type: str, params: dict[str, Any], now: int) -> Note:
        note = Note(
            id=next(self._note_ids),
            entity_type=_SINGULAR.get(entity_type, entity_type),
            entity_id=entity_id,
            note_type=note_type,
            params=params,
            created_at=now,
        )
        self.notes.append(note)
        return note

    def notes_of(self, entities: str, entity_id: int) -> Iterator[Note]:
        return (note for note in self.notes if (note.entity_type, note.entity_id) == (_SINGULAR[entities], entity_id))

    def add_task(self, item: Item) -> int:
        number = _FIRST_TASK + len(self.tasks)
        own = {name: value for name, value in item.items() if name != "request_id"}
        self.tasks[number] = {"id": number, **own, "is_completed": False, "result": {}}
        return number

    def add_unsorted(self, item: Item, now: int) -> Unsorted:
        contact, lead = _first(item, "contacts"), _first(item, "leads")
        phones = phones_of(contact)
        made = self.add_contact(contact.get("name", ""), phones)
        self._contacts[made.id] = replace(made, is_unsorted=True)
        uid = hashlib.sha256(str(made.id).encode()).hexdigest()
        self.unsorted[uid] = Unsorted(
            uid=uid,
            posted=item,
            created_at=item.get("created_at", now),
            contact_id=made.id,
            contact_phone=phones[0] if phones else None,
            lead_id=next(self._lead_ids),
            lead_name=lead.get("name"),
        )
        return self.unsorted[uid]

    def accept(self, uid: str, now: int, *, status_id: int | None = None, user_id: int | None = None) -> None:
        """Let the contact and its lead be there from now on, with the call if it asks for that."""
        self.accepted.append({"uid": uid, "status_id": status_id, "user_id": user_id})
        entry = self.unsorted.pop(uid)
        self._leads.add(entry.lead_id)
        self._contacts[entry.contact_id] = replace(
            self._contacts[entry.contact_id], is_unsorted=False, leads=(entry.lead_id,)
        )
        metadata = entry.posted["metadata"]
        if metadata.get("is_call_event_needed"):
            params = {name: metadata[name] for name in _OF_A_CALL if name in metadata}
            self.add_note("lead", entry.lead_id, "call_in", params, now)


def _first(item: Item, kind: str) -> Item:
    inside: list[Item] = (item.get("_embedded") or {}).get(kind) or [{}]
    return inside[0]


def phones_of(item: Item) -> list[str]:
    fields = item.get("custom_fields_values") or []
    return [str(each["value"]) for field in fields if field.get("field_code") == "PHONE" for each in field["values"]]


def _has(contact: Contact, digits: str) -> bool:
    return bool(digits) and any(digits in _digits(phone) for phone in contact.phones)


def _digits(text: str) -> str:
    return "".join(sign for sign in text if sign.isdigit())


def _last_ten(phone: str) -> str:
    return _digits(phone)[-10:]
