"""As many workers as were asked for: up, down, to none, and the end of them all."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from bench import Bench
from fakes import DEADLINE_S, until

from mms.server.batching import Result
from mms.server.errors import ServiceUnavailableException, WorkerDied
from mms.server.slot import Slot
from mms.server.workplace import WorkerState

MakeBench = Callable[..., Bench]


async def loaded(slots: Sequence[Slot]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*(slot.first_load for slot in slots))


async def ended(slots: Sequence[Slot]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.wait([slot.task for slot in slots])


async def pool_of(b: Bench, workers: int) -> list[Slot]:
    started, _ = b.pool.scale(workers, workers)
    await loaded(started)
    return started


async def error_of(future: "asyncio.Future[Result]") -> BaseException | None:
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.wait((future,))
    return future.exception()


async def test_scale_starts_as_many_workers_as_are_missing(bench: MakeBench) -> None:
    b = bench()
    await pool_of(b, 1)
    started, ending = b.pool.scale(3, 3)
    await loaded(started)
    assert (len(started), len(ending)) == (2, 0)
    assert len(b.backend.alive) == 3
    assert [slot.number for slot in b.pool.slots] == [9000, 9001, 9002]


async def test_scale_down_ends_the_newest(bench: MakeBench) -> None:
    b = bench()
    slots = await pool_of(b, 3)
    started, ending = b.pool.scale(1, 1)
    assert (started, ending) == ([], slots[1:])
    await ended(ending)
    assert b.pool.slots == slots[:1]
    assert len(b.backend.alive) == 1


@pytest.mark.parametrize(("minimum", "maximum"), [(1, 3), (2, 2), (0, 2)])
async def test_scale_leaves_a_number_between_minimum_and_maximum_alone(
    bench: MakeBench, minimum: int, maximum: int
) -> None:
    b = bench()
    slots = await pool_of(b, 2)
    assert b.pool.scale(minimum, maximum) == ([], [])
    assert b.pool.slots == slots


async def test_pool_scaled_to_none_can_be_scaled_up_again(bench: MakeBench) -> None:
    b = bench()
    await pool_of(b, 2)
    _, ending = b.pool.scale(0, 0)
    await ended(ending)
    assert (b.pool.slots, b.backend.alive) == ([], [])
    await pool_of(b, 1)
    assert await b.answer_to(b.ask("a")) == b"a"


async def test_scale_up_while_the_surplus_still_works_starts_new_workers(bench: MakeBench) -> None:
    b = bench()
    b.backend.hold = True
    [old] = await pool_of(b, 1)
    running = b.ask("a")
    b.pool.scale(0, 0)
    started, _ = b.pool.scale(1, 1)
    await loaded(started)
    assert [slot.state for slot in b.pool.slots] == [WorkerState.UNLOADING, WorkerState.READY]
    b.backend.workers[0].answer()
    assert await b.answer_to(running) == b"a"
    await ended([old])
    assert b.pool.slots == started


async def test_scale_down_lets_a_batch_finish_and_hands_the_queue_to_the_others(bench: MakeBench) -> None:
    b = bench()
    b.backend.hold = True
    await pool_of(b, 2)
    first, second, queued = b.ask("a"), b.ask("b"), b.ask("c")
    _, ending = b.pool.scale(1, 1)
    for worker in b.backend.workers:
        worker.answer()
    assert [await b.answer_to(first), await b.answer_to(second)] == [b"a", b"b"]
    await ended(ending)
    b.backend.alive[0].answer()
    assert await b.answer_to(queued) == b"c"
    assert b.backend.batches == [["a"], ["b"], ["c"]]


async def test_scale_down_of_a_loading_worker_does_not_wait_for_its_load(bench: MakeBench) -> None:
    b = bench()
    b.backend.block_load()
    b.pool.scale(1, 1)
    await until(lambda: b.backend.loads)
    _, ending = b.pool.scale(0, 0)
    await ended(ending)
    assert b.backend.cancelled_loads == 1
    assert b.pool.slots == []


async def test_scale_down_of_a_failing_worker_does_not_wait_for_its_pause(bench: MakeBench) -> None:
    b = bench(backoff_s=(1000,))
    b.backend.fail_loads()
    [slot], _ = b.pool.scale(1, 1)
    await until(lambda: slot.state is WorkerState.FAILED)
    _, ending = b.pool.scale(0, 0)
    await ended(ending)


async def test_scale_down_in_the_step_of_the_scale_up_leaves_nothing(bench: MakeBench) -> None:
    b = bench()
    b.pool.scale(2, 2)
    _, ending = b.pool.scale(0, 0)
    await ended(ending)
    assert (b.pool.slots, b.backend.loads) == ([], 0)


async def test_requests_that_wait_when_the_last_worker_goes_are_refused(bench: MakeBench) -> None:
    b = bench()
    b.backend.hold = True
    await pool_of(b, 1)
    running, queued = b.ask("a"), b.ask("b")
    b.pool.scale(0, 0)
    assert isinstance(await error_of(queued), ServiceUnavailableException)
    b.backend.workers[0].answer()
    assert await b.answer_to(running) == b"a"


async def test_pool_hopes_while_a_worker_loads_or_restarts(bench: MakeBench) -> None:
    b = bench(backoff_s=(1000,))
    assert not b.pool.hopeful
    loading = b.backend.block_load()
    [slot], _ = b.pool.scale(1, 1)
    assert b.pool.hopeful
    loading.set()
    await loaded([slot])
    b.backend.workers[0].die()
    await until(lambda: slot.state is WorkerState.FAILED)
    assert b.pool.hopeful
    b.pool.scale(0, 0)
    assert not b.pool.hopeful


async def test_running_counts_what_is_ready_or_loading(bench: MakeBench) -> None:
    b = bench(backoff_s=(1000,))
    b.backend.block_load()
    slots, _ = b.pool.scale(3, 3)
    await loaded(slots[1:])
    assert b.pool.running == 3
    b.backend.workers[0].die()
    await until(lambda: slots[1].state is WorkerState.FAILED)
    assert b.pool.running == 2
    b.pool.scale(0, 0)
    assert b.pool.running == 0


async def test_model_that_nobody_can_load_gives_up_those_who_wait(bench: MakeBench) -> None:
    b = bench(backoff_s=(1000,))
    b.backend.fail_loads(2)
    asked = [b.ask("a"), b.ask("b")]
    b.pool.scale(2, 2)
    for future in asked:
        error = await error_of(future)
        assert isinstance(error, ServiceUnavailableException)
        assert str(error).startswith("No worker is available to serve request for model: resnet")
    assert not b.pool.hopeful


async def test_one_worker_that_loads_is_hope_enough(bench: MakeBench) -> None:
    b = bench(backoff_s=(1000,))
    b.backend.fail_loads(1)
    loading = b.backend.block_load()
    b.pool.scale(2, 2)
    asked = b.ask("a")
    await until(lambda: b.backend.loads == 2)
    loading.set()
    assert await b.answer_to(asked) == b"a"


async def test_failing_model_that_loads_at_last_serves(bench: MakeBench) -> None:
    b = bench()
    b.backend.fail_loads(3)
    [slot], _ = b.pool.scale(1, 1)
    await until(lambda: slot.state is WorkerState.READY)
    assert b.pool.hopeful
    assert await b.answer_to(b.ask("a")) == b"a"


async def test_two_workers_share_a_queue_and_batches_fill(bench: MakeBench) -> None:
    b = bench(batch_size=4, max_delay_s=0.02)
    await pool_of(b, 2)
    asked = [b.ask(name) for name in "abcdefghij"]
    assert [await b.answer_to(future) for future in asked] == [name.encode() for name in "abcdefghij"]
    assert sorted(map(len, b.backend.batches)) == [2, 4, 4]


async def test_death_of_one_worker_fails_its_batch_only(bench: MakeBench) -> None:
    b = bench()
    b.backend.hold = True
    await pool_of(b, 2)
    first, second, queued = b.ask("a"), b.ask("b"), b.ask("c")
    b.backend.workers[0].die()
    assert isinstance(await error_of(first), WorkerDied)
    b.backend.hold = False
    b.backend.workers[1].answer()
    assert [await b.answer_to(second), await b.answer_to(queued)] == [b"b", b"c"]


async def test_every_request_is_answered_once_under_deaths(bench: MakeBench) -> None:
    b = bench(batch_size=3, max_delay_s=0.001, capacity=1000)
    await pool_of(b, 3)
    asked = []
    for number in range(300):
        asked.append(b.ask(str(number)))
        if number % 50 == 49:
            b.backend.alive[-1].die()
        if number % 7 == 0:
            await asyncio.sleep(0)
    async with asyncio.timeout(DEADLINE_S):
        results = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(result, WorkerDied) for result in results if isinstance(result, BaseException))
    given = [name for batch in b.backend.batches for name in batch]
    assert len(given) == len(set(given)) == 300


async def test_close_waits_for_what_runs(bench: MakeBench) -> None:
    b = bench()
    b.backend.hold = True
    await pool_of(b, 2)
    running = b.ask("a")
    closing = asyncio.create_task(b.pool.close(timeout_s=DEADLINE_S))
    await until(lambda: len(b.backend.alive) == 1)
    assert not closing.done()
    b.backend.alive[0].answer()
    assert await b.answer_to(running) == b"a"
    assert await closing is True
    assert b.pool.slots == []


async def test_close_ends_workers_that_take_too_long(bench: MakeBench) -> None:
    b = bench()
    b.backend.hold = b.backend.is_stuck = True
    await pool_of(b, 1)
    running = b.ask("a")
    assert await b.pool.close(timeout_s=0.01) is False
    assert isinstance(await error_of(running), WorkerDied)
    assert (b.pool.slots, b.backend.alive) == ([], [])
    assert b.backend.workers[0].grace_s == 0


async def test_close_waits_for_slots_that_were_scaled_down_before(bench: MakeBench) -> None:
    b = bench()
    b.backend.hold = True
    await pool_of(b, 1)
    running = b.ask("a")
    b.pool.scale(0, 0)
    closing = asyncio.create_task(b.pool.close(timeout_s=DEADLINE_S))
    b.backend.workers[0].answer()
    assert await b.answer_to(running) == b"a"
    assert await closing is True
    assert b.backend.alive == []


async def test_close_of_an_empty_pool_is_at_once(bench: MakeBench) -> None:
    assert await bench().pool.close(timeout_s=0) is True
