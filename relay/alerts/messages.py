"""The words of a message: what is wrong, and what to do; and of the daily summary. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from zoneinfo import ZoneInfo

from relay.alerts.evaluate import Condition, Notice
from relay.alerts.snapshot import Summary
from relay.i18n import change, gettext, in_language, ngettext, translate
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
    """Return the text of a summary: a line for each source and each target."""
    with in_language(language):
        lines = [_of_source(*each) for each in day.sources]
        lines += [_of_target(figures, failed) for figures, failed in day.targets]
        return "\n".join([gettext("The last 24 hours:"), *lines])


def _line(notice: Notice, zone: ZoneInfo) -> str:
    condition, transition = notice.condition, notice.transition
    name, since = condition.name, _when(condition, zone)
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
    name, count = condition.name, condition.count
    texts: Mapping[ConditionKind, Callable[[], tuple[str, str]]] = {
        "down": lambda: (
            waiting(gettext("%(name)s has not answered since %(since)s", name=name, since=since), count),
            gettext("Nothing is lost: the relay asks again by itself, and delivers when it answers."),
        ),
        "misconfigured": lambda: (
            waiting(gettext("%(name)s has taken nothing since %(since)s", name=name, since=since), count),
            gettext("It answers, but refuses everything. Mend what it says, then try at once."),
        ),
        "backlog": lambda: (
            waiting(
                gettext("%(name)s does not keep up: the oldest has waited since %(since)s", name=name, since=since),
                count,
            ),
            gettext("Look whether it answers slowly; more `concurrency` or `rate` of the target may help."),
        ),
        "dead": lambda: (
            ngettext(
                "%(name)s: %(count)s notification was not delivered",
                "%(name)s: %(count)s notifications were not delivered",
                count,
                name=name,
            ),
            gettext("Look at the reasons, mend the cause, then send them again."),
        ),
        "unreadable": lambda: (
            ngettext("%(count)s notification cannot be read", "%(count)s notifications cannot be read", count),
            gettext("Mend it, and the template in the UIS cabinet, or the next one will be the same."),
        ),
        "missed": lambda: (
            ngettext(
                "%(name)s: %(count)s client waits for a call back since %(since)s",
                "%(name)s: %(count)s clients wait for a call back, the first since %(since)s",
                count,
                name=name,
                since=since,
            ),
            gettext("They called in vain, and nobody has talked to them since."),
        ),
        "silent": lambda: (
            gettext("%(name)s: nothing has come from UIS since %(since)s", name=name, since=since),
            _look_at_the_cabinet(),
        ),
        "unnotified": lambda: (
            gettext(
                "%(name)s: since %(since)s calls come without a notification; UIS's report has %(count)s",
                name=name,
                since=since,
                count=count,
            ),
            _look_at_the_cabinet(),
        ),
        "report": lambda: (
            gettext("%(name)s: UIS's report of calls has not been read since %(since)s", name=name, since=since),
            gettext(
                "Mend what it says; then `relay check --online` tells at once, and within the hour it is read again."
            ),
        ),
        "token": lambda: (
            gettext("%(name)s: the token is good until %(since)s", name=name, since=since),
            gettext("Make a new one, set it in the configuration, and restart the relay."),
        ),
        "disk": lambda: (
            gettext("%(count)s MB are left on the disk of the database", count=count),
            gettext("Free some space: on a full disk no notification can be taken."),
        ),
        "store": lambda: (
            gettext("The database cannot be written since %(since)s: notifications are not taken", since=since),
            gettext("Look at the disk and the log."),
        ),
    }
    return texts[condition.kind]()


def waiting(sentence: str, count: int) -> str:
    """Return the sentence with how many deliveries wait."""
    waits = ngettext("%(count)s delivery waits", "%(count)s deliveries wait", count)
    return f"{sentence}; {waits}" if count else sentence


def _look_at_the_cabinet() -> str:
    return gettext("Look whether the notifications in the UIS cabinet are on, and go to the relay's address.")


def _resolved(condition: Condition) -> str:
    name = condition.name
    texts: Mapping[ConditionKind, str] = {
        "down": gettext("%(name)s: answers again", name=name),
        "misconfigured": gettext("%(name)s: takes deliveries again", name=name),
        "backlog": gettext("%(name)s: has caught up", name=name),
        "dead": gettext("%(name)s: no dead letters any more", name=name),
        "unreadable": gettext("no unread notifications any more"),
        "missed": gettext("%(name)s: nobody who called within four days waits for a call back", name=name),
        "silent": gettext("%(name)s: notifications come again", name=name),
        "unnotified": gettext("%(name)s: notifications come again", name=name),
        "report": gettext("%(name)s: UIS's report of calls is read again", name=name),
        "token": gettext("%(name)s: the token is in order", name=name),
        "disk": gettext("there is room on the disk again"),
        "store": gettext("the database can be written again"),
    }
    return texts[condition.kind]


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
    return "; ".join(_about_target(figures, failed))


def _about_target(figures: TargetFigures, failed: int) -> Iterator[str]:
    yield gettext(
        "%(name)s: delivered: %(delivered)s, waiting: %(due)s, dead letters: %(dead)s",
        name=figures.name,
        delivered=figures.delivered,
        due=figures.due,
        dead=figures.dead,
    )
    if failed:
        yield gettext("failed attempts: %(count)s", count=failed)
    if figures.state != "open":
        yield gettext("its state now: %(state)s", state=gettext(figures.state))


def _on_a_line(reason: str) -> str:
    """Return a reason as a sentence on one line."""
    text = " ".join(reason.split()).rstrip(". ")
    text = text if len(text) <= _REASON_MAX else text[:_REASON_MAX] + "…"
    return f"{text}. " if text else ""


def _when(condition: Condition, zone: ZoneInfo) -> str:
    """Write the time by the clock of the account."""
    form = "%d.%m.%Y" if condition.kind == "token" else "%d.%m %H:%M"
    return "–" if condition.since is None else condition.since.astimezone(condition.zone or zone).strftime(form)
