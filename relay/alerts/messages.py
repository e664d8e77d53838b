"""The words of a message: what is wrong, and what to do; and of the daily summary. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from zoneinfo import ZoneInfo

from relay.alerts.evaluate import Condition, Notice
from relay.alerts.snapshot import Summary
from relay.i18n import Message, change, difference, gettext, in_language, ngettext, plural, translate
from relay.observability.logging import redact
from relay.store import CallCounts, TargetFigures
from relay.store.alert_state import ConditionKind

LINES_MAX = 10
_REASON_MAX = 200
_COMMANDS: Mapping[ConditionKind, str] = {
    "down": "status",
    "misconfigured": "resume NAME",
    "backlog": "status",
    "dead": "dead --target NAME",
    "unreadable": "dead --state quarantined",
    "missed": "missed --waiting",
}
_LOOK_AT_THE_CABINET = Message(
    "Look whether the notifications in the UIS cabinet are on, and go to the relay's address."
)
_TROUBLES: Mapping[ConditionKind, tuple[Message | Callable[[int], str], Message]] = {  # what is wrong, and what to do
    "down": (
        Message("%(name)s has not answered since %(since)s"),
        Message("Nothing is lost: the relay asks again by itself, and delivers when it answers."),
    ),
    "misconfigured": (
        Message("%(name)s has taken nothing since %(since)s"),
        Message("It answers, but refuses everything. Mend what it says, then try at once."),
    ),
    "backlog": (
        Message("%(name)s does not keep up: the oldest has waited since %(since)s"),
        Message("Look whether it answers slowly; more `concurrency` or `rate` of the target may help."),
    ),
    "dead": (
        lambda count: plural(
            "%(name)s: %(count)s notification was not delivered",
            "%(name)s: %(count)s notifications were not delivered",
            count,
        ),
        Message("Look at the reasons, mend the cause, then send them again."),
    ),
    "unreadable": (
        lambda count: plural("%(count)s notification cannot be read", "%(count)s notifications cannot be read", count),
        Message("Mend it, and the template in the UIS cabinet, or the next one will be the same."),
    ),
    "missed": (
        lambda count: plural(
            "%(name)s: %(count)s client waits for a call back since %(since)s",
            "%(name)s: %(count)s clients wait for a call back, the first since %(since)s",
            count,
        ),
        Message("They called in vain, and nobody has talked to them since."),
    ),
    "silent": (Message("%(name)s: nothing has come from UIS since %(since)s"), _LOOK_AT_THE_CABINET),
    "unnotified": (
        Message("%(name)s: since %(since)s calls come without a notification; UIS's report has %(count)s"),
        _LOOK_AT_THE_CABINET,
    ),
    "report": (
        Message("%(name)s: UIS's report of calls has not been read since %(since)s"),
        Message("Mend what it says; then `relay check --online` tells at once, and within the hour it is read again."),
    ),
    "token": (
        Message("%(name)s: the token is good until %(since)s"),
        Message("Make a new one, set it in the configuration, and restart the relay."),
    ),
    "disk": (
        Message("%(count)s MB are left on the disk of the database"),
        Message("Free some space: on a full disk no notification can be taken."),
    ),
    "store": (
        Message("The database cannot be written since %(since)s: notifications are not taken"),
        Message("Look at the disk and the log."),
    ),
}
_ENDS: Mapping[ConditionKind, Message] = {
    "down": Message("%(name)s: answers again"),
    "misconfigured": Message("%(name)s: takes deliveries again"),
    "backlog": Message("%(name)s: has caught up"),
    "dead": Message("%(name)s: no dead letters any more"),
    "unreadable": Message("no unread notifications any more"),
    "missed": Message("%(name)s: nobody who called within four days waits for a call back"),
    "silent": Message("%(name)s: notifications come again"),
    "unnotified": Message("%(name)s: notifications come again"),
    "report": Message("%(name)s: UIS's report of calls is read again"),
    "token": Message("%(name)s: the token is in order"),
    "disk": Message("there is room on the disk again"),
    "store": Message("the database can be written again"),
}


def title(language: str, name: str) -> str:
    """Return the title: which relay speaks."""
    with in_language(language):
        return gettext("UIS relay, %(name)s", name=name)


def test(language: str) -> str:
    """Return what is sent to try a channel out."""
    with in_language(language):
        return gettext("a test: troubles will be told here")


def body(notices: tuple[Notice, ...], language: str, zone: ZoneInfo) -> str:
    """Return one text for all notices."""
    with in_language(language):
        lines = [_line(notice, zone) for notice in notices[:LINES_MAX]]
        if len(notices) > LINES_MAX:
            lines.append(gettext("and %(count)s more. See: relay status", count=len(notices) - LINES_MAX))
    return "\n".join(lines)


def summary(day: Summary, language: str) -> str:
    with in_language(language):
        lines = [_of_source(*each) for each in day.sources] + [_of_target(*each) for each in day.targets]
        return "\n".join([gettext("The last 24 hours:"), *lines])


def _line(notice: Notice, zone: ZoneInfo) -> str:
    condition, transition = notice.condition, notice.transition
    name, form = condition.name, "%d.%m.%Y" if condition.kind == "token" else "%d.%m %H:%M"
    there, at = condition.zone or zone, condition.since
    since = "–" if at is None else f"{at.astimezone(there).strftime(form)}{difference(at, there, zone)}"
    if transition == "paused":
        return gettext("%(name)s: paused by the operator", name=name)
    if transition == "gone":
        return gettext("%(name)s: is not in the configuration any more", name=name)
    if transition == "resolved":
        return f"✔ {_resolved(condition)}"
    if transition == "past":
        ended = _resolved(condition)
        return f"✔ {gettext('%(end)s (this could not be told before; it began %(since)s)', end=ended, since=since)}"
    text = _firing(condition, since, zone)
    return f"✖ {gettext('still: %(trouble)s', trouble=text) if transition == 'still' else text}"


def _firing(condition: Condition, since: str, zone: ZoneInfo) -> str:
    sentence, advice = sentences(condition, since)
    text = f"{sentence}. {_on_a_line(translate(change(condition.reason, redact), zone))}{advice}"
    command = _COMMANDS.get(condition.kind)
    if command is None:
        return text
    return f"{text} {gettext('Command: %(command)s', command=f'relay {command}'.replace('NAME', condition.name))}"


def sentences(condition: Condition, since: str) -> tuple[str, str]:
    """Return what is wrong, and what to do: for an alert and for the page."""
    values = {"name": condition.name, "since": since, "count": condition.count}
    sentence, advice = _TROUBLES[condition.kind]
    text = gettext(sentence, **values) if isinstance(sentence, str) else sentence(condition.count) % values
    has_queue = condition.kind in ("down", "misconfigured", "backlog")
    return waiting(text, condition.count) if has_queue else text, gettext(advice)


def waiting(sentence: str, count: int) -> str:
    waits = ngettext("%(count)s delivery waits", "%(count)s deliveries wait", count)
    return f"{sentence}; {waits}" if count else sentence


def _resolved(condition: Condition) -> str:
    return gettext(_ENDS[condition.kind], name=condition.name)


def _of_source(name: str, counts: CallCounts, missed: int, waiting: int) -> str:
    line = ngettext(
        "%(name)s: %(count)s call, missed: %(missed)s",
        "%(name)s: %(count)s calls, missed: %(missed)s",
        counts.calls,
        name=name,
        missed=missed,
    )
    waits = gettext("wait for a call back: %(count)s", count=waiting) if waiting else ""
    unreadable = gettext("could not be read: %(count)s", count=counts.unreadable) if counts.unreadable else ""
    return "; ".join(filter(None, (line, waits, unreadable)))


def _of_target(figures: TargetFigures, failed: int) -> str:
    line = gettext(
        "%(name)s: delivered: %(delivered)s, waiting: %(due)s, dead letters: %(dead)s",
        name=figures.name,
        delivered=figures.delivered,
        due=figures.due,
        dead=figures.dead,
    )
    attempts = gettext("failed attempts: %(count)s", count=failed) if failed else ""
    state = gettext("its state now: %(state)s", state=gettext(figures.state)) if figures.state != "open" else ""
    return "; ".join(filter(None, (line, attempts, state)))


def _on_a_line(reason: str) -> str:
    """Return a reason as a sentence on one line."""
    text = " ".join(reason.split()).rstrip(". ")
    text = text if len(text) <= _REASON_MAX else text[:_REASON_MAX] + "…"
    return f"{text}. " if text else ""
