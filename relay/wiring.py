"""Constructs the relay from its settings: the only place that does. Starts nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from relay import targets
from relay.alerts.heartbeat import Heartbeat
from relay.alerts.loop import AlertLoop
from relay.alerts.snapshot import SnapshotCollector
from relay.clicks.dialer import Dialer
from relay.clock import Clock, now_utc
from relay.config import Settings, Target
from relay.config.types import Rate
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.lane import Lane
from relay.delivery.throttle import TokenBucket
from relay.housekeeping import Housekeeping
from relay.intake.rejections import Rejections
from relay.intake.service import Intake
from relay.models import Shard
from relay.observability.metrics import Metrics
from relay.periodic import Periodic
from relay.reports.reconciler import ReportLoop
from relay.store import Store
from relay.targets.bitrix24.adapter import Bitrix24


@dataclass(frozen=True, kw_only=True)
class Relay:
    """The parts, put together."""

    settings: Settings
    store: Store
    clock: Clock
    intake: Intake
    dispatcher: Dispatcher
    rejections: Rejections
    housekeeping: Housekeeping
    metrics: Metrics
    alerts: AlertLoop
    heartbeat: Heartbeat
    reports: ReportLoop
    dialer: Dialer
    token_ends: Mapping[str, datetime]  #: by target; only where the token says it

    @property
    def _periodic(self) -> tuple[Periodic, ...]:
        return self.housekeeping, self.alerts, self.heartbeat, self.reports

    def start(self) -> None:
        """Start to deliver; after the fork, in a web process or in `relay work`."""
        self.metrics.start()
        self.dispatcher.start()
        for each in self._periodic:
            each.start()

    def stop(self, grace_s: float) -> None:
        """Stop: what is in flight finishes, or is recorded as unclear when the grace is over."""
        for each in self._periodic:
            each.stop_soon()
        ends = time.monotonic() + grace_s
        self.dispatcher.stop(grace_s)
        self.dialer.stop(ends - time.monotonic())

    def close(self) -> None:
        self.rejections.flush()
        self.store.close()


def build(settings: Settings, *, clock: Clock = now_utc) -> Relay:
    store = Store(settings.storage.url)
    metrics = Metrics(settings, store, clock)
    adapters = {
        name: targets.build(target, clock, store.token_store(name)) for name, target in settings.targets.items()
    }
    lanes = [
        Lane(
            adapters[shard.target],
            store,
            clock,
            bucket=bucket,
            observe=metrics.record_attempt,
            shard=shard,
            keeps_exchanges=bool(settings.storage.keep_payloads),
        )
        for shard, bucket in _buckets(settings).items()
    ]
    dispatcher = Dispatcher(lanes, store, clock)
    token_ends = {name: at for name, adapter in adapters.items() if (at := adapter.expires_at()) is not None}

    def warnings(now: datetime) -> list[tuple[str, str]]:
        return [(name, warning) for name, adapter in adapters.items() for warning in adapter.warnings(now)]

    portals = {name: adapter for name, adapter in adapters.items() if isinstance(adapter, Bitrix24)}
    first = next(iter(settings.targets), None)  # whose owner keeps house for all

    def is_on_duty() -> bool:
        return first in dispatcher.owned()

    intake = Intake(settings, store, clock, dispatcher.lanes)
    return Relay(
        settings=settings,
        store=store,
        clock=clock,
        intake=intake,
        dispatcher=dispatcher,
        rejections=Rejections(store, clock),
        housekeeping=Housekeeping(store, settings.storage, clock, is_on_duty, warnings),
        metrics=metrics,
        alerts=AlertLoop(settings, store, dispatcher.owned, SnapshotCollector(settings, store, clock, token_ends)),
        heartbeat=Heartbeat(settings.alerts, store, clock, is_on_duty, dispatcher.ticked_ago),
        dialer=Dialer(settings, store, clock, portals),
        reports=ReportLoop(settings, store, intake, clock, is_on_duty),
        token_ends=token_ends,
    )


def _buckets(settings: Settings) -> dict[Shard, TokenBucket]:
    """Return a bucket for each lane, with its part of the target's rate; lanes of targets with a rate on one host share
    it, and the lower of their rates.
    """
    slowest: dict[tuple[str, str, int], Rate] = {}
    lanes = [(target, shard) for target in settings.targets.values() for shard in target.lanes]
    for target, shard in lanes:
        if target.rate is not None:
            part = Rate(target.rate.per_second / shard.count, shard.part(target.rate.burst))
            shared = (*_host(target), shard.number)
            slowest[shared] = min(slowest.get(shared, part), part, key=lambda rate: rate.per_second)
    buckets = {shared: TokenBucket(rate, time.monotonic) for shared, rate in slowest.items()}
    return {
        shard: TokenBucket(None, time.monotonic) if target.rate is None else buckets[*_host(target), shard.number]
        for target, shard in lanes
    }


def _host(target: Target) -> tuple[str, str]:
    """Return whose rate it is. The kind belongs to it: in the sandbox three systems stand on one port."""
    return target.kind, urlsplit(target.address).netloc
