"""Answers in JSON; a rejection is `{"error": "a sentence"}`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.wrappers import Response

_encode = msgspec.json.Encoder(enc_hook=str).encode  # a Message is its English text


def json_response(status_code: int = HTTPStatus.OK, **values: Any) -> Response:
    return Response(_encode(values), status_code, content_type="application/json")


def rejection(error: HTTPException) -> Response:
    """Every rejection is JSON with a sentence."""
    sentence = error.description or error.name
    if isinstance(error, InternalServerError):
        sentence = "the relay failed; the log says why"
    response = json_response(error.code or HTTPStatus.INTERNAL_SERVER_ERROR, error=sentence)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response
