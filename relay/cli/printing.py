"""Records on standard output, a JSON object a line."""

from __future__ import annotations

import json

import click

from relay.operations.serializers import JSONDict


def print_json(record: JSONDict) -> None:
    """One line, never more."""
    click.echo(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace").decode())
