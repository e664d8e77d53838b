"""Names what a simulated amoCRM can be told to answer, in the words of the real one.

Recorded by users of the official library (github.com/amocrm/amocrm-api-php, issues 23, 33, 52, 92, 115, 123, 235,
434, 563); 402, 422, 426, 502 and 504 are documented statuses whose bodies are made by the same pattern.
"""

from __future__ import annotations

from typing import Any

from relay.sandbox.faults import FAULTS, FAULTS_AFTER_WRITING, IN_FRONT
from relay.sandbox.http import HTML, TEXT, Reply, json_reply

_PROBLEM = "application/problem+json"
_OAUTH_PROBLEM = "https://developers.amocrm.ru/v3/errors/OAuthProblemJson"
_PAGE = (
    "<html>\n<head><title>{0}</title></head>\n<body>\n<center><h1>{0}</h1></center>\n"
    "<hr><center>nginx</center>\n</body>\n</html>\n"
)


class Refused(Exception):
    """Says that the account does not do what it was asked, and how it answers that."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def problem(status: int, title: str, detail: str, **before: Any) -> Reply:
    document = {**before, "title": title, "type": f"https://httpstatus.es/{status}", "status": status, "detail": detail}
    return json_reply(document, status, _PROBLEM)


def invalid(*items: dict[str, Any]) -> Reply:
    """Return the answer to a request some items of which are wrong: each names its request_id and errors."""
    return problem(400, "Bad Request", "Request validation failed", **{"validation-errors": list(items)})


def violation(code: str, path: str, detail: str) -> dict[str, str]:
    return {"code": code, "path": path, "detail": detail}


def _page(status: int, title: str) -> Reply:
    return Reply(status, _PAGE.format(f"{status} {title}").encode(), HTML)


def _oauth_problem(title: str, detail: str, **before: Any) -> Reply:
    return json_reply(
        {**before, "title": title, "type": _OAUTH_PROBLEM, "status": 401, "detail": detail}, 401, _PROBLEM
    )


NO_CHOICE = ("NotSupportedChoice", "The value you selected is not a valid choice.")
NO_ENTITY = json_reply({"_total_items": 0, "errors": [{"title": "Entity not found", "status": 263}]}, 400)
UNAUTHORIZED = problem(401, "Unauthorized", "Неверный логин или пароль")
NOT_FOUND = problem(404, "Not Found", "Pipeline not found")
TOO_MANY = Reply(429, b"Too Many Requests", TEXT)
BLOCKED = _page(403, "Forbidden")
BAD_CLIENT = _oauth_problem("Некорректный клиент", "Авторизация клиента не прошла")
REVOKED = _oauth_problem(
    "Некорректный запрос",
    "В запросе отсутствует ряд параметров или параметры невалидны",
    hint="Token has been revoked",
)
_CODE_244 = (
    "Код ошибки 244. В случае повторного возникновения ошибки, "
    "обращайтесь в нашу техническую поддержку - support@amocrm.ru"
)
ANSWERS: dict[str, Reply] = {
    "entity_not_found": NO_ENTITY,
    "validation": invalid(
        {"request_id": "0", "errors": [violation(NO_CHOICE[0], "custom_fields_values.6.values.0.value", NO_CHOICE[1])]}
    ),
    "code_244": problem(400, "Bad Request", _CODE_244),
    "unauthorized": UNAUTHORIZED,
    "payment_required": problem(402, "Payment Required", "Аккаунт не оплачен"),
    "blocked": BLOCKED,
    "scope": problem(403, "Forbidden", "Client doesn't have the required scope"),
    "not_found": NOT_FOUND,
    "unprocessable": problem(422, "Unprocessable Entity", "Request can not be processed"),
    "disabled": problem(426, "Upgrade Required", "Functional disabled by administrator"),
    "too_many": TOO_MANY,
    "server_error": problem(500, "Internal Server Error", "An unknown error occurred."),
    "bad_gateway": _page(502, "Bad Gateway"),
    "gateway_timeout": _page(504, "Gateway Time-out"),
    **IN_FRONT,
    **FAULTS,
}
MODES = ("not_found_200", *ANSWERS)
# With these the account does what it was asked, and answers in its own way.
ACTS = FAULTS_AFTER_WRITING | {"not_found_200"}
