"""Tells whose call it may be at a CRM, by the settings of the target. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from relay.calls.history import CallHistory
from relay.config import CrmTarget


def users(history: CallHistory, target: CrmTarget) -> Iterator[int | str]:
    """Yield whose call it may be, the latest first: a user of the CRM, or an extension that no setting names."""
    for call in reversed(history.calls):
        if call.extension is not None:
            yield target.users.get(call.extension, call.extension)
        for employee in reversed(call.employee_ids):  # the one who came last
            if str(employee) in target.employees:
                yield target.employees[str(employee)]
