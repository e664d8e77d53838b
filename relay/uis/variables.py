"""The variables of UIS notifications: the type of each, and the field of a CallEvent that it fills.

Source: the variable list of the UIS cabinet and recorded bodies. A name is looked up in lower case,
because templates are typed by hand (`Start_time` for `start_time`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

JSON = Any  #: str | int | float | bool | None | list | dict | Ambiguous | Unfilled

KEY_MAX = 64  #: characters of what a call or an employee is found by

PLACEHOLDER = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")
"""`{{name}}`, which UIS leaves where the event does not know the variable."""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A field whose value can be read in more than one way: it is left empty, the text is kept."""

    text: str


@dataclass(frozen=True, slots=True)
class Unfilled:
    """A field that holds no value, but the placeholder that UIS left in its place."""

    text: str


Type = Literal[
    "text", "direction", "session", "time", "phone", "extension", "id", "ids", "seconds", "bool", "link", "links", "any"
]
"""`session`: a number for 1C, text for us; `time`: `YYYY-MM-DD hh:mm:ss.mmm`, no zone; `any`: kept as it came."""


class Variable(NamedTuple):
    type: Type
    field: str | None  #: of CallEvent; None: kept in `extra`


_UNMAPPED: dict[Type, str] = {
    "id": """
        app_id communication_id cpn_region_id employee_id last_talked_employee_id leg_id operator_rating scenario_id
    """,
    "ids": "contact_group_ids leg_ids tag_ids",
    "seconds": "call_record_duration file_duration",
    "bool": "is_internal is_transfer",
    "link": "file_link",
    "links": "record_file_links",
    "any": "attributes noanswered_employee_full_names tag_names",
    "text": """
        call_status communication_number communication_type contact_full_name cpn_region_name employee_email
        employee_full_name eq_utm_campaign eq_utm_content eq_utm_expid eq_utm_medium eq_utm_referrer eq_utm_source
        eq_utm_term finish_time_localized first_answered_employee_email first_talked_employee_email
        last_talked_employee_email last_talked_employee_full_name notification_time_localized site_domain_name
        start_time_localized tp_project visitor_browser_name visitor_country visitor_email
    """,
}
"""Those without a field of their own: they go to `extra`."""

VARIABLES: dict[str, Variable] = {
    "start_time": Variable("time", "started_at"),
    "finish_time": Variable("time", "finished_at"),
    "notification_time": Variable("time", "notified_at"),
    "notification_timestamp": Variable("time", "notified_at"),
    "notification_name": Variable("text", "notification_name"),
    "notification_mnemonic": Variable("text", "mnemonic"),
    "direction": Variable("direction", "direction"),
    "call_session_id": Variable("session", "session_id"),
    "virtual_phone_number": Variable("phone", "virtual_number"),
    "calling_phone_number": Variable("phone", "caller"),
    "called_phone_number": Variable("phone", "callee"),
    "contact_phone_number": Variable("phone", "client_number"),
    "employee_phone_number": Variable("phone", "employee_number"),
    "extension_phone_number": Variable("extension", "extension"),
    "employee_ids": Variable("ids", "employee_ids"),
    "contact_id": Variable("id", "contact_id"),
    "total_time_duration": Variable("seconds", "total_seconds"),
    "wait_time_duration": Variable("seconds", "wait_seconds"),
    "talk_time_duration": Variable("seconds", "talk_seconds"),
    "finish_reason": Variable("text", "finish_reason"),
    "lost_reason": Variable("text", "lost_reason"),
    "is_lost": Variable("bool", "is_lost"),
    "full_record_file_link": Variable("link", "record_link"),
    "wav_call_records": Variable("links", "wav_records"),
    "external_id": Variable("text", "external_id"),
    "call_source": Variable("text", "call_source"),
    "scenario_name": Variable("text", "scenario"),
    **{name: Variable(kind, None) for kind, names in _UNMAPPED.items() for name in names.split()},
}

SECRETS = frozenset({"token", "integration_key"})
"""The names of constants that are secrets: the relay's own, and the one that Novofon's templates have."""

TEXTS = ("text", "direction", "extension", "link")
"""Where a placeholder that was left is an empty text for a receiver that knows UIS alone; elsewhere it is null."""
