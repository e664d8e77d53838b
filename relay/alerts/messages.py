"""The words of a message, in Russian and English: what is wrong, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from relay.alerts.evaluate import Condition, Message
from relay.i18n import in_language
from relay.observability.logging import redact
from relay.store.alert_state import ConditionKind

LINES_MAX = 10
_REASON_MAX = 200

_FIRING: Mapping[str, Mapping[ConditionKind, str]] = {
    "en": {
        "down": "{name}: down since {since}; {count} wait and will be delivered when it answers. {reason}"
        "See: relay status",
        "misconfigured": "{name}: misconfigured since {since}; {count} wait. {reason}"
        "Mend it, then: relay resume {name}",
        "backlog": "{name}: {count} wait, the oldest since {since}. See: relay status",
        "dead": "{name}: dead letters: {count}. See: relay dead --target {name}; again: relay replay --target {name}",
        "unreadable": "notifications that could not be read: {count}. See: relay dead --state quarantined; "
        "mend: relay edit ID",
        "silent": "{name}: nothing has come since {since}. Look at the notifications in the UIS cabinet",
        "token": "{name}: the token is good until {since}. Make a new one, set it, and restart the relay",
        "disk": "{count} MB are left on the disk of the database. Free some space",
        "store": "the database cannot be written since {since}: notifications are not taken. "
        "Look at the disk and the log",
    },
    "ru": {
        "down": "{name}: не отвечает с {since}; ждут {count}, уйдут сами, когда ответит. {reason}"
        "Посмотреть: relay status",
        "misconfigured": "{name}: ошибка настройки с {since}; ждут {count}. {reason}"
        "Исправьте, затем: relay resume {name}",
        "backlog": "{name}: ждут {count}, старейшее с {since}. Посмотреть: relay status",
        "dead": "{name}: не доставлено: {count}. Посмотреть: relay dead --target {name}; "
        "снова: relay replay --target {name}",
        "unreadable": "уведомлений, которые не удалось прочесть: {count}. "
        "Посмотреть: relay dead --state quarantined; исправить: relay edit ID",
        "silent": "{name}: ничего не приходит с {since}. Проверьте уведомления в кабинете UIS",
        "token": "{name}: токен действует до {since}. Выпустите новый, впишите и перезапустите ретранслятор",
        "disk": "на диске с базой осталось {count} МБ. Освободите место",
        "store": "в базу нельзя писать с {since}: уведомления не принимаются. Проверьте диск и журнал",
    },
}
_RESOLVED: Mapping[str, Mapping[ConditionKind, str]] = {
    "en": {
        "down": "{name}: answers again",
        "misconfigured": "{name}: takes deliveries again",
        "backlog": "{name}: has caught up",
        "dead": "{name}: no dead letters any more",
        "unreadable": "no unread notifications any more",
        "silent": "{name}: notifications come again",
        "token": "{name}: the token is in order",
        "disk": "there is room on the disk again",
        "store": "the database can be written again",
    },
    "ru": {
        "down": "{name}: снова отвечает",
        "misconfigured": "{name}: снова принимает",
        "backlog": "{name}: очередь разобрана",
        "dead": "{name}: недоставленного больше нет",
        "unreadable": "непрочитанных уведомлений больше нет",
        "silent": "{name}: уведомления снова приходят",
        "token": "{name}: токен в порядке",
        "disk": "место на диске снова есть",
        "store": "в базу снова можно писать",
    },
}
_ENDED = {
    "en": {
        "resolved": "✔ {end}",
        "past": "✔ {end} (this could not be told before; it began {since})",
        "paused": "{name}: paused by the operator",
        "gone": "{name}: is not in the configuration any more",
    },
    "ru": {
        "resolved": "✔ {end}",
        "past": "✔ {end} (раньше сообщить не удалось; началось {since})",
        "paused": "{name}: приостановлен оператором",
        "gone": "{name}: больше нет в настройках",
    },
}
_STILL = {"en": "still: ", "ru": "всё ещё: "}
_MORE = {"en": "and {count} more. See: relay status", "ru": "и ещё {count}. Посмотреть: relay status"}
_TITLE = {"en": "UIS relay, {name}", "ru": "Реле UIS, {name}"}
TEST = {
    "en": "a test: troubles will be told here",
    "ru": "проверка: сюда будут приходить сообщения о неполадках",
}


def title(language: str, name: str) -> str:
    """Return the title: which relay speaks."""
    return _TITLE[language].format(name=name)


def body(messages: tuple[Message, ...], language: str, zone: ZoneInfo) -> str:
    """Return one text for all messages."""
    lines = [_line(message, language, zone) for message in messages[:LINES_MAX]]
    if len(messages) > LINES_MAX:
        lines.append(_MORE[language].format(count=len(messages) - LINES_MAX))
    return "\n".join(lines)


def _line(message: Message, language: str, zone: ZoneInfo) -> str:
    condition, transition = message.condition, message.transition
    words = {
        "name": condition.name,
        "count": condition.count,
        "since": _when(condition, zone),
        "reason": _redacted(in_language(condition.reason, language, condition.zone or zone)),
    }
    if transition in _ENDED[language]:
        end = _RESOLVED[language][condition.kind].format(**words)
        return _ENDED[language][transition].format(end=end, **words)
    still = _STILL[language] if transition == "still" else ""
    return "✖ " + still + _FIRING[language][condition.kind].format(**words)


def _redacted(reason: str) -> str:
    """Return a target's own words, a sentence on one line, without phones, links and secrets."""
    text = " ".join(redact(reason).split()).rstrip(". ")
    text = text if len(text) <= _REASON_MAX else text[:_REASON_MAX] + "…"
    return f"{text}. " if text else ""


def _when(condition: Condition, zone: ZoneInfo) -> str:
    """Write the time by the clock of the account."""
    form = "%d.%m.%Y" if condition.kind == "token" else "%d.%m %H:%M"
    return "–" if condition.since is None else condition.since.astimezone(condition.zone or zone).strftime(form)
