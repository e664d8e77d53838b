"""The configuration's values, frozen. A key that has no field here is refused."""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

from relay.config.addresses import AllowList
from relay.config.alerting import Alerts
from relay.config.rule import Rule
from relay.config.types import ONE_OR_MORE, Positive, Rate, Secret, Size
from relay.models import CALL_KINDS, KINDS, NOTIFIED_KINDS, Kind, Shard

ROOT = Path(__file__).resolve().parents[2]  #: of the project: relative paths in the configuration start here
UIS_HOSTS = ("uiscom.ru", "comagic.ru", "novofon.ru", "callgear.com")  #: the one platform under its four names

POSTGRES = ("postgres://", "postgresql://")


class Storage(Struct, frozen=True, forbid_unknown_fields=True):
    url: str = "sqlite:///relay.db"
    keep_delivered: timedelta = timedelta(days=30)
    keep_dead: timedelta = timedelta(days=180)
    keep_payloads: timedelta = timedelta(days=7)

    @property
    def is_file(self) -> bool:
        return self.url.startswith("sqlite:///")

    @property
    def path(self) -> Path:
        """Return where the SQLite file lies; for PostgreSQL, what to name files of this machine after."""
        if self.is_file:
            return Path(self.url.removeprefix("sqlite:///"))
        return Path(tempfile.gettempdir()) / f"relay-{os.getuid()}"


class Admin(Struct, frozen=True, forbid_unknown_fields=True):
    password: Secret | None = None


class MetricsAccess(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may read /metrics: with a token whoever shows it, without one this machine and `allow_from`."""

    token: Secret | None = None
    allow_from: AllowList = AllowList()  #: with a token: it is taken from these, and from this machine, only


_API_HOSTS = {
    # the first two by the vendor's documentation, the others as other programs use them
    "uis": "https://%s.uiscom.ru",
    "comagic": "https://%s.comagic.ru",
    "novofon": "https://%s-jsonrpc.novofon.ru",
    "callgear": "https://%s.callgear.com",
}


class UisApi(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one of UIS's APIs is reached."""

    api: ClassVar[str]
    version: ClassVar[str]
    key: Secret  #: of a user of the cabinet who has the right
    preset: Literal["uis", "comagic", "novofon", "callgear"] = "uis"
    url: str | None = None  #: instead of the preset's
    timeout: timedelta = timedelta(seconds=30)
    connect_timeout: timedelta = timedelta(seconds=5)
    verify_tls: bool = True
    ca_file: str | None = None
    proxy: str | None = None

    @property
    def address(self) -> str:
        return self.url or f"{_API_HOSTS[self.preset] % self.api}/{self.version}"


class Report(UisApi, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where UIS's report of calls is read, to find those whose notification never came."""

    api, version = "dataapi", "v2.0"
    every: timedelta = timedelta(minutes=5)
    settle: timedelta = timedelta(minutes=10)  #: a call that ended later than this ago may not be in the report yet
    window: timedelta = timedelta(hours=24)  #: how far back each time
    skip_lines: tuple[str, ...] = ()  #: virtual numbers that never send notifications


class ClickToCall(UisApi, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose click on a number places a call, and to whom."""

    api, version = "callapi", "v4.0"
    token: tuple[Secret, ...]  #: of whoever asks for calls; never the source's own
    line: str  #: the virtual number that calls, unless a click names another
    employees: dict[str, int] = {}  #: UIS extension -> UIS employee id; else the report's key is asked
    allowed: Annotated[tuple[str, ...], ONE_OR_MORE] = ("7XXXXXXXXXX",)  #: X is any digit, * any number of them
    rate: Annotated[int, Meta(ge=1, le=600)] = 10  #: a minute
    application_token: Secret | None = None  #: of Bitrix24's local application: its clicks are taken too
    timeout: timedelta = timedelta(seconds=15)  #: a person waits, and a thread of the server


class Source(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One UIS account or 1C base that notifications come from."""

    name: str
    targets: tuple[str, ...]
    token: tuple[Secret, ...] = ()  #: any of them opens; several while the cabinet is being changed
    integration_key: tuple[Secret, ...] = ()  #: likewise; a constant that Novofon's templates have in the body
    open: bool = False  #: takes notifications without a secret
    path: str = ""  #: the name unless set
    timezone: ZoneInfo
    allow_from: AllowList = AllowList()
    duplicate_window: timedelta
    rules: tuple[Rule, ...] = ()  #: who gets which calls, and how; the first that fits decides
    report: Report | None = None  #: a table of its own
    calls: ClickToCall | None = None  #: likewise

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Return all that open it."""
        return (*self.token, *self.integration_key)


class Target(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """What every kind of target takes."""

    name: str
    events: tuple[Kind, ...] = KINDS
    concurrency: Annotated[int, Meta(ge=1, le=64)] = 2
    rate: Rate | None = None
    shards: Annotated[int, Meta(ge=1, le=16)] = 1  #: lanes, which different processes may work; a call keeps to one
    timeout: timedelta = timedelta(seconds=30)
    connect_timeout: timedelta = timedelta(seconds=5)
    order: Literal["call", "none"] = "call"
    give_up_after: timedelta = timedelta(days=14)
    attempts: Positive = 12  #: failures of the event's own
    retry_first: timedelta = timedelta(seconds=5)
    retry_max: timedelta = timedelta(hours=1)
    retry_after_max: timedelta = timedelta(hours=1)  #: a target that asks for more time is given so much
    unclear: Literal["retry", "hold"] = "retry"
    expire: dict[Kind, timedelta] = {}
    delivered_statuses: tuple[int, ...] = ()
    verify_tls: bool = True
    ca_file: str | None = None
    proxy: str | None = None

    @property
    def kind(self) -> str:
        return str(self.__struct_config__.tag)

    @property
    def address(self) -> str:
        """Return where its requests go; may hold a secret."""
        raise NotImplementedError

    @property
    def lanes(self) -> tuple[Shard, ...]:
        return tuple(Shard(self.name, number, self.shards) for number in range(self.shards))

    @property
    def call_gap(self) -> timedelta:
        """Return the least time between two deliveries of one call."""
        return timedelta(0)


class UrlTarget(Target, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A target with an address that is no secret."""

    url: str

    @property
    def address(self) -> str:
        return self.url


class OneCTarget(UrlTarget, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="1c"):
    """A 1C HTTP service like UIScom; `url` ends with `/hs/UIScom`."""

    events: tuple[Kind, ...] = NOTIFIED_KINDS
    delivered_statuses: tuple[int, ...] = (417,)  #: the receiver stores the event and then answers 417
    username: str | None = None
    password: Secret | None = None
    body: Literal["template", "raw", "normalised"] = "template"
    empty: Literal["null", "string"] = "null"
    session: Literal["auto", "manual"] = "auto"
    suspicious_ok: Literal["fail", "accept"] = "fail"
    call_gap: timedelta = timedelta(seconds=1.1)  #: its register has one record of a call for each second


class CrmTarget(Target, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A CRM that has users of its own: whom a call belongs to."""

    events: tuple[Kind, ...] = CALL_KINDS
    default_user: Positive  #: for calls that nobody took
    users: dict[str, int] = {}  #: UIS extension -> user of the CRM
    employees: dict[str, int] = {}  #: UIS employee id -> user of the CRM
    client_id: str | None = None  #: OAuth, instead of a webhook or a long-lived token
    client_secret: Secret | None = None
    refresh_token: Secret | None = None  #: the first one; the relay keeps the later ones itself
    missed_task: timedelta | None = None  #: until a task for a missed call is due; None or 0: there is none
    rules: dict[str, tuple[Rule, ...]] = {}  #: of the sources that use it, by their names; no key of the file

    @property
    def mapped_users(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys((*self.users.values(), *self.employees.values())))


class Bitrix24Target(CrmTarget, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="bitrix24"):
    """Bitrix24 by an incoming webhook, or by a local application's OAuth."""

    # a bucket of exactly the documented 2/s and 50 overflows by jitter
    rate: Rate | None = Rate(1.9, 45)
    webhook: Secret | None = None  #: https://portal.bitrix24.ru/rest/1/code/
    portal: str | None = None  #: of the local application: https://portal.bitrix24.ru
    oauth_url: str = "https://oauth.bitrix24.tech"
    create_lead: bool = True  #: for a number that the CRM does not know
    crm_source: str | None = None  #: SOURCE of what is created
    show_to: Literal["employee", "all", "nobody"] = "employee"
    attach_record: Literal["link", "upload", "off"] = "link"
    record_hosts: tuple[str, ...] = UIS_HOSTS  #: where `upload` may fetch from, with everything below them
    record_ca_file: str | None = None  #: who vouches for them, beside nobody else
    learn_users: bool = True  #: ask Bitrix24 for the user with an extension that `users` does not name

    @property
    def address(self) -> str:
        return self.webhook or f"{(self.portal or '').rstrip('/')}/rest/"


class AmoCrmTarget(CrmTarget, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="amocrm"):
    """amoCRM by a long-lived token, or by OAuth."""

    url: str
    rate: Rate | None = Rate(5, 1)
    token: Secret | None = None
    redirect_uri: str | None = None
    unknown_phone: Literal["unsorted", "contact", "skip"] = "unsorted"
    pipeline_id: Positive | None = None  #: whose «Неразобранное» gets the calls of unknown numbers
    status_id: Positive | None = None  #: the stage to which it is accepted from there at once; None: a person does that
    popup: bool = True
    source_name: str = "UIS"
    look_up: bool = True  #: look for a call that may have been taken before it is sent again

    @property
    def address(self) -> str:
        return self.url


class HttpTarget(UrlTarget, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="http"):
    """Any HTTP address."""

    concurrency: Annotated[int, Meta(ge=1, le=64)] = 4
    body: Literal["normalised", "template", "raw"] = "normalised"
    empty: Literal["null", "string"] = "null"
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    query: dict[str, Secret] = {}
    headers: dict[str, Secret] = {}
    secrets: tuple[Secret, ...] = ()  #: Standard Webhooks; two while they are being changed


TARGET_KINDS: dict[str, type[Target]] = {
    "1c": OneCTarget,
    "bitrix24": Bitrix24Target,
    "amocrm": AmoCrmTarget,
    "http": HttpTarget,
}


class General(Struct, frozen=True, kw_only=True):
    """The keys that stand above all tables."""

    timezone: ZoneInfo = ZoneInfo("Europe/Moscow")
    max_body: Size = Size(64 * 1024)
    duplicate_window: timedelta = timedelta(minutes=10)
    trusted_proxies: Annotated[int, Meta(ge=0)] = 0  #: reverse proxies in front that set X-Forwarded-For


class Settings(General, frozen=True, kw_only=True):
    """Everything the relay is told, read once at start."""

    file: Path
    storage: Storage
    admin: Admin
    alerts: Alerts
    metrics: MetricsAccess
    sources: dict[str, Source]
    targets: dict[str, Target]

    def zone_of(self, source: str | None) -> ZoneInfo:
        """Return the zone of a source's account; the file's where no source is named, or one that it has not."""
        return self.sources[source].timezone if source in self.sources else self.timezone

    def unused_targets(self) -> list[str]:
        used = {name for source in self.sources.values() for name in source.targets}
        return [name for name in self.targets if name not in used]
