"""How many threads a worker has."""

from __future__ import annotations

import runpy
from types import SimpleNamespace

import pytest
from gunicorn.config import Config

from relay import bootstrap
from relay.config.schema import Storage
from relay.web.worker import Worker


@pytest.mark.parametrize(
    ("url", "asked", "threads"),
    [("sqlite:///relay.db", None, 16), ("postgresql://h/relay", None, 32), ("postgresql://h/relay", 8, 8)],
)
def test_a_worker_has_as_many_threads_as_suit_its_store_unless_gunicorn_was_told(
    url: str, asked: int | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = SimpleNamespace(cfg=Config())
    if asked is not None:
        worker.cfg.set("threads", asked)
    monkeypatch.setattr(bootstrap, "prepared", SimpleNamespace(storage=Storage(url=url)))
    configuration = runpy.run_path("config/gunicorn.conf.py")
    monkeypatch.setitem(configuration["post_fork"].__globals__, "_share_free_memory", lambda: None)
    configuration["post_fork"](None, worker)
    assert Worker.get_thread_pool(worker)._max_workers == threads
