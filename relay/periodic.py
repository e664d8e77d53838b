"""Does something again and again, in a thread of its own, until the process stops."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import ClassVar

import structlog

log = structlog.get_logger("relay.periodic")


class Periodic(ABC):
    name: ClassVar[str]  #: of the thread
    every_s: ClassVar[float]
    first_after_s: ClassVar[float | None] = None  #: None: as always
    fault: ClassVar[str]  #: what the log calls a fault of the relay's own in a step, which ends that step only

    def __init__(self) -> None:
        self.stopping = threading.Event()

    def start(self) -> None:
        if self.is_wanted():
            threading.Thread(target=self._run, name=self.name, daemon=True).start()

    def is_wanted(self) -> bool:
        return True

    def stop_soon(self) -> None:
        self.stopping.set()

    @abstractmethod
    def step(self) -> None:
        """Do it once."""

    def _run(self) -> None:
        wait = self.every_s if self.first_after_s is None else self.first_after_s
        while not self.stopping.wait(wait):
            wait = self.every_s
            try:
                self.step()
            except Exception:  # a fault of ours ends this step, never the thread
                log.exception(self.fault)
