"""The configuration: strict, and every mistake is named with file, key and remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from relay import config, hosting, wiring
from relay.config import ROOT
from relay.errors import ConfigError
from relay.i18n import in_language, said, translate
from relay.models import Shard

SOURCE = '[sources.trade]\ntoken = "correct-horse"\ntargets = ["onec"]\n'
TARGET = '[targets.onec]\nkind = "1c"\nurl = "https://1c.example.test/trade/hs/UIScom"\n'


def calls(
    own: str = "a-secret-of-its-own", line: str = "74950000001", source: str = "correct-horse", more: str = ""
) -> str:
    """A source that places calls."""
    table = f'[sources.trade.calls]\nkey = "k"\ntoken = "{own}"\nline = "{line}"\nemployees = {{ "101" = 7 }}\n{more}\n'
    return SOURCE.replace("correct-horse", source) + table + TARGET


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., config.Settings]:
    def read(text: str, **environ: str) -> config.Settings:
        file = tmp_path / "relay.toml"
        file.write_text(text, encoding="utf-8")
        return config.read({"RELAY_CONFIG": str(file), **environ})

    return read


def test_the_shipped_configuration_delivers_to_the_sandbox() -> None:
    shipped = config.read({})

    assert [config.is_sandbox(target) for target in shipped.targets.values()] == [True, True, True]
    assert shipped.sources["demo"].token == ("demo",)
    assert shipped.storage.url == f"sqlite:///{ROOT / 'demo.db'}", "what is configured after it begins empty"


@pytest.mark.parametrize(
    ("example", "kinds"),
    [
        ("1c", {"1c"}),
        ("bitrix24", {"bitrix24"}),
        ("amocrm", {"amocrm"}),
        ("http", {"http"}),
        ("alerts", {"1c"}),
        ("all", {"1c", "bitrix24", "amocrm", "http"}),
    ],
)
def test_the_examples_are_ready_to_fill_in(example: str, kinds: set[str]) -> None:
    file = ROOT / "config" / "examples" / f"{example}.toml"
    wanted = dict.fromkeys(re.findall(r'"env:(\w+)"', file.read_text()), "some-long-secret")
    wanted |= {name: "https://portal.bitrix24.ru/rest/1/code/" for name in wanted if name.endswith("WEBHOOK")}
    wanted |= {name: "max://TOKEN?chat_id=1" for name in wanted if name.startswith("ALERT_")}
    wanted |= {name: "https://heartbeat.example.test/1" for name in wanted if name == "HEARTBEAT_URL"}
    wanted |= {name: "whsec_" + "c2VjcmV0" * 4 for name in wanted if "CRM_SECRET" in name}

    found = config.read({"RELAY_CONFIG": str(file), **wanted})

    assert {target.kind for target in found.targets.values()} == kinds


def test_the_defaults_of_a_1c(read: Any) -> None:
    target = read(SOURCE + TARGET).targets["onec"]

    assert target.timeout == timedelta(seconds=30)
    assert target.connect_timeout == timedelta(seconds=5)
    assert (target.order, target.attempts, target.unclear, target.concurrency) == ("call", 12, "retry", 2)
    assert (target.retry_first, target.retry_max) == (timedelta(seconds=5), timedelta(hours=1))
    assert target.give_up_after == timedelta(days=14)
    assert target.retry_after_max == timedelta(hours=1)
    assert target.delivered_statuses == (417,)
    assert (target.body, target.empty, target.session, target.suspicious_ok) == ("template", "null", "auto", "fail")
    assert target.events == ("incoming", "answered", "lost", "outgoing", "finished")
    assert target.call_gap == timedelta(seconds=1.1)
    assert (target.rate, target.expire, target.verify_tls) == (None, {}, True)


def test_everything_that_a_1c_takes(read: Any, tmp_path: Path) -> None:
    (tmp_path / "company.pem").write_text("x")
    options = f"""
username = "uis"
password = "env:ONEC_PASSWORD"
body = "normalised"
empty = "string"
session = "manual"
suspicious_ok = "accept"
call_gap = "0s"
events = ["incoming", "finished"]
concurrency = 4
rate = "5/s burst 10"
timeout = "1m"
connect_timeout = "500ms"
order = "none"
give_up_after = "2w"
attempts = 3
retry_first = "1s"
retry_max = "10m"
retry_after_max = "2h"
unclear = "hold"
expire = {{ incoming = "10m" }}
delivered_statuses = [417, 409]
verify_tls = false
ca_file = "{tmp_path / "company.pem"}"
proxy = "http://proxy.example.test:3128"
"""
    target = read(SOURCE + TARGET + options, ONEC_PASSWORD="geheim").targets["onec"]

    assert target.password == "geheim"
    assert target.rate == config.schema.Rate(5.0, 10)
    assert target.expire == {"incoming": timedelta(minutes=10)}
    assert target.connect_timeout == timedelta(milliseconds=500)
    assert target.call_gap == timedelta(0)


def test_a_source_inherits_what_it_does_not_set(read: Any) -> None:
    found = read('timezone = "Asia/Omsk"\nduplicate_window = "5m"\n' + SOURCE + TARGET).sources["trade"]

    assert (found.timezone.key, found.duplicate_window, found.path) == ("Asia/Omsk", timedelta(minutes=5), "trade")


def test_a_source_of_its_own_mind(read: Any) -> None:
    own = 'path = "/Фирма/Trade/"\ntimezone = "Europe/Samara"\nduplicate_window = 0\nallow_from = ["10.0.0.0/8"]\n'
    found = read(SOURCE + own + TARGET).sources["trade"]

    assert (found.path, found.timezone.key, found.duplicate_window) == ("Фирма/Trade", "Europe/Samara", timedelta(0))
    assert found.allow_from.admits("10.1.2.3")
    assert not found.allow_from.admits("192.0.2.1")


MISTAKES = [
    (SOURCE + TARGET + 'timeot = "3s"', "targets.onec.timeot", "did you mean timeout"),
    (SOURCE + TARGET + "timeout = 3", "targets.onec.timeout", '"30s"'),
    (SOURCE + TARGET + 'concurrency = "a"', "targets.onec.concurrency", "a whole number, without quotes"),
    (SOURCE + TARGET + "concurrency = 0", "targets.onec.concurrency", "at least 1"),
    (SOURCE + TARGET + 'body = "x"', "targets.onec.body", "template, raw, normalised"),
    (SOURCE + TARGET + 'events = ["incoming", "foo"]', "targets.onec.events[1]", "incoming, answered"),
    (SOURCE + TARGET + 'expire = { foo = "1m" }', "targets.onec.expire", "incoming"),
    (SOURCE + TARGET + 'rate = "fast"', "targets.onec.rate", '"5/s"'),
    (SOURCE + TARGET + 'password = "env:ONEC_PASSWORD"', "targets.onec.password", "ONEC_PASSWORD is not set"),
    (SOURCE + TARGET + 'password = "file:/nowhere/at/all"', "targets.onec.password", "/nowhere/at/all"),
    (SOURCE + TARGET + 'ca_file = "/nowhere.pem"', "targets.onec.ca_file", "/nowhere.pem"),
    (SOURCE + TARGET + 'retry_first = "2h"', "targets.onec.retry_first", "retry_max"),
    (SOURCE + TARGET + 'call_gap = "2m"', "targets.onec.call_gap", "at most 1m"),
    (SOURCE + TARGET + "call_gap = 1.1", "targets.onec.call_gap", '"30s"'),
    (SOURCE + TARGET + "retry_after_max = 0", "targets.onec.retry_after_max", "more than 0"),
    (SOURCE + TARGET + 'retry_after_max = "31d"', "targets.onec.retry_after_max", "at most 30d"),
    (SOURCE + TARGET + "delivered_statuses = [17]", "targets.onec.delivered_statuses", "200 to 599"),
    (SOURCE + TARGET.replace("https://", "ftp://"), "targets.onec.url", "http://"),
    (SOURCE + TARGET.replace("https://", "https://u:p@"), "targets.onec.url", "username"),
    (SOURCE + TARGET.replace('kind = "1c"\n', ""), "targets.onec.kind", '"1c"'),
    (SOURCE + TARGET.replace('"1c"', '"onec"'), "targets.onec.kind", '"1c"'),
    (SOURCE + '[targets.onec]\nkind = "1c"\n', "targets.onec.url", "required"),
    (SOURCE.replace('"onec"', '"oneс"') + TARGET, "sources.trade.targets[0]", 'did you mean "onec"'),
    (SOURCE.replace('token = "correct-horse"\n', "") + TARGET, "sources.trade.token", "open = true"),
    (SOURCE.replace('"correct-horse"', '""') + TARGET, "sources.trade.token", "empty"),
    (SOURCE.replace('"correct-horse"', "5") + TARGET, "sources.trade.token", "text"),
    (SOURCE + 'integration_key = ""\n' + TARGET, "sources.trade.integration_key", "empty"),
    (SOURCE + "integration_key = 5\n" + TARGET, "sources.trade.integration_key", "text"),
    (SOURCE.replace('targets = ["onec"]', "") + TARGET, "sources.trade.targets", "missing"),
    (calls(own="too-short"), "sources.trade.calls.token", "16 characters"),
    (calls(own="correct-horse-of-1C", source="correct-horse-of-1C"), "sources.trade.calls.token", "another than"),
    (calls(line="the first"), "sources.trade.calls.line", "74950000001"),
    (calls(more='allowed = ["+7…"]'), "sources.trade.calls.allowed[0]", "79XXXXXXXXX"),
    (calls(more="rate = 0"), "sources.trade.calls.rate", "at least 1"),
    (calls(more='url = "http://callapi.example.test/v4.0"'), "sources.trade.calls.url", "https://"),
    (calls(more='application_token = "of-the-portal"'), "sources.trade.calls.application_token", "one target of kind"),
    (calls().replace("employees", "#"), "sources.trade.calls.employees", "[sources.trade.report]"),
    (calls().replace("key", "#"), "sources.trade.calls.key", "required"),
    (SOURCE + 'timezone = "Mars/Olympus"\n' + TARGET, "sources.trade.timezone", "Europe/Moscow"),
    (SOURCE + 'allow_from = ["home"]\n' + TARGET, "sources.trade.allow_from", "195.211.122.249"),
    (SOURCE + 'open = "yes"\n' + TARGET, "sources.trade.open", "true or false, without quotes"),
    (SOURCE + SOURCE.replace("trade", "shop") + 'path = "TRADE"\n' + TARGET, "sources.shop.path", "sources.trade"),
    ("[sources]\n" + TARGET, "sources", "[sources.NAME]"),
    ("colour = 1\n" + SOURCE + TARGET, "colour", "no such key"),
    ('max_body = "big"\n' + SOURCE + TARGET, "max_body", '"64KB"'),
    ("storage = 5\n" + SOURCE + TARGET, "storage", "[storage]"),
    ('[storage]\nurl = "mysql://x"\n' + SOURCE + TARGET, "storage.url", "sqlite:///relay.db"),
    ('[storage]\nkeep_dead = "long"\n' + SOURCE + TARGET, "storage.keep_dead", '"30d"'),
    ("[sources.trade\n", "", "] is missing"),
    (SOURCE.replace('"correct-horse"', "correct-horse") + TARGET, "", "text stands in quotes"),
    (SOURCE.replace('"correct-horse"', '"correct-horse') + TARGET, "", "a quote is missing"),
    (SOURCE.replace('"correct-horse"', "“correct-horse”") + TARGET, "", "straight quotes"),
    (SOURCE + TARGET.replace("url =", "url"), "", "stands ="),
    (SOURCE + TARGET + 'ca_file = "C:\\certs\\x.pem"', "", "backslash"),
    (SOURCE + TARGET + SOURCE, "", "twice"),
    (SOURCE + TARGET + TARGET.split("\n")[1], "", "this key stands there twice"),
    (SOURCE + 'path = "a" timezone = "Europe/Moscow"\n' + TARGET, "", "one key a line"),
    (SOURCE + 'путь = "a"\n' + TARGET, "", "Latin letters"),
    (SOURCE.replace('["onec"]', '["onec"') + TARGET, "", "] is missing"),
    (SOURCE.replace('["onec"]', '"onec"') + TARGET, "sources.trade.targets", "a list, like"),
    (SOURCE.replace('"correct-horse"', '"$TRADE_TOKEN"') + TARGET, "sources.trade.token", '"env:TRADE_TOKEN"'),
    (SOURCE + TARGET + 'password = "${ONEC_PASSWORD}"', "targets.onec.password", '"env:ONEC_PASSWORD"'),
    (SOURCE + TARGET + 'password = "%ONEC_PASSWORD%"', "targets.onec.password", '"env:ONEC_PASSWORD"'),
    (SOURCE + TARGET + 'password = "secret"', "targets.onec.username", "the password is not sent"),
    *[
        (SOURCE + TARGET.replace("/hs/UIScom", f"/hs/UIScom/{last}"), "targets.onec.url", "the relay adds that itself")
        for last in ("in", "out", "rec", "any", "ping")
    ],
    *[
        (SOURCE + TARGET.replace('"1c"', f'"{kind}"'), "targets.onec.kind", f'did you mean "{meant}"')
        for kind, meant in {
            "1C": "1c",
            "1с": "1c",
            "1С": "1c",
            "Bitrix24": "bitrix24",
            "битрикс24": "bitrix24",
            "b24": "bitrix24",
            "AmoCRM": "amocrm",
            "webhook": "http",
        }.items()
    ],
    ('[admin]\npassword = ""\n' + SOURCE + TARGET, "admin.password", "is empty"),
    ('[admin]\npassword = " \\t "\n' + SOURCE + TARGET, "admin.password", "is empty"),
    ("[admin]\npassword = 5\n" + SOURCE + TARGET, "admin.password", "text"),
    ('[metrics]\ntoken = " "\n' + SOURCE + TARGET, "metrics.token", "is empty"),
    ('[metrics]\ntoken = "env:METRICS_TOKEN"\n' + SOURCE + TARGET, "metrics.token", "METRICS_TOKEN is not set"),
    ('[metrics]\nallow_from = ["home"]\n' + SOURCE + TARGET, "metrics.allow_from", "195.211.122.249"),
    ('[metrics]\ntokens = "x"\n' + SOURCE + TARGET, "metrics.tokens", "did you mean token"),
    (SOURCE + TARGET + 'give_up_after = "99999999999d"', "targets.onec.give_up_after", "too long"),
    (SOURCE + TARGET + 'timeout = "999999d"', "targets.onec.timeout", "too long"),
]


def test_forty_mistakes_are_known() -> None:
    assert len(MISTAKES) >= 40


@pytest.mark.parametrize(("text", "key", "remedy"), MISTAKES, ids=[f"{row[1]}-{row[2]}" for row in MISTAKES])
def test_every_mistake_is_named_with_file_key_and_remedy(read: Any, text: str, key: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(text)

    sentence = str(refused.value)
    assert "relay.toml: " + key in sentence
    assert remedy in sentence
    with in_language("ru"):
        russian = translate(said(refused.value))
    assert russian != sentence and re.search("[а-я]{3}", russian)


def test_a_file_that_notepad_saved_is_read(read: Any, tmp_path: Path) -> None:
    read(SOURCE + TARGET)
    file = tmp_path / "relay.toml"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())

    assert list(config.read({"RELAY_CONFIG": str(file)}).sources) == ["trade"]

    file.write_bytes(("# Торговля\n" + SOURCE + TARGET).encode("cp1251"))
    with pytest.raises(ConfigError, match="save it as UTF-8"):
        config.read({"RELAY_CONFIG": str(file)})


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, None),
        ({"PORT": "8080", "WEB_CONCURRENCY": "2", "LOG_LEVEL": "DEBUG", "RELAY_DISPATCH": "off", "PATH": "x"}, None),
        ({"PORT": ""}, None),
        ({"PORT": "http"}, "PORT is 'http'"),
        ({"PORT": "80800"}, "65535"),
        ({"PORT": "0"}, "from 1"),
        ({"WEB_CONCURRENCY": "two"}, "WEB_CONCURRENCY is 'two'"),
        ({"WEB_CONCURRENCY": "-1"}, "WEB_CONCURRENCY"),
        ({"LOG_LEVEL": "all"}, "info, debug"),
        ({"LOG_FORMAT": "xml"}, "text, json"),
        ({"RELAY_DISPATCH": "no"}, "on, off"),
        ({"RELAY_LANG": "de"}, "ru, en"),
        ({"RELAY_LISTEN": "0.0.0.0:80"}, "the port as PORT"),
    ],
)
def test_variables_that_are_no_values_are_named(environ: dict[str, str], problem: str | None) -> None:
    found = hosting.environment_problem(environ)
    assert found is None if problem is None else problem in (found or "")


HOOK = "https://portal.bitrix24.ru/rest/1/very-secret-code/"
B24 = f'[targets.onec]\nkind = "bitrix24"\nwebhook = "{HOOK}"\ndefault_user = 1\n'
APP = B24.replace(
    f'webhook = "{HOOK}"',
    'portal = "https://portal.bitrix24.ru"\nclient_id = "local.1"\nclient_secret = "s"\nrefresh_token = "r"',
)
AMO = '[targets.onec]\nkind = "amocrm"\nurl = "https://example.amocrm.ru"\ntoken = "t"\ndefault_user = 5\n'
HTTP = '[targets.onec]\nkind = "http"\nurl = "https://crm.example.test/hook"\n'
OTHER_MISTAKES = [
    (B24 + "shards = 3", "shards", "concurrency = 3 or more"),
    (B24 + "shards = 17", "shards", "at most 16"),
    (B24.replace(f'webhook = "{HOOK}"\n', ""), "webhook", "is missing"),
    (B24 + 'portal = "https://portal.bitrix24.ru"', "webhook", "exclude one another"),
    (B24.replace("https:", "http:"), "webhook", "https://"),
    (B24.replace("/rest/1/very-secret-code/", "/"), "webhook", "/rest/1/code/"),
    (B24.replace("default_user = 1\n", ""), "default_user", "required"),
    (B24.replace("default_user = 1", 'default_user = "1"'), "default_user", "without quotes"),
    (B24.replace("default_user = 1", "default_user = 0"), "default_user", "at least 1"),
    (B24 + 'order = "none"', "order", "call"),
    (B24 + 'users = { "101" = "Ivan" }', "users", '"101" = 12'),
    (B24 + 'show_to = "everybody"', "show_to", "employee, all, nobody"),
    (B24 + 'attach_record = "file"', "attach_record", "link, upload, off"),
    (B24 + 'record_hosts = ["https://records.example.ru/"]', "record_hosts[0]", "records.example.ru"),
    (B24 + 'record_hosts = ["a.example.ru", "b.example.ru:80"]', "record_hosts[1]", "alone"),
    (B24 + 'record_hosts = "records.example.ru"', "record_hosts", "a list, like"),
    (B24 + 'record_ca_file = "certs/none.pem"', "record_ca_file", "there is no file"),
    (B24 + 'client_id = "x"\nclient_secret = "s"\nrefresh_token = "r"', "client_id", "webhook needs none"),
    (B24 + 'url = "https://x.test"', "url", "no such key"),
    (APP.replace('client_secret = "s"\n', ""), "client_secret", "OAuth"),
    (APP.replace('client_id = "local.1"\nclient_secret = "s"\nrefresh_token = "r"\n', ""), "client_id", "portal"),
    (APP.replace("https:", "http:"), "portal", "https://"),
    (APP + 'oauth_url = "oauth"', "oauth_url", "https://"),
    (AMO.replace('token = "t"\n', ""), "token", "long-lived"),
    (AMO + 'client_id = "x"\nclient_secret = "s"\nrefresh_token = "r"', "token", "exclude one another"),
    (
        AMO.replace('token = "t"\n', 'client_id = "x"\nclient_secret = "s"\nrefresh_token = "r"\n'),
        "redirect_uri",
        "is missing",
    ),
    (AMO.replace("https:", "http:"), "url", "https://"),
    (AMO.replace("amocrm.ru", "amocrm.ru/api/v4"), "url", "address alone"),
    (AMO + 'unknown_phone = "lead"', "unknown_phone", "unsorted, contact, skip"),
    (AMO + 'source_name = ""', "source_name", "empty"),
    (AMO + 'order = "none"', "order", "call"),
    (AMO.replace('"t"', "5"), "token", "text"),
    (HTTP + 'method = "GET"', "method", "POST, PUT, PATCH"),
    (HTTP + 'headers = { "Content-Type" = "text/plain" }', "headers.Content-Type", "itself"),
    (HTTP + "headers = { X = 5 }", "headers", "text"),
    (HTTP + 'headers = { X-Company = "Ромашка" }', "headers.X-Company", "latin letters"),
    (HTTP + 'headers = { X-Company = "a\\nb" }', "headers.X-Company", "one line"),
    (AMO.replace('"t"', '"токен"'), "token", "copy it again"),
    (HTTP + 'secrets = ["too-short"]', "secrets[0]", "whsec_"),
    (HTTP + 'secrets = ["whsec_c2hvcnQ="]', "secrets[0]", "16 bytes"),
]


@pytest.mark.parametrize(
    ("table", "key", "remedy"), OTHER_MISTAKES, ids=[f"{row[1]}-{row[2]}" for row in OTHER_MISTAKES]
)
def test_every_mistake_in_the_other_kinds_is_named_and_no_secret_with_it(
    read: Any, table: str, key: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        read(SOURCE + table)

    sentence = str(refused.value)
    assert f"relay.toml: targets.onec.{key}: " in sentence
    assert remedy in sentence
    assert "very-secret" not in sentence


def test_the_defaults_of_the_other_kinds(read: Any) -> None:
    b24, amo, http = (read(SOURCE + table).targets["onec"] for table in (B24, AMO, HTTP))

    assert ("other" in b24.events, "other" in amo.events, "other" in http.events) == (False, False, True)
    assert ((b24.rate.per_second, b24.rate.burst), (amo.rate.per_second, amo.rate.burst)) == ((1.9, 45), (5, 1))
    assert (b24.concurrency, amo.concurrency, http.concurrency, http.rate) == (2, 2, 4, None)
    assert (b24.create_lead, b24.show_to, b24.attach_record) == (True, "employee", "link")
    assert (amo.unknown_phone, amo.popup, amo.look_up, amo.expire) == ("unsorted", True, True, {})
    assert (http.body, http.method, http.delivered_statuses, http.secrets) == ("normalised", "POST", (), ())


def test_addresses_and_secrets_of_the_other_kinds_do_not_show(read: Any) -> None:
    signed = HTTP + 'headers = { Authorization = "Bearer very-secret" }\nquery = { key = "very-secret" }'
    for table in (B24, APP.replace('"s"', '"very-secret"'), AMO.replace('"t"', '"very-secret"'), signed):
        assert "very-secret" not in repr(read(SOURCE + table))


def test_targets_of_one_kind_on_one_host_share_its_rate(read: Any) -> None:
    targets = (
        B24
        + B24.replace("onec", "second")
        + AMO.replace("onec", "amo").replace("example.amocrm.ru", "portal.bitrix24.ru")
    )
    found = wiring._buckets(read(SOURCE.replace('["onec"]', '["onec", "second", "amo"]') + targets))

    assert found[Shard("onec")] is found[Shard("second")]
    assert found[Shard("onec")] is not found[Shard("amo")]


def test_a_split_target_keeps_its_rate_and_concurrency_in_all(read: Any) -> None:
    found = read(SOURCE + B24 + 'shards = 3\nconcurrency = 5\nrate = "6/s burst 10"\n')
    lanes = found.targets["onec"].lanes
    rates = [bucket._rate for bucket in wiring._buckets(found).values()]

    assert lanes == tuple(Shard("onec", number, 3) for number in range(3))
    assert [lane.part(5) for lane in lanes] == [2, 2, 1]
    assert [(rate.per_second, rate.burst) for rate in rates if rate] == [(2, 4), (2, 3), (2, 3)]


def test_targets_on_one_host_keep_its_rate_however_they_are_split(read: Any) -> None:
    text = SOURCE.replace('["onec"]', '["onec", "second"]') + B24 + "shards = 2\n" + B24.replace("onec", "second")
    buckets = wiring._buckets(read(text))

    assert buckets[Shard("onec", 0, 2)] is buckets[Shard("second")]
    assert buckets[Shard("onec", 1, 2)] is not buckets[Shard("second")]
    assert sum(bucket._rate.per_second for bucket in set(buckets.values()) if bucket._rate) <= 1.9


def test_an_unset_admin_password_only_means_no_admin_page(read: Any) -> None:
    assert read('[admin]\npassword = "env:RELAY_ADMIN_PASSWORD"\n' + SOURCE + TARGET).admin.password is None


def test_an_admin_password_of_blanks_in_the_environment_is_refused(read: Any) -> None:
    with pytest.raises(ConfigError, match=r"admin\.password: is empty"):
        read('[admin]\npassword = "env:RELAY_ADMIN_PASSWORD"\n' + SOURCE + TARGET, RELAY_ADMIN_PASSWORD="  ")


@pytest.mark.parametrize(("password", "is_weak"), [("eleven-char", True), ("twelve-chars", False), ("пароль", True)])
def test_a_short_admin_password_is_warned_of_and_not_said(read: Any, password: str, is_weak: bool) -> None:
    source = SOURCE.replace("correct-horse", "correct-horse-battery")
    found = list(config.warnings(read(f'[admin]\npassword = "{password}"\n' + source + TARGET)))

    assert ["fewer than 12 characters" in warning for warning in found] == [True] * is_weak
    assert password not in "".join(found)


def test_no_admin_page_needs_no_password(read: Any) -> None:
    assert list(config.warnings(read(SOURCE.replace("correct-horse", "correct-horse-battery") + TARGET))) == []


def test_whom_the_metrics_are_for(read: Any) -> None:
    found = read('[metrics]\ntoken = "scrape-me"\nallow_from = "10.0.0.0/8"\n' + SOURCE + TARGET).metrics

    assert (found.token, found.allow_from.admits("10.1.2.3"), found.allow_from.admits("192.0.2.1")) == (
        "scrape-me",
        True,
        False,
    )
    assert "scrape-me" not in repr(found)
    assert not read(SOURCE + TARGET).metrics.allow_from


def test_a_secret_can_stand_in_a_file(read: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("geheim\n")

    assert (
        read(SOURCE + TARGET + f'username = "u"\npassword = "file:{tmp_path / "secret"}"').targets["onec"].password
        == "geheim"
    )


def test_the_database_url_of_the_environment_wins(read: Any, tmp_path: Path) -> None:
    assert read(SOURCE + TARGET, DATABASE_URL=f"sqlite:///{tmp_path}/x.db").storage.url == f"sqlite:///{tmp_path}/x.db"
    with pytest.raises(ConfigError, match="DATABASE_URL"):
        read(SOURCE + TARGET, DATABASE_URL="postgres://x")


def test_secrets_do_not_show_in_the_representation(read: Any) -> None:
    found = read(SOURCE + TARGET + 'username = "u"\npassword = "geheim"')

    assert "geheim" not in repr(found)
    assert "correct-horse" not in repr(found)


def test_a_target_that_no_source_uses_is_known(read: Any) -> None:
    assert read(SOURCE + TARGET + TARGET.replace("onec", "spare")).unused_targets() == ["spare"]


@pytest.mark.parametrize(
    ("hosts", "on_platform", "refused"),
    [
        (["127.0.0.1"], False, False),
        (["unix:/run/relay.sock"], False, False),
        (["0.0.0.0"], False, True),
        (["127.0.0.1"], True, True),
    ],
)
def test_the_sandbox_must_not_face_the_world(hosts: list[str], on_platform: bool, refused: bool) -> None:
    assert bool(config.demo_config_problem(config.read({}), hosts, on_platform=on_platform)) == refused


def test_own_targets_and_tokens_may_face_the_world(read: Any) -> None:
    assert config.demo_config_problem(read(SOURCE + TARGET), ["0.0.0.0"], on_platform=True) is None


@pytest.mark.parametrize("line", ['integration_key = "env:KEY"', 'integration_key = ["env:KEY", "former"]'])
def test_an_integration_key_is_a_secret_of_the_source_like_its_token(read: Any, line: str) -> None:
    with_both = read(SOURCE + line + "\n" + TARGET, KEY="of-novofon").sources["trade"]
    alone = read(SOURCE.replace('token = "correct-horse"', line) + TARGET, KEY="of-novofon").sources["trade"]

    assert with_both.secrets == ("correct-horse", *with_both.integration_key)
    assert alone.secrets == alone.integration_key
    assert alone.secrets[0] == "of-novofon"
    assert "of-novofon" not in repr(alone)


@pytest.mark.parametrize(
    ("lines", "environ", "language"),
    [
        ("", {}, "ru"),
        ("", {"LANG": "en_US.UTF-8"}, "ru"),
        ("", {"RELAY_LANG": "en"}, "en"),
        ('language = "ru"', {"RELAY_LANG": "en"}, "ru"),
    ],
)
def test_alerts_are_in_the_language_that_is_named_for_them_else_for_the_relay_else_in_russian(
    lines: str, environ: dict[str, str], language: str, write_config: Any
) -> None:
    """A server's LANG says nothing of who reads its messages."""
    file = write_config(more=f"[alerts]\n{lines}\n")

    assert config.read({"RELAY_CONFIG": str(file), **environ}).alerts.language == language


def test_what_is_probably_wrong_is_a_warning(read: Any) -> None:
    short = list(config.warnings(read(SOURCE + TARGET.replace("/hs/UIScom", "/UIScom"))))

    assert len(short) == 2
    assert "sources.trade.token" in short[0] and "correct-horse" not in short[0]
    assert "no /hs/ in it" in short[1]


def test_calls_are_placed_at_the_address_of_the_brand(read: Callable[..., config.Settings]) -> None:
    settings = [read(calls(more=f'preset = "{brand}"')).sources["trade"] for brand in ("uis", "comagic", "novofon")]
    addresses = [source.calls.address for source in settings if source.calls is not None]

    assert addresses == [
        "https://callapi.uiscom.ru/v4.0",
        "https://callapi.comagic.ru/v4.0",
        "https://callapi-jsonrpc.novofon.ru/v4.0",
    ]


def test_the_shipped_secret_of_clicks_faces_no_world(read: Callable[..., config.Settings]) -> None:
    shipped, own = read(calls(own="demo-click-to-call")), read(calls())

    assert "shipped token" in (config.demo_config_problem(shipped, ["0.0.0.0"], on_platform=False) or "")
    assert config.demo_config_problem(own, ["0.0.0.0"], on_platform=False) is None
