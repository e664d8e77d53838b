"""What stands in a body, field by field, before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Shape = Literal["json", "repaired", "form"]

JSON = Any  #: str | int | float | bool | None | list | dict | Unread | Unfilled

# What is kept of a body must not outgrow it, whatever stands in it.
_VALUES_MAX, _VALUE_MAX = 5, 500  # different values of a name that are told of, and characters of each
_NOTES_MAX, _NOTE_MAX = 50, 300
_DEPTH_MAX = 64  # of lists and objects in each other: far from what any library's recursion bears


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A field whose value can be read in more than one way: it is left empty, the text is kept."""

    text: str


@dataclass(frozen=True, slots=True)
class Unfilled:
    """A field that holds no value, but the placeholder that UIS left in its place."""

    text: str


@dataclass(frozen=True, slots=True)
class ParsedBody:
    """A body's fields in their order and spelling.

    `shape` is "json" for strict JSON, "repaired" for JSON that was damaged, "form" for a form or a query.
    """

    pairs: tuple[tuple[str, JSON], ...]
    shape: Shape
    notes: tuple[str, ...] = ()

    @property
    def is_flat(self) -> bool:
        return not any(isinstance(value, dict) for _, value in self.pairs)

    def noting(self, *notes: str) -> ParsedBody:
        return replace(self, notes=(*notes, *self.notes)) if notes else self


def one_of_each(pairs: Sequence[tuple[str, JSON]], notes: list[str]) -> Sequence[tuple[str, JSON]]:
    """Makes one of the names that stand twice; with different values the field is left empty."""
    return merged(pairs, lambda name, found: _agreed(name, found, notes))


def merged(pairs: Sequence[tuple[str, JSON]], merge: Callable[[str, list[JSON]], JSON]) -> Sequence[tuple[str, JSON]]:
    """Makes one of the names that stand more than once, by all of their values, in the spelling of the first."""
    if len({name.lower() for name, _ in pairs}) == len(pairs):
        return pairs
    groups: dict[str, tuple[str, list[JSON]]] = {}
    for name, value in pairs:
        groups.setdefault(name.lower(), (name, []))[1].append(value)
    return [(name, found[0] if len(found) == 1 else merge(name, found)) for name, found in groups.values()]


def in_doubt(found: Iterable[JSON]) -> Ambiguous:
    """Keeps the text of a name's different values, so much of it as people need."""
    return Ambiguous(" or ".join(_shown(value) for value in found))


def different(found: Iterable[JSON]) -> list[JSON]:
    """Returns the first few values that differ, in type too."""
    kept: list[JSON] = []
    for value in found:
        if all(value != other or type(value) is not type(other) for other in kept):
            kept.append(value)
            if len(kept) == _VALUES_MAX:
                break
    return kept


def is_deep(pairs: Iterable[tuple[str, JSON]]) -> bool:
    """Do lists and objects stand in each other more deeply than in any notification?"""
    level = [value for _, value in pairs if isinstance(value, list | dict)]
    for _ in range(_DEPTH_MAX):
        if not level:
            return False
        level = [
            item
            for each in level
            for item in (each.values() if isinstance(each, dict) else each)
            if isinstance(item, list | dict)
        ]
    return True


def bounded(notes: Iterable[str]) -> list[str]:
    """Returns each note once, the first of them where there are too many, and says how many are left out."""
    each = list(dict.fromkeys(note if len(note) <= _NOTE_MAX else f"{note[:_NOTE_MAX]}…" for note in notes))
    if len(each) <= _NOTES_MAX:
        return each
    return [*each[:_NOTES_MAX], f"and {len(each) - _NOTES_MAX} more notes"]


def _agreed(name: str, found: list[JSON], notes: list[str]) -> JSON:
    values = different(found)
    if len(values) == 1:
        return values[0]
    notes.append(f"{name}: stands twice with different values; left empty")
    return in_doubt(values)


def _shown(value: JSON) -> str:
    text = value.text if isinstance(value, Ambiguous) else repr(value)
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}…"
