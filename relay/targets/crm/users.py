"""Tells whose call it may be at a CRM, by the settings of the target. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from relay.calls.history import CallHistory
from relay.config import CrmTarget


def employee_of(user: int, target: CrmTarget) -> tuple[int | None, str | None]:
    """Return of a user of the CRM the employee's id in UIS, or his extension, where the settings name them."""
    employees = (employee for employee, named in target.employees.items() if named == user)
    extensions = (extension for extension, named in target.users.items() if named == user)
    return next((int(employee) for employee in employees if employee.isdigit()), None), next(extensions, None)


def users(history: CallHistory, target: CrmTarget) -> Iterator[int | str]:
    """Yield whose call it may be, the latest first: a user of the CRM, or an extension that no setting names."""
    for call in reversed(history.calls):
        if call.extension is not None:
            yield target.users.get(call.extension, call.extension)
        for employee in reversed(call.employee_ids):  # the one who came last
            if str(employee) in target.employees:
                yield target.employees[str(employee)]
