"""No answer costs time: the worst that is known, at the 64 KB that are read of one, for every kind of target.

The bar is 50 ms of processor time; what it really takes is a twentieth of that, so that a slow machine passes too.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.targets import error_text
from relay.targets.error_text import Mask
from relay.targets.http_client import Response
from tests.processor_time import least_s
from tests.readers import KINDS

SIZE = 64 * 1024
BAR_S = 0.050


def filled(pattern: str, *, before: str = "", after: str = "") -> bytes:
    """The pattern again and again, up to the size that is read."""
    room = SIZE - len((before + after).encode())
    return (
        before + (pattern * (room // len(pattern.encode()) + 1)).encode()[:room].decode("utf-8", "ignore")
    ).encode() + (after.encode())


def document(**fields: object) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()[:SIZE]


LINES = "\n".join(str(number) for number in range(11_000))
DEEP = 900  # levels: more than that the reader of JSON refuses
WORST: dict[str, bytes] = {
    "tags that begin": filled("<"),
    "tags with a letter": filled("<a"),
    "a tag without end": filled("a", before="<"),
    "titles": filled("<title>"),
    "titles, styles and scripts": filled("<title><style><script>"),
    "titles that end": filled("<title></title>"),
    "ends alone": filled("</script>"),
    "spaces": filled(" ", before="<", after="x"),
    "spaces before a page": filled(" ", after="<html>"),
    "lines": filled("\r\n", before="x", after="x"),
    "ampersands": filled("&", before="<html>"),
    "a long reference": filled("9", before="<html>&#"),
    "names of references": filled("&amp", before="<html>"),
    "descriptions that begin": filled("<descr>", before="<exception>"),
    "descriptions with attributes": filled("<descr a", before="<exception>"),
    "a description without end": filled("a", before="<exception><descr>"),
    "braces": filled("{"),
    "braces with words": filled("{а."),
    "modules": filled("{а.Модуль(1"),
    "modules with digits": filled("1", before="{а.Модуль("),
    "a module's name": filled("М", before="{а.Модуль"),
    "mistakes": filled("Ошибка: "),
    "comments": filled("<!--"),
    "doctypes": filled("<!doctype "),
    "centres": filled("<center>", before="<html>"),
    "no UTF-8": b"\xff" * SIZE,
    "no encoding at all": b"\x98\xff" * (SIZE // 2),
    "NUL": b"\0" * SIZE,
    "brackets": b"[" * SIZE,
    "objects": b'{"a":' * (SIZE // 5),
    "digits": b"9" * SIZE,
    "a string": document(error="x" * 60_000, error_description="y" * 100),
    "words": document(error="", error_description="Call is not found (call " * 2600),
    "users": document(error="", error_description="USER_ID or USER_PHONE_INNER " * 2200),
    "codes": document(detail="код ошибки " * 3000, title="2" * 100),
    "many descriptions": document(exception={"descr": LINES}),
    "many keys": document(**{f"k{number}": number for number in range(4000)}),
    "deep descriptions": (b'{"exception":' + b'{"descr":"x","inner":' * DEEP + b"1" + b"}" * DEEP + b"}")[:SIZE],
    "a deep error": b'{"error":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "a deep detail": b'{"title":' + b"[" * DEEP + b"]" * DEEP + b',"detail":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "many errors": document(errors=[{"status": number} for number in range(3500)]),
    "many that are invalid": document(**{"validation-errors": [{"errors": [{"path": "a"}] * 3000}] * 1}),
    "numbers": document(error=10**4000),
}
STATUSES = (200, 204, 400, 401, 404, 423, 500, 503)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", WORST.values(), ids=WORST.keys())
def test_the_worst_answers_cost_little(kind: str, body: bytes) -> None:
    assert len(body) <= SIZE
    for status in STATUSES:
        found = KINDS[kind](Response(status, {}, body))
        assert len(found.reason) < 1500

        assert least_s(lambda status=status: KINDS[kind](Response(status, {}, body)), 3) < BAR_S


PIECES = [
    "<",
    ">",
    "<a",
    "</",
    "<title",
    "<style>",
    "</style>",
    "<script",
    "</script>",
    "<descr",
    "<descr>",
    "</descr>",
    "&",
    "&#",
    "9",
    "{",
    "}",
    "[",
    "]",
    '"',
    ":",
    ",",
    "\\",
    "\n",
    " ",
    "\t",
    ".",
    "(",
    ")",
    "Модуль",
    "Module",
    "Ошибка: ",
    "HTTP",
    "<!--",
    "-->",
    "<!doctype",
    "html",
    "<html>",
    "<center>",
    "a",
    "я",
    "'",
    "=",
    "/",
    "\x00",
    "{HTTPСервис.",
    "application error:</h2>",
    '{"exception":',
    '{"descr":"',
    '"error":',
    "Call is not found (call ",
    "\ufeff",
]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=5), st.lists(st.sampled_from(PIECES), max_size=3))
def test_no_repeated_pieces_cost_much(pieces: list[str], before: list[str]) -> None:
    """Looks for a worse one than those above."""
    body = filled("".join(pieces), before="".join(before))
    for read in KINDS.values():
        for status in (200, 400, 500):
            assert least_s(lambda read=read, status=status: read(Response(status, {}, body)), 2) < BAR_S


SECRET = "a" * 30 + "b"
MASKED = [filled("a"), filled("a" * 29 + "b"), filled(SECRET), filled("ab"), filled(" 1234"), filled("%")]


@pytest.mark.parametrize("body", MASKED, ids=lambda body: body[:4].decode())
def test_hiding_secrets_costs_little(body: bytes) -> None:
    mask = Mask([SECRET, "aaaa", "1234", "п@роль", "%41%41%41"])

    assert least_s(lambda: mask(body), 3) < BAR_S


# --- and says the same as before


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<html><title>502</title><h1>Bad Gateway</h1></html>", "Bad Gateway"),
        ("<STYLE>h1 {}</STYLE><script>if (1 < 2) {}</script><p>a&nbsp;b &lt;c&gt;</p>", "a b <c>"),
        ("<p>one</p><script>never closed", "one"),
        ("<p>cut in a tag <a href=", "cut in a tag"),
        ("<titles>shown</titles>", "shown"),
        (f"<html><style>{'a' * 10_000}</style><p>after a long style</p>", "after a long style"),
        (f"<html><p>{'long ' * 2000}</p>", ("long " * 100).strip()),
    ],
)
def test_the_words_of_a_page(page: str, words: str) -> None:
    assert error_text.words(page.encode()).strip() == words
