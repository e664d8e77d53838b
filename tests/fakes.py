"""What stands in for the real thing: clocks, targets that follow a script, stores that fail or only remember."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from relay.config import Target
from relay.models import CallEvent, Outcome, TokenPair, ToldCall
from relay.store import ClaimedDelivery
from relay.targets.base import CallContext


class FakeClock:
    """A wall clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 9, 45, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


class Seconds:
    """A monotonic clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """A target that does what the script says; each step is an outcome or something to wait for."""

    def __init__(self, settings: Target, script: Callable[[ClaimedDelivery], Outcome]) -> None:
        self.settings, self._script, self.client = settings, script, SimpleNamespace()
        self.sent: list[str] = []

    def deliver(self, claimed: ClaimedDelivery, _call: CallEvent, context: Any) -> Outcome:
        self.sent.append(claimed.delivery.id)
        return self._script(claimed)

    def close(self) -> None:
        pass


class Told(Scripted):
    """A target that does what the script says, and may use what it is lent."""

    def __init__(self, settings: Target, script: Callable[[ClaimedDelivery, Any], Outcome]) -> None:
        super().__init__(settings, lambda job: Outcome(name="delivered"))
        self._told = script

    def deliver(self, claimed: ClaimedDelivery, _call: CallEvent, context: Any) -> Outcome:
        self.sent.append(claimed.delivery.id)
        return self._told(claimed, context)


class Failing:
    """A store of which one method (`queue.claim`) fails for a while, before or after it has done its work."""

    def __init__(self, store: Any, path: str, error: Exception, *, times: int, done: bool = False) -> None:
        self._store, self._error, self._left, self._done = store, error, times, done
        self._room, self._method = path.split(".")

    def __getattr__(self, name: str) -> Any:
        room = getattr(self._store, name)
        if name != self._room:
            return room
        methods = {each: getattr(room, each) for each in dir(room) if not each.startswith("_")}
        return SimpleNamespace(**{**methods, self._method: self._failing(methods[self._method])})

    def _failing(self, found: Callable[..., Any]) -> Callable[..., Any]:
        def fail(*args: Any) -> Any:
            if self._left <= 0:
                return found(*args)
            self._left -= 1
            if self._done:
                found(*args)
            raise self._error

        return fail


def with_store(store: Any) -> Any:
    """What a dispatcher needs of a relay."""
    return SimpleNamespace(store=store)


class Memory(CallContext):
    """What an adapter is lent, in memory; `before` is called before each request and before each thing is remembered."""

    def __init__(self, *said: CallEvent, before: Callable[[str], None] = lambda what: None) -> None:
        self._said, self._before = said, before
        self.facts: dict[str, Any] = {}
        self.told: list[ToldCall] = []  # of the client

    def history(self) -> tuple[CallEvent, ...]:
        return self._said

    def progress(self) -> dict[str, Any]:
        return dict(self.facts)

    def save_progress(self, **done: Any) -> None:
        self._before("remember")
        self.facts |= done

    def calls_of(self, client: str, since: datetime) -> list[ToldCall]:
        return self.told

    def open_tasks(self, client: str) -> dict[str, str]:
        return {"7": self.facts["task"]} if self.facts.get("task_of") == client else {}

    def forget_task(self, session: str) -> None:
        self.save_progress(task_of=None)

    def acquire(self) -> None:
        self._before("request")


class Drawer:
    """A vault in memory."""

    def __init__(self) -> None:
        self.pair: TokenPair | None = None

    def load(self) -> TokenPair | None:
        return self.pair

    def save(self, pair: TokenPair) -> None:
        self.pair = pair

    def exclusive(self) -> AbstractContextManager[None]:
        return nullcontext()
