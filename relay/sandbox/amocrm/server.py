"""A simulated amoCRM account: its door. Who may enter, how often, and which address answers."""

from __future__ import annotations

import json
import re
import threading
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
from relay.sandbox.http import Failures, Reply, Request, json_reply
from relay.sandbox.limits import Monotonic, Window
from relay.sandbox.oauth_server import Tokens

_USERS: Mapping[int, str] = {504141: "Администратор", 504142: "Менеджер 101", 504143: "Менеджер 102"}
_MOST_A_SECOND = 7
_BLOCKED_AFTER = 5  # answers 429. Only that it comes is known (amocrm-api-php, issues 434 and 563), not when
_ACCESS_LIVES, _REFRESH_LIVES = timedelta(hours=24), timedelta(days=90)


class _Asked(Struct, frozen=True):
    request: Request
    place: tuple[str, ...]  #: what the address names: ("contacts", "11070881")
    mode: str | None


class AmoCrm:
    """One account. Thread-safe; `fail` says what the next requests come to."""

    def __init__(
        self, *, token: str = "sandbox", users: Mapping[int, str] = _USERS, contacts: Iterable[str] = (),  # noqa: S107
        clock: Clock = now_utc, monotonic: Monotonic = time.monotonic, limited: bool = True,
        client_id: str = "amo-client", client_secret: str = "amo-secret",  # noqa: S107
        redirect_uri: str = "https://example.test/amo", refresh_token: str = "amo-refresh-1",  # noqa: S107
        unsorted_is_on: bool = True,
    ) -> None:  # fmt: skip
        self.unsorted_is_on = unsorted_is_on
        self._token, self._users, self._clock, self._limited = token, dict(users), clock, limited
        self._client = {"client_id": client_id, "client_secret": client_secret, "redirect_uri": redirect_uri}
        self._mutex = threading.Lock()
        self._failures = Failures(failures.MODES)
        self._window = Window(_MOST_A_SECOND, monotonic)
        self._tokens = Tokens(refresh_token, access_lives=_ACCESS_LIVES, refresh_lives=_REFRESH_LIVES, clock=clock)
        self._account = Account(contacts, next(iter(users)))
        self._asked: list[str] = []
        self._times_limited = 0

    @property
    def modes(self) -> tuple[str, ...]:
        return self._failures.modes

    def fail(self, mode: str, count: int, method: str | None = None) -> None:
        """The next `count` requests come to `mode`; -1: all until told otherwise; "ok": none.

        `method` is an address as in `state()["paths"]`, with or without the verb, or a name of `_ROUTES`.
        """
        self._failures.tell(mode, count, method)

    def add_contact(self, phone: str, *, leads: int = 0) -> int:
        """A contact that is there already, with so many active leads."""
        with self._mutex:
            return self._account.add_contact(phone, [phone], leads=leads).id

    def accept(self, uid: str) -> None:
        """An employee takes something out of the unsorted."""
        with self._mutex:
            self._account.accept(uid, self._now())

    def expire_token(self) -> None:
        """All access tokens that were given out; the long-lived one stays."""
        with self._mutex:
            self._tokens.expire()

    def reset(self) -> None:
        """Empty and unblocked, as at the start. Tokens stay: whoever was given one keeps it."""
        self._failures.clear()
        with self._mutex:
            self._account.reset()
            self._window.empty()
            self._asked.clear()
            self._times_limited = 0

    def state(self) -> dict[str, Any]:
        with self._mutex:
            kept = self._account
            return {
                "requests": len(self._asked), "paths": list(self._asked),
                "contacts": [_contact(contact) for contact in kept.contacts()], "calls": list(kept.calls),
                "notes": [_without(asdict(note), "created_at") for note in kept.notes],
                "unsorted": [_unsorted(taken) for taken in kept.unsorted.values()], "popups": list(kept.popups),
                "accepted": list(kept.accepted), "limited": self._times_limited,
            }  # fmt: skip

    def answer(self, request: Request) -> Reply:
        with self._mutex:
            try:
                reply = self._answer(request)
            except Refused as exc:
                reply = exc.reply
        return replace(reply, headers={**reply.headers, "X-Request-Id": uuid.uuid4().hex})

    def _answer(self, request: Request) -> Reply:
        address = f"{request.method} {request.path}"
        self._asked.append(address)
        if self._times_limited >= _BLOCKED_AFTER:
            self._refuse_more(failures.BLOCKED)
        name, place, act = _route(address)
        mode = self._failures.next(address, request.path, name)
        if mode is not None and mode not in failures.ACTS:
            return failures.failing(mode)
        if self._limited and not self._window.admits():
            self._refuse_more(failures.TOO_MANY)
        if name != "token" and not self._admits(request.authorization):
            raise Refused(failures.UNAUTHORIZED)
        return failures.after_acting(mode, act(self, _Asked(request, place, mode)))

    def _refuse_more(self, reply: Reply) -> None:
        self._times_limited += 1
        raise Refused(reply)

    def _admits(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        return scheme == "Bearer" and (given == self._token or self._tokens.standing(given) == "valid")

    def _now(self) -> int:
        return int(self._clock().timestamp())

    def _add_calls(self, asked: _Asked) -> Reply:
        """Taken in part is 200 with `errors`; nothing taken is 400, or 200 as some are said to have met it."""
        taken: list[Item] = []
        errors: list[Item] = []
        for place, item in enumerate(validation.items(asked.request.body, validation.CALL)):
            name, call = request_id(item, place), self._account.add_call(item, self._now())
            if call is None:
                errors.append({"title": "Entity not found", "status": 263, "request_id": name})
            else:
                taken.append(shapes.call(asked.request, call, name))
        if not taken and asked.mode != "not_found_200":
            return failures.NO_ENTITY
        said = {"_total_items": len(taken), "errors": errors, "_embedded": {"calls": taken}}
        return json_reply(said, 200, shapes.HAL)

    def _add_contacts(self, asked: _Asked) -> Reply:
        request, rows = asked.request, []
        for place, item in enumerate(validation.items(request.body, validation.CONTACT)):
            made = self._account.post_contact(item)
            own = {"id": made.id, "request_id": request_id(item, place)}
            rows.append({**own, **shapes.link(request, f"contacts/{made.id}")})
        return shapes.added(request, "contacts", rows)

    def _find_contacts(self, asked: _Asked) -> Reply:
        request = asked.request
        query = request.query.get("query", [""])[0]
        found = self._account.find(query) if query else self._account.contacts()
        return shapes.page(request, "contacts", [shapes.contact(request, contact) for contact in found])

    def _find_companies(self, asked: _Asked) -> Reply:
        """There are none here."""
        return shapes.page(asked.request, "companies", [])

    def _find_notes(self, asked: _Asked) -> Reply:
        request, entities, entity_id = asked.request, asked.place[0], self._existing(asked)
        kinds = _filter(request, "note_type")
        notes = self._account.notes_of(entities, entity_id)
        rows = [shapes.note(request, note) for note in notes if not kinds or note.note_type in kinds]
        return shapes.page(request, "notes", rows)

    def _add_notes(self, asked: _Asked) -> Reply:
        request, entities, entity_id = asked.request, asked.place[0], self._existing(asked)
        rows = []
        for place, item in enumerate(validation.items(request.body, validation.NOTE)):
            note = self._account.add_note(entities, entity_id, item["note_type"], item["params"], self._now())
            own = {"id": note.id, "entity_id": entity_id, "request_id": request_id(item, place)}
            rows.append({**own, **shapes.link(request, f"{entities}/{entity_id}/notes/{note.id}")})
        return shapes.added(request, "notes", rows)

    def _existing(self, asked: _Asked) -> int:
        entities, entity_id = asked.place[0], int(asked.place[1])
        if not self._account.has(entities, entity_id):
            raise Refused(failures.problem(404, "Not Found", "Entity not found"))
        return entity_id

    def _add_unsorted(self, asked: _Asked) -> Reply:
        """Switched off in the pipeline: refused. That it is is documented, the words are not."""
        posted = validation.items(asked.request.body, validation.UNSORTED)
        if not self.unsorted_is_on:
            wrong = failures.violation(failures.NO_CHOICE[0], "pipeline_id", failures.NO_CHOICE[1])
            raise Refused(failures.invalid({"request_id": request_id(posted[0], 0), "errors": [wrong]}))
        rows = [
            shapes.added_unsorted(asked.request, self._account.add_unsorted(item, self._now()), request_id(item, place))
            for place, item in enumerate(posted)
        ]
        return json_reply({"_total_items": len(rows), "_embedded": {"unsorted": rows}}, 200, shapes.HAL)

    def _accept_unsorted(self, asked: _Asked) -> Reply:
        """Into the stage and under the user that the body names (unsorted-api)."""
        uid = asked.place[0]
        if uid not in self._account.unsorted:
            raise Refused(failures.problem(404, "Not Found", "Unsorted not found"))
        given = json.loads(asked.request.body or b"{}")
        row = shapes.unsorted(asked.request, self._account.unsorted[uid])
        self._account.accept(uid, self._now(), status_id=given.get("status_id"), user_id=given.get("user_id"))
        return json_reply(row, 200, shapes.HAL)

    def _find_unsorted(self, asked: _Asked) -> Reply:
        kinds = _filter(asked.request, "category")
        taken = self._account.unsorted.values() if not kinds or "sip" in kinds else ()
        return shapes.page(asked.request, "unsorted", [shapes.unsorted(asked.request, each) for each in taken])

    def _pop_up(self, asked: _Asked) -> Reply:
        """The body of the real answer is not known; clients do not read it."""
        try:
            events = json.loads(asked.request.body)["add"]
            shown = [{"phone_number": event["phone_number"], "users": list(event["users"])} for event in events]
        except (ValueError, KeyError, TypeError):
            return failures.problem(400, "Bad Request", "Request validation failed")
        self._account.popups += shown
        return json_reply({})

    def _say_account(self, asked: _Asked) -> Reply:
        said = {"id": shapes.ACCOUNT_ID, "name": "Песочница", "subdomain": "sandbox"}
        return json_reply({**said, **shapes.link(asked.request, "account")}, 200, shapes.HAL)

    def _list_users(self, asked: _Asked) -> Reply:
        rows = [
            shapes.user(asked.request, user_id, name, is_admin=place == 0)
            for place, (user_id, name) in enumerate(self._users.items())
        ]
        return shapes.page(asked.request, "users", rows, totals=True)

    def _give_token(self, asked: _Asked) -> Reply:
        """Only refreshing: the first token comes with an authorisation in the browser, which nobody does here."""
        try:
            given = json.loads(asked.request.body)
        except ValueError:
            given = {}
        if any(given.get(name) != value for name, value in self._client.items()):
            raise Refused(failures.BAD_CLIENT)
        is_refresh = given.get("grant_type") == "refresh_token"
        pair = self._tokens.refresh(str(given.get("refresh_token"))) if is_refresh else None
        if pair is None:
            raise Refused(failures.REVOKED)
        lives = int(_ACCESS_LIVES.total_seconds())
        said = {"token_type": "Bearer", "expires_in": lives, "server_time": self._now()}
        return json_reply({**said, "access_token": pair.access, "refresh_token": pair.refresh})


_Act = Callable[[AmoCrm, _Asked], Reply]
_ROUTES: tuple[tuple[str, str, _Act], ...] = (
    (r"POST /api/v4/calls", "add_calls", AmoCrm._add_calls),
    (r"POST /api/v4/contacts", "add_contacts", AmoCrm._add_contacts),
    (r"GET /api/v4/contacts", "find_contacts", AmoCrm._find_contacts),
    (r"GET /api/v4/companies", "find_companies", AmoCrm._find_companies),
    (r"GET /api/v4/(contacts|leads|companies|customers)/(\d+)/notes", "find_notes", AmoCrm._find_notes),
    (r"POST /api/v4/(contacts|leads|companies|customers)/(\d+)/notes", "add_notes", AmoCrm._add_notes),
    (r"POST /api/v4/leads/unsorted/sip", "add_unsorted", AmoCrm._add_unsorted),
    (r"POST /api/v4/leads/unsorted/(\w+)/accept", "accept_unsorted", AmoCrm._accept_unsorted),
    (r"GET /api/v4/leads/unsorted", "find_unsorted", AmoCrm._find_unsorted),
    (r"POST /api/v2/events", "pop_up", AmoCrm._pop_up),
    (r"GET /api/v4/account", "account", AmoCrm._say_account),
    (r"GET /api/v4/users", "users", AmoCrm._list_users),
    (r"POST /oauth2/access_token", "token", AmoCrm._give_token),
)


def _route(address: str) -> tuple[str, tuple[str, ...], _Act]:
    for pattern, name, act in _ROUTES:
        if found := re.fullmatch(pattern + "/?", address):
            return name, found.groups(), act
    return "nothing", (), lambda *_: failures.NOT_FOUND


def _filter(request: Request, name: str) -> set[str]:
    """`filter[name]=`, `filter[name][]=` and `filter[name][0]=` are the same to PHP."""
    return {value for key, values in request.query.items() if key.startswith(f"filter[{name}]") for value in values}


def _contact(contact: Contact) -> Item:
    return _without({**asdict(contact), "phones": list(contact.phones)}, "leads", "is_unsorted")


def _unsorted(taken: Unsorted) -> Item:
    kept = _without(asdict(taken), "posted", "created_at")
    return {**{name: taken.posted.get(name) for name in ("metadata", "source_name", "pipeline_id")}, **kept}


def _without(said: Item, *names: str) -> Item:
    return {name: value for name, value in said.items() if name not in names}
