"""The words of a message, in Russian and English: what is wrong, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from relay.alerts.evaluate import Condition, ConditionKind, Message
from relay.observability.logging import hide

LINES_MAX = 10
_REASON_MAX = 200

_WRONG: Mapping[str, Mapping[ConditionKind, str]] = {
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
_OVER: Mapping[str, Mapping[ConditionKind, str]] = {
    "en": {
        "down": "{name}: answers again", "misconfigured": "{name}: takes deliveries again",
        "backlog": "{name}: has caught up", "dead": "{name}: no dead letters any more",
        "unreadable": "no unread notifications any more", "silent": "{name}: notifications come again",
        "token": "{name}: the token is in order", "disk": "there is room on the disk again",
        "store": "the database can be written again",
    },
    "ru": {
        "down": "{name}: снова отвечает", "misconfigured": "{name}: снова принимает",
        "backlog": "{name}: очередь разобрана", "dead": "{name}: недоставленного больше нет",
        "unreadable": "непрочитанных уведомлений больше нет", "silent": "{name}: уведомления снова приходят",
        "token": "{name}: токен в порядке", "disk": "место на диске снова есть", "store": "в базу снова можно писать",
    },
}  # fmt: skip
_ENDED = {
    "en": {
        "over": "✔ {end}", "past": "✔ {end} (this could not be told before; it began {since})",
        "paused": "{name}: paused by the operator", "gone": "{name}: is not in the configuration any more",
    },
    "ru": {
        "over": "✔ {end}", "past": "✔ {end} (раньше сообщить не удалось; началось {since})",
        "paused": "{name}: приостановлен оператором", "gone": "{name}: больше нет в настройках",
    },
}  # fmt: skip
_STILL = {"en": "still: ", "ru": "всё ещё: "}
_MORE = {"en": "and {count} more. See: relay status", "ru": "и ещё {count}. Посмотреть: relay status"}
_TITLE = {"en": "UIS relay, {name}", "ru": "Реле UIS, {name}"}
TEST = {
    "en": "a test: troubles will be told here",
    "ru": "проверка: сюда будут приходить сообщения о неполадках",
}


def title(language: str, name: str) -> str:
    """Which relay speaks."""
    return _TITLE[language].format(name=name)


def message(items: tuple[Message, ...], language: str, zone: ZoneInfo) -> str:
    """One message for all that is new."""
    lines = [_line(item, language, zone) for item in items[:LINES_MAX]]
    if len(items) > LINES_MAX:
        lines.append(_MORE[language].format(count=len(items) - LINES_MAX))
    return "\n".join(lines)


def _line(item: Message, language: str, zone: ZoneInfo) -> str:
    trouble = item.trouble
    known = {
        "name": trouble.name, "count": trouble.count, "since": _when(trouble, zone), "reason": _shown(trouble.reason),
    }  # fmt: skip
    if item.how in _ENDED[language]:
        end = _OVER[language][trouble.what].format(**known)
        return _ENDED[language][item.how].format(end=end, **known)
    still = _STILL[language] if item.how == "still" else ""
    return "✖ " + still + _WRONG[language][trouble.what].format(**known)


def _shown(reason: str) -> str:
    """A target's own words, a sentence on one line, without phones, links and secrets."""
    shown = " ".join(hide(reason).split()).rstrip(". ")
    shown = shown if len(shown) <= _REASON_MAX else shown[:_REASON_MAX] + "…"
    return f"{shown}. " if shown else ""


def _when(trouble: Condition, zone: ZoneInfo) -> str:
    """By the clock of the account."""
    form = "%d.%m.%Y" if trouble.what == "token" else "%d.%m %H:%M"
    return "–" if trouble.since is None else trouble.since.astimezone(trouble.zone or zone).strftime(form)
