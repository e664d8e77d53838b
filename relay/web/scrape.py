"""What Prometheus asks for. Needs no login: it holds names and numbers only."""

from __future__ import annotations

from flask import Flask, Response

from relay.metrics import Metrics

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def register(app: Flask, metrics: Metrics) -> None:
    metrics.begin()
    app.add_url_rule("/metrics", "metrics", lambda: Response(metrics.text(), content_type=_TEXT))
