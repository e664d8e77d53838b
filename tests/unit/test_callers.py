"""Addresses, and whose request it is."""

from __future__ import annotations

from typing import Any

import pytest

from relay.config.addresses import AllowList, read_network, site
from relay.config.demo_guard import is_loopback
from relay.web.access import is_on_this_machine, tell_of_unknown_proxy


@pytest.mark.parametrize(
    ("network", "address", "admitted"),
    [
        ("1.2.3.4", "1.2.3.4", True),
        ("1.2.3.4", "::ffff:1.2.3.4", True),  # as a socket for both kinds has it
        ("1.2.3.4", "::FFFF:102:304", True),
        ("1.2.3.4", "::ffff:1.2.3.5", False),
        ("::ffff:1.2.3.4", "1.2.3.4", True),
        ("::ffff:1.2.3.0/120", "1.2.3.250", True),
        ("::ffff:1.2.3.0/120", "1.2.4.1", False),
        ("::/0", "2001:db8::1", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "::ffff:1.2.3.4", False),
        ("0.0.0.0/0", "not an address", False),
        ("0.0.0.0/0", "", False),
    ],
)
def test_an_address_is_the_same_whichever_way_it_is_written(network: str, address: str, admitted: bool) -> None:
    assert AllowList([read_network(network)]).admits(address) == admitted


def test_an_empty_list_admits_everybody() -> None:
    assert AllowList().admits("nobody knows")
    assert not AllowList()


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("::ffff:127.0.0.1", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("example.test", False),
        ("::ffff:1.2.3.4", False),
    ],
)
def test_loopback_is_known(host: str, is_it: bool) -> None:
    assert is_loopback(host) == is_it


def test_what_is_no_address_stands_for_itself_and_is_short() -> None:
    assert site("x" * 1000) == "x" * 64


@pytest.mark.parametrize(
    ("environ", "is_here"),
    [
        ({"REMOTE_ADDR": "127.0.0.1"}, True),
        ({"REMOTE_ADDR": "::1"}, True),
        ({"REMOTE_ADDR": "::ffff:127.0.0.1"}, True),
        ({"REMOTE_ADDR": "192.0.2.7"}, False),
        ({"REMOTE_ADDR": ""}, False),  # a unix socket: what is behind it is not known
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "192.0.2.7"}, False),  # nginx, and trusted_proxies = 0
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_FORWARDED": "for=192.0.2.7"}, False),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_REAL_IP": "192.0.2.7"}, False),
        # nginx, and trusted_proxies = 1: the address is what the header says, the connection is nginx's
        (
            {
                "REMOTE_ADDR": "192.0.2.7",
                "HTTP_X_FORWARDED_FOR": "192.0.2.7",
                "werkzeug.proxy_fix.orig": {"REMOTE_ADDR": "127.0.0.1"},
            },
            False,
        ),
        # a sender's own claim, with one trusted proxy too many
        (
            {
                "REMOTE_ADDR": "127.0.0.1",
                "HTTP_X_FORWARDED_FOR": "127.0.0.1, 192.0.2.7",
                "werkzeug.proxy_fix.orig": {"REMOTE_ADDR": "127.0.0.1"},
            },
            False,
        ),
        ({"REMOTE_ADDR": "127.0.0.1", "werkzeug.proxy_fix.orig": {"REMOTE_ADDR": "192.0.2.7"}}, False),
        ({"REMOTE_ADDR": "127.0.0.1", "werkzeug.proxy_fix.orig": {"REMOTE_ADDR": "127.0.0.1"}}, True),
    ],
)
def test_only_what_was_sent_from_this_machine_itself_is_on_it(environ: dict[str, Any], is_here: bool) -> None:
    assert is_on_this_machine(environ) == is_here


def test_a_proxy_that_nobody_told_of_is_named_once(logged: list[Any]) -> None:
    app = tell_of_unknown_proxy(lambda environ, _start: [str(environ["n"]).encode()])
    start: Any = None
    answers = [
        app({"n": number, "REMOTE_ADDR": "127.0.0.1", **headers}, start)
        for number, headers in enumerate([{}, {"HTTP_X_FORWARDED_FOR": "192.0.2.7"}] * 3)
    ]

    assert [b"".join(answer) for answer in answers] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert [(line["event"], line["address"]) for line in logged] == [("web.unknown_proxy", "127.0.0.1")]
    assert "trusted_proxies" in logged[0]["reason"]
