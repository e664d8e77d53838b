"""Keeps the register of calls of a simulated 1C base: periodic by second, and writing replaces.

Its key is the second of the base's clock, the virtual number, whether the call is incoming, and the session; so of
two notifications of one call within a second the later one is left.
"""

from __future__ import annotations

from typing import Any

from relay.clock import Clock, iso

# what of a notification has a field of its own
_FIELDS = (
    "notification_name",
    "start_time",
    "direction",
    "call_session_id",
    "extension_phone_number",
    "virtual_phone_number",
    "called_phone_number",
    "calling_phone_number",
    "total_time_duration",
    "wait_time_duration",
    "full_record_file_link",
)

_CHANNEL = "extension_phone_number"

Record = dict[str, Any]
_Call = tuple[str, bool, str]  # virtual number, is it incoming, session


class Register:
    """Keeps the records in the order in which they were written."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records: dict[tuple[str | None, _Call], Record] = {}  # in the order in which they were written
        self._latest: dict[_Call, Record] = {}  # the fields of a call's last record

    def write(self, endpoint: str, notification: Record, record: Record) -> Any:
        """Add the record of a notification, and return its channel; /rec begins with the call's latest record.

        At the end of a call an extension "" keeps what the earlier record had, null erases that.
        """
        number, session = notification.get("virtual_phone_number"), notification.get("call_session_id")
        call = (str(number), notification.get("direction") == "in", str(session))
        fields = {name: notification[name] for name in _FIELDS if name in notification}
        if str(fields.get(_CHANNEL, "{")).startswith("{"):  # a placeholder that was left: none
            fields[_CHANNEL] = ""
        if endpoint == "rec":
            earlier = self._latest.get(call, {})
            kept = {_CHANNEL: earlier.get(_CHANNEL, "")} if fields[_CHANNEL] == "" else {}
            fields = {**earlier, **fields, **kept}
        self._latest[call] = fields
        period = iso(self._clock().replace(microsecond=0))
        self._records.pop((period, call), None)
        self._records[period, call] = {**record, "period": period, "fields": fields}
        return fields[_CHANNEL]

    def records(self) -> list[Record]:
        return list(self._records.values())

    def clear(self) -> None:
        self._records.clear()
        self._latest.clear()
