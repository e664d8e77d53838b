"""Constructs the relay from its settings: the only place that does. Starts nothing."""

from __future__ import annotations

import time
from collections import defaultdict
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
from relay.reports.reconciler import ReportLoop
from relay.store import Store
from relay.targets.bitrix24.adapter import Bitrix24
from relay.uis_api.data_api import Account

_RECORDED_WITHIN_S = 1.0  # after the grace: that something stays unclear, and that the lanes are free


class Relay:
    """The parts, put together."""

    def __init__(self, settings: Settings, *, clock: Clock = now_utc) -> None:
        self.settings, self.clock = settings, clock
        self.store = store = Store(settings.storage.url)
        self.metrics = Metrics(settings, store, clock)
        adapters = {
            name: targets.build(target, clock, store.token_store(name)) for name, target in settings.targets.items()
        }
        lanes = [
            Lane(
                adapters[shard.target],
                store,
                clock,
                bucket=bucket,
                observe=self.metrics.record_attempt,
                shard=shard,
                keeps_exchanges=bool(settings.storage.keep_payloads),
            )
            for shard, bucket in _buckets(settings).items()
        ]
        self.dispatcher = Dispatcher(lanes, store, clock)
        self.intake = Intake(settings, store, clock, self.dispatcher.lanes)
        self.rejections = Rejections(store, clock)
        ends = {name: adapter.expires_at() for name, adapter in adapters.items()}
        self.token_ends = {
            name: at for name, at in ends.items() if at is not None
        }  #: by target, where the token says it
        warnings = {name: adapter.warnings for name, adapter in adapters.items()}
        portals = {name: adapter for name, adapter in adapters.items() if isinstance(adapter, Bitrix24)}
        accounts = defaultdict[str, Account](Account)  # by key
        collector = SnapshotCollector(settings, store, clock, self.token_ends)
        self.housekeeping = Housekeeping(store, settings.storage, clock, self._is_on_duty, warnings)
        self.alerts = AlertLoop(settings, store, self.dispatcher.owned, collector)
        self.heartbeat = Heartbeat(settings.alerts, store, clock, self._is_on_duty, self.dispatcher.ticked_ago)
        self.reports = ReportLoop(settings, store, self.intake, clock, self._is_on_duty, accounts)
        self.dialer = Dialer(store, clock, portals, accounts)
        self._periodic = (self.housekeeping, self.alerts, self.heartbeat, self.reports)

    def _is_on_duty(self) -> bool:
        """Does this process keep house for all? The owner of the first target does."""
        return next(iter(self.settings.targets), None) in self.dispatcher.owned()

    def start(self) -> None:
        """Start to deliver; after the fork, in a web process or in `relay work`."""
        self.metrics.start()
        self.dispatcher.start()
        for each in self._periodic:
            each.start()

    def stop_claiming(self, grace_s: float) -> None:
        """Deliver nothing new, and wait for the database no longer than the grace; called in the signal handler."""
        database = self.store.database
        database.ends_at = min(database.ends_at, time.monotonic() + grace_s + _RECORDED_WITHIN_S)  # of the first signal
        self.dispatcher.stop_claiming()

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


def _buckets(settings: Settings) -> dict[Shard, TokenBucket]:
    """Return a bucket for each lane: its part of the target's rate; targets on one host share the lowest of theirs."""
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
