"""The secret in a notification: found by pattern in the bytes, and masked in all that is kept."""

from __future__ import annotations

import re

import pytest

from relay.web.access import find_and_mask, split_query

SECRET = "s3cret-Тайна"


@pytest.mark.parametrize(
    "body",
    [
        '{"token":"s3cret-Тайна","direction":"in"}',
        '{"token" : "s3cret-Тайна"}',
        '{"Token":"s3cret-Тайна"}',
        "{'token':'s3cret-Тайна','direction':'in'}",
        '{"scenario_name":"ООО "А"","token":"s3cret-Тайна",}',
        '{"auth":{"token":"s3cret-Тайна"},"direction":"in"}',
        '{"token":s3cret-Тайна,"direction":"in"}',
        '{"direction":"in","token":"s3cret-Тайна"',
        "direction=in&token=s3cret-%D0%A2%D0%B0%D0%B9%D0%BD%D0%B0",
        "token=s3cret-Тайна&direction=in",
    ],
)
@pytest.mark.parametrize("name", ["token", "integration_key"])
def test_a_secret_in_the_body_is_found_and_masked(name: str, body: str) -> None:
    masked, found = find_and_mask(re.sub("token", name, body, flags=re.IGNORECASE).encode())

    assert found == [SECRET]
    assert b"s3cret" not in masked
    assert b"***" in masked


def test_a_body_without_a_token_stays_as_it_is() -> None:
    body = b'{"direction":"in","tokens":[1],"access_token_x":"y","integration_keys":"z"}'

    assert find_and_mask(body) == (body, [])


def test_a_token_in_the_query_is_taken_out() -> None:
    assert split_query(b"a=1&token=x%20y&b=2&TOKEN=z&Integration_Key=w") == (b"a=1&b=2", ["x y", "z", "w"])
