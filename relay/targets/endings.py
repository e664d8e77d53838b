"""How a call ended, from UIS's words for it. Pure.

UIS says it by a mnemonic (`finish_reason`) and by a Russian text (`lost_reason`); 92 are known, others come. Here are
those that say something of a call that did not come about.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from relay.targets.story import Story

Result = Literal["talked", "missed", "busy", "declined", "wrong_number", "unavailable", "other"]

_WORDS: dict[Result, dict[str, str]] = {
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
_RESULT_OF: dict[str, Result] = {
    text.casefold(): result
    for result, words in _WORDS.items()
    for mnemonic, russian in words.items()
    for text in (mnemonic, russian)
}
_TEXT_OF = {mnemonic: russian for words in _WORDS.values() for mnemonic, russian in words.items()}


class Ending(Struct, frozen=True):
    result: Result
    seconds: int  #: of talk
    reason: str | None  #: UIS's own words, unless there was a talk


def ending(story: Story) -> Ending:
    """How the call ended that the present notification ends."""
    call = story.present
    is_lost = call.kind == "lost" or call.is_lost is True or call.lost_reason is not None
    seconds = 0 if is_lost else max(call.talk_seconds or 0, 0)
    if not is_lost and (seconds or (call.talk_seconds is None and story.is_answered)):
        return Ending("talked", seconds, None)
    return Ending(_result(story, is_lost=is_lost), 0, _words(call.lost_reason, call.finish_reason))


def _result(story: Story, *, is_lost: bool) -> Result:
    """The reason of the loss is the main field; who hung up counts where its words are not known."""
    call = story.present
    words = ((word or "").strip().casefold() for word in (call.lost_reason, call.finish_reason))
    known = next((_RESULT_OF[word] for word in words if word in _RESULT_OF), None)
    if known not in (None, "other"):
        return known
    if is_lost and story.direction == "in":
        return "missed"  # a word that a CRM does not have must not hide that somebody called in vain
    if known is None and is_lost:
        return "declined" if call.lost_by == "operator" else "missed"
    return "other"


def _words(lost_reason: str | None, finish_reason: str | None) -> str | None:
    return lost_reason or (None if finish_reason is None else _TEXT_OF.get(finish_reason, finish_reason))
