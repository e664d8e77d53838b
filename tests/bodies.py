"""Bodies that no template makes: the five templates mutated, filled up to 64 KB, or nothing but bytes.

Shared by the search for the slowest body and by the long fuzz of the reader (`python -m tests.fuzz_reading`).
"""

from __future__ import annotations

import random
from urllib.parse import quote, urlencode

from relay.sandbox.corruption import CORRUPTIONS
from relay.uis.rendering import template_slots
from relay.uis.variables import VARIABLES
from tests.calls import STANDARD, VALUES, rendered

SIZE_MAX = 64 * 1024

NAMES = (*VARIABLES, "token", "inn", "группа", "a")
TOKENS = (
    *"{}[]\"',:;&=%+\\/ \n\t.-()0123456789aя",
    "{{",
    "}}",
    '""',
    "''",
    '\\"',
    "\\u0000",
    "\\ud800",
    "%0a",
    "%26",
    "%",
    "null",
    "true",
    "NaN",
    "1e999",
    "-Infinity",
    "[[",
    "]]",
    "{}",
    "[]",
    ",,",
    ": ",
    '":',
    "':",
    '",',
    "',",
    '"a":',
    "'a':",
    ',"b":',
    ",'b':",
    '\n"direction":',
    "&a=",
    "&a",
    "=b",
    '{"b":1',
    '[{"b":1',
    '["',
    "is_lost=",
    "s_lost=",
    "1,",
    "0.",
    "2026-03-02 12:45:59.863",
    "79005550123",
    "...9.2",
    "\x00",
    "\u2028",
    "\u00a0",
    "\ufeff",
    "“",
    "😀",
    "{{ direction }}",
)


def seeds() -> list[bytes]:
    """The five notifications, sound and as forms, and each with every known damage."""
    sound = [rendered(kind) for kind in STANDARD]
    forms = [
        urlencode([(name, str(VALUES.get(variable))) for name, variable in template_slots(kind)]).encode()
        for kind in STANDARD
    ]
    chance = random.Random(0)
    damaged = [damage(body.decode(), chance) for body in sound for damage in CORRUPTIONS.values()]
    nested = [b'{"call_info":' + body + b',"contact_info":{"contact_phone_number":"79005550123"}}' for body in sound]
    return [*sound, *forms, *damaged, *nested]


def mutated(body: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """The body after one to six changes, at most 64 KB of it."""
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        body = chance.choice(_CHANGES)(body, chance, others)[:SIZE_MAX]
    return body


def filled(head: str, unit: str, tail: str, size: int = SIZE_MAX) -> bytes:
    """`head`, so many of `unit` as fit, and `tail`. `#` in the unit is its number: no two are alike then."""
    room = size - len(head.encode()) - len(tail.encode())
    if "#" not in unit:
        return head.encode() + unit.encode() * (room // len(unit.encode())) + tail.encode()
    parts: list[bytes] = []
    while (room := room - len(part := unit.replace("#", str(len(parts))).encode())) >= 0:
        parts.append(part)
    return head.encode() + b"".join(parts) + tail.encode()


def _token(chance: random.Random) -> bytes:
    return chance.choice(TOKENS if chance.random() < 0.8 else NAMES).encode()


def _place(body: bytes, chance: random.Random) -> int:
    return chance.randint(0, len(body))


def _insert(body: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    at = _place(body, chance)
    return body[:at] + _token(chance) * chance.choice((1, 1, 1, 2, 30)) + body[at:]


def _cut(body: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    first, last = sorted((_place(body, chance), _place(body, chance)))
    return body[:first] + body[min(last, first + 40) :]


def _flip(body: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    at = _place(body, chance)
    return body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]


def _splice(body: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    other = chance.choice(others)
    return body[: _place(body, chance)] + other[_place(other, chance) :]


def _fill(body: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """A piece of it again and again, up to the size that the relay takes."""
    first, last = sorted((_place(body, chance), _place(body, chance)))
    piece = body[first : min(last, first + chance.choice((1, 3, 10, 60)))] or _token(chance)
    if chance.random() < 0.5:
        piece = b"".join(_token(chance) for _ in range(chance.randint(1, 3)))
    room = chance.choice((2_000, 8_000, SIZE_MAX)) - len(body)
    return body[:first] + piece * max(room // len(piece), 1) + body[first:]


def _fill_numbered(body: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    at = _place(body, chance)
    unit = "".join(chance.choice(TOKENS) for _ in range(chance.randint(0, 3)))
    unit = chance.choice((',"#":', ",'#':", "&#=", '"#":{', '{"#":')) + unit
    return body[:at] + filled("", unit, "", chance.choice((2_000, max(SIZE_MAX - len(body), 100)))) + body[at:]


def _encode(body: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    text = body.decode("utf-8", "replace")
    return chance.choice(
        (
            lambda: text.encode("cp1251", "replace"),
            lambda: text.encode("utf-16"),
            lambda: quote(text, safe="=&").encode(),
            lambda: b"\xef\xbb\xbf" + body,
            lambda: body[: len(body) // 2] + text.encode("cp1251", "replace"),
        )
    )()


def _bytes(body: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    return chance.randbytes(chance.choice((1, 20, 400, 9000)))


_CHANGES = (_insert, _insert, _insert, _cut, _cut, _flip, _splice, _fill, _fill_numbered, _encode, _bytes)
