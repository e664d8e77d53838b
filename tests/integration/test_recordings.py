"""Recordings that the relay fetches itself, over real sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from relay.sandbox.server import Sandbox
from relay.targets import recordings
from tests.conftest import FakeClock
from tests.hand import Hand, deliveries, tell
from tests.stories import finished, incoming

# path -> status, content type, body or the address that it leads to
FILES: dict[str, tuple[int, str, bytes]] = {
    "/talk/1/": (200, "audio/mpeg", b"ID3" + b"x" * 70_000),
    "/talk/wav": (200, "audio/x-wav", b"RIFF"),
    "/talk/2.wav": (200, "application/octet-stream", b"RIFF"),
    "/moved": (302, "/talk/1/", b""),
    "/circle": (302, "/circle", b""),
    "/gone": (404, "text/html", b"<h1>404</h1>"),
    "/sign-in": (200, "text/html; charset=utf-8", b"<h1>Sign in</h1>"),
    "/empty": (200, "audio/mpeg", b""),
    "/long": (200, "audio/mpeg", b"x" * 300_000),
}

UPLOAD = """
attach_record = "upload"
record_hosts = ["127.0.0.1"]
"""


@pytest.fixture
def uis() -> Iterator[str]:
    """Where the recordings lie."""

    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, what, body = FILES[self.path]
            self.send_response(status)
            self.send_header("Location" if status == 302 else "Content-Type", what)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "record"),
    [
        ("/talk/1/", {"filename": "7.mp3", "bytes": 70_003}),
        ("/talk/wav", {"filename": "7.wav", "bytes": 4}),
        ("/talk/2.wav", {"filename": "7.wav", "bytes": 4}),
        ("/moved", {"filename": "7.mp3", "bytes": 70_003}),
    ],
)
def test_the_file_is_fetched_and_sent(
    path: str, record: dict[str, Any], uis: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm(b24=UPLOAD)
    hand = Hand(relay, "b24", clock)

    tell(relay, [incoming(), finished(full_record_file_link=uis + path)], clock, hand)
    hand.close()

    assert systems.bitrix24.state()["statistics"][0]["records"] == [record]
    assert {one.state for one in deliveries(relay, "b24")} == {"delivered"}


@pytest.mark.parametrize(
    ("path", "outcome", "words"),
    [
        ("/gone", "failed", "404"),
        ("/sign-in", "failed", "text/html"),
        ("/empty", "failed", "200"),
        ("/circle", "failed", "302"),
        ("/long", "refused", "longer"),
    ],
)
def test_a_recording_that_cannot_be_had_is_not_the_targets_fault_and_the_call_is_there(
    path: str, outcome: str, words: str, uis: str, make_crm: Any, systems: Sandbox, clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(recordings, "_MAX", 100_000)
    relay = make_crm(b24=UPLOAD)
    hand = Hand(relay, "b24", clock)
    tell(relay, [incoming()], clock, hand)
    endpoint, body = finished(full_record_file_link=uis + path)
    relay.intake.accept(relay.settings.sources["trade"], endpoint, body, is_query=False)

    [found] = hand.deliver()
    hand.close()

    assert (found.name, found.target_is) == (outcome, "well")
    assert words in found.reason
    assert uis not in found.reason
    assert len(systems.bitrix24.state()["statistics"]) == 1


@pytest.mark.parametrize("off", [True, False])
def test_recordings_can_be_left_out(off: bool, make_crm: Any, systems: Sandbox, clock: FakeClock) -> None:
    relay = make_crm(b24='attach_record = "off"' if off else "")
    hand = Hand(relay, "b24", clock)

    tell(relay, [incoming(), finished()], clock, hand)
    hand.close()

    assert bool(systems.bitrix24.state()["statistics"][0]["records"]) is not off


def test_a_recording_that_uis_does_not_give_says_nothing_of_a_target_that_was_not_asked(
    uis: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    """The call is finished; the next attempt fetches only, and must not open a Bitrix24 that is down."""
    relay = make_crm(b24=UPLOAD)
    hand = Hand(relay, "b24", clock)
    tell(relay, [incoming(), finished(full_record_file_link=f"{uis}/gone")], clock)
    first = hand.deliver()
    asked = systems.bitrix24.state()["requests"]
    clock.forward(minutes=1)

    [again] = hand.deliver()
    hand.close()

    assert (first[-1].target_is, again.name, again.target_is) == ("well", "failed", "not_asked")
    assert systems.bitrix24.state()["requests"] == asked
