"""Which requests become a batch, when, and what becomes of those that nobody waits for."""

import asyncio

import pytest

from mms.protocol.messages import InferenceRequest, Prediction
from mms.server.batching import BatchQueue, Job, Result
from mms.server.errors import ServiceUnavailableException, WorkerDied

LONG_S = 60.0
"""A delay that no test waits for."""
SHORT_S = 0.01


class AskedJob(Job):
    """A job on whose future the test waits."""

    waiter: "asyncio.Future[Result]"


def job(name: str) -> AskedJob:
    return AskedJob(InferenceRequest(name, b"", []), asyncio.get_running_loop().create_future())


def jobs(names: str) -> list[Job]:
    return [job(name) for name in names]


class Taker:
    """Takes batches and remembers them, as the names of their requests."""

    def __init__(self, queue: BatchQueue) -> None:
        self.batches: list[str] = []
        self._queue = queue
        self._arrived = asyncio.Event()

    def ready(self) -> "Taker":
        self._queue.take(self.take)
        return self

    def take(self, batch: list[Job]) -> None:
        self.batches.append("".join(item.request.request_id for item in batch))
        self._arrived.set()

    async def arrival(self) -> None:
        """Wait for the next batch."""
        async with asyncio.timeout(5):
            await self._arrived.wait()


def queue_of(names: str = "", *, capacity: int = 100, batch_size: int = 1, max_delay_s: float = 0.0) -> BatchQueue:
    queue = BatchQueue("resnet", capacity=capacity, batch_size=batch_size, max_delay_s=max_delay_s)
    for name in names:
        queue.put(job(name))
    return queue


async def test_jobs_leave_in_the_order_of_their_arrival() -> None:
    queue = queue_of("abc")
    taker = Taker(queue)
    for _ in range(3):
        taker.ready()
    assert taker.batches == ["a", "b", "c"]
    assert len(queue) == 0


async def test_takers_are_served_in_the_order_they_came() -> None:
    queue = queue_of()
    first, second = Taker(queue).ready(), Taker(queue).ready()
    queue.put(job("a"))
    assert (first.batches, second.batches) == (["a"], [])
    queue.put(job("b"))
    assert (first.batches, second.batches) == (["a"], ["b"])


async def test_taker_is_called_once() -> None:
    queue = queue_of("a")
    taker = Taker(queue).ready()
    queue.put(job("b"))
    assert taker.batches == ["a"]
    assert len(queue) == 1


async def test_batch_takes_what_waits_up_to_its_size() -> None:
    taker = Taker(queue_of("abcde", batch_size=4, max_delay_s=LONG_S)).ready()
    assert taker.batches == ["abcd"]


async def test_batch_leaves_in_the_step_in_which_it_becomes_full() -> None:
    queue = queue_of(batch_size=3, max_delay_s=LONG_S)
    taker = Taker(queue).ready()
    queue.put(job("a"))
    queue.put(job("b"))
    assert taker.batches == []
    queue.put(job("c"))
    assert taker.batches == ["abc"]


async def test_one_batch_is_collected_at_a_time_so_that_batches_fill() -> None:
    queue = queue_of(batch_size=2, max_delay_s=LONG_S)
    first, second = Taker(queue).ready(), Taker(queue).ready()
    for name in "abcd":
        queue.put(job(name))
    assert (first.batches, second.batches) == (["ab"], ["cd"])


async def test_delay_zero_sends_what_is_there() -> None:
    queue = queue_of("ab", batch_size=4)
    taker = Taker(queue).ready()
    assert taker.batches == ["ab"]
    taker.ready()
    queue.put(job("c"))
    assert taker.batches == ["ab", "c"]


async def test_lone_request_waits_for_company_until_the_delay_is_over() -> None:
    queue = queue_of(batch_size=2, max_delay_s=SHORT_S)
    taker = Taker(queue).ready()
    begin = asyncio.get_running_loop().time()
    queue.put(job("a"))
    assert taker.batches == []
    await taker.arrival()
    assert taker.batches == ["a"]
    # The loop's own clock may fire a timer early by its resolution.
    assert asyncio.get_running_loop().time() - begin >= SHORT_S * 0.9


async def test_delay_counts_from_the_moment_a_taker_is_there() -> None:
    queue = queue_of("a", batch_size=2, max_delay_s=SHORT_S)
    await asyncio.sleep(2 * SHORT_S)
    taker = Taker(queue).ready()
    assert taker.batches == []
    await taker.arrival()
    assert taker.batches == ["a"]


async def test_batch_size_one_never_waits() -> None:
    assert Taker(queue_of("a", max_delay_s=LONG_S)).ready().batches == ["a"]


async def test_second_batch_has_a_delay_of_its_own() -> None:
    queue = queue_of("abc", batch_size=2, max_delay_s=SHORT_S)
    first, second = Taker(queue).ready(), Taker(queue).ready()
    assert (first.batches, second.batches) == (["ab"], [])
    await second.arrival()
    assert second.batches == ["c"]


async def test_full_queue_refuses_with_the_words_of_mms() -> None:
    queue = queue_of("ab", capacity=2)
    with pytest.raises(ServiceUnavailableException) as refused:
        queue.put(job("c"))
    assert str(refused.value) == (
        "No worker is available to serve request for model: resnet. Consider increasing job queue size."
    )
    assert refused.value.status == 503
    assert Taker(queue).ready().batches == ["a"]


async def test_batch_under_collection_does_not_count_against_the_capacity() -> None:
    queue = queue_of(capacity=1, batch_size=3, max_delay_s=LONG_S)
    taker = Taker(queue).ready()
    for name in "abc":
        queue.put(job(name))
    assert taker.batches == ["abc"]
    queue.put(job("d"))
    with pytest.raises(ServiceUnavailableException):
        queue.put(job("e"))


async def test_abandoned_jobs_make_room_in_a_full_queue() -> None:
    queue = queue_of(capacity=2)
    left, stayed = job("a"), job("b")
    queue.put(left)
    queue.put(stayed)
    left.waiter.cancel()
    queue.put(job("c"))
    assert Taker(queue).ready().batches == ["b"]


async def test_abandoned_jobs_are_skipped() -> None:
    queue = queue_of(batch_size=3)
    waiting = [job(name) for name in "abcde"]
    for item in waiting:
        queue.put(item)
    waiting[0].waiter.cancel()
    waiting[2].waiter.cancel()
    assert Taker(queue).ready().batches == ["bde"]


async def test_taker_keeps_waiting_when_everybody_has_left() -> None:
    queue = queue_of(batch_size=3)
    left = job("a")
    queue.put(left)
    left.waiter.cancel()
    taker = Taker(queue).ready()
    assert taker.batches == []
    queue.put(job("b"))
    assert taker.batches == ["b"]


async def test_client_that_leaves_during_the_delay_is_not_in_the_batch() -> None:
    queue = queue_of(batch_size=3, max_delay_s=SHORT_S)
    left = job("a")
    taker = Taker(queue).ready()
    queue.put(left)
    queue.put(job("b"))
    left.waiter.cancel()
    await taker.arrival()
    assert taker.batches == ["b"]


async def test_put_back_batch_is_the_next_one_out() -> None:
    queue = queue_of("cd", batch_size=2)
    queue.put_back(jobs("ab"))
    taker = Taker(queue).ready()
    taker.ready()
    assert taker.batches == ["ab", "cd"]


async def test_put_back_ignores_the_capacity() -> None:
    queue = queue_of("c", capacity=1)
    queue.put_back(jobs("ab"))
    assert len(queue) == 3


async def test_put_back_goes_to_a_taker_that_waits() -> None:
    queue = queue_of()
    taker = Taker(queue).ready()
    queue.put_back(jobs("a"))
    assert taker.batches == ["a"]


async def test_taker_that_puts_its_batch_back_does_not_get_it_again() -> None:
    queue = queue_of()
    healthy = Taker(queue)
    queue.take(queue.put_back)
    healthy.ready()
    queue.put(job("a"))
    assert healthy.batches == ["a"]


async def test_taker_of_full_batches_waits_for_one_that_nobody_else_wants() -> None:
    queue = queue_of(batch_size=2, max_delay_s=LONG_S)
    patient, hungry = Taker(queue), Taker(queue)
    queue.take(patient.take, only_full=True)
    hungry.ready()
    for name in "abc":
        queue.put(job(name))
    assert (hungry.batches, patient.batches) == (["ab"], [])
    queue.put(job("d"))
    assert patient.batches == ["cd"]


async def test_taker_of_full_batches_leaves_the_capacity_as_it_is() -> None:
    queue = queue_of("a", capacity=1, batch_size=2)
    queue.take(Taker(queue).take, only_full=True)
    with pytest.raises(ServiceUnavailableException):
        queue.put(job("b"))


async def test_jobs_that_went_ahead_count_against_the_capacity() -> None:
    queue = queue_of("a", capacity=3)
    queue.ahead = 2
    with pytest.raises(ServiceUnavailableException):
        queue.put(job("b"))
    queue.ahead = 1
    queue.put(job("b"))


async def test_untaken_taker_gets_nothing() -> None:
    queue = queue_of()
    gone, other = Taker(queue).ready(), Taker(queue).ready()
    queue.untake(gone.take)
    queue.put(job("a"))
    assert (gone.batches, other.batches) == ([], ["a"])


async def test_untake_during_the_delay_keeps_the_jobs() -> None:
    queue = queue_of("a", batch_size=2, max_delay_s=SHORT_S)
    gone = Taker(queue).ready()
    queue.untake(gone.take)
    await asyncio.sleep(2 * SHORT_S)
    assert gone.batches == []
    next_one = Taker(queue).ready()
    await next_one.arrival()
    assert next_one.batches == ["a"]


async def test_untake_of_an_unknown_taker_changes_nothing() -> None:
    queue = queue_of("a")
    queue.untake(Taker(queue).take)
    assert Taker(queue).ready().batches == ["a"]


async def test_fail_all_answers_everybody_and_leaves_the_takers() -> None:
    queue = queue_of(batch_size=3, max_delay_s=SHORT_S)
    taker = Taker(queue).ready()
    waiting = [job(name) for name in "ab"]
    for item in waiting:
        queue.put(item)
    queue.fail_all(WorkerDied())
    assert [type(item.waiter.exception()) for item in waiting] == [WorkerDied, WorkerDied]
    await asyncio.sleep(2 * SHORT_S)
    queue.put(job("c"))
    await taker.arrival()
    assert taker.batches == ["c"]


async def test_close_answers_everybody_and_forgets_the_takers() -> None:
    queue = queue_of()
    taker = Taker(queue).ready()
    queue.close(ServiceUnavailableException("gone"))
    late = job("a")
    queue.put(late)
    assert taker.batches == []
    assert not late.abandoned


async def test_job_is_settled_once() -> None:
    settled = job("a")
    settled.resolve(Prediction(b"first"))
    settled.resolve(Prediction(b"second"))
    settled.fail(WorkerDied())
    assert settled.waiter.result() == Prediction(b"first")


async def test_settling_a_job_whose_client_left_changes_nothing() -> None:
    left = job("a")
    left.waiter.cancel()
    left.resolve(Prediction(b"late"))
    left.fail(WorkerDied())
    assert left.abandoned
    assert left.waiter.cancelled()
