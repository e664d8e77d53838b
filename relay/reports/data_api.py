"""Speaks UIS's Data API v2.0: JSON-RPC 2.0, one method a request, answers by page, limits in every answer.

Source: the vendor's documentation (comagic.github.io/data-api). What it leaves open (the HTTP status of an error, the
`id` in it) is read leniently. No text of an error here quotes the answer: `error.data.value` repeats the key.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from msgspec import Struct

from relay.clock import Clock
from relay.config import HttpTarget, Report
from relay.errors import RelayError
from relay.i18n import WITH_REASON, Message
from relay.targets.error_text import Mask
from relay.targets.http_client import Client, NoAnswer, Response

PAGE = 1000  #: calls in an answer; the vendor allows 10,000
_OFFSET_MAX = 100_000
_BODY_MAX = 16 * 1024 * 1024
_KEPT_FREE = 0.2  # of a day's requests: the account's other programs live of the same
_HEADERS = {"Content-Type": "application/json; charset=UTF-8"}

State = Literal["misconfigured", "later", "refused"]


class Limits(Struct, frozen=True):
    """What an answer says of the requests that are left, and when they are counted anew."""

    minute_remaining: int
    minute_resets_at: datetime
    day_remaining: int
    day_resets_at: datetime
    day_limit: int


class TooManyRows(RelayError):
    """Says that UIS has more rows than it lets anybody page through."""


class ReportError(RelayError):
    """Says that UIS did not answer with data. `misconfigured`: somebody has to mend it; `later`: after `wait`."""

    def __init__(self, state: State, reason: str, *, wait: timedelta | None = None, field: str = "") -> None:
        super().__init__(reason)
        self.state, self.wait = state, wait
        self.field = field  #: the parameter that UIS does not know


_NEW_KEY = Message("make a new key in the UIS cabinet and set `key`")
_NO_DATA_API = Message("the Data API is not part of the tariff: ask UIS to switch it on")
# by mnemonic: what it means for the source's report, and what to do
_ERRORS: dict[str, tuple[State, Message]] = {
    "access_token_invalid": (
        "misconfigured",
        Message(
            "UIS does not know the key: %(remedy)s; the key of one brand opens nothing at another's address: look at "
            "`preset`",
            remedy=_NEW_KEY,
        ),
    ),
    "access_token_expired": ("misconfigured", Message("the key has expired: %(remedy)s", remedy=_NEW_KEY)),
    "access_token_blocked": ("misconfigured", Message("the key is blocked: %(remedy)s", remedy=_NEW_KEY)),
    "auth_error": ("misconfigured", Message("UIS refuses the login: %(remedy)s", remedy=_NEW_KEY)),
    "forbidden": (
        "misconfigured",
        Message("the user of the key may not see the calls: give him the right to the report «Звонки» in the cabinet"),
    ),
    "method_component_disabled": ("misconfigured", _NO_DATA_API),
    "parameter_component_disabled": ("misconfigured", _NO_DATA_API),
    "component_disabled": ("misconfigured", _NO_DATA_API),
    "account_inactive": ("misconfigured", Message("the account is switched off: ask UIS")),
    "method_not_found": (
        "misconfigured",
        Message("nothing answers to this method there: is `url` that of the Data API v2.0?"),
    ),
    "internal_error": ("later", Message("UIS has an internal error")),
}
_OUR_FAULT = Message("UIS refuses the request, which is a fault of the relay: please report it")


def read_answer(response: Response, now: datetime) -> tuple[list[Mapping[str, Any]], int, Limits | None]:
    """Return the rows of an answer, how many there are in all, and the limits. Raises ReportError."""
    document = response.document()
    error = document.get("error") if document else None
    if isinstance(error, dict):
        raise _error(error, now)
    result = document.get("result") if document else None
    if not isinstance(result, dict):
        raise _not_an_answer(response)
    data = result.get("data")
    rows: list[Mapping[str, Any]] = [
        row for row in (data if isinstance(data, list) else [data]) if isinstance(row, dict)
    ]
    metadata = _dict(result.get("metadata") or result.get("meta_data"))
    total = metadata.get("total_items")
    return rows, total if isinstance(total, int) else len(rows), read_limits(metadata.get("limits"), now)


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


def _error(error: Mapping[str, Any], now: datetime) -> ReportError:
    data = _dict(error.get("data"))
    mnemonic = str(data.get("mnemonic") or "")[:100]
    if mnemonic == "ip_not_whitelisted":
        return ReportError("misconfigured", _not_let_in(error))
    if mnemonic == "limit_exceeded":
        limits = read_limits(_dict(data.get("metadata")).get("limits"), now)
        waits = [timedelta(minutes=1)]
        if limits is not None:
            waits += [limits.day_resets_at - now] if limits.day_remaining <= 0 else [limits.minute_resets_at - now]
        return ReportError("later", Message("the limit of requests to the Data API is used up"), wait=max(waits))
    if mnemonic == "unexpected_parameters":
        return ReportError(
            "refused", Message("UIS does not know a field that was asked for"), field=str(data.get("field"))
        )
    state, reason = _ERRORS.get(mnemonic, ("refused", _OUR_FAULT))
    return ReportError(state, Message(WITH_REASON, text=reason, reason=mnemonic or error.get("code")))


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _not_let_in(error: Mapping[str, Any]) -> str:
    """Name the address that UIS saw: it is the one to enter in the cabinet. Only its digits and dots are quoted."""
    words = str(error.get("message"))[:300].split()
    address = next((word for word in words if word.count(".") == 3 and word.replace(".", "").isdigit()), None)
    place = "«Аккаунт → Правила и настройки безопасности → API»"
    if address is None:
        return Message("UIS does not let this address in; enter it in the cabinet: %(place)s", place=place)
    return Message(
        "UIS does not let the address %(address)s in; enter it in the cabinet: %(place)s", address=address, place=place
    )


def _not_an_answer(response: Response) -> ReportError:
    if response.status == 429 or response.status >= 500:
        return ReportError("later", Message("UIS answered %(status)s", status=response.status))
    if response.status in (401, 403, 404):
        return ReportError(
            "misconfigured",
            Message("UIS answered %(status)s: is `url` that of the Data API v2.0?", status=response.status),
        )
    return ReportError("later", Message("the answer (%(status)s) is none of the Data API's", status=response.status))


class DataApi:
    """Asks one account. Keeps to the limits that the answers state: those who use the same key share them."""

    def __init__(self, report: Report, clock: Clock, limits: dict[str, Limits]) -> None:
        self._report, self._clock, self._limits = report, clock, limits
        settings = HttpTarget(
            name="report",
            url=report.address,
            timeout=report.timeout,
            connect_timeout=report.connect_timeout,
            proxy=report.proxy,
            ca_file=report.ca_file,
            verify_tls=report.verify_tls,
        )
        self._client = Client(settings, mask=Mask([report.key]))
        self._numbers = itertools.count(1)

    @property
    def limits(self) -> Limits | None:
        return self._limits.get(self._report.key)

    @property
    def requests_made(self) -> int:
        return self._client.requests_made

    def close(self) -> None:
        self._client.close()

    def timezone(self) -> str | None:
        """Return the account's time zone (IANA), in which all its times are. Raises ReportError."""
        rows, _ = self._call("get.account", {})
        zone = rows[0].get("timezone") if rows else None
        return zone if isinstance(zone, str) else None

    def rows(self, method: str, params: Mapping[str, Any], *, fields: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of all pages. A field that UIS does not know is left out. Raises ReportError, TooManyRows."""
        fields, offset, total = list(fields), 0, 1
        while offset < total:
            page = {**params, "limit": PAGE, "offset": offset, "fields": fields}
            try:
                rows, total = self._call(method, page)
            except ReportError as exc:
                if exc.field not in fields:
                    raise
                fields.remove(exc.field)
                continue
            if total > _OFFSET_MAX:
                raise TooManyRows("UIS gives no more than %(most)s rows", most=_OFFSET_MAX)
            yield from rows
            if not rows:
                return
            offset += len(rows)

    def _call(self, method: str, params: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], int]:
        self._keep_to_limits()
        body = {
            "jsonrpc": "2.0",
            "id": f"relay-{next(self._numbers)}",
            "method": method,
            "params": {"access_token": self._report.key, **params},
        }
        content = json.dumps(body, ensure_ascii=False).encode()
        try:
            response = self._client.request("POST", self._report.address, _HEADERS, content, body_max=_BODY_MAX)
        except NoAnswer as exc:
            state: State = "misconfigured" if exc.outcome.name == "misconfigured" else "later"
            raise ReportError(state, exc.outcome.reason) from exc
        rows, total, limits = read_answer(response, self._clock())
        if limits is not None:
            self._limits[self._report.key] = limits
        return rows, total

    def _keep_to_limits(self) -> None:
        limits, now = self.limits, self._clock()
        if limits is None:
            return
        if limits.day_remaining <= limits.day_limit * _KEPT_FREE and now < limits.day_resets_at:
            reason = Message("a fifth of the day's requests to the Data API is left to the account's other programs")
            raise ReportError("later", reason, wait=limits.day_resets_at - now)
        if limits.minute_remaining <= 0 and now < limits.minute_resets_at:
            reason = Message("the requests of this minute are used up")
            raise ReportError("later", reason, wait=limits.minute_resets_at - now)


def least_interval(limits: Limits | None, now: datetime, *, sources: int, requests: int) -> timedelta:
    """Return how far apart a source's runs must lie so that all sources of a key come out with the day's requests."""
    if limits is None or now >= limits.day_resets_at:
        return timedelta(0)
    budget = limits.day_remaining - limits.day_limit * _KEPT_FREE
    if budget <= 0:
        return limits.day_resets_at - now
    runs = budget / (sources * max(requests, 1))
    return timedelta(seconds=math.ceil((limits.day_resets_at - now).total_seconds() / runs))
