"""Finds the secret that a notification carries, and masks it, by pattern in the bytes, before any reading.

So a secret is recognised in a damaged body too, and no stored byte holds it.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

KEYS = frozenset({"token", "integration_key"})
"""The names of constants that are secrets: the relay's own, and the one that Novofon's templates have."""

_MASK = b"***"
_NAMES = "|".join(sorted(KEYS)).encode()
_ANY = re.compile(rb"(?i)" + _NAMES)
_IN_JSON = re.compile(
    rb"""(?i)(["'](?:"""
    + _NAMES
    + rb""")["']\s*:\s*)(?:"((?:[^"\\\r\n]|\\.)*)"|'([^'\r\n]*)'|([^\s"',}\]][^\s,}]*))""",
    re.DOTALL,
)
_IN_FORM = re.compile(rb"(?i)(?:(?<=&)|\A)((?:" + _NAMES + rb")=)([^&]*)")


def find_and_mask(body: bytes) -> tuple[bytes, list[str]]:
    """Return the body with the value of every secret replaced by ***, and those values as text."""
    secrets: list[str] = []
    if _ANY.search(body) is None:
        return body, secrets

    def in_json(match: re.Match[bytes]) -> bytes:
        value = next(group for group in match.groups()[1:] if group is not None)
        secrets.append(re.sub(r'\\(["\\/])', r"\1", value.decode("utf-8", "replace")))
        quote = b"'" if match[3] is not None else b'"'
        return match[1] + quote + _MASK + quote

    def in_form(match: re.Match[bytes]) -> bytes:
        secrets.append(_form_text(match[2]))
        return match[1] + _MASK

    masked = _IN_JSON.sub(in_json, body)
    if not body.lstrip().startswith(b"{"):
        masked = _IN_FORM.sub(in_form, masked)
    return masked, secrets


def split_query(query: bytes) -> tuple[bytes, list[str]]:
    """Return the query string without the parameters that are secrets, and their values."""
    kept: list[bytes] = []
    secrets: list[str] = []
    for piece in query.split(b"&"):
        name, _, value = piece.partition(b"=")
        if unquote_to_bytes(name).decode("latin-1").lower() in KEYS:
            secrets.append(_form_text(value))
        elif piece:
            kept.append(piece)
    return b"&".join(kept), secrets


def _form_text(raw: bytes) -> str:
    return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8", "replace")
