"""Which rule decides for an event at each target of its source, by the present configuration."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from msgspec import Struct

from relay import routing
from relay.config import CrmTarget, Rule
from relay.config.notation import duration_text
from relay.i18n import Message
from relay.models import CallEvent, Event
from relay.operations import configuration
from relay.operations.serializers import JSONDict
from relay.wiring import Relay


class Explanation(Struct, frozen=True):
    """For one target."""

    target: str
    takes: bool  #: does it get events like this one?
    rule: int | None  #: which of the source's rules decided, from 1
    why: str
    settings: JSONDict = {}  #: what a rule sets for this call at a CRM


def explain(relay: Relay, event: Event) -> list[Explanation]:
    """Return an explanation for each target of the event's source; none for an event that cannot be read."""
    source = relay.settings.sources.get(event.source)
    if source is None or event.call is None:
        return []
    history = relay.store.calls.history(event) or (event.call,)
    return [_explain(relay, source.rules, name, event.call, history) for name in source.targets]


def _explain(
    relay: Relay, rules: Sequence[Rule], name: str, call: CallEvent, history: Sequence[CallEvent]
) -> Explanation:
    target = relay.settings.targets[name]
    if call.kind not in target.events:
        why = Message("it takes no %(kind)s; events of the target names those it takes", kind=call.kind)
        return Explanation(name, False, None, why)
    decision = routing.decide(rules, name, routing.facts((call,)))
    if not decision.takes:
        return Explanation(name, False, decision.number, _words(decision))
    of_call = routing.decide(rules, name, routing.facts(history))  # the settings go by all notifications of the call
    sets = of_call.rule.settings if of_call.rule is not None and isinstance(target, CrmTarget) else {}
    decided = of_call if sets else decision
    shown = {key: duration_text(value) if isinstance(value, timedelta) else value for key, value in sets.items()}
    return Explanation(name, True, decided.number, _words(decided), shown)


def _words(decision: routing.Decision) -> str:
    if decision.rule is None:
        return Message("no rule fits: the target's own settings")
    asked = configuration.conditions_in_words(decision.rule)
    return Message("rule %(number)s (%(call)s)", number=decision.number, call=asked or Message("any call"))
