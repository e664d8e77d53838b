"""Secrets and people stay out of the log."""

from __future__ import annotations

import pytest

from relay.logs import hide


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call from +79005550123 refused", "call from …0123 refused"),
        ("8 (900) 555-01-23", "…0123"),
        ("see https://media.example.test/1/abcdef", "see https://media.example.test/…"),
        ("token=correct-horse", "token=***"),
        ('"password": "geheim"', '"password": "***"'),
        ("500: nothing to hide", "500: nothing to hide"),
        ("01a2081f-e110-7c12-a1ff-38b3d96d3474", "01a2081f-e110-7c12-a1ff-38b3d96d3474"),
    ],
)
def test_what_is_hidden(text: str, expected: str) -> None:
    assert hide(text) == expected
