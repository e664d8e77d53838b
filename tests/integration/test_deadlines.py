"""One deadline for each request, over real sockets: an answer that never ends costs its thread no more than that."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from relay.config import OneCTarget
from relay.sandbox.server import Sandbox
from relay.targets.http_client import Client, NoAnswer
from relay.wiring import Relay
from tests.fakes import FakeClock
from tests.lanes import SteppedLane, deliveries, tell
from tests.sockets import ANSWER, outcome_of, read_request, server
from tests.stories import CLIENT, finished, incoming
from tests.waiting import eventually

HASTE = timedelta(seconds=0.5)  # longer than a busy machine keeps the next drop waiting
QUICK = OneCTarget(name="onec", url="http://127.0.0.1/", timeout=HASTE, connect_timeout=HASTE)
PATIENCE_S = 30.0  # far more than the deadline, far less than for ever

Serve = Callable[[socket.socket], None]


def dripping(beginning: bytes, drop: bytes) -> Serve:
    """Says the beginning, and then one thing again and again, faster than any time-out of a socket."""

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        drip(connection, beginning, drop)

    return serve


def drip(connection: socket.socket, beginning: bytes, drop: bytes) -> None:
    ends = time.monotonic() + 2 * PATIENCE_S
    try:
        connection.sendall(beginning)
        while time.monotonic() < ends:
            connection.sendall(drop)
            if select.select([connection], [], [], 0.02)[0]:  # the client has gone; else it is time for the next drop
                return
    except OSError:
        pass


# how the answer begins, what drips, what it comes to
DRIPS = {
    "nothing but the status": (b"HTTP/1.1 200 OK\r\nX: ", b".", "unclear"),
    "headers": (b"HTTP/1.1 200 OK\r\nX: 1\r\nY: ", b"1", "unclear"),
    "the status": (b"HTTP/1.1 200 ", b"O", "unclear"),
    "a status that is none": (b"", b" ", "unclear"),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "unclear"),
    "continue with headers": (b"", b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n", "unclear"),
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b".", 200),
    "a body without end": (b"HTTP/1.1 200 OK\r\n\r\n", b".", 200),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n.\r\n", 200),
    "the size of a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0", 200),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: 1\r\n", 200),
    "gzip of nothing": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\0",
        b"\0\0\0\xff\xff",
        200,
    ),
    "an error's body": (b"HTTP/1.1 500 No\r\nContent-Length: 100000\r\n\r\n", b".", 500),
}


@pytest.mark.timeout(PATIENCE_S)
@pytest.mark.parametrize(("beginning", "drop", "ends"), DRIPS.values(), ids=DRIPS.keys())
def test_an_answer_that_drips_ends_at_the_deadline(beginning: bytes, drop: bytes, ends: Any) -> None:
    with server(dripping(beginning, drop)) as url:
        found = outcome_of(url, QUICK)

    assert (found.status if ends in (200, 500) else found.name) == ends
    assert "in time" in found.reason if ends == "unclear" else not found.is_whole


@pytest.mark.timeout(PATIENCE_S)
def test_an_answer_that_stops_dripping_is_waited_for_until_the_deadline_and_not_for_a_whole_wait_more() -> None:
    wait = timedelta(seconds=3)

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        ends = time.monotonic() + 0.9 * wait.total_seconds()
        while time.monotonic() < ends and not select.select([connection], [], [], 0.02)[0]:
            connection.sendall(b".")
        select.select([connection], [], [], PATIENCE_S)

    with server(serve) as url:
        began = time.monotonic()
        found = outcome_of(url, replace(QUICK, timeout=wait, connect_timeout=timedelta(seconds=0.2)))
        took_s = time.monotonic() - began

    assert found.name == "unclear"
    assert took_s < 1.5 * wait.total_seconds()  # 1.9 if each wait were a whole one


@pytest.mark.timeout(PATIENCE_S)
def test_the_same_through_tls(certificate: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            read_request(secured)
            drip(secured, b"HTTP/1.1 200 OK\r\nX: ", b".")

    with server(serve) as url:
        found = outcome_of(url.replace("http:", "https:"), replace(QUICK, ca_file=str(certificate[0])))

    assert (found.name, "in time" in found.reason) == ("unclear", True)


@pytest.mark.timeout(PATIENCE_S)
def test_a_handshake_that_drips_was_not_sent() -> None:
    """A record of TLS that is announced long, and comes a byte at a time."""

    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        drip(connection, b"\x16\x03\x03\x40\x00", b"\x02")

    with server(serve) as url:
        found = outcome_of(url.replace("http:", "https:"), QUICK)

    assert found.name == "unreachable"


@pytest.mark.timeout(PATIENCE_S)
def test_a_connection_that_was_kept_has_the_deadline_of_each_request() -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        read_request(connection)
        drip(connection, b"HTTP/1.1 200 OK\r\nX: ", b".")

    with server(serve) as url:
        client = Client(QUICK)
        assert client.request("POST", url, {}, b"{}").status == 200
        with pytest.raises(NoAnswer) as caught:
            client.request("POST", url, {}, b"{}")
        client.close()

    assert caught.value.outcome.name == "unclear"


@pytest.mark.timeout(PATIENCE_S)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(("waits_s", "ends"), [(2 * HASTE.total_seconds(), 200), (4.0, "unclear")])
def test_a_large_body_may_take_longer_than_the_connection_and_the_answer_but_not_for_ever(
    waits_s: float, ends: Any, scheme: str, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b"{" + bytes(6 * 1024 * 1024) + b"}"  # more than lies between two sockets
    monkeypatch.setattr("relay.targets.http_client._SLOW_LINE", len(body) // 2)  # bytes a second
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def serve(connection: socket.socket) -> None:
        secured = context.wrap_socket(connection, server_side=True) if scheme == "https" else connection
        gone = select.poll()
        gone.register(secured, select.POLLRDHUP)
        gone.poll(waits_s * 1000)
        with contextlib.suppress(OSError):
            read = 0
            while read < len(body) and (part := secured.recv(65536)):
                read += len(part)
            secured.sendall(ANSWER)
        secured.close()

    with server(serve) as url:
        found = outcome_of(url.replace("http:", f"{scheme}:"), replace(QUICK, ca_file=str(certificate[0])), body)

    assert (found.status if ends == 200 else found.name) == ends
    assert ends == 200 or "in time" in found.reason


def test_descriptors_are_given_back(onec: Sandbox) -> None:
    client = Client(replace(QUICK, timeout=timedelta(seconds=30)))
    client.request("GET", f"{onec.onec_url}/ping", {})
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        client.request("GET", f"{onec.onec_url}/ping", {})

    assert len(list(Path("/proc/self/fd").iterdir())) < before + 10  # the server's own come and go meanwhile
    client.close()


# --- what it means for deliveries

HASTY = 'timeout = "300ms"\nconnect_timeout = "300ms"'
MODES = ["drip_headers_after_writing", "continue_for_ever_after_writing", "hang_after_writing"]


@pytest.mark.timeout(4 * PATIENCE_S)
@pytest.mark.parametrize("mode", [*MODES, "drip_body_after_writing"])
@pytest.mark.parametrize(("target", "method"), [("b24", "telephony.externalcall.finish"), ("amo", "/api/v4/calls")])
def test_a_crm_that_drips_in_a_step_holds_the_call_once_in_the_end(
    target: str, method: str, mode: str, make_crm: Callable[..., Relay], systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm(b24=HASTY, amo=HASTY)
    systems.amocrm.add_contact(CLIENT)
    simulator: Any = systems.bitrix24 if target == "b24" else systems.amocrm
    lane = SteppedLane(relay, target, clock)
    simulator.fail(mode, 1, method)

    tell(relay, [incoming(), finished()], clock, lane)
    clock.forward(seconds=5)
    lane.deliver()
    lane.close()

    state = simulator.state()
    assert len(state["statistics"] if target == "b24" else state["calls"]) == 1
    assert state.get("registered", 1) == 1
    assert {one.state for one in deliveries(relay, target)} == {"delivered"}


@pytest.mark.timeout(4 * PATIENCE_S)
@pytest.mark.parametrize(
    ("mode", "outcome"), [*((mode, "unclear") for mode in MODES), ("drip_body_after_writing", "delivered")]
)
def test_a_1c_that_drips(
    mode: str, outcome: str, make_relay: Callable[..., Relay], onec: Sandbox, clock: FakeClock
) -> None:
    relay = make_relay(onec.onec_url, target='timeout = "300ms"')
    lane = SteppedLane(relay, "onec", clock)
    onec.onec.fail(mode, 1)
    endpoint, body = incoming()
    relay.intake.accept(relay.settings.sources["trade"], endpoint, body, is_query=False)

    [found] = lane.deliver()
    lane.close()

    assert found.name == outcome
    # it may write what it read after the relay has given up waiting for its answer
    eventually(lambda: len(onec.onec.state()["records"]) == 1, "1C has written it")
