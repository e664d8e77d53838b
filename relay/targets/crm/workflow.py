"""What the targets of several steps share: step by step until nothing is left, each remembered before the next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from relay import routing
from relay.config import CrmTarget
from relay.models import Outcome
from relay.targets.base import CallContext, Shipment
from relay.targets.crm.history import CallHistory
from relay.targets.http_client import TargetError

_STEPS_MAX = 16  # more than any call takes; the end of a journey that would go in circles


class StashRecording(Struct, frozen=True):
    """The recording came before the end of the call."""

    link: str


class Done(Struct, frozen=True):
    """Nothing is left to do."""

    note: str = ""


class Reject(Struct, frozen=True):
    """The target would never take this call."""

    reason: str


Step = TypeVar("Step")
Crm = TypeVar("Crm", bound=CrmTarget)


class CallWorkflow(ABC, Generic[Step]):
    """One delivery's. `done` is what stands in the store of the call at this target."""

    def __init__(self, shipment: Shipment, steps: CallContext) -> None:
        self._shipment, self._steps = shipment, steps
        self._history, self._done = CallHistory(steps.said()), steps.done()
        self._has_acted = self._requested = False

    def _settings_of_call(self, settings: Crm) -> Crm:
        """The target's, with what a rule of the call's source sets."""
        return routing.settings_for(settings, self._shipment.event.source, self._history.said)

    @abstractmethod
    def _next(self) -> Step | StashRecording | Done | Reject:
        """The one thing to do now."""

    @abstractmethod
    def _take(self, step: Step) -> None:
        """Does it, and remembers what was done. Raises Setback."""

    @abstractmethod
    def _delivered(self, note: str) -> Outcome:
        """What the delivery has come to when nothing is left."""

    def run(self) -> Outcome:
        try:
            for _ in range(_STEPS_MAX):
                step = self._next()
                if isinstance(step, Done):
                    return self._delivered(step.note)
                if isinstance(step, Reject):
                    return Outcome(name="refused", reason=step.reason, health_hint=self._target_is)
                if isinstance(step, StashRecording):
                    self._remember(record_waits=step.link)
                else:
                    self._take(step)
                self._has_acted = True
        except TargetError as exc:
            outcome = exc.outcome
            if outcome.health_hint == "well" and not self._requested:  # a recording that UIS does not give, say
                return replace(outcome, health_hint="not_asked")
            return outcome
        return Outcome(name="failed", reason="the target answers this call in circles", health_hint="well")

    @property
    def _target_is(self) -> Literal["not_asked"] | None:
        return None if self._requested else "not_asked"

    def _leave(self) -> None:
        self._steps.leave()
        self._requested = True

    def _remember(self, **done: Any) -> None:
        """On disk when it returns."""
        self._steps.remember(**done)
        self._done = {**self._done, **done}
