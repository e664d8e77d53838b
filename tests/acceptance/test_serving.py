"""The relay as it is deployed: what it refuses to start with, what its log says, what `make run` shows."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.config import ROOT, SANDBOX_PORT
from relay.sandbox.server import Sandbox
from tests.acceptance.process import Process
from tests.calls import rendered
from tests.waiting import eventually

IN = "/trade/hs/UIScom/in"


def test_a_body_without_a_length_is_limited_too(make_process: Callable[..., Process]) -> None:
    process = make_process().start()
    with socket.create_connection(("127.0.0.1", process.port), 30) as connection:
        head = f"POST {IN}?token=correct-horse HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + b"11000\r\n" + b"x" * 0x11000 + b"\r\n0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
    status, answer = process.request("POST", IN, rendered("incoming"), **{"X-Relay-Token": "correct-horse"})
    assert (status, answer["status"]) == (200, "accepted")


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"DYNO": "web.1"}, "RELAY_DEMO=1"),
        ({"GUNICORN_CMD_ARGS": "--bind 0.0.0.0:0"}, "RELAY_DEMO=1"),
        ({"GUNICORN_CMD_ARGS": f"--certfile {__file__}"}, "put nginx in front"),
        ({"RELAY_DISPATCH": "maybe"}, "RELAY_DISPATCH"),
        ({"RELAY_CONFIG": "/nowhere.toml"}, "/nowhere.toml"),
        ({"DATABASE_URL": "postgres://x"}, "DATABASE_URL"),
        ({"DATABASE_URL": "sqlite:////nowhere/at/all/relay.db"}, "/nowhere/at/all"),
    ],
)
def test_it_does_not_start_with_what_would_lose_calls(
    unused_port: int, tmp_path: Path, environ: dict[str, str], says: str
) -> None:
    shipped = {"DATABASE_URL": f"sqlite:///{tmp_path}/relay.db", **environ}
    process = Process(ROOT / "config" / "relay.toml", unused_port, tmp_path / "relay.log", **shipped).start(wait=False)
    assert process.child is not None

    assert process.child.wait(20) != 0
    assert says in process.log.read_text()
    assert not (tmp_path / "relay.db").exists()


def test_it_can_be_tried_out_all_the_same(unused_port: int, tmp_path: Path) -> None:
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path}/relay.db", "DYNO": "web.1", "RELAY_DEMO": "1"}
    process = Process(ROOT / "config" / "relay.toml", unused_port, tmp_path / "relay.log", **environ)
    try:
        process.start()
        process.terminate()
    finally:
        process.end()


def test_secrets_and_phones_do_not_reach_the_log(make_process: Callable[..., Process], onec: Sandbox) -> None:
    onec.onec.fail("handler_exception", 1)
    process = make_process(onec.onec_url, environ={"LOG_FORMAT": "json"}).start()
    body = b'{"token":"correct-horse",' + rendered("finished", call_session_id=77)[1:]
    answers = [
        process.request("POST", "/trade/hs/UIScom/rec", body),
        process.request("POST", IN + "?token=wrong-horse", body.replace(b"correct", b"other")),
        process.request("POST", IN + "?token=correct-horse", b'{"calling_phone_number":"79005550123"'),
    ]
    assert [status for status, _ in answers] == [200, 401, 200]
    eventually(lambda: any(r["delivery"] for r in onec.onec.state()["writes"]), "delivered")
    process.terminate()

    log = process.log.read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {
        "notification.accepted",
        "notification.refused",
        "notification.quarantined",
        "delivery.failed",
        "delivery.delivered",
    } <= {line["event"] for line in lines}
    accepted = next(line for line in lines if line["event"] == "notification.accepted")
    assert accepted["session"] == "77"
    for secret in ("horse", "battery", "5550123", "4955550100", "media.example.test/1", "пароль"):
        assert secret not in log
    stored = (
        process.config.with_name("relay.db").read_bytes() + process.config.with_name("relay.db-wal").read_bytes()
        if process.config.with_name("relay.db-wal").exists()
        else process.config.with_name("relay.db").read_bytes()
    )
    assert b"horse" not in stored


def test_the_command_line_works_beside_the_running_relay(make_process: Callable[..., Process], onec: Sandbox) -> None:
    onec.onec.fail("bad_request", 1)
    process = make_process(onec.onec_url).start()
    process.request("POST", IN + "?token=correct-horse", rendered("incoming"))
    eventually(lambda: '"dead"' in process.command("dead", "--json").stdout, "dead")

    done = process.command("replay", "--all", "--wait")

    assert done.returncode == 0, done.stderr
    assert "1 delivered" in done.stdout
    assert len(onec.onec.state()["writes"]) == 1


def _sandbox_port_is_free() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", SANDBOX_PORT)) != 0


@pytest.mark.skipif(not _sandbox_port_is_free(), reason=f"port {SANDBOX_PORT} is taken, by a `make run` perhaps")
def test_make_run_shows_a_call_delivered(unused_port: int, tmp_path: Path) -> None:
    environ = {**os.environ, "PORT": str(unused_port), "DATABASE_URL": f"sqlite:///{tmp_path}/relay.db"}
    log = tmp_path / "run.log"
    with log.open("wb") as out:
        running = subprocess.Popen(
            [sys.executable, "-m", "relay.sandbox.demo"], cwd=ROOT, env=environ, stdout=out, stderr=out
        )
    try:
        eventually(
            lambda: log.read_text().count("delivery.delivered") == 15, "five deliveries to each of three", alive=running
        )
        eventually(lambda: "5 accepted" in log.read_text(), "whoever has placed the call says so", alive=running)
        assert f"the demo's calls are kept in {tmp_path}/relay.db" in log.read_text()
        assert len(re.findall(r"kind=(\w+)", log.read_text())) >= 10
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(30)
    assert _sandbox_port_is_free()
