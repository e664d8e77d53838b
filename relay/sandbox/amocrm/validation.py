"""Checks the fields of items that are posted to a simulated amoCRM, before anything is written.

Codes and texts are those of Symfony's validator, which the recorded answers show. No field may be null
(amocrm-api-php, issues 383 and 570); here that holds for everything posted, which is stricter than the real one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from relay.sandbox.amocrm.failures import NO_CHOICE, Refused, invalid, violation

Item = dict[str, Any]
Violation = dict[str, str]


class Field(Struct, frozen=True):
    """Says what a field takes."""

    types: tuple[type, ...]
    is_required: bool = False
    is_filled: bool = False
    choices: tuple[object, ...] = ()


_TEXT, _WHOLE = Field((str,)), Field((int,))
_NAME = Field((str,), is_required=True, is_filled=True)

CALL: dict[str, Field] = {
    "direction": Field((str,), is_required=True, choices=("inbound", "outbound")),
    "duration": Field((int,), is_required=True),
    "source": _NAME,
    "phone": _NAME,
    "call_status": Field((int,), choices=tuple(range(1, 9))),
    "call_responsible": Field((int, str)),
    **dict.fromkeys(("uniq", "link", "call_result", "request_id"), _TEXT),
    **dict.fromkeys(("responsible_user_id", "created_by", "updated_by", "created_at", "updated_at"), _WHOLE),
}
CONTACT: dict[str, Field] = {
    "name": _TEXT,
    "responsible_user_id": _WHOLE,
    "request_id": _TEXT,
    "custom_fields_values": Field((list,)),
}
NOTE: dict[str, Field] = {
    "note_type": Field((str,), is_required=True, choices=("common", "call_in", "call_out")),
    "params": Field((dict,), is_required=True),
}
TASK: dict[str, Field] = {
    "text": _NAME,
    "complete_till": Field((int,), is_required=True),
    "entity_type": Field((str,), choices=("leads", "contacts", "companies", "customers")),
    "request_id": _TEXT,
    **dict.fromkeys(("entity_id", "responsible_user_id", "task_type_id"), _WHOLE),
}
UNSORTED: dict[str, Field] = {
    "source_name": _NAME,
    "source_uid": _NAME,
    "metadata": Field((dict,), is_required=True),
    "pipeline_id": _WHOLE,
    "created_at": _WHOLE,
    "request_id": _TEXT,
}


def items(body: bytes, fields: dict[str, Field]) -> list[Item]:
    """Return the posted array. Raises Refused when it is none, or an item of it is not as `fields` have it."""
    try:
        posted = json.loads(body)
    except ValueError:
        posted = None
    if not isinstance(posted, list) or not all(isinstance(item, dict) for item in posted):
        raise Refused(invalid({"request_id": "0", "errors": [_wrong_type("", "array")]}))
    wrong = [
        {"request_id": request_id(item, place), "errors": errors}
        for place, item in enumerate(posted)
        if (errors := list(_violations(item, fields)))
    ]
    if wrong:
        raise Refused(invalid(*wrong))
    return posted


def request_id(item: Item, place: int) -> str:
    """Return what the client named the item, else its place."""
    return str(item.get("request_id", place))


def _violations(item: Item, fields: dict[str, Field]) -> Iterator[Violation]:
    for path in _nulls(item, ""):
        yield violation("NotNullable", path, "This value should not be null.")
    for name, field in fields.items():
        if name in item:
            yield from _wrong(name, item[name], field)
        elif field.is_required:
            yield violation("FieldMissing", name, "This field is missing.")


def _nulls(value: Any, path: str) -> Iterator[str]:
    if value is None:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inside:
        yield from _nulls(each, f"{path}.{name}".lstrip("."))


def _wrong(name: str, value: Any, field: Field) -> Iterator[Violation]:
    if value is None:
        return  # said already
    if not isinstance(value, field.types) or isinstance(value, bool):
        yield _wrong_type(name, field.types[0].__name__)
    elif field.is_filled and not value:
        yield violation("NotBlank", name, "This value should not be blank.")
    elif field.choices and value not in field.choices:
        yield violation(NO_CHOICE[0], name, NO_CHOICE[1])


def _wrong_type(name: str, expected: str) -> Violation:
    return violation("InvalidType", name, f"This value should be of type {expected}.")
