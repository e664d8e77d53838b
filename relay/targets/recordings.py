"""Fetches a call's recording, for targets that want the file and not the link. The link opens without a login."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import urljoin, urlsplit

from relay.events import Outcome
from relay.settings import Target
from relay.targets.client import Client, Setback

_MAX = 25 * 1024 * 1024  # an hour and a half as UIS records; three times that is in memory while it is sent
_HOPS = 3
_WAV = ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave")


def as_file(link: str, name: str, settings: Target) -> dict[str, Any]:
    """FILENAME and FILE_CONTENT, as Bitrix24 names them. Raises Setback; none of it is the target's fault."""
    client = Client(settings)
    try:
        for _ in range(_HOPS):
            answer = client.request("GET", link, {"Accept": "audio/*"}, body_max=_MAX + 1)
            if answer.status not in (301, 302, 303, 307, 308):
                break
            link = urljoin(link, answer.headers.get("location", ""))
    except Setback as exc:
        raise _not_fetched(exc.outcome.reason) from exc
    finally:
        client.close()
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if answer.status != 200 or kind.startswith("text/") or not answer.body:
        raise _not_fetched(f"{answer.status} {kind}")
    if len(answer.body) > _MAX:
        raise Setback(Outcome(name="refused", reason=f"the recording is longer than {_MAX >> 20} MB", target_is="well"))
    is_wav = kind in _WAV or urlsplit(link).path.lower().endswith(".wav")
    return {"FILENAME": f"{name}.{'wav' if is_wav else 'mp3'}", "FILE_CONTENT": b64encode(answer.body).decode("ascii")}


def _not_fetched(why: str) -> Setback:
    return Setback(Outcome(name="failed", reason=f"the recording cannot be fetched from UIS: {why}", target_is="well"))
