"""The variables of UIS notifications: which type each has, and which field of a CallEvent it fills.

Source: the variable list of the UIS cabinet and recorded bodies. A name is looked up in lower case,
because templates are typed by hand (`Start_time` for `start_time`).
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import NamedTuple


class Type(Enum):
    TEXT = auto()
    DIRECTION = auto()
    SESSION = auto()  # a number for 1C, text for us
    TIME = auto()  # `YYYY-MM-DD hh:mm:ss.mmm`, no zone
    PHONE = auto()
    EXTENSION = auto()
    ID = auto()
    IDS = auto()
    SECONDS = auto()
    BOOL = auto()
    LINK = auto()
    LINKS = auto()
    LIST = auto()  # of anything; kept as it came


class Variable(NamedTuple):
    type: Type
    field: str | None  #: of CallEvent; None: kept in `extra`


VARIABLES: dict[str, Variable] = {
    "start_time": Variable(Type.TIME, "started_at"),
    "finish_time": Variable(Type.TIME, "finished_at"),
    "notification_time": Variable(Type.TIME, "notified_at"),
    "notification_timestamp": Variable(Type.TIME, "notified_at"),
    "notification_name": Variable(Type.TEXT, "notification_name"),
    "notification_mnemonic": Variable(Type.TEXT, "mnemonic"),
    "direction": Variable(Type.DIRECTION, "direction"),
    "call_session_id": Variable(Type.SESSION, "session_id"),
    "virtual_phone_number": Variable(Type.PHONE, "virtual_number"),
    "calling_phone_number": Variable(Type.PHONE, "caller"),
    "called_phone_number": Variable(Type.PHONE, "callee"),
    "contact_phone_number": Variable(Type.PHONE, "client_number"),
    "employee_phone_number": Variable(Type.PHONE, "employee_number"),
    "extension_phone_number": Variable(Type.EXTENSION, "extension"),
    "employee_id": Variable(Type.ID, None),
    "employee_ids": Variable(Type.IDS, "employee_ids"),
    "contact_id": Variable(Type.ID, "contact_id"),
    "total_time_duration": Variable(Type.SECONDS, "total_seconds"),
    "wait_time_duration": Variable(Type.SECONDS, "wait_seconds"),
    "talk_time_duration": Variable(Type.SECONDS, "talk_seconds"),
    "finish_reason": Variable(Type.TEXT, "finish_reason"),
    "lost_reason": Variable(Type.TEXT, "lost_reason"),
    "is_lost": Variable(Type.BOOL, "is_lost"),
    "full_record_file_link": Variable(Type.LINK, "record_link"),
    "file_link": Variable(Type.LINK, None),
    "record_file_links": Variable(Type.LINKS, None),
    "wav_call_records": Variable(Type.LINKS, "wav_records"),
    "file_duration": Variable(Type.SECONDS, None),
    "external_id": Variable(Type.TEXT, "external_id"),
    "call_source": Variable(Type.TEXT, "call_source"),
    "scenario_name": Variable(Type.TEXT, "scenario"),
    # others that were seen; they go to `extra`
    "is_internal": Variable(Type.BOOL, None),
    "is_transfer": Variable(Type.BOOL, None),
    "call_record_duration": Variable(Type.SECONDS, None),
    **dict.fromkeys(
        (
            "app_id", "communication_id", "cpn_region_id", "last_talked_employee_id", "leg_id", "operator_rating",
            "scenario_id",
        ),
        Variable(Type.ID, None),
    ),
    **dict.fromkeys(("contact_group_ids", "leg_ids", "tag_ids"), Variable(Type.IDS, None)),
    **dict.fromkeys(("attributes", "noanswered_employee_full_names", "tag_names"), Variable(Type.LIST, None)),
    **dict.fromkeys(
        (
            "call_status", "communication_number", "communication_type", "contact_full_name", "cpn_region_name",
            "employee_email", "employee_full_name", "eq_utm_campaign", "eq_utm_content", "eq_utm_expid",
            "eq_utm_medium", "eq_utm_referrer", "eq_utm_source", "eq_utm_term", "finish_time_localized",
            "first_answered_employee_email", "first_talked_employee_email", "last_talked_employee_email",
            "last_talked_employee_full_name", "notification_time_localized", "site_domain_name",
            "start_time_localized", "tp_project", "visitor_browser_name", "visitor_country", "visitor_email",
        ),
        Variable(Type.TEXT, None),
    ),
}  # fmt: skip

TEXTS = (Type.TEXT, Type.DIRECTION, Type.EXTENSION, Type.LINK)
"""Where a placeholder that was left is an empty text for a receiver that knows UIS alone; elsewhere it is null."""

PLACEHOLDER = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")
"""`{{name}}`, which UIS leaves where the event does not know the variable."""


def is_unsubstituted(value: str, key: str) -> bool:
    """Is this text no value, but a placeholder, or the bare name of the very field that was left in its place?

    A constant of the customer's may be equal to the name of another variable.
    """
    if "{{" in value:
        return PLACEHOLDER.fullmatch(value.strip()) is not None
    name = value.strip()
    return name in VARIABLES and name == key.strip().lower()


def is_text(key: str, placeholder: str) -> bool:
    """Would UIS have put a text here? By the variable in the placeholder, else by the field; one's own key is text."""
    found = PLACEHOLDER.fullmatch(placeholder.strip())
    name = found[1] if found else placeholder.strip()
    variable = VARIABLES.get(name.lower()) or VARIABLES.get(key.strip().lower())
    return variable is None or variable.type in TEXTS
