"""A thread that takes what others hand in, in batches. Front process."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Batcher(Generic[T]):
    """Calls `consume(items)` from a thread of its own, so that neither disk nor console ever holds up the event loop.

    Handing in an item costs an append: the thread sleeps until there is one, lets a batch gather for `interval_s`
    seconds, and takes all of it. With a `limit`, items beyond it are dropped and counted while the thread is stuck.
    """

    def __init__(
        self, consume: Callable[[list[T]], None], *, name: str, interval_s: float, limit: int | None = None
    ) -> None:
        self._consume = consume
        self._interval_s = interval_s
        self._limit = limit
        self._items: deque[T | threading.Event] = deque()
        self._awake = False
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._closed = False
        self.dropped = 0
        """Items that were not taken because of the limit."""
        # A daemon: a console that nobody reads may hold it for ever, and the process must still end.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hand in one item. Any thread may call it; after `close` nothing happens."""
        if self._limit is not None and len(self._items) >= self._limit:
            self.dropped += 1
            return
        self._items.append(item)
        self.wake()

    def wake(self) -> None:
        """Have `consume` called as after `put`, with nothing further handed in: for who keeps items elsewhere."""
        if not self._awake:
            self._awake = True
            self._wake.set()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything handed in so far is consumed; False if that takes too long."""
        if self._closed or threading.current_thread() is self._thread:
            return True
        done = threading.Event()
        self._items.append(done)
        self._hurry.set()
        self._wake.set()
        return done.wait(timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Consume what is left and end the thread, unless it is stuck for longer than `timeout_s` seconds."""
        self.flush(timeout_s)
        self._closed = True
        self._hurry.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._hurry.wait(self._interval_s)
            self._hurry.clear()
            self._wake.clear()
            self._take()
        self._take()

    def _take(self) -> None:
        # Before taking the items: whatever comes from now on wakes the thread again.
        is_asked, self._awake = self._awake, False
        items: list[T] = []
        waiting: list[threading.Event] = []
        for _ in range(len(self._items)):
            item = self._items.popleft()
            if isinstance(item, threading.Event):
                waiting.append(item)
            else:
                items.append(item)
        try:
            if items or is_asked:
                self._consume(items)
        finally:
            for event in waiting:
                event.set()
