"""Simulates the Call API v4.0 of an account of UIS: what calls it was asked to place, and whether it would have.

By the vendor's documentation (comagic.github.io/call-api). Nobody is rung, and no notification is sent.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from typing import Any

Row = dict[str, Any]

CALL_ERRORS: dict[str, tuple[int, str]] = {
    "invalid_parameters_combination": (-32602, "The combination of parameters is not permitted"),
    "component_disabled": (-32008, "Component call_api_base has been disabled"),
    "virtual_phone_number_not_found": (-32007, "Virtual phone number not found. It is not your virtual phone number."),
    "employee_not_found": (-32602, "Employee not found. It is not your employee."),
    "no_active_phone_number": (-32602, "The phone number does not exist or inactive"),
    "own_virtual_phone_number_not_allowed": (-32602, "Parameter contact can not contain own virtual phone number"),
    "contact_in_blacklist": (-32002, "The contact has been found in the blacklist"),
}
LINES = ("74955550100", "74955550199")
_REQUIRED = ("first_call", "virtual_phone_number", "contact", "employee")
_PARAMETERS = {*_REQUIRED, "direction", "external_id", "switch_at_once", "early_switching", "show_virtual_phone_number"}
_FIRST_SESSION = 237_859_081


class RpcError(Exception):
    """Says that a request is answered with an error; `field` is the parameter that it is about."""

    def __init__(self, mnemonic: str, field: str = "") -> None:
        super().__init__(mnemonic)
        self.mnemonic, self.field = mnemonic, field


class PlacedCalls:
    """Holds the calls that were placed. Not thread-safe: the account's lock guards it."""

    def __init__(self, employees: Collection[int]) -> None:
        self._employees, self._sessions = employees, itertools.count(_FIRST_SESSION)
        self.calls: list[Row] = []

    def answer(self, method: str, params: Row) -> Any:
        """Return the data of an answer. Raises RpcError."""
        if method == "list.calls":
            return [
                {
                    "call_session_id": call["call_session_id"],
                    "direction": call["direction"],
                    "virtual_phone_number": call["virtual_phone_number"],
                    "contact_phone_number": call["contact"],
                    "external_id": call["external_id"],
                }
                for call in self.calls
            ]
        _check(params)
        if params["employee"]["id"] not in self._employees:
            raise RpcError("employee_not_found", "employee")
        session = next(self._sessions)
        self.calls.append({"direction": "in", "external_id": None, **params, "call_session_id": session})
        return {"call_session_id": session}


def _check(params: Row) -> None:
    """Raises RpcError."""
    for name in _REQUIRED:
        if name not in params:
            raise RpcError("required_parameter_missed", name)
    if unknown := sorted(set(params) - _PARAMETERS):
        raise RpcError("unexpected_parameters", unknown[0])
    if params.get("early_switching") and (params["first_call"] != "employee" or not params.get("switch_at_once")):
        raise RpcError("invalid_parameters_combination", "early_switching")
    contact = params["contact"]
    if not (isinstance(contact, str) and contact.isdigit() and len(contact) > 6):
        raise RpcError("invalid_parameter_value", "contact")
    if params["virtual_phone_number"] not in LINES:
        raise RpcError("virtual_phone_number_not_found", "virtual_phone_number")
    if contact in LINES:
        raise RpcError("own_virtual_phone_number_not_allowed", "contact")
