"""The only place that constructs things. Starts nothing."""

from __future__ import annotations

from dataclasses import dataclass

from relay import targets
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.lane import Lane
from relay.errors import ConfigError
from relay.intake import Intake
from relay.refusals import Refusals
from relay.settings import Settings
from relay.store import Store
from relay.times import Clock, now_utc


@dataclass(frozen=True, kw_only=True)
class Relay:
    """The whole, put together."""

    settings: Settings
    store: Store
    clock: Clock
    intake: Intake
    dispatcher: Dispatcher
    refusals: Refusals

    def close(self) -> None:
        self.refusals.flush()
        self.store.close()


def build(settings: Settings, *, clock: Clock = now_utc) -> Relay:
    store = Store(settings.storage.url)
    lanes = [Lane(targets.build(target, clock), store, clock) for target in settings.targets.values()]
    dispatcher = Dispatcher(lanes, store)
    return Relay(
        settings=settings, store=store, clock=clock, dispatcher=dispatcher,
        intake=Intake(settings, store, clock), refusals=Refusals(store, clock),
    )  # fmt: skip


def refuse_unused_targets(settings: Settings, store: Store) -> list[str]:
    """Warnings about targets that no source uses but that still have a backlog.

    Raises ConfigError for one without: it was forgotten, or its name is misspelt in a source.
    """
    unused = settings.unused_targets()
    idle = [name for name in unused if not (store.database.exists() and store.has_backlog(name))]
    if idle:
        raise ConfigError(
            f"{settings.file}: targets.{idle[0]}: no source uses it; name it in some [sources.*] targets, or remove it"
        )
    return [
        f"{settings.file}: targets.{name}: no source uses it, but it still has deliveries waiting" for name in unused
    ]
