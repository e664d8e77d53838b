"""Sums a call up for people: who with whom, how it ended. Pure."""

from __future__ import annotations

from functools import cached_property

from relay.calls.call_result import CallResult, call_result
from relay.calls.history import CallHistory, digits_of_client

_EMPLOYEE_NAMES = ("last_talked_employee_full_name", "employee_full_name", "first_talked_employee_full_name")


class CallSummary(CallHistory, frozen=True, dict=True):
    """Says what people ask about a call, by its notifications in the order of acceptance."""

    @property
    def extension(self) -> str | None:
        """Return that of the employee who had the call last."""
        return next((call.extension for call in reversed(self.calls) if call.extension), None)

    @property
    def employee(self) -> str | None:
        """Return his name, where UIS says it."""
        names = (call.extra.get(key) for call in reversed(self.calls) for key in _EMPLOYEE_NAMES)
        return next((name for name in names if isinstance(name, str) and name.strip()), None)

    @cached_property
    def result(self) -> CallResult | None:
        """Return how it ended; None: not told yet. Where it was told twice, «Завершение звонка» knows better."""
        ends = [call for kind in ("lost", "finished") for call in self.calls if call.kind == kind]
        if not ends:
            return None
        return call_result(CallHistory((*(call for call in self.calls if call is not ends[-1]), ends[-1])))

    @property
    def is_ours(self) -> bool:
        """Did we call? Somebody did, or UIS by itself."""
        return self.direction == "out" or self.is_called_by_uis

    @property
    def is_missed(self) -> bool:
        """Did a client call in vain? Not where UIS does not say whether there was a talk."""
        is_colleague = self.client is not None and digits_of_client(self.client) is None
        has_failed = self.result is not None and self.result.result not in ("talked", "other")
        return has_failed and not self.is_ours and not is_colleague
