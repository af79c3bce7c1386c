"""The thread behind the log files."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from mms.server.logs.batcher import Batcher


class Collector:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()
        self.busy = threading.Event()

    def consume(self, items: list[int]) -> None:
        self.busy.set()
        assert self.go.wait(30)
        self.batches.append(items)


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector()
    yield one
    one.go.set()


def test_items_come_in_batches_and_in_order(collector: Collector) -> None:
    with closing(Batcher(collector.consume, name="t", interval_s=60)) as batcher:
        for number in range(1000):
            batcher.put(number)
        assert batcher.flush()
        assert collector.batches == [list(range(1000))]


def test_close_writes_what_is_left(collector: Collector) -> None:
    batcher = Batcher(collector.consume, name="t", interval_s=60)
    batcher.put(1)
    batcher.close()
    batcher.close()
    assert collector.batches == [[1]]


def test_who_keeps_items_elsewhere_is_called_too(collector: Collector) -> None:
    with closing(Batcher(collector.consume, name="t", interval_s=0.0)) as batcher:
        batcher.wake()
        assert collector.busy.wait(30)
    assert collector.batches == [[]]


def test_nothing_is_lost_between_threads(collector: Collector) -> None:
    batcher = Batcher(collector.consume, name="t", interval_s=0.0)

    def put_many() -> None:
        for number in range(5000):
            batcher.put(number)

    threads = [threading.Thread(target=put_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batcher.close()
    assert sum(len(batch) for batch in collector.batches) == 20000


def test_items_beyond_the_limit_are_counted_while_the_thread_is_stuck(collector: Collector) -> None:
    collector.go.clear()
    batcher = Batcher(collector.consume, name="t", interval_s=0.0, limit=3)
    batcher.put(0)
    assert collector.busy.wait(30)
    for number in range(1, 10):
        batcher.put(number)
    assert not batcher.flush(timeout_s=0.01)
    collector.go.set()
    batcher.close()
    assert batcher.dropped == 6
    assert sorted(n for batch in collector.batches for n in batch) == [0, 1, 2, 3]
