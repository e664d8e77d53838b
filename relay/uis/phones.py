"""Phone numbers as UIS writes them, to E.164 where that is certain."""

from __future__ import annotations

import contextlib
import re
from functools import lru_cache
from typing import NamedTuple

import phonenumbers

from relay.i18n import Message

_TAIL = re.compile(r"\s*\.{2,}\s*")  # `74950000086...9.2.3.3`: what was dialled after the answer
_PUNCTUATION = re.compile(r"[\s()\-\u00a0\u2010-\u2015]+")
_E164 = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)
_DIGITS = re.compile(r"\d+", re.ASCII)


class Phone(NamedTuple):
    number: str  #: E.164 when valid, else as given
    dtmf: str | None  #: the keys pressed after the answer


_LENGTH_MAX = 64  # a number, its punctuation and a long tail


def parse(text: str) -> Phone:
    """Split off a DTMF tail, and rewrite a valid number. Raises ValueError for a text too long to be a phone."""
    if len(text) > _LENGTH_MAX:
        raise ValueError(Message("is longer than %(most)s characters", most=_LENGTH_MAX))
    return _parse(text)


def international(text: str) -> str | None:
    """Return what somebody has typed with its country, as E.164; None for what is no such number."""
    number = parse(text.strip()).number if len(text) <= _LENGTH_MAX else ""
    return number if number.startswith("+") else None


@lru_cache(maxsize=4096)  # phonenumbers takes 14 us a number; the same few numbers come again and again
def _parse(text: str) -> Phone:
    head, *tails = _TAIL.split(text.strip(), maxsplit=1)
    dtmf = tails[0] if tails else None
    bare = _PUNCTUATION.sub("", head)
    candidate = _international(bare)
    with contextlib.suppress(phonenumbers.NumberParseException):
        if candidate and phonenumbers.is_valid_number(phonenumbers.parse(candidate)):
            return Phone(candidate, dtmf)
    return Phone(head.strip(), dtmf)


def _international(bare: str) -> str | None:
    if _E164.fullmatch(bare):
        return bare
    if not _DIGITS.fullmatch(bare) or len(bare) < 11:
        return None  # a SIP line, a short number, or a city number without its country: not certain
    if len(bare) == 11 and bare[0] == "8":
        return "+7" + bare[1:]  # the Russian trunk prefix
    return "+" + bare


def digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def significant_digits(text: str) -> str:
    """Return the digits that every spelling of a number has: of a Russian one those after +7 or 8."""
    number = digits(text)
    return number[1:] if len(number) == 11 and number[0] in "78" else number


def as_uis_writes(number: str) -> str:
    """Return 11 digits without the plus: what UIS sends, and what the 1C receiver's column takes."""
    return number[1:] if number.startswith("+") and number[1:].isdigit() else number
