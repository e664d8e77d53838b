"""The configuration that delivers to the three simulated systems: targets `onec`, `b24` and `amo`."""

from __future__ import annotations

from pathlib import Path

from relay.sandbox.server import Sandbox

ANOTHER_1C = """
[targets.{name}]
kind = "1c"
url = "{url}"
username = "Обмен УИС"
password = "пароль"
retry_first = "200ms"
retry_max = "1s"
concurrency = 3
call_gap = "0s"
"""
_CONFIG = """
timezone = "Europe/Moscow"
[storage]
url = "{database}"
[sources.trade]
token = "correct-horse"
targets = ["onec", "b24", "amo"]
[targets.onec]
kind = "1c"
url = "{onec}"
retry_first = "1ms"
call_gap = "0s"
{onec_lines}
[targets.b24]
kind = "bitrix24"
{b24_access}
default_user = 1
users = {{ {b24_users} }}
retry_first = "1ms"
{b24}
[targets.amo]
kind = "amocrm"
url = "{url}"
{amo_access}
default_user = 504141
users = {{ "101" = 504142, "102" = 504143 }}
retry_first = "1ms"
{amo}
"""
_B24_APP = """portal = "{url}"
oauth_url = "{url}"
client_id = "local.app"
client_secret = "app-secret"
refresh_token = "refresh-1"
"""
_AMO_APP = """client_id = "amo-client"
client_secret = "amo-secret"
redirect_uri = "https://example.test/amo"
refresh_token = "amo-refresh-1"
"""


def configuration(systems: Sandbox, database: Path | str, *, oauth: bool = False, **more: str) -> str:
    """Return it, on a file or at an address. `more` sets parts of it: `onec_lines`, `b24` and `amo` are further lines of these targets."""
    parts = {
        "database": f"sqlite:///{database}" if isinstance(database, Path) else database,
        "onec": systems.onec_url,
        "url": systems.url,
        "onec_lines": "",
        "b24": "",
        "amo": "",
        "b24_users": '"101" = 12, "102" = 13',
        "b24_access": f'webhook = "{systems.bitrix24_webhook}"',
        "amo_access": 'token = "sandbox"',
    }
    if oauth:
        parts |= {"b24_access": _B24_APP.format(url=systems.url), "amo_access": _AMO_APP}
    return _CONFIG.format(**{**parts, **more})
