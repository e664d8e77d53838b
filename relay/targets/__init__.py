"""Targets: one file per kind; what to send, and what the answer means. They know neither store nor lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relay.settings import AmoCrmTarget, Bitrix24Target, HttpTarget, OneCTarget, Target
from relay.targets.amocrm import AmoCrm
from relay.targets.base import Adapter, Vault
from relay.targets.bitrix24 import Bitrix24
from relay.targets.http import Http
from relay.targets.onec import OneC
from relay.times import Clock

KINDS: dict[type[Target], Callable[[Any, Clock, Vault], Adapter]] = {
    OneCTarget: OneC, Bitrix24Target: Bitrix24, AmoCrmTarget: AmoCrm, HttpTarget: Http,
}  # fmt: skip


def build(settings: Target, clock: Clock, vault: Vault) -> Adapter:
    """The adapter of a target's kind."""
    return KINDS[type(settings)](settings, clock, vault)
