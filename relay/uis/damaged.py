"""Reads JSON that is broken in the ways templates typed by hand break it, and only where one reading is possible.

The body is a row of `"name": value` pairs. A value that is not strict JSON ends where the next `, "name":`
or the closing brace stands, so no damage in one field reaches another. Known damage, all seen in the wild:
quoted placeholders (`""value""`), placeholders that were left (`{{x}}`, or the bare name), a missing value,
unescaped quotes and raw newlines inside a value, trailing commas, single quotes, a missing closing brace.

What can be read in two ways is left empty (`Unread`) or, when whole fields are in doubt, refused.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from relay.errors import MalformedEvent
from relay.uis import pieces
from relay.uis.pieces import LENIENT
from relay.uis.reading import JSON, Reading
from relay.uis.variables import VARIABLES

_ANCHOR = re.compile(r"""\s*(?P<q>["'])(?P<key>[^"'\\\n{}:,]{1,100})(?P=q)\s*:""")
_NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_SPACE = re.compile(r"\s*")
_CANDIDATE = re.compile(r"\s+|[,}]|\Z")
_TAIL = re.compile(r"[\s,;\x00]*")


def read(text: str) -> Reading:
    """The fields of a damaged JSON object. Raises MalformedEvent when they are not certain."""
    if not text.startswith("{"):
        raise MalformedEvent("the body is neither a JSON object {…} nor a form: check the template in the UIS cabinet")
    scanner = _Scanner(text)
    try:
        pairs = scanner.read_all()
    except RecursionError as exc:
        raise MalformedEvent("the body is nested too deeply to be a notification") from exc
    return Reading(tuple(pairs), "repaired", tuple(dict.fromkeys(scanner.notes)))


@cache
def _known_shapes() -> frozenset[tuple[str, ...]]:
    """The names in each of the five standard templates, in order: such a body is known to be whole."""
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
        self._commas_stand_apart = False  # `value ,` or `value\n,`: then space after a value proves nothing

    def read_all(self) -> list[tuple[str, JSON]]:
        pairs, end = self._object(0, depth=1)
        if _TAIL.fullmatch(self.text, end) is None:
            raise MalformedEvent(f"there is more text after the closing brace, at character {end + 1}")
        return pairs

    def _object(self, start: int, depth: int) -> tuple[list[tuple[str, JSON]], int]:
        pairs: list[tuple[str, JSON]] = []
        at = self._skip_commas(start + 1)
        while True:
            if at >= len(self.text):
                self._expect_whole(pairs, depth)
                return pairs, at
            if self.text[at] == "}":
                return pairs, at + 1
            anchor = _ANCHOR.match(self.text, at)
            if anchor is None:
                raise MalformedEvent(f"at character {at + 1} the name of a field was expected")
            self._refuse_second(anchor["key"], pairs)
            if anchor["q"] == "'":
                self.notes.append("names stand in single quotes")
            value, end = self._value(anchor.end(), anchor["key"], depth)
            pairs.append((anchor["key"], value))
            at = self._after_value(end)

    def _refuse_second(self, key: str, pairs: list[tuple[str, JSON]]) -> None:
        if any(key.lower() == name.lower() for name, _ in pairs):
            raise MalformedEvent(f"{key} stands twice in a damaged body: its fields cannot be told apart")

    def _after_value(self, end: int) -> int:
        at = self._skip_space(end)
        if self.text[at : at + 1] == ",":
            self._commas_stand_apart |= at > end
            return self._skip_commas(at)
        if at < len(self.text) and self.text[at] != "}":
            self.notes.append("a comma between two fields was missing")
        return at

    def _skip_space(self, at: int) -> int:
        found = _SPACE.match(self.text, at)
        return found.end() if found else at

    def _skip_commas(self, at: int) -> int:
        at = self._skip_space(at)
        commas = 0
        while self.text[at : at + 1] == ",":
            commas += 1
            at = self._skip_space(at + 1)
        if commas and (commas > 1 or self.text[at : at + 1] == "}"):
            self.notes.append("a superfluous comma was dropped")
        if commas and at >= len(self.text):
            raise MalformedEvent("the body is cut off after a comma: fields are missing")
        return at

    # --- one value

    def _value(self, start: int, key: str, depth: int) -> tuple[JSON, int]:
        at = self._skip_space(start)
        if at >= len(self.text):
            raise MalformedEvent(f"the body is cut off before the value of {key}")
        if self._ends(at, depth):
            self.notes.append(f"{key}: there is no value")
            return None, at
        if self._opens_object(at, depth):
            pairs, end = self._object(at, depth + 1)
            if not self._ends(end, depth):
                raise MalformedEvent(f"{key}: after its closing brace, at character {end + 1}, a comma was expected")
            return dict(pairs), end
        return (
            self._strict_value(at, key, depth)
            or self._quoted_placeholder(at, key, depth)
            or self._damaged_value(at, key, depth)
        )

    def _opens_object(self, at: int, depth: int) -> bool:
        if self.text[at] != "{" or self.text.startswith("{{", at):
            return False
        if depth > 1:
            return False
        inside = self._skip_space(at + 1)
        return self.text[inside : inside + 1] == "}" or _ANCHOR.match(self.text, inside) is not None

    def _strict_value(self, at: int, key: str, depth: int) -> tuple[JSON, int] | None:
        try:
            value, end = LENIENT.raw_decode(self.text, at)
        except ValueError:
            return None
        if not self._ends(end, depth) or value in (float("inf"), float("-inf")):
            return None
        if isinstance(value, str) and "\n" in self.text[at:end]:
            self.notes.append(f"{key}: a raw line break inside the value")
        return value, end

    def _quoted_placeholder(self, at: int, key: str, depth: int) -> tuple[JSON, int] | None:
        """`""value""`: the value that UIS renders has quotes of its own, and the template put it into quotes."""
        if self.text[at] not in "\"'" or self.text[at + 1 : at + 2] not in ('"', "["):
            return None
        try:
            value, end = LENIENT.raw_decode(self.text, at + 1)
        except ValueError:
            return None
        if self.text[end : end + 1] != self.text[at] or not self._ends(end + 1, depth):
            return None
        self.notes.append(f"{key}: the placeholder was quoted in the template")
        return value, end + 1

    def _damaged_value(self, start: int, key: str, depth: int) -> tuple[JSON, int]:
        for found in _CANDIDATE.finditer(self.text, start):
            end = found.start()
            if end > start and self._ends(end, depth, damaged=True) and pieces.may_be_whole(self.text[start:end]):
                piece = self.text[start:end].strip()
                if end == len(self.text) and piece[0] not in "\"'[":
                    break  # `nul`: nothing says that the text does not go on
                self._refuse_uncertain_end(piece, end, key)
                value, note = pieces.interpret(piece, key)
                self.notes.append(note)
                return value, end
        raise MalformedEvent(f"the value of {key} has no end: the body is cut off, or a quote is missing")

    def _refuse_uncertain_end(self, piece: str, end: int, key: str) -> None:
        """`"ООО "Рога", "inn":` may be a whole value, or the first half of one: then its quotes do not pair."""
        anchor = _ANCHOR.match(self.text, self._skip_space(self._skip_space(end) + 1))
        following = anchor["key"].lower() if anchor else ""
        certain = not following or following in VARIABLES or (_NAME.fullmatch(following) and piece.count('"') % 2 == 0)
        if piece[0] in "\"'" and not certain:
            raise MalformedEvent(f"{key} holds unescaped quotes; it is not certain that it ends before {following}")

    def _ends(self, at: int, depth: int, *, damaged: bool = False) -> bool:
        """Does a value end here: is what follows a comma with the next field, or the closing brace?"""
        next_at = self._skip_space(at)
        follows = self.text[next_at : next_at + 1]
        if not follows:
            return depth == 1
        if follows == "}":
            return self._closes(next_at, depth)
        if follows == ",":
            while self.text[next_at : next_at + 1] == ",":
                next_at = self._skip_space(next_at + 1)
            rest = self.text[next_at : next_at + 1]
            return not rest or (rest == "}" and self._closes(next_at, depth)) or bool(_ANCHOR.match(self.text, next_at))
        # a forgotten comma: only between lines, and only before a name that UIS has
        broken = "\n" in self.text[at:next_at]
        anchor = _ANCHOR.match(self.text, next_at) if broken and not damaged else None
        return anchor is not None and anchor["key"].lower() in VARIABLES

    def _closes(self, at: int, depth: int) -> bool:
        after = self._skip_space(at + 1)
        follows = self.text[after : after + 1]
        if depth == 1:
            return _TAIL.fullmatch(self.text, after) is not None
        if not follows:
            return True
        return (follows == "}" and self._closes(after, depth - 1)) or (follows == "," and self._ends(after, depth - 1))

    # --- a missing closing brace

    def _expect_whole(self, pairs: list[tuple[str, JSON]], depth: int) -> None:
        """Takes a body that lacks its closing brace alone; refuses one that may lack fields."""
        spaced = self.text != self.text.rstrip()
        proven = spaced and not self._commas_stand_apart
        whole = tuple(key.lower() for key, _ in pairs) in _known_shapes()
        number = isinstance(pairs[-1][1], int | float) and not isinstance(pairs[-1][1], bool) if pairs else True
        if depth > 1 or not pairs or not (proven or (whole and not number)):
            raise MalformedEvent("the body is cut off: more than its closing brace may be missing")
        self.notes.append("the closing brace was missing")
