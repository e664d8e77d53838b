"""The recorded answers of Bitrix24 and amoCRM, and how the answers of a simulator are held against them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

_REPLIES = Path(__file__).parent / "data" / "replies"
_NUMBERS = (int, float)


def text(name: str) -> str:
    return (_REPLIES / name).read_text(encoding="utf-8")


def parsed(name: str) -> Any:
    return json.loads(text(name))


def differences(recorded: Any, answered: Any, unfilled: Collection[str] = (), path: str = "") -> Iterator[str]:
    """Where the shapes part: a key more or less, another type. Null stands for any type; `unfilled` may be missing."""
    if recorded is None or answered is None:
        return
    if isinstance(recorded, dict) and isinstance(answered, dict):
        yield from (f"{path}.{name} is missing" for name in recorded.keys() - answered.keys() - set(unfilled))
        yield from (f"{path}.{name} is not in the real one" for name in answered.keys() - recorded.keys())
        for name in recorded.keys() & answered.keys():
            yield from differences(recorded[name], answered[name], unfilled, f"{path}.{name}")
    elif isinstance(recorded, list) and isinstance(answered, list):
        if bool(recorded) != bool(answered):
            yield f"{path} is empty in one of them"
        for each in answered if recorded else ():
            yield from differences(recorded[0], each, unfilled, f"{path}[]")
    elif _kind(recorded) is not _kind(answered):
        yield f"{path} is {type(answered).__name__}, not {type(recorded).__name__}"


def _kind(value: Any) -> type:
    return float if type(value) in _NUMBERS else type(value)
