"""Turns in the order of arrival, for what only one session at a time may do."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 0.2


class Turns:
    """A lock whose queue is fair, and can be left: a plain lock lets some wait while others come and go."""

    def __init__(self) -> None:
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, while_waiting: Callable[[], None]) -> Iterator[None]:
        """Wait for one's turn, and have it. `while_waiting` is called now and then; its exception leaves the queue."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
        try:
            while not self._has_come(ticket):
                while_waiting()
            yield
        finally:
            with self._changed:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def _has_come(self, ticket: object) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._queue[0] is ticket, timeout=PATIENCE_SECONDS)
