"""Recordings that the relay fetches itself, over real sockets."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from relay.models import Outcome
from relay.sandbox.server import Sandbox
from relay.targets.bitrix24 import recordings
from tests.fakes import FakeClock
from tests.lanes import SteppedLane, deliveries, tell
from tests.stories import finished, incoming

# path -> status, content type, body or the address that it leads to
# and how the file ends
CUTS = {
    "/cut": b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 70003\r\n\r\nID3",
    "/cut-chunks": b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nID3\r\n",
    "/no-length": b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\nID3",
}
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
def asked() -> list[str]:
    """The paths that were asked for at `uis`."""
    return []


@pytest.fixture
def uis(asked: list[str]) -> Iterator[str]:
    """Where the recordings lie."""

    class WalGuard(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path in CUTS:
                self.wfile.write(CUTS[self.path])
                self.close_connection = True
                return
            leads_to = unquote(self.path.partition("/to?")[2])
            status, what, body = (302, leads_to, b"") if leads_to else FILES[self.path]
            self.send_response(status)
            self.send_header("Location" if status == 302 else "Content-Type", what)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), WalGuard)
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
    lane = SteppedLane(relay, "b24", clock)

    tell(relay, [incoming(), finished(full_record_file_link=uis + path)], clock, lane)
    lane.close()

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
    path: str,
    outcome: str,
    words: str,
    uis: str,
    make_crm: Any,
    systems: Sandbox,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recordings, "_MAX", 100_000)
    relay = make_crm(b24=UPLOAD)
    lane = SteppedLane(relay, "b24", clock)
    tell(relay, [incoming()], clock, lane)
    endpoint, body = finished(full_record_file_link=uis + path)
    relay.intake.accept(relay.settings.sources["trade"], endpoint, body, is_query=False)

    [found] = lane.deliver()
    lane.close()

    assert (found.name, found.health_hint) == (outcome, "well")
    assert words in found.reason
    assert uis not in found.reason
    assert len(systems.bitrix24.state()["statistics"]) == 1


@pytest.mark.parametrize("off", [True, False])
def test_recordings_can_be_left_out(off: bool, make_crm: Any, systems: Sandbox, clock: FakeClock) -> None:
    relay = make_crm(b24='attach_record = "off"' if off else "")
    lane = SteppedLane(relay, "b24", clock)

    tell(relay, [incoming(), finished()], clock, lane)
    lane.close()

    assert bool(systems.bitrix24.state()["statistics"][0]["records"]) is not off


def test_a_recording_that_uis_does_not_give_says_nothing_of_a_target_that_was_not_asked(
    uis: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    """The call is finished; the next attempt fetches only, and must not open a Bitrix24 that is down."""
    relay = make_crm(b24=UPLOAD)
    lane = SteppedLane(relay, "b24", clock)
    tell(relay, [incoming(), finished(full_record_file_link=f"{uis}/gone")], clock)
    first = lane.deliver()
    asked = systems.bitrix24.state()["requests"]
    clock.forward(minutes=1)

    [again] = lane.deliver()
    lane.close()

    assert (first[-1].health_hint, again.name, again.health_hint) == ("well", "failed", "not_asked")
    assert systems.bitrix24.state()["requests"] == asked


# --- where a recording may be fetched from


def attach(link: str, b24: str, make_crm: Any, clock: FakeClock) -> Outcome:
    """What the end of a call comes to whose recording lies there."""
    relay = make_crm(b24=f'attach_record = "upload"\n{b24}')
    lane = SteppedLane(relay, "b24", clock)
    tell(relay, [finished(full_record_file_link=link)], clock)
    [found] = lane.deliver()
    lane.close()
    return found


@pytest.mark.parametrize("path", CUTS)
def test_a_file_that_breaks_off_is_not_attached(
    path: str, uis: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    found = attach(uis + path, 'record_hosts = ["127.0.0.1"]', make_crm, clock)

    assert (found.name, found.health_hint, "broke off" in found.reason) == ("failed", "well", True)
    assert [row["records"] for row in systems.bitrix24.state()["statistics"]] == [[]]


# the address, with the server in it as HOST:PORT; the setting; words of the reason
FOREIGN = [
    ("http://HOST:PORT/talk/1/", "", "record_hosts does not name"),
    ("http://HOST:PORT/talk/1/", 'record_hosts = ["records.example.test", "0.0.1"]', "record_hosts does not name"),
    ("http://HOST:PORT/talk/1/", "record_hosts = []", "record_hosts does not name"),
    ("http://localhost:PORT/to?http%3A//HOST%3APORT/talk/1/", 'record_hosts = ["localhost"]', "record_hosts does not"),
    ("http://HOST:PORT\\\\@media.uiscom.ru/talk/1/", "", "record_hosts does not name"),
    ("http://media.uiscom.ru@HOST:PORT/talk/1/", "", "record_hosts does not name"),
    ("http://uiscom.ru.HOST:PORT/talk/1/", "", "record_hosts does not name"),
    ("http://2130706433:PORT/talk/1/", "", "record_hosts does not name"),
    ("http://[::ffff:HOST]:PORT/talk/1/", "", "record_hosts does not name"),
]


@pytest.mark.parametrize(("address", "setting", "words"), FOREIGN)
def test_a_link_leads_only_to_hosts_that_are_named(
    address: str,
    setting: str,
    words: str,
    uis: str,
    asked: list[str],
    make_crm: Any,
    systems: Sandbox,
    clock: FakeClock,
) -> None:
    port = uis.rpartition(":")[2]
    link = address.replace("PORT", port).replace("HOST", "127.0.0.1")

    found = attach(link, setting, make_crm, clock)

    assert (found.name, found.health_hint) == ("failed", "well")
    assert words in found.reason
    assert [path for path in asked if path.startswith("/talk")] == []
    assert len(systems.bitrix24.state()["statistics"]) == 1


@pytest.mark.parametrize("hop", ["/talk/1/", "//127.0.0.1:PORT/talk/1/", "http://localhost:PORT/talk/1/"])
def test_a_redirect_to_a_named_host_is_followed(
    hop: str, uis: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    hop = quote(hop.replace("PORT", uis.rpartition(":")[2]))

    found = attach(f"{uis}/to?{hop}", 'record_hosts = ["127.0.0.1", "localhost"]', make_crm, clock)

    assert found.name == "delivered"
    assert systems.bitrix24.state()["statistics"][0]["records"] == [{"filename": "7.mp3", "bytes": 70_003}]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names and the addresses that each look-up gives, one after another; after the last, that one again."""
    found: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        addresses = found.get(host)
        if addresses is None:
            return real(host, port, *args, **more)
        return real(addresses.pop(0) if len(addresses) > 1 else addresses[0], port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return found


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_a_host_of_uis_that_leads_into_the_own_network_is_not_asked(
    address: str, uis: str, asked: list[str], names: Any, make_crm: Any, clock: FakeClock
) -> None:
    names["media.uiscom.ru"] = [address]
    link = f"http://media.uiscom.ru:{uis.rpartition(':')[2]}/talk/1/"

    found = attach(link, "", make_crm, clock)

    assert (found.name, "no public address" in found.reason, asked) == ("failed", True, [])


@pytest.mark.parametrize("host", ["records.example.test", "media.uiscom.ru"])
def test_a_host_that_the_operator_names_may_lie_in_the_own_network(
    host: str, uis: str, names: Any, make_crm: Any, clock: FakeClock
) -> None:
    names[host] = ["127.0.0.1"]
    link = f"http://{host}:{uis.rpartition(':')[2]}/talk/1/"

    assert attach(link, f'record_hosts = ["uiscom.ru", "{host}"]', make_crm, clock).name == "delivered"


def test_a_name_that_leads_elsewhere_the_second_time_is_looked_up_once(
    uis: str, asked: list[str], names: Any, make_crm: Any, clock: FakeClock
) -> None:
    """What was looked at is what is connected to; a second look-up would lead to 192.0.2.1, and so nowhere."""
    names["records.example.test"] = ["127.0.0.1", "192.0.2.1"]
    link = f"http://records.example.test:{uis.rpartition(':')[2]}/talk/1/"

    found = attach(link, 'record_hosts = ["records.example.test"]\nconnect_timeout = "1s"', make_crm, clock)

    assert (found.name, asked) == ("delivered", ["/talk/1/"])


PUBLIC = ["8.8.8.8", "195.211.122.249", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
NOT_PUBLIC = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "::",
    "::1",
    "fe80::1%eth0",
    "fc00::1",
    "ff02::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "2002:a00:1::1",
    "2001:db8::1",
]


@pytest.mark.parametrize(("address", "public"), [*((a, True) for a in PUBLIC), *((a, False) for a in NOT_PUBLIC)])
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert recordings.is_public(address) is public


@pytest.fixture
def secure(certificate: tuple[Path, Path]) -> Iterator[tuple[str, Path]]:
    """A server of recordings with a certificate that nobody vouches for, and that certificate."""

    class File(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "audio/mpeg")
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"ID3")

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), File)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}/1", certificate[0]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("vouches", "outcome"), [(False, "failed"), (True, "delivered")])
def test_that_the_targets_certificate_is_not_looked_at_says_nothing_of_a_recordings(
    vouches: bool, outcome: str, secure: tuple[str, Path], make_crm: Any, clock: FakeClock
) -> None:
    link, certificate = secure
    own = f'record_ca_file = "{certificate}"' if vouches else ""

    found = attach(link, f'record_hosts = ["127.0.0.1"]\nverify_tls = false\n{own}', make_crm, clock)

    assert (found.name, "TLS" in found.reason) == (outcome, not vouches)
