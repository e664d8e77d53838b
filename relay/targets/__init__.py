"""Targets: one folder per kind; what to send, and what the answer means. They know neither store nor lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relay.clock import Clock
from relay.config import AmoCrmTarget, Bitrix24Target, HttpTarget, OneCTarget, Target
from relay.targets.amocrm.adapter import AmoCrm
from relay.targets.base import Adapter, TokenStore
from relay.targets.bitrix24.adapter import Bitrix24
from relay.targets.onec.adapter import OneC
from relay.targets.webhook.adapter import Http

KINDS: dict[type[Target], Callable[[Any, Clock, TokenStore], Adapter]] = {
    OneCTarget: OneC,
    Bitrix24Target: Bitrix24,
    AmoCrmTarget: AmoCrm,
    HttpTarget: Http,
}


def build(settings: Target, clock: Clock, token_store: TokenStore) -> Adapter:
    """Return the adapter of a target's kind."""
    return KINDS[type(settings)](settings, clock, token_store)
