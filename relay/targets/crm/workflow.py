"""Takes step by step for a call at a CRM until nothing is left, each remembered before the next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar, Literal

from msgspec import Struct
from msgspec.structs import replace

from relay.calls.history import CallHistory, digits_of_client
from relay.calls.missed_calls import MissedCall, missed_calls
from relay.calls.summary import CallSummary
from relay.config import CrmTarget
from relay.i18n import Message, join
from relay.models import ClaimedDelivery, Outcome, ToldCall
from relay.targets.base import Adapter, CallContext
from relay.targets.crm.missed_task import AddTask, FindTask, Task, task_for, task_to_add
from relay.targets.http_client import TargetError

NO_NUMBER = Message("UIS gave no number of the client")
_FRESH = timedelta(seconds=30)  # a card or a pop-up that comes later disturbs another call
_OLDEST_CALL, _LONGEST_TALK = timedelta(days=31), timedelta(hours=2)  # that may matter for a task
_STEPS_MAX = 16  # more than any call takes; the end of a workflow that would go in circles


class Step(Struct, frozen=True):
    """Names the one thing to do now: the workflow's method for it, and what that is given."""

    name: str
    args: tuple[Any, ...] = ()


class Done(Struct, frozen=True):
    """Stop: nothing is left to do, or the target would never take the call."""

    note: str = ""
    is_refused: bool = False


class CallState(Struct, frozen=True, kw_only=True):
    """Holds what there is to decide by."""

    history: CallHistory
    done: Mapping[str, Any]  #: for the call at this target, as it stands in the store
    is_fresh: bool  #: has the notification come just now? A card or a pop-up of an old one would be of no use
    user: int | None = None  #: whose call it is, when that is known
    has_asked: bool = False  #: in this attempt: what became of an earlier one
    has_acted: bool = False  #: in this attempt


class CallWorkflow(ABC):
    """Delivers one notification in the steps that a plan names, and in those for the tasks about missed calls.

    A step is a method of that name, which does it and remembers what was done. Raises TargetError.
    """

    _settings: CrmTarget
    _remote_ids: ClassVar[tuple[str, ...]]  #: under which name what the target called the call is remembered

    def __init__(self, adapter: Adapter, claimed: ClaimedDelivery, context: CallContext) -> None:
        self._delivery_id, self._event, self._context = claimed.delivery.id, claimed.event, context
        self._state = CallState(
            history=CallHistory(context.history()),
            done=context.progress(),
            is_fresh=adapter.clock() - claimed.event.received_at <= _FRESH,
        )
        self._client, self._requests_before = adapter.client, adapter.client.requests_made
        self._clock = adapter.clock
        self._has_looked_for_task = False
        self._task_note = ""

    @abstractmethod
    def _next_step(self) -> Step | Done:
        """Return the one thing to do now. Raises TargetError."""

    @property
    @abstractmethod
    def _is_posted(self) -> bool:
        """Is the call there, so that a task may follow it?"""

    @abstractmethod
    def _add_task(self, task: Task) -> str:
        """Return the id under which the target has taken it. Raises TargetError."""

    @abstractmethod
    def _find_task(self, task: Task) -> str | None:
        """Return the id of one that was taken; None: there is none. Raises TargetError."""

    @abstractmethod
    def _close_task(self, task_id: str) -> None:
        """Close it. Raises TargetError."""

    def run(self) -> Outcome:
        try:
            for _ in range(_STEPS_MAX):
                step = self._task_to_add() or self._next_step()
                if isinstance(step, Done):
                    return self._end(step)
                if isinstance(step, AddTask | FindTask):
                    self._perform_task(step)
                else:
                    getattr(self, f"_{step.name}")(*step.args)
                self._change(has_acted=True)
        except TargetError as exc:
            if exc.outcome.health_hint == "well" and not self._has_requested:  # a recording that UIS does not give, say
                return replace(exc.outcome, health_hint="not_asked")
            return exc.outcome
        return Outcome(name="failed", reason=Message("the target answers this call in circles"), health_hint="well")

    def _end(self, step: Done) -> Outcome:
        if step.is_refused:
            return Outcome(name="refused", reason=step.note, health_hint=self._health_hint)
        self._close_tasks()
        remote = next((str(self._done[name]) for name in self._remote_ids if self._done.get(name)), None)
        note = join(step.note, self._task_note, self._conclude())
        return Outcome(name="delivered", remote_id=remote, reason=note, health_hint=self._health_hint)

    def _conclude(self) -> str:
        """Do what belongs to the end of a delivery; return what else there is to say of it."""
        return ""

    def _stash(self, link: str) -> None:
        """Keep the link of a recording that came before the end of the call."""
        self._remember(record_waits=link)

    # --- tasks for missed calls

    def _task_to_add(self) -> AddTask | FindTask | None:
        """Return the step by which this call gets its task: right after the call itself, before its recording."""
        history, client = self._history, digits_of_client(self._history.client)
        is_asked = bool(self._settings.missed_task) and history.phase == "over" and self._is_posted
        if not is_asked or client is None or self._done.get("task") is not None or self._task_note:
            return None
        if not CallSummary(history.calls).is_missed:
            return None
        call = next((call for call in self._missed_calls(client) if call.session == self._session), None)
        step = task_to_add(self._done, call, has_looked=self._has_looked_for_task)
        if isinstance(step, Message):
            self._task_note = step
            return None
        return step

    def _perform_task(self, step: AddTask | FindTask) -> None:
        """Do it. What the target refuses is left, and not asked for again: the call itself is there."""
        task = task_for(self._history, self._event, self._settings.missed_task or timedelta(0), self._clock())
        task_id: str | None = ""
        if isinstance(step, AddTask):
            with self._left_if_refused(Message("no task: %(reason)s")), self._sending(tasking=True):
                task_id = self._add_task(task)
        else:
            with self._left_if_refused(Message("it is not known whether a task was added: %(reason)s")):
                task_id = self._find_task(task)
            self._has_looked_for_task = True
        if task_id is not None:
            self._remember(task=task_id, task_of=digits_of_client(self._history.client) if task_id else None)

    def _close_tasks(self) -> None:
        """Close the client's tasks after a talk: also the one just added, where the talk came in between."""
        client = digits_of_client(self._history.client) if self._history.phase == "over" else None
        tasks = {} if client is None else self._context.open_tasks(client)
        if client is None or not tasks:
            return
        waiting = {call.session for call in self._missed_calls(client) if call.waits}
        for session in tasks.keys() - waiting:
            with self._left_if_refused(Message("the task was not closed: %(reason)s")):
                self._close_task(tasks[session])
            self._context.forget_task(session)

    def _missed_calls(self, client: str) -> list[MissedCall]:
        """Return the client's missed calls: this one, later ones, those with an open task."""
        event, history = self._event, self._history
        own = ToldCall(event.source, self._session, event.received_at, history.calls)
        since = max(history.started_at or event.received_at, event.received_at - _OLDEST_CALL) - _LONGEST_TALK
        told = {call.session: call for call in (own, *self._context.calls_of(client, since))}
        return missed_calls(told.values())

    @contextmanager
    def _left_if_refused(self, note: Message) -> Iterator[None]:
        try:
            yield
        except TargetError as exc:
            if exc.outcome.name not in ("refused", "misconfigured"):
                raise
            self._task_note = join(self._task_note, note.fill(reason=exc.outcome.reason))

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


def stashed(state: CallState, link: str) -> Step | Done:
    """Keep the link of a recording for the end of the call."""
    is_kept = state.done.get("record_waits") == link
    return Done(Message("the recording waits for the end of the call")) if is_kept else Step("stash", (link,))
