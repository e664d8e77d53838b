"""Bodies for the load: one finished call each, told apart by `external_id`. Numbers are invented."""

from __future__ import annotations

import json
from pathlib import Path

_EVENT = {
    "Start_time": "2026-03-02 12:00:01.123",
    "notification_name": "Завершение звонка",
    "direction": "in",
    "call_session_id": 1,
    "extension_phone_number": "101",
    "contact_id": 500001,
    "employee_ids": [101],
    "virtual_phone_number": "74955550100",
    "called_phone_number": "74955550100",
    "calling_phone_number": "79005550123",
    "employee_phone_number": "74955550101",
    "total_time_duration": 63,
    "wait_time_duration": 12,
    "finish_time": "2026-03-02 12:01:04.456",
    "finish_reason": "operator_disconnects",
    "is_lost": False,
    "lost_reason": None,
    "full_record_file_link": "https://media.example.test/1/abcdef",
    "wav_call_records": None,
    "external_id": "",
    "call_source": "va",
    "scenario_name": "Основной",
}


def body(number: int, *, session: int | None = None) -> bytes:
    """The body of event `number`; three events share a call unless `session` is given."""
    call = 1_000_000_000 + number // 3 if session is None else session
    event = {**_EVENT, "call_session_id": call, "external_id": f"ev-{number}"}
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def write_wrk_script(folder: Path, first: int) -> Path:
    """A script for wrk that posts bodies from number `first` on."""
    before, after = body(0, session=77_777_777).decode().split("ev-0")
    head, tail = before.split("77777777", 1)
    script = folder / "post.lua"
    script.write_text(
        f"local n = {first}\n"
        f"local head, middle, tail = [==[{head}]==], [==[{tail}]==], [==[{after}]==]\n"
        'local headers = {["Content-Type"] = "application/json"}\n'
        "function request()\n"
        "  n = n + 1\n"
        '  local text = head .. (1000000000 + math.floor(n / 3)) .. middle .. "w-" .. n .. tail\n'
        "  return wrk.format('POST', nil, headers, text)\n"
        "end\n"
        "function done(summary, latency, requests)\n"
        "  io.write(string.format('RESULT %d %d %d\\n', summary.requests, summary.duration,\n"
        "    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout))\n"
        "end\n",
        encoding="utf-8",
    )
    return script
