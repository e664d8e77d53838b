"""Targets: one file per kind; what to send, and what the answer means. They know neither store nor lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relay.settings import OneCTarget, Target
from relay.targets.base import Adapter
from relay.targets.onec import OneC
from relay.times import Clock

KINDS: dict[type[Target], Callable[[Any, Clock], Adapter]] = {OneCTarget: OneC}


def build(settings: Target, clock: Clock) -> Adapter:
    """The adapter of a target's kind."""
    return KINDS[type(settings)](settings, clock)
