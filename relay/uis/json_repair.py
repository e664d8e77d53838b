"""Reads JSON that is broken in the ways templates typed by hand break it, and only where one reading is possible.

The body is a row of `"name": value` pairs. A value that is not strict JSON ends where the next `, "name":`
or the closing brace stands, so no damage in one field reaches another. Known damage, all seen in the wild:
quoted placeholders (`""value""`), placeholders that were left (`{{x}}`, or the bare name), a missing value,
unescaped quotes and raw newlines inside a value, trailing commas, single quotes, a missing closing brace.

What can be read in two ways is left empty (`Ambiguous`) or, when whole fields are in doubt, refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from relay.errors import MalformedEvent
from relay.i18n import Message
from relay.uis.variables import JSON, PLACEHOLDER, VARIABLES, Ambiguous, Unfilled


def refuse(constant: str) -> JSON:
    """Refuse NaN and Infinity, which are not JSON: for `parse_constant`."""
    raise ValueError(Message("%(constant)s is not JSON", constant=constant))


def finite(digits: str) -> float:
    """Return a number that JSON can hold: for `parse_float`."""
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(Message("%(digits)s is too large", digits=digits[:40]))
    return value


_ANCHOR = re.compile(r"""\s*(?P<q>["'])(?P<key>[^"'\\\n{}:,]{1,100})(?P=q)\s*:""")
_NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_SPACE = re.compile(r"\s*")
_COMMAS = re.compile(r"[\s,]*")
_TAIL = re.compile(r"[\s,;\x00]*")
# where a damaged value may end. A row of spaces and commas is one place: each is looked at once, from its beginning
_CANDIDATE = re.compile(r"""(?<![\s,])(?:\s*+,[\s,]*+(?=["'}]|\Z)|\s*+(?=\}|\Z))""")
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt])|(.?))', re.DOTALL)
_ESCAPED = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_NAME_AND_COLON = re.compile(r"""["']?\b(\w+)["']\s*:""")
_PLAIN_TEXT = re.compile(r"[^\"'{}\[\]\\\n]+")
_LENIENT = json.JSONDecoder(strict=False, parse_constant=refuse, parse_float=finite)
"""Strict JSON but for raw line breaks inside strings."""

# To decode one character is 1; the least is a hundredth of a second, and hundreds of damaged fields.
_EFFORT_MIN, _EFFORT_PER_CHARACTER = 500_000, 8
_LOOK = 50  # at a place where a value may end
_FIELD = 300


def read(text: str) -> tuple[list[tuple[str, JSON]], Iterable[str]]:
    """Return the fields and notes of the damage. Raises MalformedEvent in doubt, RecursionError in a nest."""
    if not text.startswith("{"):
        raise MalformedEvent("the body is neither a JSON object {…} nor a form: check the template in the UIS cabinet")
    scanner = _Scanner(text)
    pairs, end = scanner.read_object(0, depth=1)
    if end < scanner.tail:
        raise MalformedEvent("there is more text after the closing brace, at character %(end)s", end=end + 1)
    return pairs, dict.fromkeys(scanner.notes)


@cache
def _known_shapes() -> frozenset[tuple[str, ...]]:
    """Return the names in each of the five standard templates, in order: such a body is known to be whole."""
    folder = files("relay.uis") / "templates"
    return frozenset(
        tuple(name.lower() for name in re.findall(r'"(\w+)":', item.read_text(encoding="utf-8")))
        for item in folder.iterdir()
        if item.name.endswith(".json")
    )


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.notes: list[str] = []
        self._effort = max(_EFFORT_MIN, _EFFORT_PER_CHARACTER * len(text))  # that is left
        self._commas_stand_apart = False  # `value ,` or `value\n,`: then space after a value proves nothing
        tail = _TAIL.match(text[::-1])
        self.tail = len(text) - (tail.end() if tail else 0)  # where nothing but spaces and commas is left

    def read_object(self, start: int, depth: int) -> tuple[list[tuple[str, JSON]], int]:
        pairs: list[tuple[str, JSON]] = []
        names: set[str] = set()
        at = self._skip_commas(start + 1)
        while True:
            if at >= len(self.text):
                self._expect_whole(pairs, depth)
                return pairs, at
            if self.text[at] == "}":
                return pairs, at + 1
            anchor = _ANCHOR.match(self.text, at)
            if anchor is None:
                raise MalformedEvent("at character %(at)s the name of a field was expected", at=at + 1)
            self._spend(_FIELD)
            if anchor["key"].lower() in names:
                raise MalformedEvent(
                    "%(key)s stands twice in a damaged body: its fields cannot be told apart", key=anchor["key"]
                )
            names.add(anchor["key"].lower())
            if anchor["q"] == "'":
                self.notes.append(Message("names stand in single quotes"))
            value, end = self._value(anchor.end(), anchor["key"], depth)
            pairs.append((anchor["key"], value))
            at = self._after_value(end)

    def _spend(self, effort: int) -> None:
        """Count what the reading costs, so that no body costs more than a notification may."""
        self._effort -= effort
        if self._effort < 0:
            raise MalformedEvent("the body is too damaged to be read: its fields cannot be told apart")

    def _after_value(self, end: int) -> int:
        at = self._skip_space(end)
        if self.text[at : at + 1] == ",":
            self._commas_stand_apart |= at > end
            return self._skip_commas(at)
        if at < len(self.text) and self.text[at] != "}":
            self.notes.append(Message("a comma between two fields was missing"))
        return at

    def _skip_space(self, at: int, pattern: re.Pattern[str] = _SPACE) -> int:
        match = pattern.match(self.text, at)
        return match.end() if match else at

    def _skip_commas(self, at: int) -> int:
        start, at = at, self._skip_space(at, _COMMAS)
        commas = self.text.count(",", start, at)
        if commas and (commas > 1 or self.text[at : at + 1] == "}"):
            self.notes.append(Message("a superfluous comma was dropped"))
        if commas and at >= len(self.text):
            raise MalformedEvent("the body is cut off after a comma: fields are missing")
        return at

    # --- one value

    def _value(self, start: int, key: str, depth: int) -> tuple[JSON, int]:
        at = self._skip_space(start)
        if at >= len(self.text):
            raise MalformedEvent("the body is cut off before the value of %(key)s", key=key)
        if self._ends(at, depth):
            self.notes.append(Message("%(key)s: there is no value", key=key))
            return None, at
        if self._opens_object(at, depth):
            pairs, end = self.read_object(at, depth + 1)
            if not self._ends(end, depth):
                raise MalformedEvent(
                    "%(key)s: after its closing brace, at character %(end)s, a comma was expected", key=key, end=end + 1
                )
            return dict(pairs), end
        return (
            self._strict_value(at, key, depth)
            or self._quoted_placeholder(at, key, depth)
            or self._damaged_value(at, key, depth)
        )

    def _opens_object(self, at: int, depth: int) -> bool:
        if self.text[at] != "{" or self.text.startswith("{{", at) or depth > 1:
            return False
        inside = self._skip_space(at + 1)
        return self.text[inside : inside + 1] == "}" or _ANCHOR.match(self.text, inside) is not None

    def _strict_value(self, at: int, key: str, depth: int) -> tuple[JSON, int] | None:
        decoded = self._decode(at)
        if decoded is None or not self._ends(decoded[1], depth):
            return None
        value, end = decoded
        if isinstance(value, str) and "\n" in self.text[at:end]:
            self.notes.append(Message("%(key)s: a raw line break inside the value", key=key))
        return value, end

    def _quoted_placeholder(self, at: int, key: str, depth: int) -> tuple[JSON, int] | None:
        """Read `""value""`: the value that UIS renders has quotes of its own, and the template put it into quotes."""
        if self.text[at] not in "\"'" or self.text[at + 1 : at + 2] not in ('"', "["):
            return None
        decoded = self._decode(at + 1)
        if decoded is None:
            return None
        value, end = decoded
        if self.text[end : end + 1] != self.text[at] or not self._ends(end + 1, depth):
            return None
        self.notes.append(Message("%(key)s: the placeholder was quoted in the template", key=key))
        return value, end + 1

    def _decode(self, at: int) -> tuple[JSON, int] | None:
        try:
            value, end = _LENIENT.raw_decode(self.text, at)
        except json.JSONDecodeError as exc:
            self._spend(exc.pos - at)
            return None
        except ValueError:  # a number that is too large, or has thousands of digits: it does not say where
            self._spend(len(self.text) - at)
            return None
        self._spend(end - at)
        return value, end

    def _damaged_value(self, start: int, key: str, depth: int) -> tuple[JSON, int]:
        for candidate in _CANDIDATE.finditer(self.text, start):
            end = candidate.start()
            self._spend(_LOOK)
            if end > start and _may_be_whole(self.text, start, end) and self._ends(end, depth, damaged=True):
                piece = self.text[start:end].strip()
                if end == len(self.text) and piece[0] not in "\"'[":
                    break  # `nul`: nothing says that the text does not go on
                self._refuse_uncertain_end(piece, end, key)
                value, note = _interpret(piece, key)
                self.notes.append(note)
                return value, end
        raise MalformedEvent("the value of %(key)s has no end: the body is cut off, or a quote is missing", key=key)

    def _refuse_uncertain_end(self, piece: str, end: int, key: str) -> None:
        """Refuse what may be the first half of a value: the quotes of `"ООО "Рога", "inn":` do not pair."""
        anchor = _ANCHOR.match(self.text, self._skip_space(self._skip_space(end) + 1))
        following = anchor["key"].lower() if anchor else ""
        certain = not following or following in VARIABLES or (_NAME.fullmatch(following) and piece.count('"') % 2 == 0)
        if piece[0] in "\"'" and not certain:
            raise MalformedEvent(
                "%(key)s holds unescaped quotes; it is not certain that it ends before %(following)s",
                key=key,
                following=following,
            )

    def _ends(self, at: int, depth: int, *, damaged: bool = False) -> bool:
        """Does a value end here: is what follows a comma with the next field, or the closing brace?"""
        next_at = self._skip_space(at)
        follows = self.text[next_at : next_at + 1]
        if not follows:
            return depth == 1
        if follows == "}":
            return self._closes(next_at, depth)
        if follows == ",":
            next_at = self._skip_space(next_at, _COMMAS)
            rest = self.text[next_at : next_at + 1]
            return not rest or (rest == "}" and self._closes(next_at, depth)) or bool(_ANCHOR.match(self.text, next_at))
        # a forgotten comma: only between lines, and only before a name that UIS has
        broken = "\n" in self.text[at:next_at]
        anchor = _ANCHOR.match(self.text, next_at) if broken and not damaged else None
        return anchor is not None and anchor["key"].lower() in VARIABLES

    def _closes(self, at: int, depth: int) -> bool:
        if depth == 1:
            return at + 1 >= self.tail
        after = self._skip_space(at + 1)
        follows = self.text[after : after + 1]
        if not follows:
            return True
        return (follows == "}" and self._closes(after, depth - 1)) or (follows == "," and self._ends(after, depth - 1))

    # --- a missing closing brace

    def _expect_whole(self, pairs: list[tuple[str, JSON]], depth: int) -> None:
        """Take a body that lacks its closing brace alone; refuses one that may lack fields."""
        spaced = self.text != self.text.rstrip()
        proven = spaced and not self._commas_stand_apart
        whole = tuple(key.lower() for key, _ in pairs) in _known_shapes()
        number = isinstance(pairs[-1][1], int | float) and not isinstance(pairs[-1][1], bool) if pairs else True
        if depth > 1 or not pairs or not (proven or (whole and not number)):
            raise MalformedEvent("the body is cut off: more than its closing brace may be missing")
        self.notes.append(Message("the closing brace was missing"))


# --- one piece of text


def _interpret(piece: str, key: str) -> tuple[JSON, str]:
    """Return the value of a piece that is not strict JSON, and a note. Raises MalformedEvent when it holds fields."""
    is_bare_name = piece in VARIABLES and (piece == key.lower() or "_" in piece)  # without quotes it is no constant
    if is_bare_name or PLACEHOLDER.fullmatch(piece):
        return Unfilled(piece), Message("%(key)s: a placeholder was left unfilled", key=key)
    if piece[0] in "\"'" and piece[-1] == piece[0] and len(piece) > 1:
        return _quoted(piece[1:-1], piece[0], key)
    if piece[0] == "[" and piece[-1] == "]":
        return _list(piece, key)
    if _PLAIN_TEXT.fullmatch(piece):
        return piece, Message("%(key)s: text without quotes", key=key)
    return _ambiguous(piece, key)


def _may_be_whole(text: str, start: int, end: int) -> bool:
    """Could this be a whole value: does it end with the quote or bracket that it began with?"""
    if text[start] in "'\"":
        return end - start > 1 and text[end - 1] == text[start]
    return text[start] != "[" or text[end - 1] == "]"


def _quoted(inner: str, quote: str, key: str) -> tuple[JSON, str]:
    if any(match[1].lower() in VARIABLES for match in _NAME_AND_COLON.finditer(inner)):
        raise MalformedEvent("%(key)s: a quote is missing, so it is not certain which text belongs to it", key=key)
    stripped = inner.strip()
    if quote == "'" == stripped[:1] == stripped[-1:] and len(stripped) > 1 and "'" not in stripped[1:-1]:
        return stripped[1:-1], Message("%(key)s: the placeholder was quoted in the template", key=key)
    doubled = stripped[:1] == quote == stripped[-1:] or quote * 2 in inner
    if doubled or (stripped[:1] == '"' == stripped[-1:]):
        return _ambiguous(inner, key)  # a quoted placeholder, or quotes of the text's own?
    text = _unescape(inner)
    if text is None:
        return _ambiguous(inner, key)
    if quote == "'":
        return text, Message("%(key)s: single quotes", key=key)
    return text, Message("%(key)s: unescaped quotes inside the value", key=key)


def _list(piece: str, key: str) -> tuple[JSON, str]:
    mended = re.sub(r",\s*\]$", "]", piece)
    if '"' not in mended:
        mended = mended.replace("'", '"')
    try:
        return _LENIENT.decode(mended), Message("%(key)s: the list was repaired", key=key)
    except ValueError:
        return _ambiguous(piece, key)


def _ambiguous(piece: str, key: str) -> tuple[JSON, str]:
    return Ambiguous(piece), Message("%(key)s: can be read in more than one way; left empty", key=key)


def _unescape(inner: str) -> str | None:
    """Return the text with its JSON escapes resolved; None when one of them is no escape at all."""
    if any(match[1] is match[2] is None for match in _ESCAPE.finditer(inner)):
        return None
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else _ESCAPED[match[2]], inner)
