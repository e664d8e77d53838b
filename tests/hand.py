"""One hand that delivers what is due, one request after the other, in the test's own thread; it can be killed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from relay import targets
from relay.delivery.runner import AttemptRunner
from relay.delivery.throttle import Permit, Throttle
from relay.delivery.token_bucket import TokenBucket
from relay.models import Delivery, Outcome
from relay.store import Claim, Selection
from relay.targets.base import Adapter
from relay.targets.http_client import Client, Response
from relay.wiring import Relay
from tests.fakes import FakeClock
from tests.lanes import post
from tests.stories import Notification

Moment = Callable[[str], None]


class Killed(BaseException):
    """The process is gone: nothing that comes after it happens."""


class Hand:
    """Delivers to one target. `moment` is told of each thing that a kill could come between."""

    def __init__(
        self, relay: Relay, target: str, clock: FakeClock, moment: Moment = lambda what: None, *,
        throttle: Throttle | None = None, stopping: threading.Event | None = None,
    ) -> None:  # fmt: skip
        self._relay, self._target, self._clock, self._moment = relay, target, clock, moment
        self._epoch = relay.store.targets.take_over(
            target, f"hand of {target}", relay.store.targets.leases().get(target)
        )
        self._adapter = _watched(
            targets.build(relay.settings.targets[target], clock, relay.store.token_store(target)), moment
        )
        self._throttle = throttle or Throttle(TokenBucket(None, lambda: 0.0), clock, lambda: 0.0)
        self._stopping = stopping or threading.Event()
        store: Any = _watched_store(relay.store, moment)
        self._attempts = AttemptRunner(self._adapter, store, self._throttle, clock, self._stopping)

    def deliver(self) -> list[Outcome]:
        """Everything that is due now."""
        assert self._epoch is not None
        outcomes: list[Outcome] = []
        while (job := self._relay.store.queue.claim(Claim(self._target, self._epoch, self._clock()))) is not None:
            while not isinstance(wait := self._throttle.take(), Permit):
                self._stopping.wait(wait)
            outcome = self._attempts.send(job, lambda: True)
            self._moment("answered")
            self._record(job.delivery, job.epoch, outcome)
            outcomes.append(outcome)
        return outcomes

    def take_in(self) -> None:
        """What a killed hand had in its fingers may have arrived, as for a lane's new owner."""
        for delivery, epoch in self._relay.store.queue.in_flight(self._target):
            self._record(delivery, epoch, Outcome(name="unclear", reason="killed"))

    def close(self) -> None:
        self._adapter.close()

    def _record(self, delivery: Delivery, epoch: int, outcome: Outcome) -> None:
        self._relay.store.queue.record(
            self._attempts.result(delivery, epoch, self._clock(), outcome, is_open=True)
        )  # fmt: skip


class _Watched:
    """What a store knows of calls; it tells before and after it remembers something."""

    def __init__(self, calls: Any, moment: Moment) -> None:
        self._calls, self._moment = calls, moment

    def save_progress(self, *args: Any) -> None:
        self._moment("to remember")
        self._calls.save_progress(*args)
        self._moment("remembered")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._calls, name)


def _watched_store(store: Any, moment: Moment) -> Any:
    return SimpleNamespace(**{**vars(store), "calls": _Watched(store.calls, moment)})


def _watched(adapter: Adapter, moment: Moment) -> Adapter:
    client: Client = adapter.client
    send: Callable[..., Response] = client.request

    def request(method: str, url: str, *args: Any, **more: Any) -> Response:
        moment(f"to send {method} {url}")
        answer = send(method, url, *args, **more)
        moment(f"sent {method} {url}")
        return answer

    client.request = request  # type: ignore[method-assign]  # the thread's own connection, and this test's own thread
    return adapter


def tell(relay: Relay, notifications: list[Notification], clock: FakeClock, *hands: Hand) -> None:
    """Each notification is accepted, and delivered before the next one comes."""
    for endpoint, body in notifications:
        post(relay, body, endpoint)
        clock.forward(seconds=1)
        for hand in hands:
            hand.deliver()


def tell_killed(
    relay: Relay, notifications: list[Notification], clock: FakeClock, make: Callable[[Moment], Hand], at: int
) -> bool:
    """The same, killed once at the moment of that number; False: there are fewer moments."""
    count = 0

    def moment(what: str) -> None:
        nonlocal count
        count += 1
        if count == at:
            raise Killed(what)

    hand = make(moment)
    for endpoint, body in notifications:
        post(relay, body, endpoint)
        clock.forward(seconds=1)
        try:
            hand.deliver()
        except Killed:
            hand.close()
            hand = make(lambda what: None)
            hand.take_in()
            clock.forward(seconds=2)
            hand.deliver()
    hand.close()
    return count >= at


def deliveries(relay: Relay, target: str) -> list[Delivery]:
    return list(relay.store.queries.deliveries(Selection(target=target)))
