"""Prints what a simulated amoCRM keeps, in the shapes of API v4."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import urlencode

from relay.sandbox.amocrm.account import Contact, Note, Unsorted
from relay.sandbox.amocrm.validation import Item
from relay.sandbox.http import Reply, Request, json_reply

ACCOUNT_ID = 28805383
HAL = "application/hal+json"
_PAGE_SIZE, _PAGE_MAX = 50, 250
_ALL = {"view": "A", "edit": "A", "add": "A", "delete": "A", "export": "A"}
_NOTHING = Reply(204, content_type=HAL)


def base(request: Request) -> str:
    return f"http://{request.host}"


def link(request: Request, path: str) -> dict[str, Any]:
    return {"_links": {"self": {"href": f"{base(request)}/api/v4/{path}"}}}


def page(request: Request, name: str, rows: list[Item], *, totals: bool = False) -> Reply:
    """Return the page that was asked for; an empty one is 204 without a body."""
    number, size = _whole(request, "page", 1), min(_whole(request, "limit", _PAGE_SIZE), _PAGE_MAX)
    shown = rows[(number - 1) * size : number * size]
    if not shown:
        return _NOTHING
    links = {"self": {"href": _href(request, number)}}
    if number * size < len(rows):
        links["next"] = {"href": _href(request, number + 1)}
    count = {"_page_count": math.ceil(len(rows) / size)} if totals else {}
    total = {"_total_items": len(rows)} if totals else {}
    return json_reply({**total, "_page": number, **count, "_links": links, "_embedded": {name: shown}}, 200, HAL)


def _href(request: Request, number: int) -> str:
    return f"{base(request)}{request.path}?{urlencode({**request.query, 'page': [str(number)]}, doseq=True)}"


def _whole(request: Request, name: str, otherwise: int) -> int:
    number = request.query.get(name, [""])[0]
    return int(number) if number.isdigit() and int(number) else otherwise


def added(request: Request, name: str, rows: list[Item]) -> Reply:
    """Return what POST answers."""
    return json_reply({**_self(request), "_embedded": {name: rows}}, 200, HAL)


def _self(request: Request) -> dict[str, Any]:
    return link(request, request.path.removeprefix("/api/v4/"))


def call(request: Request, written: Item, request_id: str) -> Item:
    entity_id, kind = written["entity_id"], written["entity_type"]
    entity = {"id": entity_id, **link(request, f"{kind}s/{entity_id}")}
    own = {"id": written["id"], "entity_id": entity_id, "entity_type": kind, "account_id": ACCOUNT_ID}
    return {**own, "request_id": request_id, "_embedded": {"entity": entity}}


def contact(request: Request, contact: Contact) -> Item:
    values = [{"value": phone, "enum_code": "WORK"} for phone in contact.phones]
    fields = [{"field_code": "PHONE", "field_type": "multitext", "values": values}] if values else None
    leads = [{"id": lead, **link(request, f"leads/{lead}")} for lead in contact.leads]
    return {
        "id": contact.id,
        "name": contact.name,
        "responsible_user_id": contact.responsible_user_id,
        "custom_fields_values": fields,
        "account_id": ACCOUNT_ID,
        **link(request, f"contacts/{contact.id}"),
        "_embedded": {"leads": leads} if "leads" in request.query.get("with", [""])[0] else {},
    }


def note(request: Request, written: Note) -> Item:
    return {
        "id": written.id,
        "entity_id": written.entity_id,
        "created_at": written.created_at,
        "note_type": written.note_type,
        "params": written.params,
        "account_id": ACCOUNT_ID,
        **link(request, f"{request.path.split('/')[3]}/{written.entity_id}/notes/{written.id}"),
    }


def added_unsorted(request: Request, entry: Unsorted, request_id: str) -> Item:
    own = {"uid": entry.uid, "account_id": ACCOUNT_ID, "request_id": request_id}
    return {**own, **link(request, f"leads/unsorted/{entry.uid}"), "_embedded": _inside(request, entry)}


def unsorted(request: Request, entry: Unsorted) -> Item:
    """Print it as the documented example, which UIS made, has it: the phone as a number and the duration as text."""
    posted = entry.posted
    metadata = {"link": None, **posted["metadata"]}
    phone, duration = str(metadata.get("phone", "")), metadata.get("duration", 0)
    metadata |= {"phone": int(phone) if phone.isdigit() else phone, "duration": str(duration)}
    return {
        "uid": entry.uid,
        "source_uid": posted["source_uid"],
        "source_name": posted["source_name"],
        "category": "sip",
        "pipeline_id": posted.get("pipeline_id"),
        "created_at": entry.created_at,
        "metadata": {**metadata, "link": metadata["link"] or None},
        "account_id": ACCOUNT_ID,
        **link(request, f"leads/unsorted/{entry.uid}"),
        "_embedded": _inside(request, entry),
    }


def _inside(request: Request, entry: Unsorted) -> Item:
    entities = {"contacts": entry.contact_id, "leads": entry.lead_id}
    inside = {kind: [{"id": number, **link(request, f"{kind}/{number}")}] for kind, number in entities.items()}
    return {**inside, "companies": []}


def user(request: Request, user_id: int, name: str, *, is_admin: bool) -> Item:
    rights = {
        "leads": _ALL,
        "contacts": _ALL,
        "companies": _ALL,
        "tasks": {"edit": "A", "delete": "A"},
        "mail_access": False,
        "catalog_access": False,
        "status_rights": None,
        "is_admin": is_admin,
        "is_free": False,
        "is_active": True,
        "group_id": None,
        "role_id": None,
    }
    own = {"id": user_id, "name": name, "email": f"user{user_id}@example.test", "lang": "ru", "rights": rights}
    return {**own, **link(request, f"users/{user_id}"), "_embedded": {"roles": [], "groups": []}}
