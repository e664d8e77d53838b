"""What stands in a body, field by field, before anything is made of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

Shape = Literal["json", "repaired", "form"]

JSON = Any  #: str | int | float | bool | None | list | dict | Unread | Unfilled


@dataclass(frozen=True, slots=True)
class Unread:
    """A field whose value can be read in more than one way: it is left empty, the text is kept."""

    text: str


@dataclass(frozen=True, slots=True)
class Unfilled:
    """A field that holds no value, but the placeholder that UIS left in its place."""

    text: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A body's fields in their order and spelling.

    `shape` is "json" for strict JSON, "repaired" for JSON that was damaged, "form" for a form or a query.
    """

    pairs: tuple[tuple[str, JSON], ...]
    shape: Shape
    notes: tuple[str, ...] = ()

    @property
    def is_flat(self) -> bool:
        return not any(isinstance(value, dict) for _, value in self.pairs)

    def noting(self, *notes: str) -> Reading:
        return replace(self, notes=(*notes, *self.notes)) if notes else self


def one_of_each(pairs: list[tuple[str, JSON]], notes: list[str]) -> list[tuple[str, JSON]]:
    """Names that stand twice become one; with two different values the field is left empty."""
    if len({name.lower() for name, _ in pairs}) == len(pairs):
        return pairs
    seen: dict[str, int] = {}
    kept: list[tuple[str, JSON]] = []
    for name, value in pairs:
        at = seen.get(name.lower())
        if at is None:
            seen[name.lower()] = len(kept)
            kept.append((name, value))
        elif kept[at][1] != value or type(kept[at][1]) is not type(value):
            kept[at] = (kept[at][0], Unread(f"{kept[at][1]!r} or {value!r}"))
            notes.append(f"{name}: stands twice with different values; left empty")
    return kept
