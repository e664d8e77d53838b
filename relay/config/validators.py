"""What no type can say of the settings: each check yields the wrong keys, and why, but never a secret."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from relay.config import schema
from relay.config.demo_guard import is_loopback, is_sandbox
from relay.config.rule import AMOCRM_KEYS, Rule
from relay.config.types import Secret
from relay.i18n import Message
from relay.models import ENDPOINTS

# the key, and what is wrong with it; whoever reads ends at the first: those after it may rest on that it is right
Problems = Iterator[tuple[str, str]]

_PASSWORD_MIN, _TOKEN_MIN = 12, 16  # characters
_WITHOUT_COUNTRY = 10  # digits of a Russian number
_RETRY_AFTER_MAX = timedelta(days=30)
_WEBHOOK_PATH = re.compile(r"/rest/\d+/[^/]+/?")
_EVERY_MIN, _WINDOW_MAX = timedelta(seconds=10), timedelta(days=30)
_CALL_GAP_MAX = timedelta(minutes=1)
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:.]*:[0-9a-f:.]+", re.IGNORECASE)
_PHONE = re.compile(r"[1-9]\d{6,14}", re.ASCII)
_PATTERN = re.compile(r"[0-9X*]+")
_OAUTH_KEYS = ("client_id", "client_secret", "refresh_token")
_OWN_HEADERS = ("content-length", "content-type", "host", "transfer-encoding", "x-relay-delivery")


def warnings(settings: schema.Settings) -> Iterator[str]:
    """Yield a sentence for each thing that is allowed but unwise, with what to do: `check` and each start say it."""
    file, password = settings.file, settings.admin.password
    if password is not None and len(password) < _PASSWORD_MIN:
        text = Message(  # the key stands at the end: the log hides what follows the word
            "%(file)s: fewer than %(count)s characters can be guessed, and whoever does may read every call and "
            "replay or discard deliveries: set a longer admin.password"
        )
        yield text.fill(file=file, count=_PASSWORD_MIN)
    is_real = not all(is_sandbox(target) for target in settings.targets.values())
    whole = [
        source.report.key for source in settings.sources.values() if source.report and not source.report.skip_lines
    ]
    for name, source in settings.sources.items():
        if is_real and any(len(token) < _TOKEN_MIN for token in source.token):
            text = Message(
                "%(file)s: fewer than %(count)s characters can be guessed, and whoever does may send calls that never "
                "were: set a longer sources.%(name)s.token"
            )
            yield text.fill(file=file, count=_TOKEN_MIN, name=name)
        if source.report and not source.report.skip_lines and whole.count(source.report.key) > 1:
            text = Message(
                "%(file)s: sources.%(name)s.report has the key of another source, too: calls of the whole account "
                "would be brought to both; leave out the other's lines with skip_lines"
            )
            yield text.fill(file=file, name=name)
    for name, target in settings.targets.items():
        if isinstance(target, schema.OneCTarget) and "/hs/" not in target.url:
            text = Message(
                "%(file)s: targets.%(name)s.url has no /hs/ in it, where 1C publishes its HTTP services: is it whole?"
            )
            yield text.fill(file=file, name=name)


def problems(table: Struct) -> Problems:
    """Yield what is wrong with a table of the file by itself."""
    for kind, check in _CHECKS:
        if isinstance(table, kind):
            yield from check(table)


def database_problem(url: str) -> str | None:
    """Return what is wrong with the address of the database."""
    if url.startswith(schema.POSTGRES):
        if "/" in url.partition("://")[2].partition("?")[0].rstrip("/"):
            return None
        return Message("names no database; write postgres://user:password@host:5432/name")
    if not url.startswith("sqlite:///"):
        return Message("must be sqlite:///relay.db or postgres://user:password@host:5432/name")
    if Path(url.removeprefix("sqlite:///")).name in ("", ":memory:"):
        return Message("names no file; write sqlite:///relay.db")
    return None


def source_problems(source: schema.Source, targets: dict[str, schema.Target]) -> Problems:
    """Yield what is wrong with a source beside its rules."""
    for number, name in enumerate(source.targets):
        if name not in targets:
            text = Message('no target is named "%(name)s"; add [targets.%(name)s]', name=name)
            for other in get_close_matches(name, list(targets), n=1):
                text = Message('no target is named "%(name)s" (did you mean "%(other)s"?)', name=name, other=other)
            yield f"targets[{number}]", text
    if len(set(source.targets)) != len(source.targets):
        yield "targets", Message("a target stands there twice")
    if not all(source.token):
        yield "token", Message("is empty; make one up, long and random")
    if not all(source.integration_key):
        yield "integration_key", Message("is empty; copy it from the template in the cabinet")
    if not source.secrets and not source.open:
        yield "token", Message("is missing; set a token, or open = true to take notifications from anybody")
    if source.calls is not None:
        portals = [name for name in source.targets if isinstance(targets[name], schema.Bitrix24Target)]
        yield from ((f"calls.{key}", problem) for key, problem in _calls_of(source, source.calls, len(portals)))


def _calls_of(source: schema.Source, calls: schema.ClickToCall, portals: int) -> Problems:
    if any(token in source.secrets for token in calls.token):
        yield "token", Message("must be another than the source's: whoever sends notifications may place no calls")
    if not calls.employees and source.report is None:
        text = Message(
            'is missing; write the employees\' ids in UIS like { "101" = 323409 }, or set [sources.%(name)s.report]: '
            "they are asked with its key"
        )
        yield "employees", text.fill(name=source.name)
    if calls.application_token is not None and (not calls.application_token or portals != 1):
        text = Message(
            "must not be empty, and the source must have one target of kind bitrix24: its users are those who click"
        )
        yield "application_token", text


def rule_problems(rule: Rule, source: schema.Source, targets: dict[str, schema.Target]) -> Problems:
    """Yield what is wrong with a rule of a source."""
    for name in rule.targets:
        if name not in source.targets:
            text = Message('"%(name)s" is no target of this source; it has %(targets)s')
            yield "targets", text.fill(name=name, targets=", ".join(source.targets))
    for line in rule.line:
        if sum(map(str.isdigit, line)) == _WITHOUT_COUNTRY and not line.lstrip().startswith("+"):
            yield "line", Message('"%(line)s" fits no call: write the number with its country, as +7…', line=line)
    if not (rule.skip or rule.targets or rule.settings):
        yield "skip", Message("the rule does nothing; give it skip = true, targets, or a setting like default_user")
    for setting in rule.settings if rule.skip else ():
        yield "skip", Message("what is left out needs no %(setting)s; remove one of the two", setting=setting)
    concerned = [targets[name] for name in rule.targets or source.targets]
    kinds = {target.kind for target in concerned if isinstance(target, schema.CrmTarget)}
    for key in rule.settings:
        crm = "amocrm" if key in AMOCRM_KEYS else Message("a CRM")
        if not kinds or (key in AMOCRM_KEYS and "amocrm" not in kinds):
            yield key, Message("no target of the rule has it; it is for %(crm)s", crm=crm)
        if len(kinds) > 1 and key in ("default_user", "crm_source"):
            yield key, Message("means something else in each CRM; name in targets the one that it is for")


def _not_empty(access: schema.Admin | schema.MetricsAccess) -> Problems:
    if isinstance(access, schema.Admin) and access.password == "":
        text = Message("is empty; make one up, long and random, or leave the key out: then there is no page")
        yield "password", text
    if isinstance(access, schema.MetricsAccess) and access.token == "":
        yield "token", Message("is empty; make one up, long and random, or leave the key out")


def _files(table: Struct) -> Problems:
    for key in ("ca_file", "record_ca_file"):
        file = getattr(table, key, None)
        if file is not None and not (schema.ROOT / file).is_file():
            yield key, Message("there is no file %(file)s", file=schema.ROOT / file)


def _api(api: schema.UisApi) -> Problems:
    if not api.key:
        yield "key", Message("is empty; make one in the cabinet: «Аккаунт → Управление пользователями»")
    if api.url is not None:
        yield from _cloud("url", api.url)


def _calls(calls: schema.ClickToCall) -> Problems:
    if not calls.token or any(len(token) < _TOKEN_MIN for token in calls.token):
        text = Message("must have at least %(count)s characters: whoever has it places calls at your cost")
        yield "token", text.fill(count=_TOKEN_MIN)
    if not _PHONE.fullmatch(calls.line):
        yield "line", Message('must be a virtual number with its country, like "74950000001"')
    for number, pattern in enumerate(calls.allowed):
        if not _PATTERN.fullmatch(pattern):
            text = Message('must be digits, X for any one of them, * for any number of them, like "79XXXXXXXXX"')
            yield f"allowed[{number}]", text


def _report(report: schema.Report) -> Problems:
    if report.every < _EVERY_MIN:
        text = Message("is too little; at least %(seconds)ss: each time costs a request of the day's limit")
        yield "every", text.fill(seconds=_EVERY_MIN.seconds)
    if report.window <= report.settle:
        yield "window", Message("must be longer than settle, or there is nothing between them to look at")
    if report.window > _WINDOW_MAX:
        text = Message("is too much; at most %(days)sd; `relay reconcile --since` looks further back")
        yield "window", text.fill(days=_WINDOW_MAX.days)


def _every(target: schema.Target) -> Problems:
    if target.retry_first > target.retry_max or not target.retry_first:
        yield "retry_first", Message("must be more than 0 and not more than retry_max")
    if not timedelta(0) < target.retry_after_max <= _RETRY_AFTER_MAX:
        yield "retry_after_max", Message("must be more than 0 and at most %(days)sd", days=_RETRY_AFTER_MAX.days)
    if target.shards > target.concurrency:
        text = Message("each of them delivers one at a time at least; set concurrency = %(shards)s or more")
        yield "shards", text.fill(shards=target.shards)
    if not target.timeout or not target.connect_timeout:
        yield "timeout", Message("must be more than 0, as must connect_timeout")
    if any(status not in range(200, 600) for status in target.delivered_statuses):
        yield "delivered_statuses", Message("an HTTP status is a number from 200 to 599")


def address_problems(key: str, url: str) -> Problems:
    """Yield what is wrong with an address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield key, Message("must begin with http:// or https:// and name a host")
    if parts.username or parts.password:
        yield key, Message("holds a password; put it into username and password")


def _cloud(key: str, url: str) -> Problems:
    """Check the address of somebody else's service: tokens go there, so never in the clear."""
    yield from address_problems(key, url)
    if url.startswith("http://") and not is_loopback(urlsplit(url).hostname or ""):
        yield key, Message("must begin with https://")


def _onec(target: schema.OneCTarget) -> Problems:
    last = urlsplit(target.url).path.rstrip("/").rpartition("/")[2]
    if last in (*ENDPOINTS, "ping"):
        yield "url", Message("must end before /%(last)s, with /hs/UIScom: the relay adds that itself", last=last)
    if target.password is not None and not target.username:
        yield "username", Message("is missing: without it the password is not sent")
    if target.call_gap > _CALL_GAP_MAX:
        text = Message("is too much; at most 1m: every event of a call waits for so long behind the one before it")
        yield "call_gap", text


def _crm(target: schema.CrmTarget) -> Problems:
    if target.order == "none":
        text = Message("must be call: at %(kind)s the steps of a call build on one another", kind=target.kind)
        yield "order", text
    absent = [name for name in _OAUTH_KEYS if not getattr(target, name)]
    if 0 < len(absent) < len(_OAUTH_KEYS):
        beside = next(name for name in _OAUTH_KEYS if name not in absent)
        yield absent[0], Message("is missing; OAuth needs it beside %(beside)s", beside=beside)


def _bitrix24(target: schema.Bitrix24Target) -> Problems:
    if (target.webhook is None) == (target.portal is None):
        ways = 'webhook = "env:B24_WEBHOOK", or portal, client_id, client_secret and refresh_token of a local app'
        yield "webhook", Message("%(problem)s; set %(ways)s", problem=_one_of(target.webhook, "portal"), ways=ways)
    if target.webhook is None:
        if target.client_id is None:
            yield "client_id", Message("is missing; with portal go client_id, client_secret and refresh_token")
        yield from _cloud("portal", target.portal or "")
        yield from _cloud("oauth_url", target.oauth_url)
    else:
        if target.client_id is not None:
            yield "client_id", Message("belongs to portal; a webhook needs none")
        if not _WEBHOOK_PATH.fullmatch(urlsplit(target.webhook).path):
            yield "webhook", Message("must look like https://portal.bitrix24.ru/rest/1/code/")
        yield from _cloud("webhook", target.webhook)
    for number, host in enumerate(target.record_hosts):
        if not _HOST.fullmatch(host):
            yield f"record_hosts[{number}]", Message('must be the name of a host alone, like "records.example.ru"')


def _amocrm(target: schema.AmoCrmTarget) -> Problems:
    if (target.token is None) == (target.client_id is None):
        ways = 'token = "env:AMO_TOKEN" (long-lived), or client_id, client_secret, redirect_uri and refresh_token'
        yield "token", Message("%(problem)s; set %(ways)s", problem=_one_of(target.token, "client_id"), ways=ways)
    if target.token is not None and not _fits_a_header(target.token):
        yield "token", Message("holds letters that no token has; copy it again")
    if target.client_id is not None and target.redirect_uri is None:
        yield "redirect_uri", Message("is missing; amoCRM wants the one of the integration with every refresh")
    if not target.source_name:
        yield "source_name", Message("is empty; amoCRM takes no call without the name of its source")
    yield from _cloud("url", target.url)
    if target.events and urlsplit(target.url).path.strip("/"):
        yield "url", Message("must be the account's address alone, like https://example.amocrm.ru")


def _fits_a_header(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _one_of(access: Secret | None, other: str) -> str:
    return "is missing" if access is None else f"and {other} exclude one another"


def _http(target: schema.HttpTarget) -> Problems:
    for name in target.headers:
        if name.lower() in _OWN_HEADERS or name.lower().startswith("webhook-"):
            yield f"headers.{name}", Message("is set by the relay itself; leave it out")
        if not _fits_a_header(name) or not _fits_a_header(target.headers[name]):
            yield f"headers.{name}", Message("a header holds latin letters and signs only, on one line")
    for number, secret in enumerate(target.secrets):
        try:
            key = b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            key = b""
        if len(key) < 16:
            text = Message(
                'must be whsec_ and 16 bytes or more in base64; make one: python -c "import base64,os; '
                "print('whsec_' + base64.b64encode(os.urandom(24)).decode())\""
            )
            yield f"secrets[{number}]", text


_CHECKS: tuple[tuple[type[Struct], Callable[[Any], Problems]], ...] = (
    (schema.Admin, _not_empty),
    (schema.MetricsAccess, _not_empty),
    (schema.UrlTarget, lambda target: address_problems("url", target.url)),
    (Struct, _files),
    (schema.Target, _every),
    (schema.OneCTarget, _onec),
    (schema.CrmTarget, _crm),
    (schema.Bitrix24Target, _bitrix24),
    (schema.AmoCrmTarget, _amocrm),
    (schema.HttpTarget, _http),
    (schema.Report, _report),
    (schema.ClickToCall, _calls),
    (schema.UisApi, _api),
)
