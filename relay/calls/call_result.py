"""Tells how a call ended, from UIS's words for it. Pure.

UIS says it by a mnemonic (`finish_reason`) and by a Russian text (`lost_reason`); 92 are known, others come. Here are
those that say something of a call that did not come about. Its own template for the end of a call has neither, only
the durations; Novofon adds `call_status`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from relay.calls.history import CallHistory
from relay.models import CallEvent

ResultCode = Literal["talked", "missed", "busy", "declined", "wrong_number", "unavailable", "other"]

_WORDS: dict[ResultCode, dict[str, str]] = {
    "missed": {
        "subscriber_disconnects": "Абонент разорвал соединение",
        "subscriber_not_responsible": "Абонент не отвечает",
        "operator_not_responsible": "Сотрудник не отвечает",
        "timeout": "Время дозвона истекло",
        "no_success_subscriber_call": "Не дозвонились до абонента",
        "no_success_operator_call": "Не дозвонились до сотрудника",
        "no_operator_confirmation": "Сотрудник не подтвердил вызов",
        "no_operator_cdr_found": "Вызовы сотрудникам не найдены",
        "disconnect_before_call_processing": "Разъединение до обработки вызова",
        "group_inactive_by_schedule": "Группа сотрудников неактивна согласно расписанию",
        "phone_group_inactive_by_schedule": "Группа номеров неактивна согласно расписанию",
        "employee_inactive": "Сотрудник неактивен",
        "employee_inactive_by_schedule": "Сотрудник неактивен согласно расписанию",
        "employee_status_break": 'Сотрудник в статусе "Перерыв"',
        "employee_status_do_not_disturb": 'Сотрудник в статусе "Не беспокоить"',
        "employee_auto_status_do_not_disturb": 'Сотрудник в автоматическом статусе "Не беспокоить"',
        "employee_status_not_at_workplace": 'Сотрудник в статусе "Нет на месте"',
        "employee_status_not_at_work": 'Сотрудник в статусе "Нет на работе"',
    },
    "busy": {
        "subscriber_busy": "Абонент занят",
        "operator_busy": "Сотрудник занят",
        "employee_busy": "Сотрудник разговаривает в другом звонке",
        "employee_busy_after_call": "Сотрудник занят после звонка",
    },
    "declined": {"operator_disconnects": "Сотрудник разорвал соединение"},
    "wrong_number": {
        "numb_not_exists": "Виртуальный номер не найден",
        "incorrect_input": "Некорректный ввод",
        "numb_is_inactive": "Виртуальный номер не активен",
    },
    "unavailable": {
        "communication_unavailable": "Недоступный тип связи",
        "sip_offline": "SIP-линия не зарегистрирована",
        "group_phone_inactive": "Номер в группе недоступен",
        "employee_phone_inactive": "Номер сотрудника неактивен",
        "employee_phone_inactive_by_schedule": "Номер сотрудника неактивен согласно расписанию",
        "operator_channels_busy": "Закончились доступные линии на номере переадресации",
        "locked_phone": "Проблемы с сетью",
        "net_lock": "Сеть оператора заблокирована",
    },
    "other": {
        "not_enough_money": "Недостаточно средств",
        "no_money": "Недостаточно средств",
        "limit_exceeded": "Достигнут финансовый лимит",
        "no_resources": "Лимит клиента исчерпан",
        "max_out_call_reached": "Достигнут лимит линий для исходящих звонков",
        "locked_numb": "Звонки на этот номер запрещены настройками безопасности",
        "call_not_allowed_on_tp": "Звонок запрещен согласно тарифному плану",
        "out_call_not_allowed": "Исходящие звонки запрещены",
        "out_call_not_allowed_by_status": "Исходящие звонки запрещены статусом",
        "external_call_not_allowed": "Внешние звонки запрещены",
        "external_call_not_allowed_by_status": "Внешние звонки запрещены статусом",
    },
}
_RESULT_OF: dict[str, ResultCode] = {
    text.casefold(): result
    for result, words in _WORDS.items()
    for mnemonic, russian in words.items()
    for text in (mnemonic, russian)
}
TEXT_OF = {mnemonic: russian for words in _WORDS.values() for mnemonic, russian in words.items()}
_WHO_HUNG_UP = {  # these are said of calls with a talk too
    text.casefold()
    for mnemonic in ("subscriber_disconnects", "operator_disconnects")
    for text in (mnemonic, TEXT_OF[mnemonic])
}
# which words Novofon uses is not documented: those of its former API (`disposition`), and what receivers look for
_STATUSES: dict[ResultCode, str] = {
    "talked": "answered, success, completed, принят, принятый, успешный",
    "missed": "no answer, not answered, unanswered, missed, lost, cancel, canceled, cancelled, "
    "пропущен, пропущенный, потерян, потерянный",
    "busy": "busy",
    "wrong_number": "unallocated number",
    "other": "failed, no money, no limit, no day limit, line limit",
}
_RESULT_OF_STATUS = {status: result for result, statuses in _STATUSES.items() for status in statuses.split(", ")}


class CallResult(Struct, frozen=True):
    """Says how a call ended."""

    result: ResultCode
    seconds: int  #: of talk
    reason: str | None  #: UIS's own words, unless there was a talk


def call_result(history: CallHistory) -> CallResult:
    """Return how the call ended that the latest notification ends."""
    if _is_talked(history):
        return CallResult("talked", history.latest.talk_seconds or 0, None)
    return CallResult(_result(history), 0, _words(history.latest))


def _is_talked(history: CallHistory) -> bool:
    """Was there a talk? What UIS says counts before what is derived from its durations."""
    call = history.latest
    if _is_lost(call):
        return False
    if call.talk_seconds and not call.talk_derived:
        return True
    if history.is_answered:
        return call.talk_seconds != 0
    finish = _text(call.finish_reason)
    if finish in _RESULT_OF and finish not in _WHO_HUNG_UP:
        return False
    if (status := _of_status(call)) is not None:
        return status == "talked" and (call.talk_seconds is None or call.talk_seconds > 0)
    return bool(call.talk_seconds)


def _is_lost(call: CallEvent) -> bool:
    return call.kind == "lost" or call.is_lost is True or call.lost_reason is not None


def _result(history: CallHistory) -> ResultCode:
    """Find it where there was no talk: by the reason of the loss, or where its words are not known by who hung up."""
    call = history.latest
    words = (_text(word) for word in (call.lost_reason, call.finish_reason))
    result = next((_RESULT_OF[word] for word in words if word in _RESULT_OF), _of_status(call))
    if result not in (None, "other", "talked"):
        return result
    is_silent = call.talk_seconds == 0 and call.is_lost is not False  # a menu, a fax: UIS does not call it lost
    if history.direction == "in" and (result is not None or _is_lost(call) or is_silent):
        return "missed"  # a word that a CRM does not have must not hide that somebody called in vain
    if result is None and _is_lost(call):
        return "declined" if call.lost_by == "operator" else "missed"
    if is_silent and _words(call) is None:
        return "missed"
    return "other"


def _of_status(call: CallEvent) -> ResultCode | None:
    status = call.extra.get("call_status")
    return _RESULT_OF_STATUS.get(_text(status).replace("_", " ")) if isinstance(status, str) else None


def _text(word: str | None) -> str:
    return (word or "").strip().casefold()


def _words(call: CallEvent) -> str | None:
    """Return UIS's own words, for people."""
    reason, status = call.finish_reason, call.extra.get("call_status")
    if call.lost_reason or reason is None:
        return call.lost_reason or (status if isinstance(status, str) else None)
    return TEXT_OF.get(reason, reason)
