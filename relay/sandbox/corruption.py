"""Breaks bodies in the ways in which they are known to arrive. Each takes the text of a rendered template."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_ANY_VALUE = re.compile(r'(?<=:)\s*("[^"\\\n]*"|\d+|null|true|false)')


def quoted_placeholders(text: str, chance: random.Random) -> bytes:
    """Put quotes around all values: the template has them around its placeholders."""
    return _ANY_VALUE.sub(lambda match: f'"{match[1].strip()}"', text).encode()


def one_quoted_placeholder(text: str, chance: random.Random) -> bytes:
    return _in_one(_ANY_VALUE, text, chance, lambda value: f'"{value}"')


def left_placeholder(text: str, chance: random.Random) -> bytes:
    return re.sub(r'("scenario_name":\s*)("(?:[^"\\]|\\.)*"|null)', r"\1{{scenario_name}}", text).encode()


def bare_name(text: str, chance: random.Random) -> bytes:
    return re.sub(r'("scenario_name":\s*)("(?:[^"\\]|\\.)*"|null)', r"\1scenario_name", text).encode()


def missing_value(text: str, chance: random.Random) -> bytes:
    return re.sub(r'("call_source":\s*)("[^"]*"|null)', r"\1", text).encode()


def trailing_comma(text: str, chance: random.Random) -> bytes:
    return re.sub(r"\s*\}\s*$", ",\n}", text).encode()


def unescaped_quotes(text: str, chance: random.Random) -> bytes:
    """Take the escapes from a value's own quotes: a company's name."""
    return text.replace('\\"', '"').encode()


def raw_newline(text: str, chance: random.Random) -> bytes:
    return re.sub(r'("scenario_name":\s*"[^"\\])', "\\1\n", text).encode()


def single_quotes(text: str, chance: random.Random) -> bytes:
    return text.encode() if "'" in text or "\\" in text else text.replace('"', "'").encode()


def cut_off(text: str, chance: random.Random) -> bytes:
    return text.encode()[: chance.randrange(1, len(text.encode()))]


def byte_order_mark(text: str, chance: random.Random) -> bytes:
    return b"\xef\xbb\xbf" + text.encode()


def windows_1251(text: str, chance: random.Random) -> bytes:
    return text.encode("cp1251", "xmlcharrefreplace")


def no_closing_brace(text: str, chance: random.Random) -> bytes:
    return text.rstrip().removesuffix("}").encode()


CORRUPTIONS: dict[str, Callable[[str, random.Random], bytes]] = {
    kind.__name__: kind
    for kind in (
        quoted_placeholders,
        one_quoted_placeholder,
        left_placeholder,
        bare_name,
        missing_value,
        trailing_comma,
        unescaped_quotes,
        raw_newline,
        single_quotes,
        cut_off,
        byte_order_mark,
        windows_1251,
        no_closing_brace,
    )
}


def _in_one(pattern: re.Pattern[str], text: str, chance: random.Random, change: Callable[[str], str]) -> bytes:
    places = list(pattern.finditer(text))
    if not places:
        return text.encode()
    place = chance.choice(places)
    return (text[: place.start()] + change(place[1].strip()) + text[place.end() :]).encode()


def corrupted(body: bytes) -> bytes:
    """Return the body broken in one of the ways, by chance."""
    chance = random.SystemRandom()
    return chance.choice(list(CORRUPTIONS.values()))(body.decode(), chance)
