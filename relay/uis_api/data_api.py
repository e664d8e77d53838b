"""Asks UIS's Data API v2.0: rows by page, within the limits that its answers state."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from relay.clock import EPOCH, Clock
from relay.config import Report
from relay.i18n import Message
from relay.uis_api.json_rpc import Answer, Api, ApiError, JsonRpc, Limits, as_dict

PAGE = 1000  #: calls in an answer; the vendor allows 10,000
_OFFSET_MAX = 100_000
_EXTENSIONS_FOR, _UNKNOWN_FOR = timedelta(days=1), timedelta(hours=1)
_KEPT_FREE = 0.2  # of a day's requests: the account's other programs live of the same

_NO_DATA_API = Message("the Data API is not part of the tariff: ask UIS to switch it on")
DATA_API = Api(
    "Data API v2.0",
    lost="later",  # it changes nothing: whatever became of a request, it may be made again
    errors={
        "misconfigured": {
            "forbidden": Message(
                "the user of the key may not see the calls: give him the right to the report «Звонки» in the cabinet"
            ),
            "method_component_disabled": _NO_DATA_API,
            "parameter_component_disabled": _NO_DATA_API,
            "component_disabled": _NO_DATA_API,
        }
    },
    answer_max=16 * 1024 * 1024,  # a page of 10,000 calls
)


class TooManyRows(ApiError):
    """Says that UIS has more rows than it lets anybody page through."""

    def __init__(self) -> None:
        super().__init__("later", Message("UIS gives no more than %(most)s rows", most=_OFFSET_MAX))


class Account:
    """What is known of a key's account, to all who ask with that key."""

    limits: Limits | None = None
    extensions: Mapping[str, str] = MappingProxyType({})
    extensions_until: datetime = EPOCH  #: when they are asked for anew


class DataApi(JsonRpc):
    """Asks one account. Keeps to the limits that the answers state: those who use the same key share them."""

    api = DATA_API

    def __init__(self, report: Report, clock: Clock, account: Account) -> None:
        super().__init__(report, clock)
        self._account = account

    def timezone(self) -> str | None:
        """Return the account's time zone (IANA), in which all its times are. Raises ApiError."""
        rows = self.call("get.account", {}).rows
        zone = rows[0].get("timezone") if rows else None
        return zone if isinstance(zone, str) else None

    def rows(self, method: str, params: Mapping[str, Any], *, fields: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of all pages. A field that UIS does not know is left out. Raises ApiError and TooManyRows."""
        fields, offset, total = list(fields), 0, 1
        while offset < total:
            page = {**params, "limit": PAGE, "offset": offset, "fields": fields}
            try:
                answer = self.call(method, page)
            except ApiError as exc:
                if exc.field not in fields:
                    raise
                fields.remove(exc.field)
                continue
            if answer.total > _OFFSET_MAX:
                raise TooManyRows
            yield from answer.rows
            offset, total = offset + len(answer.rows), answer.total if answer.rows else 0

    def extensions(self) -> Mapping[str, str]:
        """Return the extensions of employees by their ids, as they were within the last day. Raises ApiError."""
        account, now = self._account, self._clock()
        if now >= account.extensions_until:
            try:
                rows = list(self.rows("get.employees", {}, fields=("id", "extension")))
            except ApiError as exc:
                if exc.state != "later":  # they may not be seen: a request for each run would be refused for nothing
                    account.extensions_until = now + _UNKNOWN_FOR
                elif account.extensions:  # what was known does till the limits let it be asked
                    return account.extensions
                raise
            numbers = {str(row.get("id")): as_dict(row.get("extension")).get("extension_phone_number") for row in rows}
            account.extensions = {id_: str(number) for id_, number in numbers.items() if number}
            account.extensions_until = now + (_EXTENSIONS_FOR if account.extensions else _UNKNOWN_FOR)
        return account.extensions

    def call(self, method: str, params: Mapping[str, Any]) -> Answer:
        self._keep_to_limits()
        answer = super().call(method, params)
        if answer.limits is not None:
            self._account.limits = answer.limits
        return answer

    def _keep_to_limits(self) -> None:
        limits, now = self._account.limits, self._clock()
        if limits is None:
            return
        if limits.day_remaining <= limits.day_limit * _KEPT_FREE and now < limits.day_resets_at:
            reason = Message("a fifth of the day's requests to the Data API is left to the account's other programs")
            raise ApiError("later", reason, wait=limits.day_resets_at - now)
        if limits.minute_remaining <= 0 and now < limits.minute_resets_at:
            reason = Message("the requests of this minute are used up")
            raise ApiError("later", reason, wait=limits.minute_resets_at - now)


def least_interval(limits: Limits | None, now: datetime, *, sources: int, requests: int) -> timedelta:
    """Return how far apart a source's runs must lie so that all sources of a key come out with the day's requests."""
    if limits is None or now >= limits.day_resets_at:
        return timedelta(0)
    budget = limits.day_remaining - limits.day_limit * _KEPT_FREE
    if budget <= 0:
        return limits.day_resets_at - now
    runs = budget / (sources * max(requests, 1))
    return timedelta(seconds=math.ceil((limits.day_resets_at - now).total_seconds() / runs))
