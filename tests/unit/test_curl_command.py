"""A request as a command: what a shell makes of it is the request again."""

from __future__ import annotations

import shlex

from hypothesis import given
from hypothesis import strategies as st

from relay.models import Exchange
from relay.operations.serializers import curl_command

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)


@given(TEXT, TEXT)
def test_a_shell_reads_the_body_and_the_headers_as_they_are(body: str, value: str) -> None:
    headers = {"Content-Length": "7", "Authorization": "Basic ***", "X-Any": value}
    command = curl_command(Exchange(method="POST", url="http://1c.test/in", headers=headers, body=body, took_ms=1))

    assert command is not None
    words = ["curl", "-i", "-X", "POST", "http://1c.test/in", "-H", "Authorization: Basic ***", "-H", f"X-Any: {value}"]
    assert shlex.split(command.replace("\\\n", "")) == words + (["--data-binary", body] if body else [])


def test_there_is_none_for_a_body_that_was_cut() -> None:
    headers = {"Content-Type": "application/json"}
    cut = Exchange(method="POST", url="http://1c.test/in", headers=headers, body="{", is_cut=True, took_ms=1)

    assert curl_command(cut) is None
