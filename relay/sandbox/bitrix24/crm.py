"""Keeps what a simulated Bitrix24 portal has beside its calls: employees, contacts and leads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from relay.sandbox.bitrix24.failures import USER_INACTIVE, USER_NOT_SET, Refused

Fields = dict[str, Any]
PAGE = 50  # of every list method: api-reference/how-to-call-rest-api/list-methods-pecularities.md
_FIRST_CONTACT, _FIRST_LEAD = 797, 1501
_YES = frozenset({True, "1", "Y", "y", "true", "True"})


class Entity(Struct, frozen=True):
    """Names a contact or a lead."""

    type: str = ""
    id: int | None = None


NOBODY = Entity()


class Crm:
    """Keeps it. Not thread-safe: the portal's lock guards it."""

    def __init__(self, users: Mapping[int, str | None], contacts: Iterable[str]) -> None:
        self._users, self._phones = dict(users), tuple(contacts)
        self.reset()

    def reset(self) -> None:
        self._inactive: set[int] = set()
        self._contacts = {number: _FIRST_CONTACT + place for place, number in enumerate(self._phones)}
        self.leads: dict[str, int] = {}

    def deactivate(self, user_id: int) -> None:
        self._inactive.add(user_id)

    def knows(self, user_id: int) -> bool:
        return user_id in self._users

    def is_active(self, user_id: int) -> bool:
        return user_id in self._users and user_id not in self._inactive

    def user(self, fields: Fields) -> int:
        """Return the user that a call names."""
        user = whole(fields.get("USER_ID"))
        if not user:
            raise Refused(USER_NOT_SET)
        if not self.is_active(user):
            raise Refused(USER_INACTIVE)
        return user

    def is_inner(self, phone: str) -> bool:
        return phone in self._users.values()

    def owner_of(self, phone: str) -> Entity:
        """Return whose number it is, a contact before a lead, by the number's last ten digits."""
        for kind, numbers in (("CONTACT", self._contacts), ("LEAD", self.leads)):
            for number, entity_id in numbers.items():
                if last_ten(number) == last_ten(phone):
                    return Entity(kind, entity_id)
        return NOBODY

    def has(self, owner_type: int | None, number: int | None) -> bool:
        """Is there such a card? The types are those of crm.enum.ownertype."""
        return number in {1: self.leads, 3: self._contacts}.get(owner_type or 0, {}).values()

    def make_lead(self, phone: str) -> Entity:
        self.leads[phone] = _FIRST_LEAD + len(self.leads)
        return Entity("LEAD", self.leads[phone])

    def get_users(self, fields: Fields) -> list[Fields]:
        """Do as user.get."""
        filters = fields.get("FILTER") or {}
        return [self._shown(user) for user in self._users if self._passes(user, filters)]

    def _passes(self, user: int, filters: Fields) -> bool:
        own = {"ID": str(user), "UF_PHONE_INNER": self._users[user]}
        for name, value in ((name.upper(), value) for name, value in filters.items()):
            if name == "ACTIVE" and is_yes(value) != self.is_active(user):
                return False
            if name in own and own[name] not in [str(each) for each in listed(value)]:
                return False
        return True

    def _shown(self, user: int) -> Fields:
        shown = {"ID": str(user), "ACTIVE": self.is_active(user), "NAME": "Сотрудник", "LAST_NAME": str(user)}
        more = {"EMAIL": f"user{user}@example.test", "IS_ONLINE": "N", "UF_DEPARTMENT": [1], "USER_TYPE": "employee"}
        inner = self._users[user]
        return {**shown, **more, **({} if inner is None else {"UF_PHONE_INNER": inner})}

    def find_duplicates(self, fields: Fields) -> dict[str, list[int]] | list[Fields]:
        """Do as crm.duplicate.findbycomm: by kind; PHP prints an empty array as `[]`, also for an object."""
        kinds = {"CONTACT": self._contacts, "LEAD": self.leads}
        numbers = {last_ten(str(value)) for value in listed(fields.get("VALUES") or [])}
        matches = {
            kind: [entity_id for number, entity_id in entities.items() if last_ten(number) in numbers]
            for kind, entities in kinds.items()
            if fields.get("ENTITY_TYPE") in (None, "", kind)
        }
        return {kind: ids for kind, ids in matches.items() if ids} or []


def last_ten(phone: str) -> str:
    return "".join(sign for sign in phone if sign.isdigit())[-10:]


def whole(value: object) -> int | None:
    """Read a number as PHP does: 7 and "7" are the same. None for anything else."""
    return int(str(value)) if str(value).isdigit() else None


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def is_yes(value: object) -> bool:
    return str(value).lower() in _YES
