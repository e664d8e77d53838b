"""The words of a message, in Russian and English: what is wrong, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from relay.alerts.rules import Item, Trouble, What
from relay.logs import hide

LINES_MAX = 10

_WRONG: Mapping[str, Mapping[What, str]] = {
    "en": {
        "down": "{name} has not answered since {since}; {count} wait. {reason}. Look: relay status",
        "misconfigured": "{name} refuses everything since {since}; {count} wait. {reason}. Mend it, then relay resume",
        "backlog": "{name}: {count} wait, the oldest since {since}. Look: relay status",
        "dead": "dead letters: {count}. Look: relay dead; send again: relay replay --all",
        "silent": "nothing has come from {name} since {since}. Look at the notifications in the UIS cabinet",
        "token": "{name}: {reason}",
        "disk": "only {count} MB are free on the disk of the database. Free some space",
        "store": "the database cannot be used: notifications are not taken. Look at the disk and the log",
    },
    "ru": {
        "down": "{name} не отвечает с {since}; ждут {count}. {reason}. Посмотреть: relay status",
        "misconfigured": "{name} отвергает всё с {since}; ждут {count}. {reason}. Исправьте, затем relay resume",
        "backlog": "{name}: ждут {count}, старейшее с {since}. Посмотреть: relay status",
        "dead": "не доставлено: {count}. Посмотреть: relay dead; отправить заново: relay replay --all",
        "silent": "от {name} ничего нет с {since}. Проверьте уведомления в кабинете UIS",
        "token": "{name}: {reason}",
        "disk": "на диске с базой свободно только {count} МБ. Освободите место",
        "store": "база недоступна: уведомления не принимаются. Проверьте диск и журнал",
    },
}
_OVER: Mapping[str, Mapping[What, str]] = {
    "en": {
        "down": "{name} answers again", "misconfigured": "{name} takes deliveries again",
        "backlog": "{name} has caught up", "dead": "no dead letters any more", "silent": "{name} is heard again",
        "token": "{name}: the token is in order", "disk": "there is room on the disk again",
        "store": "the database works again",
    },
    "ru": {
        "down": "{name} снова отвечает", "misconfigured": "{name} снова принимает",
        "backlog": "{name}: очередь разобрана", "dead": "недоставленного больше нет",
        "silent": "от {name} снова приходят уведомления",
        "token": "{name}: токен в порядке", "disk": "место на диске снова есть", "store": "база снова работает",
    },
}  # fmt: skip
_STILL = {"en": "still: ", "ru": "всё ещё: "}
_MORE = {"en": "and {count} more: relay status", "ru": "и ещё {count}: relay status"}
TEST = {
    "en": "a test: this is where troubles will be told",
    "ru": "проверка: сюда будут приходить сообщения о неполадках",
}


def message(items: tuple[Item, ...], language: str, zone: ZoneInfo) -> str:
    """One message for all that is new."""
    lines = [_line(item, language, zone) for item in items[:LINES_MAX]]
    if len(items) > LINES_MAX:
        lines.append(_MORE[language].format(count=len(items) - LINES_MAX))
    return "\n".join(lines)


def _line(item: Item, language: str, zone: ZoneInfo) -> str:
    trouble = item.trouble
    if item.how == "over":
        return "✔ " + _OVER[language][trouble.what].format(name=trouble.name)
    said = _WRONG[language][trouble.what].format(
        name=trouble.name, since=_when(trouble, zone), count=trouble.count, reason=_hidden(trouble.reason)
    )
    return ("✖ " if item.how != "still" else "✖ " + _STILL[language]) + said


def _hidden(reason: str) -> str:
    """A target's own words, without phones, links and secrets."""
    return hide(reason).strip().rstrip(".") or "–"


def _when(trouble: Trouble, zone: ZoneInfo) -> str:
    return "–" if trouble.since is None else trouble.since.astimezone(zone).strftime("%d.%m %H:%M")
