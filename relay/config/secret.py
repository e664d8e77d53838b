"""Text that must not be seen."""

from __future__ import annotations


class Secret(str):
    """Text that must not reach a log: its repr hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"
