"""How each kind of target reads an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relay.config import HttpTarget
from relay.models import Outcome
from relay.targets import onec
from relay.targets.amocrm import responses as amocrm_responses
from relay.targets.bitrix24 import responses as bitrix24_responses
from relay.targets.http_client import Response, TargetError
from relay.targets.webhook import Http
from tests.factories import NOW
from tests.fakes import Drawer

Read = Callable[[Response], Outcome]


def of_1c(answer: Response) -> Outcome:
    return onec.read(answer, delivered_statuses=(417,), suspicious_ok="fail", now=NOW)


def of_http(answer: Response) -> Outcome:
    return Http(HttpTarget(name="crm", url="https://crm.example.test/"), lambda: NOW, Drawer())._outcome(answer)


def of_a_crm(read: Callable[[Response, Any], Any]) -> Read:
    def outcome(answer: Response) -> Outcome:
        try:
            read(answer, NOW)
        except TargetError as exc:
            return exc.outcome
        return Outcome(name="delivered", status=answer.status)

    return outcome


KINDS: dict[str, Read] = {
    "1c": of_1c,
    "http": of_http,
    "bitrix24": of_a_crm(bitrix24_responses.read),
    "amocrm": of_a_crm(amocrm_responses.read),
}
