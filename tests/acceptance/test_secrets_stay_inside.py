"""Secrets, phones and recording links: sent through every door, then looked for wherever somebody could read."""

from __future__ import annotations

import base64
import http.client
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from relay.sandbox.amocrm.api import AmoCrm
from relay.sandbox.bitrix24.portal import Bitrix24
from relay.sandbox.onec.infobase import OneC
from relay.sandbox.server import Sandbox
from tests.acceptance.process import Process
from tests.calls import rendered
from tests.stories import finished, incoming, not_taken
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
MARK = "S3CRETMARK"
PHONE = "79005550987"
LINK = "https://media.example.test/record/S3CRETLINK"
CONFIG = """
[storage]
url = "sqlite:///{folder}/relay.db"
[admin]
password = "{mark}-admin"
[alerts]
urls = ["json://127.0.0.1:{port}/{mark}-alert"]
[sources.trade]
token = "{mark}-source"
integration_key = "{mark}-key"
targets = ["onec", "b24", "amo", "crm"]
[targets.onec]
kind = "1c"
url = "{url}/trade/hs/UIScom"
username = "uis"
password = "{mark}-onec"
retry_first = "100ms"
call_gap = "0s"
[targets.b24]
kind = "bitrix24"
webhook = "{url}/rest/1/{mark}-hook/"
default_user = 1
rate = "50/s burst 50"
[targets.amo]
kind = "amocrm"
url = "{url}"
token = "{mark}-amo"
default_user = 504141
rate = "50/s burst 50"
[targets.crm]
kind = "http"
url = "{url}/trade/hs/UIScom/in"
headers = {{ "X-Key" = "{mark}-header" }}
query = {{ key = "{mark}-query" }}
secrets = ["whsec_{encoded}"]
"""


@pytest.fixture
def systems() -> Iterator[Sandbox]:
    running = Sandbox(OneC(), bitrix24=Bitrix24(code=f"{MARK}-hook"), amocrm=AmoCrm(token=f"{MARK}-amo")).start()
    yield running
    running.close()


def asked(process: Process, method: str, path: str, body: bytes = b"", **headers: str) -> str:
    """The whole answer, headers too, as somebody without a login gets it."""
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return f"{answer.status} {answer.headers} {answer.read().decode('utf-8', 'replace')}"
    finally:
        connection.close()


def every_door(process: Process) -> list[str]:
    """Right and wrong secrets in each place, readable and unreadable bodies, and what is nobody's address."""
    path, token = "/trade/hs/UIScom/in", f"{MARK}-source"
    basic = base64.b64encode(f"uis:{token}".encode()).decode()
    marked: dict[str, Any] = {"calling_phone_number": PHONE, "full_record_file_link": LINK}
    with_token = json.dumps({"token": token, **json.loads(rendered("incoming", calling_phone_number=PHONE))}).encode()
    found = [
        asked(process, "POST", f"{path}?token={token}", incoming(1, calling_phone_number=PHONE)[1]),
        asked(process, "POST", f"/trade/hs/UIScom/rec?token={token}", finished(1, **marked)[1]),
        asked(process, "POST", f"/trade/hs/UIScom/rec?token={token}", not_taken(2, calling_phone_number=PHONE)[1]),
        asked(process, "POST", path, rendered("incoming", call_session_id=3), Authorization=f"Bearer {token}"),
        asked(process, "POST", path, rendered("incoming", call_session_id=4), Authorization=f"Basic {basic}"),
        asked(process, "POST", path, rendered("incoming", call_session_id=5), **{"X-Relay-Token": token}),
        asked(process, "POST", path, with_token),
        asked(process, "GET", f"{path}?token={token}&call_session_id=6&direction=in&calling_phone_number={PHONE}"),
        asked(process, "POST", f"{path}?token={token}", f'{{"a": "{PHONE} {LINK}", broken'.encode()),
        asked(process, "POST", f"{path}?token={MARK}-wrong", b"{}"),
        asked(process, "POST", path, b"{}", Authorization=f"Bearer {MARK}-wrong"),
        asked(process, "POST", path, f'{{"token":"{MARK}-wrong"}}'.encode()),
        asked(process, "POST", path, f'{{"integration_key":"{MARK}-key","call_session_id":8}}'.encode()),
        asked(process, "POST", path, f'{{"integration_key":"{MARK}-key","call_session_id":""9"",}}'.encode()),
        asked(process, "POST", path, f'{{"integration_key":"{MARK}-wrong"}}'.encode()),
        asked(process, "GET", f"{path}?integration_key={MARK}-key&call_session_id=10"),
        asked(process, "POST", f"{path}?token={token}", b"x" * 70_000),
    ]
    for address in ("/", "/metrics", "/healthz", "/readyz", "/admin/", "/admin/login", "/admin/dead", "/nobody", path):
        found += [asked(process, method, f"{address}?token={token}") for method in ("GET", "PUT")]
    found.append(asked(process, "POST", f"/nobody/hs/UIScom/in?token={token}", b"{}"))
    found.append(asked(process, "POST", "/admin/login", f"password={MARK}-wrong&form=x".encode()))
    return found


def assert_clean(text: str, what: str) -> None:
    for secret in (MARK, "S3CRETLINK", PHONE, PHONE[1:], base64.b64encode(f"uis:{MARK}".encode()).decode()[:12]):
        assert secret not in text, (
            f"{secret} in {what}: …{text[max(0, text.find(secret) - 200) : text.find(secret) + 40]}"
        )


def assert_kept_without_secrets(database: Path, process: Process) -> None:
    """Look through what was sent and answered, as it lies on the disk and as `show` prints it."""
    with closing(sqlite3.connect(database)) as connection:
        kept = [
            bytes(content)
            for (content,) in connection.execute("SELECT exchanges FROM attempts WHERE exchanges IS NOT NULL")
        ]
        events = [event for (event,) in connection.execute("SELECT DISTINCT event FROM deliveries LIMIT 3")]
    texts = [content.decode() for content in kept]
    for kind in ("/hs/UIScom/", "telephony.externalcall.register", "/api/v4/"):
        assert any(kind in text for text in texts), f"something of {kind} is kept"
    shown = [process.command("show", event) for event in events]
    assert all(done.returncode == 0 and event in done.stdout for event, done in zip(events, shown, strict=True))
    texts += [done.stdout for done in shown]
    basic = base64.b64encode(f"uis:{MARK}-onec".encode()).decode()
    for text in texts:
        for secret in (MARK, basic):
            assert secret not in text, text


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_phones_and_links_reach_no_log_no_metric_no_answer_and_no_process_list(
    form: str, systems: Sandbox, tmp_path: Path, unused_port: int
) -> None:
    config = tmp_path / "relay.toml"
    encoded = base64.b64encode(f"{MARK}-standard-webhooks".encode()).decode()
    text = CONFIG.format(folder=tmp_path, mark=MARK, url=systems.url, encoded=encoded, port=systems.port)
    config.write_text(text, encoding="utf-8")
    access = tmp_path / "access.log"
    environ = {
        "LOG_FORMAT": form,
        "LOG_LEVEL": "DEBUG",
        "GUNICORN_CMD_ARGS": f"--access-logfile {access} --log-level debug",
    }
    process = Process(config, unused_port, tmp_path / "relay.log", **environ)
    process.prefix = []  # what stands in the process list is the command itself
    process.start()
    try:
        for target, mode in (("onec", "bad_request"), ("bitrix24", "invalid_credentials"), ("amocrm", "validation")):
            getattr(systems, target).fail(mode, 1)
        answers = every_door(process)
        eventually(lambda: systems.onec.recorded() >= 6, "something is delivered")
        for outcome in ("refused", "misconfigured", "delivered"):
            eventually(lambda name=outcome: f"delivery.{name}" in process.log.read_text(), f"something is {outcome}")
        lines = "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in [process.child.pid, *process.workers()])
    finally:
        process.terminate()

    log = process.log.read_text()
    assert "notification.accepted" in log
    assert "GET /metrics" in access.read_text()
    assert_kept_without_secrets(tmp_path / "relay.db", process)
    assert_clean(log, "the log")
    assert_clean(access.read_text(), "the access log")
    assert_clean(lines, "the process list")
    for answer in answers:
        assert_clean(answer, "an answer")
