"""A connection that waits for its server so long and no longer: one that hangs takes connections and answers nothing,
and the kernel confirms what is sent to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

Value = TypeVar("Value")

_LATE_S = 0.5  # the server's own limit comes first: after that it is known what became of the statement


class LimitedConnection(psycopg.Connection[Any]):
    left_s: Callable[[], float]  #: for how long the server may be waited for

    def wait(self, gen: PQGen[Value], interval: float = 0.1, timeout: float | None = None) -> Value:
        """Run one exchange with the server. Raises OperationalError when it takes too long: the connection is closed
        then, since its answer would be taken for the next statement's.
        """
        try:
            return super().wait(gen, interval, max(0.0, self.left_s()) + _LATE_S if timeout is None else timeout)
        except psycopg.OperationalError as exc:
            # a pipeline is ACTIVE all the time: what the server itself has said is its answer
            if exc.sqlstate is not None or self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.close()
            raise psycopg.OperationalError("the server does not answer") from exc
