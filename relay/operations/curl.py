"""Writes a request as a command, to be repeated by hand. Pure."""

from __future__ import annotations

import shlex

from relay.models import Exchange


def curl_command(exchange: Exchange) -> str | None:
    """Return the command, secrets left out as in the exchange; None where a part of it is not kept."""
    if exchange.is_cut or not exchange.headers:  # of an exchange of tokens there is the address alone
        return None
    options = [
        f"-H {shlex.quote(f'{name}: {value}')}"
        for name, value in exchange.headers.items()
        if name.lower() != "content-length"  # which curl finds out by itself
    ]
    body = [f"--data-binary {shlex.quote(exchange.body)}"] if exchange.body else []
    return " \\\n  ".join([f"curl -i -X {exchange.method} {shlex.quote(exchange.url)}", *options, *body])
