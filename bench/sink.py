"""A fast target: answers 200 to every POST and remembers when each `external_id` first came (CLOCK_MONOTONIC).

`python -m bench.sink PORT [DELAY_MS]`. GET /_times; POST /_hold (answers wait), /_release, /_reset.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time

_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_MARK = re.compile(rb'"external_id":"([^"]*)"')
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Sink:
    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.times: dict[str, float] = {}
        self.total = 0
        self.holding = False
        self.held: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1])) if length else b""
                self._answer(head.split(b" ", 2)[1].decode(), body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if path.startswith("/_"):
            self._control(path, writer)
            return
        self.total += 1
        mark = _MARK.search(body)
        if mark:
            self.times.setdefault(mark[1].decode(), time.monotonic())
        if self.holding:
            self.held.append(writer)
        elif self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, writer.write, _OK)
        else:
            writer.write(_OK)

    def _control(self, path: str, writer: asyncio.StreamWriter) -> None:
        if path == "/_reset":
            self.times, self.total = {}, 0
        elif path == "/_hold":
            self.holding = True
        elif path == "/_release":
            self.holding = False
            for waiting in self.held:
                waiting.write(_OK)
            self.held = []
        known = self.times if path == "/_times" else {}
        answer = json.dumps({"now": time.monotonic(), "total": self.total, "distinct": len(self.times), "times": known})
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n{answer}".encode())


async def main(port: int, delay_ms: int) -> None:
    server = await asyncio.start_server(Sink(delay_ms / 1000).serve, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
