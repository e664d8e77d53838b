"""Asks UIS's Call API v4.0 to place a call. It has no idempotency key: nothing here is ever asked twice."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from relay.i18n import Message
from relay.uis_api.json_rpc import Api, ApiError, JsonRpc

CALL_API = Api(
    "Call API v4.0",
    lost="unclear",
    errors={
        "misconfigured": {
            "forbidden": Message(
                "the user of the key may not place calls: give him «Доступ к Call API» in the cabinet («Аккаунт → "
                "Управление пользователями»)"
            ),
            "component_disabled": Message("the Call API is not part of the tariff: ask UIS for it"),
            "virtual_phone_number_not_found": Message(
                "the line is no virtual number of this account: set `line` of [sources.NAME.calls]"
            ),
        },
        "refused": {
            "employee_not_found": Message("UIS has no such employee: look at `employees` of [sources.NAME.calls]"),
            "no_active_phone_number": Message(
                "the employee has no active phone: switch one on for him in the UIS cabinet"
            ),
            "own_virtual_phone_number_not_allowed": Message("this is a virtual number of your own account"),
            "contact_in_blacklist": Message("the number is on the blacklist in the UIS cabinet"),
            "invalid_parameter_value": Message("UIS does not take the number, or the line"),
            "-32002": Message("the account may not call in this direction: allow it in the UIS cabinet"),
        },
    },
    answer_max=1024 * 1024,  # a thousand calls that go on
)


class CallApi(JsonRpc):
    """Places calls of one account."""

    api = CALL_API

    def start(self, *, employee: int, contact: str, line: str, external_id: str) -> str:
        """Ring the employee, then the contact; return the call's session. Raises ApiError.

        Where the answer is lost, the calls that go on are looked through for ours: that costs nothing.
        """
        params = {
            "first_call": "employee",
            "switch_at_once": True,
            "early_switching": True,  # the employee hears the line: tones, voice mail
            "direction": "out",  # UIS would call it incoming
            "virtual_phone_number": line,
            "contact": contact,
            "employee": {"id": employee},  # all his active numbers are rung, as the cabinet has them
            "external_id": external_id,
        }
        try:
            return _session(self.call("start.employee_call", params).rows)
        except ApiError as exc:
            if exc.state == "unclear":
                with contextlib.suppress(ApiError):  # to list calls is a right of its own
                    calls = self.call("list.calls", {}).rows
                    # another program of the account may have given a call of its own the same id
                    ours = [call for call in calls if _ids(call) == (external_id, contact)]
                    return _session(ours if len(ours) == 1 else [])
            raise

    def check(self) -> str:
        """Ask for the calls that go on, which changes nothing; return what is to be said of it. Raises ApiError."""
        try:
            self.call("list.calls", {})
        except ApiError as exc:
            if exc.mnemonic != "component_disabled":
                raise
            return Message(
                "the key is good, but calls cannot be listed with it: whether it may place any the first click shows"
            )
        return Message("whether the key may place calls too the first click shows")


def _ids(call: Mapping[str, Any]) -> tuple[Any, Any]:
    return call.get("external_id"), call.get("contact_phone_number")


def _session(rows: Sequence[Mapping[str, Any]]) -> str:
    """Raises ApiError."""
    session = rows[0].get("call_session_id") if rows else None
    if not isinstance(session, int | str) or isinstance(session, bool) or not str(session).strip():
        raise ApiError("unclear", Message("UIS answered without the call's session"))
    return str(session)
