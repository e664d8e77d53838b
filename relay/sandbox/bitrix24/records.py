"""Keeps what a simulated Bitrix24 portal holds of finished calls: statistics, and at most one recording of each."""

from __future__ import annotations

import binascii
from base64 import b64decode
from itertools import count
from typing import Any

from msgspec.structs import replace

from relay.sandbox.bitrix24.calls import Calls, Finished
from relay.sandbox.bitrix24.crm import Fields, listed
from relay.sandbox.bitrix24.failures import NOT_FINISHED, Refusal, Refused

_FIRST_FILE = 9079
_NO_PARAMETERS = "Required parameters are not set. Request should contain or URL or FILENAME parameter"
_NO_BASE64 = "File content is not properly encoded. Base64 encoding is expected."
_WRONG_EXTENSION = "Wrong file extension. Only wav and mp3 are allowed"


class Records:
    """Keeps them, beside the calls. Not thread-safe: the portal's lock guards it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._file_ids = count(_FIRST_FILE)

    def attach(self, fields: Fields) -> Fields:
        """Do as telephony.externalcall.attachrecord.

        RECORD_URL is only noted, never fetched: a simulator makes no requests of its own, and what the portal
        would meet there is told to it ("download_failed").
        """
        row = self._calls.finished.get(str(fields.get("CALL_ID")))
        if row is None:
            raise Refused(NOT_FINISHED)
        if fields.get("RECORD_URL"):
            return self._keep(row, {"url": str(fields["RECORD_URL"])})
        name = _file_name(fields)
        return self._keep(row, {"filename": name, "bytes": len(_content(fields.get("FILE_CONTENT")))})

    def _keep(self, row: Finished, record: dict[str, Any]) -> Fields:
        """Keep it in place of the one there was."""
        file_id = next(self._file_ids)
        self._calls.finished[row.call.call_id] = replace(
            row, records=(record,), record_writes=row.record_writes + 1, file_id=file_id
        )
        return {"FILE_ID": file_id}

    def statistics(self, fields: Fields) -> list[Fields]:
        """Do as voximplant.statistic.get: every number is a string there, but RECORD_FILE_ID."""
        filters = {
            name.upper(): [str(each) for each in listed(value)] for name, value in (fields.get("FILTER") or {}).items()
        }
        rows = [_statistic(row) for row in self._calls.finished.values()]
        return [row for row in rows if all(row.get(name) in values for name, values in filters.items())]


def _file_name(fields: Fields) -> str:
    if "FILENAME" not in fields:
        raise Refused(Refusal(_NO_PARAMETERS))
    name = str(fields["FILENAME"] or "")
    if not name:
        raise Refused(Refusal("File name is empty"))
    if not name.lower().endswith((".wav", ".mp3")):
        raise Refused(Refusal(_WRONG_EXTENSION))
    return name


def _content(encoded: object) -> bytes:
    if not encoded:
        raise Refused(Refusal("File content is empty."))
    try:
        return b64decode(str(encoded), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(Refusal(_NO_BASE64)) from None


def _statistic(row: Finished) -> Fields:
    call = row.call
    entity_id = None if call.entity.id is None else str(call.entity.id)
    return {
        "ID": str(row.id),
        "PORTAL_USER_ID": str(row.user_id),
        "PORTAL_NUMBER": call.line,
        "PHONE_NUMBER": call.phone,
        "CALL_ID": call.call_id,
        "EXTERNAL_CALL_ID": call.external_id,
        "CALL_CATEGORY": "external",
        "CALL_LOG": None,
        "CALL_DURATION": str(row.duration),
        "CALL_START_DATE": call.started.isoformat(timespec="seconds"),
        "CALL_RECORD_URL": next((record.get("url") for record in row.records), None),
        "CALL_VOTE": None if row.vote is None else str(row.vote),
        "COST": "0.0000",
        "COST_CURRENCY": "",
        "CALL_FAILED_CODE": row.status,
        "CALL_FAILED_REASON": row.reason,
        "CRM_ENTITY_TYPE": call.entity.type,
        "CRM_ENTITY_ID": entity_id,
        "CRM_ACTIVITY_ID": str(7000 + row.id),
        "REST_APP_ID": call.app,
        "REST_APP_NAME": call.app and "Приложение",
        "TRANSCRIPT_ID": None,
        "TRANSCRIPT_PENDING": "N",
        "SESSION_ID": None,
        "REDIAL_ATTEMPT": None,
        "COMMENT": None,
        "RECORD_DURATION": None,
        "RECORD_FILE_ID": row.file_id,
        "CALL_TYPE": str(call.type),
    }
