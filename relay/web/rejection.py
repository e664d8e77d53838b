"""Answers what is rejected, everywhere alike: `{"error": "a sentence"}`."""

from __future__ import annotations

import msgspec
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.wrappers import Response


def rejection(error: HTTPException) -> Response:
    """Return the answer for an error, with the headers that belong to it."""
    is_ours = isinstance(error, InternalServerError)
    sentence = "the relay failed; the log says why" if is_ours else error.description or error.name
    body = msgspec.json.encode({"error": str(sentence)})
    return Response(body, error.code or InternalServerError.code, error.get_headers(), content_type="application/json")
