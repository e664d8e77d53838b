"""Where a request ends: found as its bytes come, however they are cut, and where gunicorn finds it too."""

from __future__ import annotations

import socket

import pytest
from gunicorn import http
from gunicorn.config import Config
from gunicorn.http.errors import ParseException
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge, RequestHeaderFieldsTooLarge

from relay.web.worker import HEAD_MAX, Connection, Frame, Framing

LARGEST = 1000
POST = b"POST /trade/hs/UIScom/in HTTP/1.1\r\nHost: x\r\n"
COUNTED = POST + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n3;note=x\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
WITH_TRAILER = CHUNKED[:-2] + b"X-Sum: 5\r\n\r\n"
NEXT = b"GET /healthz HTTP/1.1\r\n\r\n"
WHOLE = [NEXT, b"\r\n" + NEXT, COUNTED, CHUNKED, WITH_TRAILER, POST + b"content-length:0\r\n\r\n"]


def framed(received: bytes) -> Frame | None:
    return Framing(LARGEST).advance(bytearray(received))


@pytest.mark.parametrize("request_", WHOLE)
@given(st.data())
def test_a_whole_request_ends_at_its_last_byte_however_it_is_cut(request_: bytes, data: st.DataObject) -> None:
    everything = request_ + NEXT
    cuts = sorted(data.draw(st.sets(st.integers(1, len(everything)))) | {len(everything)})
    framing = Framing(LARGEST)

    for cut in cuts:
        found = framing.advance(bytearray(everything[:cut]))
        assert (found is None) == (cut < len(request_))
        if found is not None:
            assert found == (len(request_), None)
            return


@pytest.mark.parametrize(
    ("received", "ending"),
    [
        (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n", BadRequest),
        (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", BadRequest),
        (POST + b"Content-Length: -5\r\n\r\n", BadRequest),
        (POST + b"Content-Length: \xb25\r\n\r\n", BadRequest),
        (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", BadRequest),
        (POST + b"Content-Length: 1001\r\n\r\n", RequestEntityTooLarge),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", BadRequest),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", BadRequest),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", BadRequest),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n", RequestEntityTooLarge),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 9000, BadRequest),
        (CHUNKED[:-2] + b"X: " + b"y" * HEAD_MAX, RequestEntityTooLarge),
        (POST.replace(b"\r\n", b"\n") + b"\n", BadRequest),
        (POST + b"X: " + b"y" * HEAD_MAX, RequestHeaderFieldsTooLarge),
    ],
)
def test_what_has_no_end_to_be_found_is_handed_over_at_once_and_says_why(
    received: bytes, ending: type[HTTPException]
) -> None:
    found = framed(received)

    assert found is not None
    assert found.length == len(received)
    assert type(found.ending) is ending


@pytest.mark.parametrize("request_", WHOLE)
def test_what_is_not_whole_is_waited_for(request_: bytes) -> None:
    for length in range(len(request_)):
        assert framed(request_[:length]) is None


@pytest.mark.parametrize(
    ("head", "waits"),
    [
        (POST + b"Expect: 100-Continue\r\nContent-Length: 5\r\n\r\n", True),
        (POST + b"Content-Length: 5\r\n\r\n", False),
        (POST.replace(b"/1.1", b"/1.0") + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n", False),
    ],
)
def test_who_waits_to_be_told_to_go_on(head: bytes, waits: bool) -> None:
    framing = Framing(LARGEST)
    framing.advance(bytearray(head))
    assert framing.waits_for_continue is waits


@st.composite
def nearly_requests(draw: st.DrawFn) -> bytes:
    """Requests with pieces replaced, doubled, taken away."""
    found = bytearray(draw(st.sampled_from([COUNTED, CHUNKED, WITH_TRAILER])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(found)))
        new = st.one_of(
            st.binary(max_size=3),
            st.sampled_from([b"\r\n", b"\n", b" ", b"\t", b"0", b"chunked", b"Content-Length: 3\r\n", b"a\r\nb: c"]),
            st.sampled_from([b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"0\r\n\r\n"]),
        )
        found[at : at + draw(st.integers(0, 3))] = draw(new)
    return bytes(found)


@given(nearly_requests())
@example(COUNTED.replace(b"Content-Length", b"Content-Length "))
@example(COUNTED.replace(b"Content", b" Content"))
@example(POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\n\r\n\r\n")
def test_gunicorn_refuses_or_reads_to_the_same_last_byte(received: bytes) -> None:
    """Else the rest would be taken for the next request."""
    found = framed(received)
    if found is None or found.ending is not None:
        return
    client = Connection(socket.socket(), ("127.0.0.1", 1), ("127.0.0.1", 2), Framing(LARGEST))
    client.sock.close()
    client.received += received
    client.begin_request(found)
    parser = http.get_parser(Config(), client, client.client)
    try:
        request = next(parser)
        request.body.read()
    except ParseException:
        return
    assert parser.unreader.buf.getvalue() == b""
