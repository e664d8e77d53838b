"""Simulates the API of an amoCRM account: who may ask, how often, and which address answers."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from relay.clock import Clock, now_utc
from relay.sandbox.amocrm import failures, shapes, validation
from relay.sandbox.amocrm.account import Account, Contact, Unsorted
from relay.sandbox.amocrm.failures import Refused
from relay.sandbox.amocrm.validation import Item, request_id
from relay.sandbox.faults import CrmSimulator, after_acting
from relay.sandbox.http import Reply, Request, json_reply
from relay.sandbox.limits import Monotonic, Window

_USERS: Mapping[int, str] = {504141: "Администратор", 504142: "Менеджер 101", 504143: "Менеджер 102"}
_MOST_A_SECOND = 7
_BLOCKED_AFTER = 5  # answers 429. Only that it comes is known (amocrm-api-php, issues 434 and 563), not when
_ACCESS_LIVES, _REFRESH_LIVES = timedelta(hours=24), timedelta(days=90)


class _Call(Struct, frozen=True):
    """Holds a request that may enter."""

    request: Request
    place: tuple[str, ...]  #: what the address names: ("contacts", "11070881")
    mode: str | None


class AmoCrm(CrmSimulator):
    """Simulates one account. `method` of a failure: an address of `state()["paths"]`, with or without the verb, or a
    name of `_ROUTES`.
    """

    def __init__(
        self,
        *,
        token: str = "sandbox",  # noqa: S107  # invented
        users: Mapping[int, str] = _USERS,
        contacts: Iterable[str] = (),
        clock: Clock = now_utc,
        monotonic: Monotonic = time.monotonic,
        limited: bool = True,
        client_id: str = "amo-client",
        client_secret: str = "amo-secret",  # noqa: S107  # invented
        redirect_uri: str = "https://example.test/amo",
        refresh_token: str = "amo-refresh-1",  # noqa: S107  # invented
        unsorted_is_on: bool = True,
    ) -> None:
        self.unsorted_is_on = unsorted_is_on
        super().__init__(
            failures.MODES, refresh_token, access_lives=_ACCESS_LIVES, refresh_lives=_REFRESH_LIVES, clock=clock
        )
        self._token, self._users, self._limited = token, dict(users), limited
        self._client = {"client_id": client_id, "client_secret": client_secret, "redirect_uri": redirect_uri}
        self._window = Window(_MOST_A_SECOND, monotonic)
        self._account = Account(contacts, next(iter(users)))

    def add_contact(self, phone: str, *, leads: int = 0) -> int:
        """Add a contact that is there already, with so many active leads, and return its id."""
        with self._mutex:
            return self._account.add_contact(phone, [phone], leads=leads).id

    def accept(self, uid: str) -> None:
        """Take something out of the unsorted, as an employee does."""
        with self._mutex:
            self._account.accept(uid, self._now())

    def _reset(self) -> None:
        """Unblock it, too."""
        super()._reset()
        self._account.reset()
        self._window.empty()

    def _state(self) -> dict[str, Any]:
        account = self._account
        return {
            "requests": len(self._requests),
            "paths": list(self._requests),
            "contacts": [_contact(contact) for contact in account.contacts()],
            "calls": list(account.calls),
            "tasks": [dict(task) for task in account.tasks.values()],
            "notes": [_without(asdict(note), "created_at") for note in account.notes],
            "unsorted": [_unsorted(entry) for entry in account.unsorted.values()],
            "popups": list(account.popups),
            "accepted": list(account.accepted),
            "limited": self._times_limited,
        }

    def answer(self, request: Request) -> Reply:
        with self._mutex:
            try:
                reply = self._answer(request)
            except Refused as exc:
                reply = exc.reply
        return replace(reply, headers={**reply.headers, "X-Request-Id": uuid.uuid4().hex})

    def _answer(self, request: Request) -> Reply:
        address = f"{request.method} {request.path}"
        self._requests.append(address)
        if self._times_limited >= _BLOCKED_AFTER:
            self._refuse_more(failures.BLOCKED)
        name, place, act = _route(address)
        mode = self._failures.next(address, request.path, name)
        if mode is not None and mode not in failures.ACTS:
            return failures.ANSWERS[mode]
        if self._limited and not self._window.admits():
            self._refuse_more(failures.TOO_MANY)
        if name != "token" and not self._admits(request.authorization):
            raise Refused(failures.UNAUTHORIZED)
        return after_acting(mode, act(self, _Call(request, place, mode)))

    def _refuse_more(self, reply: Reply) -> None:
        self._times_limited += 1
        raise Refused(reply)

    def _admits(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        return scheme == "Bearer" and (token == self._token or self._tokens.status(token) == "valid")

    def _now(self) -> int:
        return int(self._clock().timestamp())

    def _add_calls(self, call: _Call) -> Reply:
        """Answer 200 with `errors` when a part was taken; 400, or 200 as some have met it, when nothing was."""
        taken: list[Item] = []
        errors: list[Item] = []
        for place, item in enumerate(validation.items(call.request.body, validation.CALL)):
            name, written = request_id(item, place), self._account.add_call(item, self._now())
            if written is None:
                errors.append({"title": "Entity not found", "status": 263, "request_id": name})
            else:
                taken.append(shapes.call(call.request, written, name))
        if not taken and call.mode != "not_found_200":
            return failures.NO_ENTITY
        document = {"_total_items": len(taken), "errors": errors, "_embedded": {"calls": taken}}
        return json_reply(document, 200, shapes.HAL)

    def _add_contacts(self, call: _Call) -> Reply:
        request, rows = call.request, []
        for place, item in enumerate(validation.items(request.body, validation.CONTACT)):
            made = self._account.post_contact(item)
            own = {"id": made.id, "request_id": request_id(item, place)}
            rows.append({**own, **shapes.link(request, f"contacts/{made.id}")})
        return shapes.added(request, "contacts", rows)

    def _find_contacts(self, call: _Call) -> Reply:
        request = call.request
        query = request.query.get("query", [""])[0]
        contacts = self._account.find(query) if query else self._account.contacts()
        return shapes.page(request, "contacts", [shapes.contact(request, contact) for contact in contacts])

    def _find_companies(self, call: _Call) -> Reply:
        """Answer that there are none."""
        return shapes.page(call.request, "companies", [])

    def _find_notes(self, call: _Call) -> Reply:
        request, entities, entity_id = call.request, call.place[0], self._existing(call)
        kinds = _filter(request, "note_type")
        notes = self._account.notes_of(entities, entity_id)
        rows = [shapes.note(request, note) for note in notes if not kinds or note.note_type in kinds]
        return shapes.page(request, "notes", rows)

    def _add_notes(self, call: _Call) -> Reply:
        request, entities, entity_id = call.request, call.place[0], self._existing(call)
        rows = []
        for place, item in enumerate(validation.items(request.body, validation.NOTE)):
            note = self._account.add_note(entities, entity_id, item["note_type"], item["params"], self._now())
            own = {"id": note.id, "entity_id": entity_id, "request_id": request_id(item, place)}
            rows.append({**own, **shapes.link(request, f"{entities}/{entity_id}/notes/{note.id}")})
        return shapes.added(request, "notes", rows)

    def _add_tasks(self, call: _Call) -> Reply:
        """Add them to entities that are there; in which words it refuses another is not documented."""
        request, rows = call.request, []
        for place, item in enumerate(validation.items(request.body, validation.TASK)):
            if "entity_id" in item and not self._account.has(item.get("entity_type", ""), item["entity_id"]):
                wrong = failures.violation(failures.NO_CHOICE[0], "entity_id", failures.NO_CHOICE[1])
                raise Refused(failures.invalid({"request_id": request_id(item, place), "errors": [wrong]}))
            number = self._account.add_task(item)
            rows.append(
                {"id": number, "request_id": request_id(item, place), **shapes.link(request, f"tasks/{number}")}
            )
        return shapes.added(request, "tasks", rows)

    def _find_tasks(self, call: _Call) -> Reply:
        """List those of entities, the newest first."""
        request = call.request
        types, numbers = _filter(request, "entity_type"), _filter(request, "entity_id")
        tasks = reversed(self._account.tasks.values())
        rows = [task for task in tasks if task["entity_type"] in types and str(task["entity_id"]) in numbers]
        return shapes.page(request, "tasks", [{**row, **shapes.link(request, f"tasks/{row['id']}")} for row in rows])

    def _change_task(self, call: _Call) -> Reply:
        task = self._account.tasks.get(int(call.place[0]))
        if task is None:
            raise Refused(failures.problem(404, "Not Found", "Task not found"))
        task |= json.loads(call.request.body)
        own = {"id": task["id"], "updated_at": self._now()}
        return json_reply({**own, **shapes.link(call.request, f"tasks/{task['id']}")}, 200, shapes.HAL)

    def _existing(self, call: _Call) -> int:
        entities, entity_id = call.place[0], int(call.place[1])
        if not self._account.has(entities, entity_id):
            raise Refused(failures.problem(404, "Not Found", "Entity not found"))
        return entity_id

    def _add_unsorted(self, call: _Call) -> Reply:
        """Refuse it where the pipeline has it switched off. That it is refused is documented, the words are not."""
        posted = validation.items(call.request.body, validation.UNSORTED)
        if not self.unsorted_is_on:
            wrong = failures.violation(failures.NO_CHOICE[0], "pipeline_id", failures.NO_CHOICE[1])
            raise Refused(failures.invalid({"request_id": request_id(posted[0], 0), "errors": [wrong]}))
        rows = [
            shapes.added_unsorted(call.request, self._account.add_unsorted(item, self._now()), request_id(item, place))
            for place, item in enumerate(posted)
        ]
        return json_reply({"_total_items": len(rows), "_embedded": {"unsorted": rows}}, 200, shapes.HAL)

    def _accept_unsorted(self, call: _Call) -> Reply:
        """Put it into the stage and under the user that the body names (unsorted-api)."""
        uid = call.place[0]
        if uid not in self._account.unsorted:
            raise Refused(failures.problem(404, "Not Found", "Unsorted not found"))
        place = json.loads(call.request.body or b"{}")
        row = shapes.unsorted(call.request, self._account.unsorted[uid])
        self._account.accept(uid, self._now(), status_id=place.get("status_id"), user_id=place.get("user_id"))
        return json_reply(row, 200, shapes.HAL)

    def _find_unsorted(self, call: _Call) -> Reply:
        kinds = _filter(call.request, "category")
        entries = list(self._account.unsorted.values()) if not kinds or "sip" in kinds else []
        for way in call.request.query.get("order[created_at]", ()):
            entries.sort(key=lambda entry: entry.created_at, reverse=way == "desc")
        return shapes.page(call.request, "unsorted", [shapes.unsorted(call.request, entry) for entry in entries])

    def _pop_up(self, call: _Call) -> Reply:
        """Answer with an empty object: the real body is not known; clients do not read it."""
        try:
            events = json.loads(call.request.body)["add"]
            shown = [{"phone_number": event["phone_number"], "users": list(event["users"])} for event in events]
        except (ValueError, KeyError, TypeError):
            return failures.problem(400, "Bad Request", "Request validation failed")
        self._account.popups += shown
        return json_reply({})

    def _get_account(self, call: _Call) -> Reply:
        account = {"id": shapes.ACCOUNT_ID, "name": "Песочница", "subdomain": "sandbox"}
        return json_reply({**account, **shapes.link(call.request, "account")}, 200, shapes.HAL)

    def _list_users(self, call: _Call) -> Reply:
        rows = [
            shapes.user(call.request, user_id, name, is_admin=place == 0)
            for place, (user_id, name) in enumerate(self._users.items())
        ]
        return shapes.page(call.request, "users", rows, totals=True)

    def _give_token(self, call: _Call) -> Reply:
        """Refresh a token, and nothing else: the first one comes with an authorisation in the browser."""
        try:
            params = json.loads(call.request.body)
        except ValueError:
            params = {}
        if any(params.get(name) != value for name, value in self._client.items()):
            raise Refused(failures.BAD_CLIENT)
        is_refresh = params.get("grant_type") == "refresh_token"
        pair = self._tokens.refresh(str(params.get("refresh_token"))) if is_refresh else None
        if pair is None:
            raise Refused(failures.REVOKED)
        lives = int(_ACCESS_LIVES.total_seconds())
        token = {"token_type": "Bearer", "expires_in": lives, "server_time": self._now()}
        return json_reply({**token, "access_token": pair.access, "refresh_token": pair.refresh})


_Act = Callable[[AmoCrm, _Call], Reply]
_ROUTES: tuple[tuple[str, str, _Act], ...] = (
    (r"POST /api/v4/calls", "add_calls", AmoCrm._add_calls),
    (r"POST /api/v4/contacts", "add_contacts", AmoCrm._add_contacts),
    (r"GET /api/v4/contacts", "find_contacts", AmoCrm._find_contacts),
    (r"GET /api/v4/companies", "find_companies", AmoCrm._find_companies),
    (r"GET /api/v4/(contacts|leads|companies|customers)/(\d+)/notes", "find_notes", AmoCrm._find_notes),
    (r"POST /api/v4/(contacts|leads|companies|customers)/(\d+)/notes", "add_notes", AmoCrm._add_notes),
    (r"POST /api/v4/tasks", "add_tasks", AmoCrm._add_tasks),
    (r"GET /api/v4/tasks", "find_tasks", AmoCrm._find_tasks),
    (r"PATCH /api/v4/tasks/(\d+)", "change_task", AmoCrm._change_task),
    (r"POST /api/v4/leads/unsorted/sip", "add_unsorted", AmoCrm._add_unsorted),
    (r"POST /api/v4/leads/unsorted/(\w+)/accept", "accept_unsorted", AmoCrm._accept_unsorted),
    (r"GET /api/v4/leads/unsorted", "find_unsorted", AmoCrm._find_unsorted),
    (r"POST /api/v2/events", "pop_up", AmoCrm._pop_up),
    (r"GET /api/v4/account", "account", AmoCrm._get_account),
    (r"GET /api/v4/users", "users", AmoCrm._list_users),
    (r"POST /oauth2/access_token", "token", AmoCrm._give_token),
)


def _route(address: str) -> tuple[str, tuple[str, ...], _Act]:
    for pattern, name, act in _ROUTES:
        if match := re.fullmatch(pattern + "/?", address):
            return name, match.groups(), act
    return "nothing", (), lambda *_: failures.NOT_FOUND


def _filter(request: Request, name: str) -> set[str]:
    """Return the values of a filter: `filter[name]=`, `filter[name][]=` and `filter[name][0]=` are one to PHP."""
    return {value for key, values in request.query.items() if key.startswith(f"filter[{name}]") for value in values}


def _contact(contact: Contact) -> Item:
    return _without({**asdict(contact), "phones": list(contact.phones)}, "leads", "is_unsorted")


def _unsorted(entry: Unsorted) -> Item:
    own = _without(asdict(entry), "posted", "created_at")
    return {**{name: entry.posted.get(name) for name in ("metadata", "source_name", "pipeline_id")}, **own}


def _without(item: Item, *names: str) -> Item:
    return {name: value for name, value in item.items() if name not in names}
