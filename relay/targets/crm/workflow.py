"""Takes step by step for a call at a CRM until nothing is left, each remembered before the next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from relay.calls.history import CallHistory
from relay.i18n import Message
from relay.models import ClaimedDelivery, Outcome
from relay.targets.base import Adapter, CallContext
from relay.targets.http_client import TargetError

NO_NUMBER = Message("UIS gave no number of the client")
_FRESH = timedelta(seconds=30)  # a card or a pop-up that comes later disturbs another call
_STEPS_MAX = 16  # more than any call takes; the end of a workflow that would go in circles


class StashRecording(Struct, frozen=True):
    """Keep the link of a recording that came before the end of the call."""

    link: str


class Done(Struct, frozen=True):
    """Stop: nothing is left to do."""

    note: str = ""


class Reject(Struct, frozen=True):
    """Refuse the call: the target would never take it."""

    reason: str


class CallState(Struct, frozen=True, kw_only=True):
    """Holds what there is to decide by."""

    history: CallHistory
    done: Mapping[str, Any]  #: for the call at this target, as it stands in the store
    is_fresh: bool  #: has the notification come just now? A card or a pop-up of an old one would be of no use
    user: int | None = None  #: whose call it is, when that is known
    has_asked: bool = False  #: in this attempt: what became of an earlier one
    has_acted: bool = False  #: in this attempt


Step = TypeVar("Step")


class CallWorkflow(ABC, Generic[Step]):
    """Delivers one notification in the steps that a plan names."""

    def __init__(self, adapter: Adapter, claimed: ClaimedDelivery, context: CallContext) -> None:
        self._delivery_id, self._event, self._context = claimed.delivery.id, claimed.event, context
        self._state = CallState(
            history=CallHistory(context.history()),
            done=context.progress(),
            is_fresh=adapter.clock() - claimed.event.received_at <= _FRESH,
        )
        self._client, self._requests_before = adapter.client, adapter.client.requests_made

    @abstractmethod
    def _next_step(self) -> Step | StashRecording | Done | Reject:
        """Return the one thing to do now. Raises TargetError."""

    @abstractmethod
    def _perform(self, step: Step) -> None:
        """Do it, and remember what was done. Raises TargetError."""

    @abstractmethod
    def _delivered(self, note: str) -> Outcome:
        """Return what the delivery has come to when nothing is left."""

    def run(self) -> Outcome:
        try:
            for _ in range(_STEPS_MAX):
                step = self._next_step()
                if isinstance(step, Done):
                    return self._delivered(step.note)
                if isinstance(step, Reject):
                    return Outcome(name="refused", reason=step.reason, health_hint=self._health_hint)
                if isinstance(step, StashRecording):
                    self._remember(record_waits=step.link)
                else:
                    self._perform(step)
                self._change(has_acted=True)
        except TargetError as exc:
            if exc.outcome.health_hint == "well" and not self._has_requested:  # a recording that UIS does not give, say
                return replace(exc.outcome, health_hint="not_asked")
            return exc.outcome
        return Outcome(name="failed", reason=Message("the target answers this call in circles"), health_hint="well")

    @property
    def _history(self) -> CallHistory:
        return self._state.history

    @property
    def _done(self) -> Mapping[str, Any]:
        return self._state.done

    @property
    def _session(self) -> str:
        return self._event.session or self._event.id

    @property
    def _has_requested(self) -> bool:
        return self._client.requests_made > self._requests_before

    @property
    def _health_hint(self) -> Literal["not_asked"] | None:
        return None if self._has_requested else "not_asked"

    def _remember(self, **done: Any) -> None:
        """Add to what has been done; on disk when it returns."""
        self._context.save_progress(**done)
        self._change(done={**self._done, **done})

    def _change(self, **changes: Any) -> None:
        self._state = replace(self._state, **changes)

    @contextmanager
    def _sending(self, **mark: Any) -> Iterator[None]:
        """Remember that a request may have been taken before it goes out, and forget it where it surely was not."""
        self._remember(**mark)
        try:
            yield
        except TargetError as exc:
            if exc.outcome.name != "unclear":
                self._remember(**dict.fromkeys(mark))
            raise


def after_the_call(history: CallHistory) -> Done:
    """Say why a notification that neither rings nor ends a call asks for nothing."""
    if history.already_ended:
        return Done(Message("the call is over already"))
    return Done(Message("the notification of the end is still to come"))


def stashed(state: CallState, link: str) -> StashRecording | Done:
    """Keep the link of a recording for the end of the call."""
    is_kept = state.done.get("record_waits") == link
    return Done(Message("the recording waits for the end of the call")) if is_kept else StashRecording(link)
