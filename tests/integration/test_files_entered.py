"""One notification, from the POST to the outcome: how many files somebody opens who follows it."""

from __future__ import annotations

from bench import trace

FILES_AT_MOST = 31  # of relay/, as measured; lower it with each file fewer


def test_a_notification_enters_no_more_files_than_before() -> None:
    entries = trace.trace()

    rooms = {entry.file.split("/")[0] for entry in entries}
    assert {"web", "intake", "uis", "store", "delivery", "targets"} <= rooms, "the whole way was traced"
    assert len(entries) <= FILES_AT_MOST, "\n".join(entry.file for entry in entries)
