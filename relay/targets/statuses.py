"""Statuses that say nothing of an event, and that the target is set up wrongly, whatever kind of target it is. Pure.

They come from the web server, or from a proxy, in front of the receiver: the next event would be answered the same.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from relay.targets.error_text import decoded, is_page

if TYPE_CHECKING:
    from relay.targets.http_client import Response

REMEDIES: dict[int, str] = {
    402: "it is not paid for",
    407: "a proxy asks for a login: put it into `proxy`",
    410: "nothing is at this address any more: mend the url",
    411: "something on the way takes no request with a length of its own: ask who runs it",
    415: "the address takes no such content: is it the receiver's own?",
    421: "the web server does not serve this host name: mend the url",
    423: "what the address leads to is locked: ask who runs it",
    431: "the web server finds the headers too large: shorten `headers`, or let it take longer ones",
    451: "it is blocked by law on the way: ask the provider",
}
_OF_A_WEB_SERVER = re.compile(
    r"<center>(nginx|openresty|angie|tengine|cloudflare)|<address>Apache|Your browser sent a request that this server"
    r"|(HTTP Error|Ошибка HTTP) 400|\bIIS\b|Internet Information Services|<h1>(Server Error|Ошибка сервера)</h1>",
    re.IGNORECASE,
)
_NOT_THE_RECEIVER = "a web server answers, and not the receiver: mend the url (https? the host? the port?)"
_PAGE_MAX = 4096


def remedy(answer: Response) -> str | None:
    """What is to be mended at the target; None when the status does not say that it is the target's fault."""
    if answer.status == 400:
        page = decoded(answer.body[:_PAGE_MAX])
        return _NOT_THE_RECEIVER if is_page(page) and _OF_A_WEB_SERVER.search(page) else None
    return REMEDIES.get(answer.status)
