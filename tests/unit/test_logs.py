"""Secrets and people stay out of the log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from relay.observability.logging import redact

# stderr stands on a disk that takes nothing; then on one that does
FULL_DISK = """
import os, sys, threading, structlog
from relay.observability import logging as logs
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
logs.configure({}, buffered=True)
log = structlog.get_logger()
for number in range(40_000):
    log.info("first" if number == 0 else "some", filling="x" * 100)
os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), 2)
while "log.lines_lost" not in open(sys.argv[1]).read():  # the thread that writes is still there
    threading.Event().wait(0.02)
log.info("last")
"""
FLASK_FAILS = """
import flask
from relay.observability import logging as logs
logs.configure({})
app = flask.Flask("relay.web")
@app.get("/")
def fail():
    raise ValueError("no link to https://media.example.test/1/abcdef for 79005550123, token=correct-horse")
app.test_client().get("/?token=correct-horse")
"""


def said(script: str, *args: str) -> str:
    done = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_full_disk_costs_lines_beyond_a_bound_and_says_how_many(tmp_path: Path) -> None:
    said(FULL_DISK, str(tmp_path / "log"))

    lines = (tmp_path / "log").read_text().splitlines()
    [told] = [line for line in lines if "log.lines_lost" in line]
    lost = int(told.rpartition("lines=")[2])
    assert "first" in lines[0]
    assert "last" in lines[-1]
    assert lost > 10_000
    assert len(lines) == 40_000 + len([told]) + len(["last"]) - lost


def test_what_flask_logs_goes_through_the_same_redaction() -> None:
    log = said(FLASK_FAILS)

    assert "library.said" in log
    assert "ValueError" in log
    for secret in ("horse", "abcdef", "5550123"):
        assert secret not in log


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call from +79005550123 refused", "call from …0123 refused"),
        ("8 (900) 555-01-23", "…0123"),
        ("see https://media.example.test/1/abcdef", "see https://media.example.test/…"),
        ("token=correct-horse", "token=***"),
        ("the token abc1def is not known", "the token *** is not known"),
        ('"password": "geheim"', '"password": "***"'),
        ("500: nothing to hide", "500: nothing to hide"),
        ("order-79005550123", "order-…0123"),
        ("order-8 (900) 555-01-23-b", "order-…0123-b"),
        ("заказ_79005550123_2", "заказ_…0123_2"),
        ("lead79005550123x", "lead…0123x"),
        ("click-01a2081f-e110-7c12-a1ff-123456789012", "click-01a2081f-e110-7c12-a1ff-123456789012"),
        ("since 2026-03-02T09:30", "since 2026-03-02T09:30"),
        ("relay.db.bak-0003-20260301000000", "relay.db.bak-0003-20260301000000"),
        ("copies/relay-20260301000000.db", "copies/relay-20260301000000.db"),
        ("01a2081f-e110-7c12-a1ff-38b3d96d3474", "01a2081f-e110-7c12-a1ff-38b3d96d3474"),
    ],
)
def test_what_is_hidden(text: str, expected: str) -> None:
    assert redact(text) == expected
