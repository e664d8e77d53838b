"""Speaks JSON-RPC 2.0 with UIS: one method a request, errors by their mnemonic, limits in every answer.

Source: the vendor's documentation (comagic.github.io/data-api, /call-api). What it leaves open (the HTTP status of an
error, the `id` in it) is read leniently. No text of an error quotes the answer: its `data.value` repeats the key.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from msgspec import Struct

from relay.clock import Clock
from relay.config import UisApi
from relay.errors import RelayError
from relay.i18n import WITH_REASON, Message
from relay.targets.http_client import Client, NoAnswer, Response

_HEADERS = {"Content-Type": "application/json; charset=UTF-8"}

State = Literal["misconfigured", "later", "refused", "unclear"]


class Limits(Struct, frozen=True):
    """What an answer says of the requests that are left, and when they are counted anew."""

    minute_remaining: int
    minute_resets_at: datetime
    day_remaining: int
    day_resets_at: datetime
    day_limit: int


class Answer(Struct, frozen=True):
    """What a method has answered."""

    rows: Sequence[Mapping[str, Any]]
    total: int  #: rows of all pages
    limits: Limits | None


class ApiError(RelayError):
    """Says that UIS did not answer with data. `misconfigured`: somebody has to mend it; `later`: after `wait`;
    `unclear`: it may have done what it was asked.
    """

    def __init__(
        self, state: State, reason: str, *, mnemonic: str = "", wait: timedelta | None = None, field: str = ""
    ) -> None:
        super().__init__(reason)
        self.state, self.wait = state, wait
        self.mnemonic = mnemonic  #: UIS's word for it; empty where there was no answer in JSON-RPC
        self.field = field  #: the parameter that UIS does not know


Errors = Mapping[State, Mapping[str, Message]]
"""What an error means, and by its mnemonic (or by its code, where there is none) what to do."""


class Api(Struct, frozen=True):
    """One of UIS's two."""

    name: str
    lost: State  #: what it means that nobody knows whether a request was carried out
    errors: Errors  #: its own, or those that are to be mended otherwise than at the other
    answer_max: int = 64 * 1024  #: in bytes; a request is given the time that a slow line needs for so many


_NEW_KEY = Message("make a new key in the UIS cabinet and set `key`")
_ERRORS: Errors = {
    "misconfigured": {
        "access_token_invalid": Message(
            "UIS does not know the key: %(remedy)s; the key of one brand opens nothing at another's address: look at "
            "`preset`",
            remedy=_NEW_KEY,
        ),
        "access_token_expired": Message("the key has expired: %(remedy)s", remedy=_NEW_KEY),
        "access_token_blocked": Message("the key is blocked: %(remedy)s", remedy=_NEW_KEY),
        "auth_error": Message("UIS refuses the login: %(remedy)s", remedy=_NEW_KEY),
        "account_inactive": Message("the account is switched off: ask UIS"),
    }
}
_WRONG_ADDRESS = Message("nothing answers to this method there: is `url` that of the %(api)s?")
_OUR_FAULT = Message("UIS refuses the request, which is a fault of the relay: please report it")


def read_answer(response: Response, now: datetime, api: Api) -> Answer:
    """Return what a method has answered. Raises ApiError."""
    document = response.document()
    error, result = (document.get(key) if document else None for key in ("error", "result"))
    if isinstance(error, dict):
        raise _error(error, now, api)
    if not isinstance(result, dict):
        raise _not_an_answer(response, api)
    data = result.get("data")
    rows = [row for row in (data if isinstance(data, list) else [data]) if isinstance(row, dict)]
    metadata = as_dict(result.get("metadata") or result.get("meta_data"))
    total = metadata.get("total_items")
    limits = read_limits(metadata.get("limits"), now)
    return Answer(rows, total if isinstance(total, int) else len(rows), limits)


def read_limits(limits: object, now: datetime) -> Limits | None:
    """Read the limits of an answer or of an error; None where it has none."""
    if not isinstance(limits, dict):
        return None
    try:
        return Limits(
            minute_remaining=int(limits["minute_remaining"]),
            minute_resets_at=now + timedelta(seconds=min(int(limits["minute_reset"]), 3600)),
            day_remaining=int(limits["day_remaining"]),
            day_resets_at=now + timedelta(seconds=min(int(limits["day_reset"]), 2 * 86400)),
            day_limit=int(limits["day_limit"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _error(error: Mapping[str, Any], now: datetime, api: Api) -> ApiError:
    data = as_dict(error.get("data"))
    mnemonic, code = str(data.get("mnemonic") or "")[:100], str(error.get("code"))[:20]
    if mnemonic == "ip_not_whitelisted":
        return ApiError("misconfigured", _not_let_in(error), mnemonic=mnemonic)
    if mnemonic == "limit_exceeded":
        limits = read_limits(as_dict(data.get("metadata")).get("limits"), now)
        waits = [timedelta(minutes=1)]
        if limits is not None:
            waits += [limits.day_resets_at - now] if limits.day_remaining <= 0 else [limits.minute_resets_at - now]
        reason = Message("the limit of requests to the %(api)s is used up", api=api.name)
        return ApiError("later", reason, mnemonic=mnemonic, wait=max(waits))
    if mnemonic == "unexpected_parameters":
        reason = Message("UIS does not know a field that was asked for")
        return ApiError("refused", reason, mnemonic=mnemonic, field=str(data.get("field")))
    if mnemonic == "internal_error":
        return ApiError(api.lost, Message("UIS has an internal error"), mnemonic=mnemonic)
    if mnemonic == "method_not_found":
        return ApiError("misconfigured", _WRONG_ADDRESS.fill(api=api.name), mnemonic=mnemonic)
    meanings: dict[str, tuple[State, Message]] = {
        word: (state, text) for state, texts in (*_ERRORS.items(), *api.errors.items()) for word, text in texts.items()
    }
    state, text = meanings.get(mnemonic) or meanings.get(code) or ("refused", _OUR_FAULT)
    return ApiError(state, Message(WITH_REASON, text=text, reason=mnemonic or code), mnemonic=mnemonic or code)


def as_dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _not_let_in(error: Mapping[str, Any]) -> str:
    """Name the address that UIS saw: it is the one to enter in the cabinet. Only its digits and dots are quoted."""
    words = str(error.get("message"))[:300].split()
    place = "«Аккаунт → Правила и настройки безопасности → API»"
    for address in words:
        if address.count(".") == 3 and address.replace(".", "").isdigit():
            text = Message("UIS does not let the address %(address)s in; enter it in the cabinet: %(place)s")
            return text.fill(address=address, place=place)
    return Message("UIS does not let this address in; enter it in the cabinet: %(place)s", place=place)


def _not_an_answer(response: Response, api: Api) -> ApiError:
    status = response.status
    if status == 429 or status >= 500:
        return ApiError("later" if status == 429 else api.lost, Message("UIS answered %(status)s", status=status))
    if status in (401, 403, 404):
        reason = Message("UIS answered %(status)s: is `url` that of the %(api)s?", status=status, api=api.name)
        return ApiError("misconfigured", reason)
    return ApiError(api.lost, Message("the answer (%(status)s) is none of the %(api)s", status=status, api=api.name))


class JsonRpc:
    """Asks one account. Not for several threads at once."""

    api: ClassVar[Api]

    def __init__(self, settings: UisApi, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._client = Client(settings)
        self._numbers = itertools.count(1)

    @property
    def requests_made(self) -> int:
        return self._client.requests_made

    def close(self) -> None:
        self._client.close()

    def call(self, method: str, params: Mapping[str, Any]) -> Answer:
        """Make one request, never a second one. Raises ApiError."""
        body = {
            "jsonrpc": "2.0",
            "id": f"relay-{next(self._numbers)}",
            "method": method,
            "params": {"access_token": self._settings.key, **params},
        }
        content = json.dumps(body, ensure_ascii=False).encode()
        try:
            url, most = self._settings.address, self.api.answer_max
            response = self._client.request("POST", url, _HEADERS, content, body_max=most)
        except NoAnswer as exc:
            states: dict[str, State] = {"misconfigured": "misconfigured", "unclear": self.api.lost}
            raise ApiError(states.get(exc.outcome.name, "later"), exc.outcome.reason) from exc
        return read_answer(response, self._clock(), self.api)
