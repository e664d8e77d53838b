"""What a 1C's answer means: every situation that is known, as it was recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from relay.targets import onec
from relay.targets.http_client import Response

DATA = Path(__file__).parents[1] / "data" / "onec"
NOW = datetime(2026, 3, 2, 9, 45, tzinfo=UTC)
NO_RIGHTS = "Недостаточно прав"


def recorded(name: str) -> bytes:
    return (DATA / f"onec_{name}").read_bytes()


def outcome_of(
    status: int, body: bytes = b"", headers: dict[str, str] | None = None, phrase: str = "", **options: Any
) -> Any:
    options = {"delivered_statuses": (417,), "suspicious_ok": "fail", **options}
    return onec.read(Response(status, headers or {}, body, phrase=phrase), now=NOW, **options)


@pytest.mark.parametrize(
    ("status", "body", "outcome", "words"),
    [
        (200, b"", "delivered", ""),
        (201, b"ok", "delivered", ""),
        (204, b"", "delivered", ""),
        (200, recorded("ok_bom.json"), "delivered", ""),
        (417, b"", "delivered", ""),
        (200, recorded("500_handler_exception.txt"), "failed", "Поле объекта не обнаружено"),
        (200, b"\xef\xbb\xbf" + recorded("500_handler_exception.txt"), "failed", "HTTPСервис.UIScom"),
        (500, recorded("500_handler_exception.txt"), "failed", "Поле объекта не обнаружено"),
        (500, "{HTTPСервис.UIScom.Модуль(9)}: ошибка".encode("cp1251"), "failed", "Модуль(9)}: ошибка"),
        (500, b"", "failed", "500"),
        (401, b"", "misconfigured", "username"),
        (405, b"", "misconfigured", "405"),
        (301, b"", "misconfigured", "301"),
        (403, recorded("403_sessions_locked.json"), "later", "Ведутся технические работы"),
        (500, recorded("403_sessions_locked.json"), "later", "Начало сеанса"),
        (403, NO_RIGHTS.encode(), "misconfigured", NO_RIGHTS),
        (404, b"", "misconfigured", "published"),
        (406, recorded("406_session_wait.xml"), "later", "Истекло время ожидания сеанса"),
        (408, b"", "later", "408"),
        (409, recorded("409_version_mismatch.txt"), "later", "Различаются версии"),
        (429, b"", "later", "429"),
        (500, recorded("500_no_licence.html"), "later", "Не обнаружено свободной лицензии!"),
        (500, "Не найдена лицензия. Не обнаружен ключ защиты".encode(), "later", "ключ защиты"),
        (500, recorded("500_connection_reset.html"), "later", "Connection reset by peer"),
        (500, recorded("500_unrecoverable.html"), "later", "No space left on device"),
        (502, b"<html><title>502</title><h1>Bad Gateway</h1></html>", "later", "Bad Gateway"),
        (503, b"", "later", "503"),
        (504, b"", "later", "504"),
        (507, b"", "later", "507"),
        (400, "недопустимое имя свойства".encode(), "refused", "недопустимое имя"),
        (413, b"", "refused", "413"),
        (422, b"", "refused", "422"),
        (418, b"", "refused", "418"),
    ],
)
def test_what_an_answer_means(status: int, body: bytes, outcome: str, words: str) -> None:
    found = outcome_of(status, body)

    assert found.name == outcome
    assert words in found.reason
    assert found.status == status
    assert "\ufeff" not in found.reason


def test_the_phrase_of_the_status_line_is_given_where_the_body_says_nothing() -> None:
    phrase = "Error Centrifugo send to channel: 101 !"

    assert outcome_of(417, phrase=phrase).reason == phrase
    assert outcome_of(400, phrase="Error in JSON. Not structure!").reason == "400: Error in JSON. Not structure!"
    assert outcome_of(400, "недопустимое имя".encode(), phrase="Error").reason == "400: недопустимое имя"


MODULE = "Поле объекта не обнаружено (direction)"
# what comes with a 2xx, and is no success
SUSPICIOUS = [
    f"{{HTTPСервис.UIScom.Модуль(12)}}: {MODULE}",
    f"{{УИСИнтеграция HTTPСервис.UIScom.Модуль(12)}}: {MODULE}",
    f"{{HTTPService.UIScom.Module(12)}}: {MODULE}",
    f"{{ОбщийМодуль.Звонки.Модуль(55)}}: {MODULE}",
    f"{{ОбщийМодуль.Звонки.Модуль(55,8)}}: {MODULE}",
    f"{{ОбщийМодуль.Звонки.Модуль(55, 8)}}: {MODULE}",
    f"{{РегистрСведений.ИсторияЗвонков.МодульНабораЗаписей(3)}}: {MODULE}",
    f"{{ВнешняяОбработка.Приём.МодульОбъекта(10)}}: {MODULE}",
    f"{{Обработка.Приём.Форма.Форма.Форма(4)}}: {MODULE}",
    f"Ошибка: {{ОбщийМодуль.Звонки.Модуль(55)}}: {MODULE}",
    f"Ошибка: {{(1)}}: {MODULE}",
    f"Ошибка при записи звонка:\n{{ОбщийМодуль.Звонки.Модуль(55)}}: {MODULE}",
    f'{{"error":"{{ОбщийМодуль.Звонки.Модуль(55)}}: {MODULE}"}}',
    "<!DOCTYPE html>\n<html><body><form action='/login'>Вход</form></body></html>",
    "\ufeff\r\n<HTML><HEAD><TITLE>IIS Windows Server</TITLE></HEAD><BODY><img src='iisstart.png'></BODY></HTML>",
    "<!-- сайт --><html><body>Добро пожаловать</body></html>",
    "<?xml version='1.0'?>\n<!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0 Strict//EN' ''>\n<html></html>",
]
FINE = [
    "OK",
    "Записано: {12}",
    '{"result":true,"module":"Модуль(12)"}',
    "<?xml version='1.0'?><result>ok</result>",
    "Пинг",
    "Ошибка не найдена",
    '{"Ошибка":false}',
    "x" * 400 + "{ОбщийМодуль.X.Модуль(1)}: во вложенном тексте",
]


@pytest.mark.parametrize("said", SUSPICIOUS)
@pytest.mark.parametrize("status", [200, 201])
def test_a_success_that_carries_an_exception_or_a_page_is_none(said: str, status: int) -> None:
    found = outcome_of(status, said.encode())

    assert (found.name, found.status) == ("failed", status)
    assert outcome_of(status, said.encode(), suspicious_ok="accept").name == "delivered"


@pytest.mark.parametrize("said", FINE)
def test_a_success_with_a_text_of_its_own_is_one(said: str) -> None:
    assert outcome_of(200, said.encode()).name == "delivered"


def test_417_can_be_told_to_be_a_refusal() -> None:
    assert outcome_of(417, delivered_statuses=()).name == "refused"


def test_an_error_text_with_200_can_be_accepted() -> None:
    assert outcome_of(200, recorded("500_handler_exception.txt"), suspicious_ok="accept").name == "delivered"


def test_all_descriptions_of_a_json_error_are_given_but_the_echo_of_the_request() -> None:
    reason = outcome_of(403, recorded("403_sessions_locked.json")).reason

    assert (
        reason
        == "403 (1C lets nobody in now: it is being maintained): Начало сеанса с информационной базой запрещено.; Ведутся технические работы"
    )


def test_a_long_text_is_cut() -> None:
    assert len(onec.words(("я" * 5000).encode())) == 500


@pytest.mark.parametrize(
    ("given", "wait"),
    [
        ("120", timedelta(minutes=2)),
        ("Mon, 02 Mar 2026 09:47:00 GMT", timedelta(minutes=2)),
        ("Mon, 02 Mar 2026 09:40:00 GMT", timedelta(0)),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_in_both_forms(given: str, wait: timedelta | None) -> None:
    assert outcome_of(503, headers={"retry-after": given}).wait == wait
