"""The configuration's values, frozen. A key that has no field here is refused."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from relay.events import KINDS, Kind
from relay.settings.quantities import Rate


class Secret(str):
    """Text that must not reach a log: its repr hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class AllowList:
    """The addresses that a source's notifications may come from. Empty: from anywhere."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        self._networks = tuple(networks)

    def admits(self, address: str) -> bool:
        if not self._networks:
            return True
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._networks)


class Storage(Struct, frozen=True, forbid_unknown_fields=True):
    url: str = "sqlite:///relay.db"
    keep_delivered: timedelta = timedelta(days=30)
    keep_dead: timedelta = timedelta(days=180)


class Admin(Struct, frozen=True, forbid_unknown_fields=True):
    password: Secret | None = None


class Source(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One UIS account or 1C base that notifications come from."""

    name: str
    targets: tuple[str, ...]
    token: tuple[Secret, ...] = ()  #: any of them opens; several while the cabinet is being changed
    open: bool = False  #: takes notifications without a secret
    path: str = ""  #: the name unless set
    timezone: ZoneInfo
    allow_from: AllowList = AllowList()
    duplicate_window: timedelta


class Target(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """What every kind of target takes."""

    name: str
    url: str
    events: tuple[Kind, ...] = KINDS
    concurrency: int = 2
    rate: Rate | None = None
    timeout: timedelta = timedelta(seconds=30)
    connect_timeout: timedelta = timedelta(seconds=5)
    order: Literal["call", "none"] = "call"
    give_up_after: timedelta = timedelta(days=14)
    attempts: int = 12  #: failures of the event's own
    retry_first: timedelta = timedelta(seconds=5)
    retry_max: timedelta = timedelta(hours=1)
    unclear: Literal["retry", "hold"] = "retry"
    expire: dict[Kind, timedelta] = {}
    delivered_statuses: tuple[int, ...] = ()
    verify_tls: bool = True
    ca_file: str | None = None
    proxy: str | None = None

    @property
    def kind(self) -> str:
        return str(self.__struct_config__.tag)


class OneCTarget(Target, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="1c"):
    """A 1C HTTP service like UIScom; `url` ends with `/hs/UIScom`."""

    delivered_statuses: tuple[int, ...] = (417,)  #: the receiver stores the event and then answers 417
    username: str | None = None
    password: Secret | None = None
    body: Literal["template", "raw", "normalised"] = "template"
    empty: Literal["null", "string"] = "null"
    session: Literal["auto", "manual"] = "auto"
    suspicious_ok: Literal["fail", "accept"] = "fail"


TARGET_KINDS: dict[str, type[Target]] = {"1c": OneCTarget}


class Settings(Struct, frozen=True, kw_only=True):
    """Everything the relay is told, read once at start."""

    file: Path
    timezone: ZoneInfo
    max_body: int
    duplicate_window: timedelta
    trusted_proxies: int
    storage: Storage
    admin: Admin
    sources: dict[str, Source]
    targets: dict[str, Target]

    def unused_targets(self) -> list[str]:
        used = {name for source in self.sources.values() for name in source.targets}
        return [name for name in self.targets if name not in used]


TOP_LEVEL: dict[str, Any] = {
    "timezone": "Europe/Moscow",
    "max_body": "64KB",
    "duplicate_window": "10m",
    "trusted_proxies": 0,
    "storage": {},
    "admin": {},
    "sources": {},
    "targets": {},
}
"""The keys of the file and their defaults."""
