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
    # others that were seen; they go to `extra` as they are
    **dict.fromkeys(
        (
            "contact_full_name", "employee_full_name", "last_talked_employee_full_name", "employee_email",
            "tag_ids", "tag_names", "leg_id", "leg_ids", "is_transfer", "last_talked_employee_id",
            "communication_id", "communication_number", "communication_type", "visitor_country",
            "scenario_id", "app_id", "attributes", "cpn_region_name", "site_domain_name",
        ),
        Variable(Type.TEXT, None),
    ),
}  # fmt: skip

PLACEHOLDER = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")
"""`{{name}}`, which UIS leaves where the event does not know the variable."""


def is_unsubstituted(value: str, key: str) -> bool:
    """Is this text no value, but a placeholder, or the bare name of the variable that was left in its place?"""
    if "{{" in value:
        return PLACEHOLDER.fullmatch(value.strip()) is not None
    name = value.strip()
    return name in VARIABLES and (name == key.lower() or "_" in name)
