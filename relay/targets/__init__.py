"""Targets: one folder or file per kind; what to send, and what the answer means. They know neither store nor lanes."""

from __future__ import annotations

from relay.clock import Clock
from relay.config import Target
from relay.targets.amocrm.adapter import AmoCrm
from relay.targets.base import Adapter, TokenStore
from relay.targets.bitrix24.adapter import Bitrix24
from relay.targets.onec import OneC
from relay.targets.webhook import Http

ADAPTERS: dict[str, type[Adapter]] = {"1c": OneC, "bitrix24": Bitrix24, "amocrm": AmoCrm, "http": Http}


def build(settings: Target, clock: Clock, token_store: TokenStore) -> Adapter:
    return ADAPTERS[settings.kind](settings, clock, token_store)
