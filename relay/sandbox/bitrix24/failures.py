"""Names what a simulated Bitrix24 can be told to answer, in the words and statuses of the real one.

Texts and statuses: github.com/bitrix-tools/b24-rest-docs, the official SDK b24pysdk, and the server's own source.
Where the documentation names another status than the source and the SDK do, it is theirs that is answered.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from relay.sandbox.faults import FAULTS, FAULTS_AFTER_WRITING, IN_FRONT, apache_404
from relay.sandbox.http import HTML, Reply, Request, json_reply

OPERATING_RESETS_AFTER_S = 600  # ten buckets of a minute each: limits.md


class Refusal(Struct, frozen=True):
    """Says why the portal does not do what it was asked. `code` None is that of an exception without a code."""

    text: str
    code: str | None = None
    status: int = 400

    def reply(self, *, documented: bool) -> Reply:
        """Return the answer: without a code `"error"` is empty; the documentation prints ERROR_CORE there."""
        code = ("ERROR_CORE" if documented else "") if self.code is None else self.code
        return json_reply({"error": code, "error_description": self.text}, self.status)


class Refused(Exception):
    """Says that the portal does not do what it was asked."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


QUERY_LIMIT = Refusal("Too many requests", "QUERY_LIMIT_EXCEEDED", 503)
NO_METHOD = Refusal("Method not found!", "ERROR_METHOD_NOT_FOUND", 404)
NO_AUTH = Refusal("Wrong authorization data", "NO_AUTH_FOUND", 401)
BAD_CREDENTIALS = Refusal("Invalid request credentials", "INVALID_CREDENTIALS", 401)
NO_OWNER = Refusal("Unable to authorize user", "authorization_error", 401)
TOKEN_EXPIRED = Refusal("The access token provided has expired.", "expired_token", 401)
TOKEN_UNKNOWN = Refusal("Unable to get application by token", "invalid_token", 401)
BAD_GRANT = Refusal("", "invalid_grant")
BAD_REQUEST = Refusal("", "invalid_request")
BAD_CLIENT = Refusal("", "invalid_client")
USER_NOT_SET = Refusal("USER_ID or USER_PHONE_INNER should be set")
USER_INACTIVE = Refusal("User is not found or is not active")
NO_CALL = Refusal("Call is not found (call should be registered prior to finishing")  # it closes no bracket either
NO_ACTIVITY = Refusal("Activity is not found")
NOT_FINISHED = Refusal("Call is not found in the statistic table. Looks like it is not finished yet.")

_REFUSALS: dict[str, Refusal] = {
    "query_limit": QUERY_LIMIT,
    "operation_time_limit": Refusal("Method is blocked due to operation time limit.", "OPERATION_TIME_LIMIT", 429),
    "overload": Refusal("REST API is blocked due to overload.", "OVERLOAD_LIMIT", 503),
    "internal_server_error": Refusal("Internal server error", "INTERNAL_SERVER_ERROR", 500),
    "unexpected_answer": Refusal("Server returned an unexpected response.", "ERROR_UNEXPECTED_ANSWER", 500),
    "sql_error": Refusal("SQL query error!", status=500),
    "no_auth_found": NO_AUTH,
    "invalid_credentials": BAD_CREDENTIALS,
    "insufficient_scope": Refusal(
        "The request requires higher privileges than provided by the webhook token", "insufficient_scope", 401
    ),
    "wrong_auth_type": Refusal("Current authorization type is denied for this method", "WRONG_AUTH_TYPE", 403),
    "access_denied": Refusal("REST is available only on commercial plans.", "ACCESS_DENIED", 403),
    "authorization_error": NO_OWNER,
    "user_access_error": Refusal("The user does not have access to the application.", "user_access_error", 401),
    "expired_token": TOKEN_EXPIRED,
    "payment_required": Refusal("Subscription has been ended", "PAYMENT_REQUIRED", 401),
    "portal_deleted": Refusal("Portal was deleted", "PORTAL_DELETED", 410),
    "https_required": Refusal("Https required.", "INVALID_REQUEST"),
    "method_not_found": NO_METHOD,
    "call_not_found": NO_CALL,
    "user_inactive": USER_INACTIVE,
    "activity_not_found": NO_ACTIVITY,
    "no_access_to_entity": Refusal("Access denied."),
    "download_failed": Refusal("Server returns HTTP error code 404"),
    "not_finished": NOT_FINISHED,
}
_NGINX = (
    "<html>\n<head><title>503 Service Temporarily Unavailable</title></head>\n<body>\n"
    "<center><h1>503 Service Temporarily Unavailable</h1></center>\n<hr><center>nginx</center>\n</body>\n</html>\n"
)
_PAGES: dict[str, Reply] = {"html_503": Reply(503, _NGINX.encode(), HTML), **IN_FRONT, **FAULTS}

# With these the portal does what it was asked, and answers in its own way.
ACTS = FAULTS_AFTER_WRITING | {"documented", "lead_creation_error"}
MODES = ("documented", "lead_creation_error", "moved", "apache_404", *_REFUSALS, *_PAGES)


def failing(mode: str, request: Request, time: dict[str, Any], *, documented: bool) -> Reply:
    """Return what a request comes to in that mode."""
    if mode == "moved":
        return _moved(request)
    if mode == "apache_404":
        return apache_404(request.path)
    if mode in _PAGES:
        return _PAGES[mode]
    refusal = _REFUSALS[mode]
    if mode != "operation_time_limit":
        return refusal.reply(documented=documented)
    document = {"error": refusal.code, "error_description": refusal.text, "time": time}
    return json_reply(document, refusal.status)


def _moved(request: Request) -> Reply:
    """Answer as a renamed portal: 302 to the same path under the new name (change-domen.md), here `localhost`."""
    port = urlsplit(f"//{request.host}").port
    location = f"http://localhost{'' if port is None else f':{port}'}{request.path}"
    return Reply(302, content_type=HTML, headers={"Location": location})


def is_told_to_move(request: Request) -> bool:
    """Does the request name the portal as it was called? Who asks under the new name is answered."""
    return urlsplit(f"//{request.host}").hostname == "127.0.0.1"
