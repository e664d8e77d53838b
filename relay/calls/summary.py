"""Sums a call up for people: when it began, who with whom, how it ended. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from relay.calls.call_result import CallResult, call_result
from relay.calls.history import CallHistory, digits_of_client
from relay.models import CallEvent

_EMPLOYEE_NAMES = ("last_talked_employee_full_name", "employee_full_name", "first_talked_employee_full_name")


class CallSummary(Struct, frozen=True, kw_only=True):
    """Says what people ask about a call."""

    began_at: datetime | None
    direction: Literal["in", "out"]
    client: str | None
    line: str | None
    extension: str | None  #: of the employee who had the call last
    employee: str | None  #: his name, where UIS says it
    result: CallResult | None  #: None: its end has not been notified
    has_recording: bool
    is_ours: bool  #: we called: somebody did, or UIS by itself

    @property
    def is_missed(self) -> bool:
        """Did a client call in vain? Not where UIS does not say whether there was a talk."""
        is_colleague = self.client is not None and digits_of_client(self.client) is None
        has_failed = self.result is not None and self.result.result not in ("talked", "other")
        return has_failed and not self.is_ours and not is_colleague


def summarise(calls: Sequence[CallEvent]) -> CallSummary:
    """Return the summary of a call by what its notifications say, in the order of acceptance; at least one."""
    history = CallHistory(tuple(calls))
    return CallSummary(
        began_at=history.started_at,
        direction=history.direction,
        client=history.client,
        line=history.line,
        extension=next((call.extension for call in reversed(calls) if call.extension), None),
        employee=next((name for call in reversed(calls) if (name := _employee(call))), None),
        result=_result(calls),
        has_recording=history.record is not None,
        is_ours=history.direction == "out" or history.is_called_by_uis,
    )


def _result(calls: Sequence[CallEvent]) -> CallResult | None:
    """Read the end of a call, whenever it came: where it was notified twice, «Завершение звонка» knows better."""
    ends = [call for kind in ("lost", "finished") for call in calls if call.kind == kind]
    if not ends:
        return None
    return call_result(CallHistory((*(call for call in calls if call is not ends[-1]), ends[-1])))


def _employee(call: CallEvent) -> str | None:
    names = (call.extra.get(key) for key in _EMPLOYEE_NAMES)
    return next((name for name in names if isinstance(name, str) and name.strip()), None)
