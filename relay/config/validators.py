"""What no type can say of the settings: each check gives the key and what is wrong with it, or None.

A secret's value is never in the text.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from relay.config.demo_guard import is_loopback, is_sandbox
from relay.config.rule import AMOCRM_KEYS, Rule
from relay.config.schema import (
    ROOT,
    AmoCrmTarget,
    Bitrix24Target,
    ClickToCall,
    CrmTarget,
    HttpTarget,
    OneCTarget,
    Report,
    Settings,
    Source,
    Target,
    UisApi,
    UrlTarget,
)
from relay.config.types import Secret
from relay.i18n import Message
from relay.models import ENDPOINTS

Problem = tuple[str, str]  # the key, and what is wrong with it

_PASSWORD_MIN, _TOKEN_MIN = 12, 16  # characters
_RETRY_AFTER_MAX = timedelta(days=30)
_WEBHOOK_PATH = re.compile(r"/rest/\d+/[^/]+/?")
_EVERY_MIN, _WINDOW_MAX = timedelta(seconds=10), timedelta(days=30)
_CALL_GAP_MAX = timedelta(minutes=1)
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:.]*:[0-9a-f:.]+", re.IGNORECASE)
_PHONE = re.compile(r"[1-9]\d{6,14}", re.ASCII)
_PATTERN = re.compile(r"[0-9X*]+")
_OAUTH_KEYS = ("client_id", "client_secret", "refresh_token")
_OWN_HEADERS = ("content-length", "content-type", "host", "transfer-encoding", "x-relay-delivery")


def warnings(settings: Settings) -> list[str]:
    """Return a sentence for each thing that is allowed but unwise, with what to do: `check` and each start say it."""
    found: list[str] = []
    password = settings.admin.password
    if password is not None and len(password) < _PASSWORD_MIN:
        found.append(  # the key stands at the end: the log hides what follows the word
            Message(
                "%(file)s: fewer than %(count)s characters can be guessed, and whoever does may read every call and "
                "replay or discard deliveries: set a longer admin.password",
                file=settings.file,
                count=_PASSWORD_MIN,
            )
        )
    if not all(is_sandbox(target) for target in settings.targets.values()):
        found += [
            Message(
                "%(file)s: fewer than %(count)s characters can be guessed, and whoever does may send calls that never "
                "were: set a longer sources.%(name)s.token",
                file=settings.file,
                count=_TOKEN_MIN,
                name=name,
            )
            for name, source in settings.sources.items()
            if any(len(token) < _TOKEN_MIN for token in source.token)
        ]
    keys = [source.report.key for source in settings.sources.values() if source.report and not source.report.skip_lines]
    found += [
        Message(
            "%(file)s: sources.%(name)s.report has the key of another source, too: calls of the whole account would be "
            "brought to both; leave out the other's lines with skip_lines",
            file=settings.file,
            name=name,
        )
        for name, source in settings.sources.items()
        if source.report is not None and not source.report.skip_lines and keys.count(source.report.key) > 1
    ]
    return found + [
        Message(
            "%(file)s: targets.%(name)s.url has no /hs/ in it, where 1C publishes its HTTP services: is it whole?",
            file=settings.file,
            name=name,
        )
        for name, target in settings.targets.items()
        if isinstance(target, OneCTarget) and "/hs/" not in target.url
    ]


def problem(target: Target) -> Problem | None:
    """Return the first thing that is wrong."""
    checks = (check(target) for kind, check in _CHECKS if isinstance(target, kind))
    return next((problem for problem in checks if problem is not None), None)


def _api(api: UisApi) -> Problem | None:
    if not api.key:
        return "key", Message("is empty; make one in the cabinet: «Аккаунт → Управление пользователями»")
    return None if api.url is None else _cloud("url", api.url)


def calls_problem(calls: ClickToCall) -> Problem | None:
    """Return the first thing that is wrong with how a source's calls are placed."""
    if not calls.token or any(len(token) < _TOKEN_MIN for token in calls.token):
        return "token", Message(
            "must have at least %(count)s characters: whoever has it places calls at your cost", count=_TOKEN_MIN
        )
    if not _PHONE.fullmatch(calls.line):
        return "line", Message('must be a virtual number with its country, like "74950000001"')
    for number, pattern in enumerate(calls.allowed):
        if not _PATTERN.fullmatch(pattern):
            return f"allowed[{number}]", Message(
                'must be digits, X for any one of them, * for any number of them, like "79XXXXXXXXX"'
            )
    return _api(calls)


def calls_problem_of(source: Source, targets: Sequence[Target]) -> Problem | None:
    """Return what is wrong between how a source's calls are placed and the rest of the source."""
    calls = source.calls
    if calls is None:
        return None
    if any(token in source.secrets for token in calls.token):
        return "token", Message("must be another than the source's: whoever sends notifications may place no calls")
    if not calls.employees and source.report is None:
        return "employees", Message(
            'is missing; write the employees\' ids in UIS like { "101" = 323409 }, or set [sources.%(name)s.report]: '
            "they are asked with its key",
            name=source.name,
        )
    portals = sum(isinstance(target, Bitrix24Target) for target in targets)
    if calls.application_token is not None and (not calls.application_token or portals != 1):
        return "application_token", Message(
            "must not be empty, and the source must have one target of kind bitrix24: its users are those who click"
        )
    return None


def report_problem(report: Report) -> Problem | None:
    """Return the first thing that is wrong with a source's report."""
    if report.every < _EVERY_MIN:
        return "every", Message(
            "is too little; at least %(seconds)ss: each time costs a request of the day's limit",
            seconds=_EVERY_MIN.seconds,
        )
    if report.window <= report.settle:
        return "window", Message("must be longer than settle, or there is nothing between them to look at")
    if report.window > _WINDOW_MAX:
        return "window", Message(
            "is too much; at most %(days)sd; `relay reconcile --since` looks further back", days=_WINDOW_MAX.days
        )
    return _api(report)


def rule_problem(rule: Rule, source: Source, concerned: Sequence[Target]) -> Problem | None:
    """Return what is wrong with a rule that is about these targets of its source."""
    for name in rule.targets:
        if name not in source.targets:
            return "targets", Message(
                '"%(name)s" is no target of this source; it has %(targets)s',
                name=name,
                targets=", ".join(source.targets),
            )
    if not (rule.skip or rule.targets or rule.settings):
        return "skip", Message("the rule does nothing; give it skip = true, targets, or a setting like default_user")
    if rule.skip and rule.settings:
        return "skip", Message(
            "what is left out needs no %(setting)s; remove one of the two", setting=next(iter(rule.settings))
        )
    kinds = {target.kind for target in concerned if isinstance(target, CrmTarget)}
    for key in rule.settings:
        if not kinds or (key in AMOCRM_KEYS and "amocrm" not in kinds):
            return key, Message(
                "no target of the rule has it; it is for %(crm)s",
                crm="amocrm" if key in AMOCRM_KEYS else Message("a CRM"),
            )
        if len(kinds) > 1 and key in ("default_user", "crm_source"):
            return key, Message("means something else in each CRM; name in targets the one that it is for")
    return None


def _every(target: Target) -> Problem | None:
    for key in ("ca_file", "record_ca_file"):
        file = getattr(target, key, None)
        if file is not None and not (ROOT / file).is_file():
            return key, Message("there is no file %(file)s", file=ROOT / file)
    if target.retry_first > target.retry_max or not target.retry_first:
        return "retry_first", Message("must be more than 0 and not more than retry_max")
    if not timedelta(0) < target.retry_after_max <= _RETRY_AFTER_MAX:
        return "retry_after_max", Message("must be more than 0 and at most %(days)sd", days=_RETRY_AFTER_MAX.days)
    if target.shards > target.concurrency:
        return "shards", Message(
            "each of them delivers one at a time at least; set concurrency = %(shards)s or more", shards=target.shards
        )
    if not target.timeout or not target.connect_timeout:
        return "timeout", Message("must be more than 0, as must connect_timeout")
    if any(status not in range(200, 600) for status in target.delivered_statuses):
        return "delivered_statuses", Message("an HTTP status is a number from 200 to 599")
    return None


def _url(target: UrlTarget | AmoCrmTarget) -> Problem | None:
    return _address("url", target.url)


def _address(key: str, url: str) -> Problem | None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return key, Message("must begin with http:// or https:// and name a host")
    if parts.username or parts.password:
        return key, Message("holds a password; put it into username and password")
    return None


def _onec(target: OneCTarget) -> Problem | None:
    last = urlsplit(target.url).path.rstrip("/").rpartition("/")[2]
    if last in (*ENDPOINTS, "ping"):
        return "url", Message("must end before /%(last)s, with /hs/UIScom: the relay adds that itself", last=last)
    if target.password is not None and not target.username:
        return "username", Message("is missing: without it the password is not sent")
    if target.call_gap > _CALL_GAP_MAX:
        return "call_gap", Message(
            "is too much; at most 1m: every event of a call waits for so long behind the one before it"
        )
    return None


def _cloud(key: str, url: str) -> Problem | None:
    """Check the address of somebody else's service: tokens go there, so never in the clear."""
    problem = _address(key, url)
    if problem is None and url.startswith("http://") and not is_loopback(urlsplit(url).hostname or ""):
        return key, Message("must begin with https://")
    return problem


def _crm(target: CrmTarget) -> Problem | None:
    if target.order == "none":
        return "order", Message("must be call: at %(kind)s the steps of a call build on one another", kind=target.kind)
    absent = [name for name in _OAUTH_KEYS if not getattr(target, name)]
    if 0 < len(absent) < len(_OAUTH_KEYS):
        beside = next(name for name in _OAUTH_KEYS if name not in absent)
        return absent[0], Message("is missing; OAuth needs it beside %(beside)s", beside=beside)
    return None


def _record_hosts(target: Bitrix24Target) -> Problem | None:
    for number, host in enumerate(target.record_hosts):
        if not _HOST.fullmatch(host):
            return f"record_hosts[{number}]", Message('must be the name of a host alone, like "records.example.ru"')
    return None


def _access(target: Bitrix24Target) -> Problem | None:
    if (target.webhook is None) == (target.portal is None):
        ways = 'webhook = "env:B24_WEBHOOK", or portal, client_id, client_secret and refresh_token of a local app'
        return "webhook", Message("%(problem)s; set %(ways)s", problem=_one_of(target.webhook, "portal"), ways=ways)
    if target.webhook is None:
        if target.client_id is None:
            return "client_id", Message("is missing; with portal go client_id, client_secret and refresh_token")
        return _cloud("portal", target.portal or "") or _cloud("oauth_url", target.oauth_url)
    if target.client_id is not None:
        return "client_id", Message("belongs to portal; a webhook needs none")
    if not _WEBHOOK_PATH.fullmatch(urlsplit(target.webhook).path):
        return "webhook", Message("must look like https://portal.bitrix24.ru/rest/1/code/")
    return _cloud("webhook", target.webhook)


def _amocrm(target: AmoCrmTarget) -> Problem | None:
    if (target.token is None) == (target.client_id is None):
        ways = 'token = "env:AMO_TOKEN" (long-lived), or client_id, client_secret, redirect_uri and refresh_token'
        return "token", Message("%(problem)s; set %(ways)s", problem=_one_of(target.token, "client_id"), ways=ways)
    if target.token is not None and not _fits_a_header(target.token):
        return "token", Message("holds letters that no token has; copy it again")
    if target.client_id is not None and target.redirect_uri is None:
        return "redirect_uri", Message("is missing; amoCRM wants the one of the integration with every refresh")
    if not target.source_name:
        return "source_name", Message("is empty; amoCRM takes no call without the name of its source")
    if target.events and urlsplit(target.url).path.strip("/"):
        return "url", Message("must be the account's address alone, like https://example.amocrm.ru")
    return _cloud("url", target.url)


def _fits_a_header(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _one_of(access: Secret | None, other: str) -> str:
    return "is missing" if access is None else f"and {other} exclude one another"


def _http(target: HttpTarget) -> Problem | None:
    for name in target.headers:
        if name.lower() in _OWN_HEADERS or name.lower().startswith("webhook-"):
            return f"headers.{name}", Message("is set by the relay itself; leave it out")
        if not _fits_a_header(name) or not _fits_a_header(target.headers[name]):
            return f"headers.{name}", Message("a header holds latin letters and signs only, on one line")
    for number, secret in enumerate(target.secrets):
        try:
            key = b64decode(secret.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) < 16:
            return f"secrets[{number}]", (
                Message(
                    'must be whsec_ and 16 bytes or more in base64; make one: python -c "import base64,os; '
                    "print('whsec_' + base64.b64encode(os.urandom(24)).decode())\""
                )
            )
    return None


_CHECKS: tuple[tuple[type[Target], Callable[[Any], Problem | None]], ...] = (
    (UrlTarget, _url),
    (AmoCrmTarget, _url),
    (Target, _every),
    (OneCTarget, _onec),
    (CrmTarget, _crm),
    (Bitrix24Target, _access),
    (Bitrix24Target, _record_hosts),
    (AmoCrmTarget, _amocrm),
    (HttpTarget, _http),
)
