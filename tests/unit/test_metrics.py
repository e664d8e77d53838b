"""Where several processes keep what they count."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from relay.observability import metrics

WHERE = "PROMETHEUS_MULTIPROC_DIR"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was, whatever is set here."""
    monkeypatch.setenv(WHERE, "")


def test_a_start_forgets_what_the_dead_have_counted_and_nothing_of_the_living(tmp_path: Path) -> None:
    """A worker beside a web server goes on counting while the web server is started anew."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folder = tmp_path / "relay.db.metrics"
    folder.mkdir()
    own, dead = (folder / f"counter_{pid}.db" for pid in (os.getpid(), ended.pid))
    own.touch()
    dead.touch()

    metrics.prepare(tmp_path / "relay.db")

    assert (own.exists(), dead.exists()) == (True, False)
    assert os.environ[WHERE] == str(folder)


def test_where_no_folder_can_be_made_each_process_counts_for_itself(tmp_path: Path) -> None:
    (tmp_path / "relay.db.metrics").write_text("in the way")

    metrics.prepare(tmp_path / "relay.db")

    assert os.environ[WHERE] == ""
