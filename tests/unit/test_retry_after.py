"""The header Retry-After, in whatever form a target writes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.targets import error_text

NOW = datetime(2026, 3, 2, 9, 45, tzinfo=UTC)
LONGEST = timedelta(seconds=10**8)


def asked(given_: str) -> timedelta | None:
    return error_text.retry_after({"retry-after": given_}, NOW)


@pytest.mark.parametrize(
    ("header", "wait", "remark"),
    [
        ("120", timedelta(minutes=2), "seconds"),
        (" 0 ", timedelta(0), "at once"),
        ("Mon, 02 Mar 2026 09:46:00 GMT", timedelta(minutes=1), "a date"),
        ("Mon, 02 Mar 2026 12:46:00 +0300", timedelta(minutes=1), "in another zone"),
        ("Sun, 01 Mar 2026 09:45:00 GMT", timedelta(0), "gone by"),
        ("Fri, 31 Dec 9999 23:59:59 -1200", LONGEST, "a day that no clock reaches"),
        ("9" * 5000, LONGEST, "more digits than Python reads"),
        ("²", None, "a digit to Python, and no number"),
        ("Mon, 02 Mar 2026 23:5999999999999999999999 GMT", None, "a time with too many minutes"),
        ("soon", None, "neither"),
        ("-5", None, "neither"),
    ],
)
def test_a_header_is_read(header: str, wait: timedelta | None, remark: str) -> None:
    assert asked(header) == wait, remark


@given(
    st.one_of(
        st.text(),
        st.text("0123456789", min_size=1),
        st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} (Dec|Jan|Foo) \d{1,6} \d{1,30}:\d{1,30}(:\d{1,30})? ([+-]\d{1,9}|GMT)"),
    )
)
def test_whatever_it_says_is_a_time_that_can_be_reckoned_with_or_none(header: str) -> None:
    wait = asked(header)

    assert wait is None or timedelta(0) <= wait <= LONGEST
    assert wait is None or NOW + wait > NOW - timedelta(1)
