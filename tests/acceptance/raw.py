"""Requests as nobody should send them, each from a number: so each can be had again."""

from __future__ import annotations

import codecs
import gzip
import json
import random
import socket
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from relay.sandbox.corruption import CORRUPTIONS
from tests.calls import STANDARD, rendered

SECRET = "correct-horse"
NAMES = [
    b"Content-Type",
    b"User-Agent",
    b"Accept",
    b"X-Forwarded-For",
    b"X-Forwarded-Proto",
    b"Authorization",
    b"Cookie",
]
VALUES = [
    b"application/json",
    b"application/x-www-form-urlencoded; charset=cp1251",
    b"multipart/form-data; boundary=x",
    b"",
    b"text/plain; charset=nonsense",
    b"https",
    b"1.2.3.4, ::ffff:1.2.3.4",
    b"Basic !!!",
    b"Basic OnNlY3JldA==",
    b"=;=",
    "Bearer секрет".encode(),
    b"Bearer \xff\xfe",
    b"a" * 9000,
    b"\x00",
    b"x\x0by",
]
TRICKS = [
    b"SCRIPT_NAME: /x",
    b"PATH_INFO: /healthz",
    b"Content_Length: 0",
    b"X-Relay-Token: " + b"\xd0\xb6" * 9,
    b"Content-Length: 7",
    b"Content-Length: -1",
    b"Content-Length: \xb2",
    b"Content-Length: 1e3",
    b"Content-Length:",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: foo",
    b"Transfer-Encoding: chunked, identity",
    b"Expect: 100-continue",
    b"Expect: 200-ok",
    b"Connection: close",
    b"Connection: upgrade\r\nUpgrade: h2c",
    b" folded: line",
    b"no colon",
    b"spaced : name",
    b"Host: again",
    "Имя: значение".encode(),
    b"NUL\x00: x",
    b": x",
    f"{SECRET}@: in a name".encode(),
    b"bare\nfeed: x",
    b"bare\rreturn: x",
    b"X-Long: " + b"l" * 70_000,
    b"\r\n".join(b"X-%d: many" % number for number in range(150)),
]
LINES = [
    "POST {path}?token={secret} HTTP/1.1",
    "GET {path}?token={secret}&call_session_id={n}&direction=in HTTP/1.1",
    "POST {path}?token={secret} with a space HTTP/1.1",
    "POST {path}?token={secret}\t HTTP/1.1",
    "{path}?token={secret}",
    "POST {path}?token={secret}\0 HTTP/1.1",
    "POST {path}?token={secret}&имя=значение HTTP/1.1",
    "POST {path}?token={secret}",
    "POST {path}?token={secret} HTTP/2.0",
    "POST {path}?token={secret} HTTP/1.0",
    "post {path}?token={secret} HTTP/1.1",
    "POST http://relay{path}?token={secret} HTTP/1.1",
    "POST {path}?token={secret}&x=" + "y" * 9000 + " HTTP/1.1",
    "PUT {path}?token={secret} HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "CONNECT relay:80 HTTP/1.1",
    "GET /healthz HTTP/1.1",
    "GET /metrics HTTP/1.1",
    "GET /nobody?token={secret} HTTP/1.1",
    "POST //{path}%00%ff?token={secret} HTTP/1.1",
    "",
    "\0",
    "POST /nobody{path}?token={secret} HTTP/1.1",
    "HEAD {path}?token={secret} HTTP/1.1",
    "POST {path}?token=%ff HTTP/1.1",
]


class Response(NamedTuple):
    status: int
    body: bytes


def raw_request(number: int) -> bytes:
    chance = random.Random(number)
    body = _body(chance)
    path = f"/trade/hs/UIScom/{chance.choice(['in', 'out', 'rec', 'any', 'ping'])}"
    line = LINES[0] if chance.random() < 0.8 else chance.choice(LINES)
    headers = [b"Host: relay"]
    if chance.random() < 0.3:
        headers.append(chance.choice(NAMES) + b": " + chance.choice(VALUES))
    if chance.random() < 0.25:
        headers.append(chance.choice(TRICKS))
    framed = chance.choice([_counted, _counted, _counted, _chunked])(body, chance)
    head = line.format(path=path, secret=SECRET, n=number).encode() + b"\r\n" + b"\r\n".join(headers) + b"\r\n"
    if chance.random() < 0.1:
        head = _mutated(head, chance)
    request = head + (_mutated(framed, chance) if chance.random() < 0.05 else framed)
    if chance.random() < 0.1:
        request = request[: chance.randrange(1, len(request) + 1)]
    return request + chance.choice([b""] * 18 + [chance.randbytes(20), b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n"])


def _body(chance: random.Random) -> bytes:
    kind = chance.choice(STANDARD)
    good = rendered(kind, call_session_id=chance.randrange(10**10), scenario_name="ООО «Ромашка»")
    make: list[Callable[[], bytes]] = [
        lambda: good,
        lambda: _mutated(good, chance),
        lambda: _mutated(good, chance),
        lambda: chance.choice(list(CORRUPTIONS.values()))(good.decode(), chance),
        lambda: chance.randbytes(chance.choice([0, 1, 30, 3000])),
        lambda: good.decode().encode(
            chance.choice(["cp1251", "koi8-r", "utf-16", "utf-32-be", "utf-8-sig"]), "replace"
        ),
        lambda: codecs.BOM_UTF16_LE + good,
        lambda: gzip.compress(good),
        lambda: "&".join(f"{name}={value}" for name, value in json.loads(good).items()).encode(),
        lambda: good + b" " * 70_000,
    ]
    return chance.choice(make)()


def _mutated(text: bytes, chance: random.Random) -> bytes:
    found = bytearray(text)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(found) + 1)
        length = chance.choice([0, 0, 1, 2, 30])
        other = chance.randrange(len(found) + 1)
        new = [chance.randbytes(1), found[other : other + 20], b'"', b"{", b",", b"\\", b"\r\n", b"null", b""]
        found[at : at + length] = chance.choice(new)
    return bytes(found)


def _counted(body: bytes, chance: random.Random) -> bytes:
    length = len(body)
    if chance.random() < 0.1:
        length = max(0, length + chance.choice([-5, -1, 1, 300, 10**6, 10**12]))
    return b"Content-Length: %d\r\n\r\n" % length + body


def _chunked(body: bytes, chance: random.Random) -> bytes:
    parts = [b"Transfer-Encoding: chunked\r\n\r\n"]
    while body:
        size = chance.choice([1, 7, 100, 5000])
        parts.append(b"%x%s\r\n%s\r\n" % (len(body[:size]), chance.choice([b"", b"", b";x=1"]), body[:size]))
        body = body[size:] if len(parts) < 200 else b""
    parts.append(
        chance.choice(
            [b"0\r\n\r\n"] * 5 + [b"0\r\nX-Sum: 1\r\n\r\n", b"0\r\nHost: x\r\n\r\n", b"0\r\n bad\r\n\r\n", b""]
        )
    )
    whole = b"".join(parts)
    return _mutated(whole, chance) if chance.random() < 0.2 else whole


def exchange(port: int, request: bytes, *, abruptly: bool = False) -> list[Response]:
    """Send it, end the sending, and return what is answered; `abruptly`: reset the connection and look at nothing."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        if abruptly:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            client.sendall(request)
            if abruptly:
                return []
            client.shutdown(socket.SHUT_WR)
        except ConnectionError:  # it has heard enough and answered
            pass
        received = bytearray()
        while piece := client.recv(65536):
            received += piece
    return list(_answers(bytes(received)))


def _answers(received: bytes) -> Iterator[Response]:
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        if status == 100:
            continue
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        of_a_head = received.startswith(b"HTTP/1.1 ")  # then the length stands for a body that does not follow
        length = 0 if of_a_head else int(fields.get(b"content-length", b"0"))
        body, received = received[:length], received[length:]
        yield Response(status, body)
