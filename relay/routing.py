"""Which rule of a source decides for a call at a target, and what follows. Pure.

Rules are read from top to bottom, for each target by itself; the first that fits and is about the target decides:
- with `skip` it is about the targets that it names (none named: all), and they do not get the call;
- with settings of a CRM likewise, and they get the call with those settings;
- with `targets` alone it is about all: the named ones get the call, the others do not.
Where none decides, the target gets the call with its own settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from relay.config import AmoCrmTarget, Bitrix24Target, CrmTarget, Rule
from relay.models import CallEvent, Kind
from relay.uis import phones

Crm = TypeVar("Crm", bound=CrmTarget)

_SHORT = 5  # digits: UIS gives employees internal numbers of up to five


class Facts(Struct, frozen=True):
    """What a rule may ask of a call."""

    line: str | None
    direction: str | None
    kind: Kind
    extension: str | None
    known: bool
    internal: bool


class Decision(Struct, frozen=True):
    """What the rules come to for one target."""

    takes: bool
    number: int | None = None  #: of the rule that decided, from 1; None: no rule did
    rule: Rule | None = None


def facts(history: Sequence[CallEvent]) -> Facts:
    """Return what these notifications of one call say together; the last one is the present one."""
    latest = tuple(reversed(history))
    return Facts(
        line=next((call.virtual_number for call in latest if call.virtual_number), None),
        direction=next((call.direction for call in history if call.direction is not None), None),
        kind=history[-1].kind,
        extension=next((call.extension for call in latest if call.extension), None),
        known=any(call.contact_id is not None or bool(call.extra.get("contact_full_name")) for call in history),
        internal=any(_is_internal(call) for call in history),
    )


def decide(rules: Sequence[Rule], target: str, of: Facts) -> Decision:
    for number, rule in enumerate(rules, start=1):
        is_named = target in rule.targets
        is_about = is_named or not rule.targets or not (rule.skip or rule.settings)
        if is_about and _fits(rule, of):
            takes = not rule.skip and (bool(rule.settings) or is_named)
            return Decision(takes, number, rule)
    return Decision(takes=True)


def settings_for(target: Crm, source: str, history: Sequence[CallEvent]) -> Crm:
    """Return the target's settings for this call, with what the deciding rule sets."""
    rule = decide(target.rules.get(source, ()), target.name, facts(history)).rule
    return target if rule is None else _with(target, rule)


def _with(target: Crm, rule: Rule) -> Crm:
    changes: dict[str, Any] = dict(rule.settings)
    create, source = changes.pop("create", None), changes.pop("crm_source", None)
    if isinstance(target, Bitrix24Target):
        changes |= {} if create is None else {"create_lead": create}
        changes |= {} if source is None else {"crm_source": source}
    if isinstance(target, AmoCrmTarget):
        if create is not None and create is (target.unknown_phone == "skip"):
            changes["unknown_phone"] = "unsorted" if create else "skip"
        changes |= {} if source is None else {"source_name": source}
    return replace(target, **changes)


def _fits(rule: Rule, of: Facts) -> bool:
    return (
        (not rule.line or (of.line is not None and _number(of.line) in map(_number, rule.line)))
        and rule.direction in (None, of.direction)
        and (not rule.kind or of.kind in rule.kind)
        and (not rule.extension or of.extension in rule.extension)
        and rule.known in (None, of.known)
        and rule.internal in (None, of.internal)
    )


def _number(text: str) -> str:
    try:
        return phones.parse(text).number
    except ValueError:  # too long for a phone: stored when the relay still took it for one
        return text


def _is_internal(call: CallEvent) -> bool:
    """Is it between employees? UIS says so in a word, or the client's number is as short as an employee's."""
    word = call.extra.get("is_internal")
    if word is not None:
        return word is True or str(word).lower() in ("true", "1")
    number = call.client_number or ""
    return number.isdigit() and len(number) <= _SHORT
