"""Requests over real sockets: what each way of failing comes to."""

from __future__ import annotations

import contextlib
import gc
import re
import socket
import ssl
import threading
import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from msgspec.structs import replace

from relay.sandbox.server import Sandbox
from relay.targets.http_client import Client, NoAnswer, translate, unthrottled
from tests.sockets import ANSWER, QUICK, outcome_of, read_request, reset, server, wait_for_close


def test_addresses_that_differ_each_time_are_not_kept(unused_port: int) -> None:
    """A look-up's address holds the call's own phone: 300 of 10 KB would be 6 MB."""
    client = Client(QUICK)
    tracemalloc.start()
    try:
        for number in range(300):
            with pytest.raises(NoAnswer):
                client.request("GET", f"http://127.0.0.1:{unused_port}/?query={number}{'7' * 10_000}", {})
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        client.close()
    assert kept < 3_000_000


def test_threads_that_share_a_client_share_no_session_and_no_leave_to_send() -> None:
    """All threads of a lane have one adapter, and each delivers something else with it."""
    client, seen = Client(QUICK), []
    client.report = seen.append
    client.cookies.set("ibsession", "1")
    other = threading.Thread(target=lambda: seen.append((client.report, client.acquire, len(client.cookies))))
    other.start()
    other.join()

    assert seen == [(None, unthrottled, 0)]
    assert len(client.cookies) == 1


def test_nobody_listens(unused_port: int) -> None:
    found = outcome_of(f"http://127.0.0.1:{unused_port}/in")

    assert (found.name, found.reason) == (
        "unreachable",
        "no connection: connection refused; does it run, is the port in the address right?",
    )


def test_the_host_is_not_known() -> None:
    found = outcome_of("http://nobody.invalid/in")

    assert found.name == "unreachable"
    assert "DNS" in found.reason


def test_connecting_takes_too_long() -> None:
    """A full backlog: the kernel drops what comes on top."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=0)
    address = listening.getsockname()
    fillers = [socket.socket() for _ in range(4)]
    try:
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        found = outcome_of(f"http://127.0.0.1:{address[1]}/in")
    finally:
        for filler in (*fillers, listening):
            filler.close()

    assert (found.name, found.reason) == (
        "unreachable",
        "no connection: connecting took too long; is there a firewall or a VPN in between?",
    )


def test_a_tls_handshake_that_is_never_answered_was_not_sent() -> None:
    with server(wait_for_close) as url:
        found = outcome_of(url.replace("http:", "https:"))

    assert found.name == "unreachable"


def test_a_server_that_does_not_speak_tls_is_misconfigured() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with server(serve) as url:
        found = outcome_of(url.replace("http:", "https:"))

    assert found.name == "misconfigured"
    assert "verify_tls" in found.reason


def test_a_certificate_that_is_not_trusted_is_misconfigured(certificate: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def serve(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as secured:
                read_request(secured)
                secured.sendall(ANSWER)
        except OSError:
            pass

    with server(serve) as url:
        secure = url.replace("http:", "https:")
        assert outcome_of(secure).name == "misconfigured"
        patient = replace(QUICK, verify_tls=False, timeout=timedelta(seconds=5), connect_timeout=timedelta(seconds=5))
        assert outcome_of(secure, patient).status == 200
        assert outcome_of(secure, replace(QUICK, ca_file=str(certificate[0]))).status == 200


def test_no_answer_in_time_is_unclear() -> None:
    with server(wait_for_close) as url:
        found = outcome_of(url)

    assert (found.name, found.reason) == (
        "unclear",
        "no answer, though the request may have arrived: the answer took longer than the target's timeout",
    )


def test_a_reset_half_way_is_unclear() -> None:
    """The same ConnectionError as "refused": told apart by whether the connection stood."""

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        reset(connection)

    with server(serve) as url:
        assert outcome_of(url).name == "unclear"


def test_a_close_without_an_answer_is_unclear() -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)

    with server(serve) as url:
        found = outcome_of(url)
        assert (found.name, "closed the connection without an answer" in found.reason) == ("unclear", True)


def test_a_body_that_is_cut_does_not_cost_the_status() -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    with server(serve) as url:
        found = outcome_of(url)

    assert (found.status, found.body) == (200, b"half")


def test_a_body_without_end_is_read_up_to_its_limit() -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                connection.sendall(b"x" * 65536)
        except OSError:
            pass

    with server(serve) as url:
        assert len(outcome_of(url).body) == 65536


def test_a_redirect_is_not_followed() -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n")

    with server(serve) as url:
        assert outcome_of(url).status == 302


def test_a_proxy_that_is_away_is_unreachable(unused_port: int) -> None:
    found = outcome_of("http://127.0.0.1:9/in", replace(QUICK, proxy=f"http://127.0.0.1:{unused_port}"))

    assert found.name == "unreachable"


def test_a_proxy_that_wants_a_login_is_a_matter_of_the_configuration() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    with server(serve) as url:
        found = outcome_of("https://127.0.0.1:9/in", replace(QUICK, proxy=url.removesuffix("/in")))

    assert (found.name, "login" in found.reason) == ("misconfigured", True)


def test_an_address_that_cannot_be_used_is_misconfigured() -> None:
    assert outcome_of("http://[::1/in").name == "misconfigured"


def test_connections_and_cookies_are_kept(onec: Sandbox) -> None:
    """Two requests over one connection: a session of 1C costs more than the request."""
    accepted: list[int] = []

    def serve(connection: socket.socket) -> None:
        accepted.append(1)
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nSet-Cookie: ibsession=abc\r\nContent-Length: 0\r\n\r\n")
        second.append(read_request(connection))
        connection.sendall(ANSWER)

    second: list[bytes] = []
    with server(serve) as url:
        client = Client(QUICK)
        client.request("POST", url, {}, b"{}")
        client.request("POST", url, {}, b"{}")
        client.close()

    assert accepted == [1]
    assert b"Cookie: ibsession=abc" in second[0]


SMALL, LARGE = b"x", b"x" * 9000


@pytest.mark.parametrize(
    ("answers", "kept", "remark"),
    [
        ([(range(30), SMALL), (range(20), SMALL)], 30, "the same names again are no more"),
        ([(range(50), SMALL)], 50, "as many as are kept"),
        ([(range(30), SMALL), (range(30, 60), SMALL)], 30, "too many: the latest answer's"),
        ([(range(60), SMALL)], 0, "too many in one answer: none"),
        ([(range(1), LARGE)], 1, "large, but not too large"),
        ([(range(1), LARGE), (range(1, 2), LARGE)], 1, "too large together: the latest answer's"),
        ([(range(2), LARGE)], 0, "too large in one answer: none"),
    ],
)
def test_the_cookies_that_are_kept_are_bounded(answers: list[tuple[range, bytes]], kept: int, remark: str) -> None:
    """A target that sets new ones with each answer would make each request larger than the one before."""
    to_give = [
        b"".join(b"Set-Cookie: c%d=%s\r\n" % (number, value) for number in numbers) for numbers, value in answers
    ]
    received: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        for cookies in [*to_give, b""]:
            received.append(read_request(connection))
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + cookies + b"Content-Length: 0\r\n\r\n")

    with server(serve) as url, contextlib.closing(Client(QUICK)) as client:
        for _ in range(len(answers) + 1):
            client.request("POST", url, {}, b"{}")

    sent = re.findall(rb"\bc(\d+)=", received[-1])
    assert len(sent) == kept
    assert not kept or b"%d" % answers[-1][0][-1] in sent


def _all_errors(root: type[Exception]) -> list[type[Exception]]:
    return [root, *(error for child in root.__subclasses__() for error in _all_errors(child))]


ERRORS = sorted({e for e in _all_errors(requests.RequestException) if e.__module__.startswith("requests")}, key=str)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
@pytest.mark.parametrize("connected", [True, False])
def test_every_error_of_requests_is_translated(error: type[requests.RequestException], connected: bool) -> None:
    """Once the connection stood nothing may be called "surely not taken", whatever requests calls it."""
    made = error("boom", "doc", 0) if error is requests.exceptions.JSONDecodeError else error("boom")
    found = translate(made, connected=connected)

    assert found.name in ("unreachable", "unclear", "misconfigured")
    if connected:
        assert found.name != "unreachable"
    assert found.reason


def test_an_error_says_nothing_of_the_address(unused_port: int) -> None:
    """A Bitrix24 webhook has its secret in the path."""
    assert "s3cret" not in outcome_of(f"http://127.0.0.1:{unused_port}/rest/1/s3cret/").reason
    assert "s3cret" not in outcome_of("http://nobody.invalid/rest/1/s3cret/").reason
    for text in ("Max retries exceeded with url: /rest/1/s3cret/m.json", "HTTP(url='/rest/1/s3cret/')"):
        assert "s3cret" not in translate(requests.ConnectionError(text), connected=False).reason
