"""What is wrong now, the worst first: each in a sentence, with what to do about it.

What counts as wrong, `relay/alerts/evaluate.py` says; here it is shown at once, and beside it what nobody is woken for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus

from msgspec import Struct
from msgspec.structs import replace

from relay.alerts.evaluate import Condition, conditions
from relay.alerts.messages import sentences, waiting
from relay.clock import EPOCH
from relay.errors import StoreError
from relay.i18n import gettext, local, ngettext
from relay.store import TargetFigures
from relay.wiring import Relay

_RANKS = (
    "unworked",
    "disk",
    "misconfigured",
    "down",
    "unnotified",
    "dead",
    "unreadable",
    "refused",
    "clicks",
    "report",
    "backlog",
    "silent",
    "missed",
    "token",
    "removed",
    "paused",
)
"""The kinds of troubles, the worst first."""


class Trouble(Struct, frozen=True):
    kind: str
    name: str  #: of the target or source, where there is one
    sentence: str
    advice: str
    reason: str | None = None  #: in the words of the target


def troubles(relay: Relay, targets: Sequence[TargetFigures]) -> list[Trouble]:
    now = relay.clock()
    # as if it had been watched for ever; a source that never sent is no trouble yet
    opened = {target.name: EPOCH for target in targets}
    seen = relay.alerts.collector.look(targets, now, watched_since=now, open_since=opened)
    known = conditions(seen, replace(relay.settings.alerts, down_for=timedelta(0)))
    present = [
        *(_of_condition(relay, condition) for condition in known if condition.kind in _RANKS),
        *_of_targets(targets),
        *_of_sources(relay, now),
        *_of_reports(relay),
        *_of_processes(relay),
    ]
    return sorted(present, key=lambda trouble: _RANKS.index(trouble.kind))


def _of_condition(relay: Relay, condition: Condition) -> Trouble:
    since = local(condition.since, condition.zone or relay.settings.timezone)
    sentence, advice = sentences(condition, since)
    return Trouble(condition.kind, condition.name, sentence, advice, condition.reason or None)


def _of_targets(targets: Sequence[TargetFigures]) -> Iterator[Trouble]:
    for target in targets:
        name, count = target.name, target.due
        if target.state == "paused":
            sentence = waiting(gettext("%(name)s is paused", name=name), count)
            yield Trouble("paused", name, sentence, gettext("What comes is kept until you resume."))
        elif target.state == "removed" and count:
            sentence = waiting(gettext("%(name)s is not in the configuration any more", name=name), count)
            advice = gettext("Move them to another target: relay replay --target %(name)s --to TARGET", name=name)
            yield Trouble("removed", name, sentence, advice)


def _of_sources(relay: Relay, now: datetime) -> Iterator[Trouble]:
    advice = {
        401: gettext("The secret is missing or wrong. Compare the address in the UIS cabinet with the one here."),
        403: gettext("The sender's address is not in `allow_from` of the source."),
        413: gettext("The body is larger than `max_body`."),
    }
    other = gettext("Compare the address and the method in the UIS cabinet with those here.")
    refused = relay.store.inbox.rejected_since(relay.settings.sources, now - timedelta(hours=1))
    for name in relay.settings.sources:
        for status, count in refused[name].items():
            if int(status) == HTTPStatus.TOO_MANY_REQUESTS:
                yield _of_clicks(name, count)
                continue
            sentence = ngettext(
                "%(name)s: %(count)s notification was refused lately with %(status)s",
                "%(name)s: %(count)s notifications were refused lately with %(status)s",
                count,
                name=name,
                status=status,
            )
            yield Trouble("refused", name, sentence, advice.get(int(status), other))


def _of_clicks(name: str, count: int) -> Trouble:
    sentence = ngettext(
        "%(name)s: %(count)s click was refused lately: there were more than `rate` in a minute",
        "%(name)s: %(count)s clicks were refused lately: there were more than `rate` in a minute",
        count,
        name=name,
    )
    advice = gettext("Nobody was called. If people do click that often, raise `rate` of [sources.NAME.calls].")
    return Trouble("clicks", name, sentence, advice)


def _of_reports(relay: Relay) -> Iterator[Trouble]:
    for name, state in relay.store.reports.states().items():
        source = relay.settings.sources.get(name)
        if source is not None and source.report is not None and state.state == "later":
            sentence = gettext("%(name)s: UIS does not give its report of calls now", name=name)
            yield Trouble("report", name, sentence, gettext("The relay tries again by itself."), state.reason)


def _of_processes(relay: Relay) -> Iterator[Trouble]:
    try:
        is_worked = relay.store.leases.is_worked(relay.settings.targets)
    except StoreError:
        return
    if not is_worked:
        yield Trouble(
            "unworked",
            "",
            gettext("No process is delivering"),
            gettext("Notifications are taken and kept. Start `relay work`, or the web process with RELAY_DISPATCH=on."),
        )
