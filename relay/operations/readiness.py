"""What `check` says: of the configuration, of the database, and of each target and each API of UIS when it is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec.structs import replace

from relay import config, targets
from relay.clock import Clock
from relay.config import ClickToCall, OneCTarget, Report, Settings, Source, Target
from relay.errors import StoreError
from relay.i18n import Message, gettext, join, said
from relay.models import Outcome
from relay.reports.report_call import CALL_FIELDS, LEG_FIELDS, write_time
from relay.store import Store
from relay.uis_api.call_api import CallApi
from relay.uis_api.data_api import Account, DataApi
from relay.uis_api.json_rpc import ApiError

Hasty = TypeVar("Hasty", Target, Report, ClickToCall)

_WORKERS = 1  # `relay work` beside the web processes
_PUSH_WAITS = timedelta(seconds=300)  # the time-out in the receiver's source
_TOGETHER = 8  # targets that are asked at once
_ASKED_FOR = timedelta(hours=1)  # of the report: what matters is whether it may be read


def remarks(settings: Settings) -> list[str]:
    """Return what is allowed but unwise."""
    remarks = [*config.warnings(settings)]
    for name, target in settings.targets.items():
        if config.is_sandbox(target):
            remarks.append(Message("targets.%(name)s is the sandbox: calls end nowhere", name=name))
        elif target.address.startswith("http://"):
            remarks.append(
                Message("targets.%(name)s is reached over plain http: fine inside your own network only", name=name)
            )
        if isinstance(target, OneCTarget) and target.timeout <= _PUSH_WAITS and not config.is_sandbox(target):
            remarks.append(
                Message(
                    "targets.%(name)s: a UIScom service waits for Centrifugo for up to %(seconds)s s, and "
                    'writes the call even so: with timeout = "310s" it is not sent again meanwhile',
                    name=name,
                    seconds=_PUSH_WAITS.seconds,
                )
            )
        if not target.verify_tls:
            remarks.append(
                Message(
                    "targets.%(name)s: verify_tls is off; ca_file with the company's certificate is better", name=name
                )
            )
    remarks += [
        Message("sources.%(name)s is open: anybody may send to it", name=name)
        for name, source in settings.sources.items()
        if source.open
    ]
    remarks.append(Message("on a plain server put nginx in front: it takes the TLS (see docs/en/deployment.md)"))
    return remarks


def database_remarks(store: Store, now: datetime, environ: Mapping[str, str]) -> list[str]:
    """Return what the engine is asked to say of itself; a new database has nothing to say yet."""
    if not store.database.exists():
        return []
    try:
        return store.database.remarks(now, int(environ.get("WEB_CONCURRENCY") or 1) + _WORKERS)
    except StoreError as exc:
        return [said(exc)]


def ask_all(
    settings: Settings, store: Store, clock: Clock, patience: timedelta = timedelta.max
) -> Iterator[tuple[str, Outcome]]:
    """Ask each target, and UIS for each source's report and calls; none for longer than the patience."""
    yield from _ask_targets(settings, store, clock, patience)
    for source in settings.sources.values():
        if source.report is not None:
            with closing(DataApi(_hasty(source.report, patience), clock, Account())) as api:
                yield (
                    gettext("%(source)s, UIS's report of calls", source=source.name),
                    _ask_report(api, source, clock()),
                )
    yield from ask_calls(settings, clock, patience)


def _hasty(asked: Hasty, patience: timedelta) -> Hasty:
    return replace(asked, timeout=min(asked.timeout, patience))


def _ask_targets(settings: Settings, store: Store, clock: Clock, patience: timedelta) -> Iterator[tuple[str, Outcome]]:
    """Ask each target whether it would take a delivery, several at once."""

    def ask(target: Target) -> Outcome:
        with closing(targets.build(_hasty(target, patience), clock, store.token_store(target.name))) as adapter:
            return adapter.check()

    with ThreadPoolExecutor(min(_TOGETHER, len(settings.targets) or 1)) as pool:
        yield from zip(settings.targets, pool.map(ask, settings.targets.values()), strict=True)


def ask_calls(settings: Settings, clock: Clock, patience: timedelta = timedelta.max) -> Iterator[tuple[str, Outcome]]:
    """Ask UIS whether the key of each source's calls is good; places none."""
    for source in settings.sources.values():
        if source.calls is not None:
            with closing(CallApi(_hasty(source.calls, patience), clock)) as api:
                name = gettext("%(source)s, calls by a click", source=source.name)
                try:
                    yield name, Outcome(name="delivered", reason=api.check())
                except ApiError as exc:
                    yield name, Outcome(name=exc.state, reason=said(exc))


def _ask_report(api: DataApi, source: Source, now: datetime) -> Outcome:
    """Ask for the report of calls, as a run does; what the key may not see beside it, the reason says."""
    span = {"date_from": write_time(now - _ASKED_FOR, source.timezone), "date_till": write_time(now, source.timezone)}
    try:
        remarks = [_zone_remark(api.timezone(), source)]
        next(api.rows("get.calls_report", span, fields=CALL_FIELDS), None)
        for method, params, fields in (
            ("get.call_legs_report", span, LEG_FIELDS),
            ("get.employees", {}, ("id", "extension")),
        ):
            try:
                next(api.rows(method, params, fields=fields), None)
            except ApiError as exc:
                if exc.state == "later":
                    raise
                remarks.append(
                    Message(
                        "the key may not see %(method)s: calls are brought without what stands there", method=method
                    )
                )
    except ApiError as exc:
        return Outcome(name=exc.state, reason=said(exc))
    return Outcome(name="delivered", reason=join(*remarks))


def _zone_remark(account: str | None, source: Source) -> str:
    if account in (None, source.timezone.key):
        return ""
    return Message(
        "the account's time zone is %(account)s, the source's is %(zone)s: its calls get wrong times; set "
        '`timezone = "%(account)s"`',
        account=account,
        zone=source.timezone.key,
    )
