"""One worker's place: how it loads, serves, dies, comes back and ends."""

import asyncio
import logging
from collections.abc import Callable

import pytest
from bench import Bench
from fakes import DEADLINE_S, FakeWorker, until

from mms.protocol.messages import Failure, MetricRecord, Prediction, PredictReply
from mms.server.batching import Result
from mms.server.errors import (
    InternalServerException,
    ServiceUnavailableException,
    WorkerDied,
    WorkerInitializationException,
)
from mms.server.slot import Slot, most_in_hand
from mms.server.workplace import BACKOFF_S, WorkerState, Workplace

MakeBench = Callable[..., Bench]


async def loaded(slot: Slot) -> FakeWorker:
    """Wait until a slot has its first worker."""
    async with asyncio.timeout(DEADLINE_S):
        await slot.first_load
    assert isinstance(slot.worker, FakeWorker)
    return slot.worker


async def ended(slot: Slot) -> None:
    """Wait for the end of a slot, however it ends."""
    await asyncio.wait((slot.task,), timeout=DEADLINE_S)
    assert slot.task.done()


async def error_of(future: "asyncio.Future[Result]") -> BaseException | None:
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.wait((future,))
    return future.exception()


def pauses(caplog: pytest.LogCaptureFixture) -> list[float]:
    """Return the pauses before restarts, from the log."""
    words = [record.getMessage().split() for record in caplog.records if record.msg.startswith("Retry worker")]
    return [float(seconds) for *_, seconds, _ in words]


async def test_slot_loads_and_serves(bench: MakeBench) -> None:
    b = bench()
    slot = b.slot()
    states = [slot.state]
    await loaded(slot)
    states.append(slot.state)
    assert states == [WorkerState.LOADING, WorkerState.READY]
    assert await b.answer_to(b.ask("a")) == b"a"
    assert b.observer.loaded == [("resnet", 9000)]


async def test_requests_that_came_during_the_load_are_served(bench: MakeBench) -> None:
    b = bench()
    loading = b.backend.block_load()
    b.slot()
    asked = b.ask("early")
    await until(lambda: b.backend.loads)
    loading.set()
    assert await b.answer_to(asked) == b"early"


async def test_worker_gets_one_batch_at_a_time(bench: MakeBench) -> None:
    b = bench()
    b.backend.hold = True
    worker = await loaded(b.slot())
    first, second = b.ask("a"), b.ask("b")
    assert b.backend.batches == [["a"]]
    worker.answer()
    await b.answer_to(first)
    assert b.backend.batches == [["a"], ["b"]]
    worker.answer()
    await b.answer_to(second)


async def quick(b: Bench, slot: Slot) -> FakeWorker:
    """Return the worker of a slot when it has shown itself to be quick; from now on it answers when it is told to."""
    worker = await loaded(slot)
    for number in range(100):
        await b.answer_to(b.ask(str(number)))
    b.backend.hold = True
    b.backend.batches.clear()
    return worker


async def test_quick_worker_that_is_alone_gets_batches_ahead_of_time(bench: MakeBench) -> None:
    b = bench()
    worker = await quick(b, b.slot(is_alone=True))
    futures = [b.ask(str(number)) for number in range(40)]
    assert b.backend.batches == [[str(number)] for number in range(32)]
    for number, future in enumerate(futures):
        worker.answer()
        assert await b.answer_to(future) == str(number).encode()


async def test_only_full_batches_go_ahead_of_time(bench: MakeBench) -> None:
    b = bench(batch_size=2)
    worker = await quick(b, b.slot(is_alone=True))
    futures = [b.ask(name) for name in "abc"]
    assert b.backend.batches == [["a"], ["b", "c"]]
    futures.append(b.ask("d"))
    assert len(b.backend.batches) == 2
    for _ in range(3):
        worker.answer()
    assert b.backend.batches == [["a"], ["b", "c"], ["d"]]
    assert [await b.answer_to(future) for future in futures] == [b"a", b"b", b"c", b"d"]


@pytest.mark.parametrize(
    ("service_s", "batches"), [(0.0, 32), (0.0009, 32), (0.001, 2), (0.249, 2), (0.25, 1), (60, 1)]
)
def test_the_longer_a_worker_takes_the_less_goes_ahead(service_s: float, batches: int) -> None:
    assert most_in_hand(service_s) == batches


async def test_what_went_ahead_of_time_still_counts_as_waiting(bench: MakeBench) -> None:
    b = bench(capacity=3)
    worker = await quick(b, b.slot(is_alone=True))
    futures = [b.ask(name) for name in "abcd"]
    assert b.backend.batches == [["a"], ["b"], ["c"], ["d"]]
    with pytest.raises(ServiceUnavailableException):
        b.ask("e")
    worker.answer()
    futures.append(b.ask("e"))
    worker.die()
    b.backend.hold = False
    assert isinstance(await error_of(futures[1]), WorkerDied)
    assert [await b.answer_to(future) for future in [futures[0], *futures[2:]]] == [b"a", b"c", b"d", b"e"]
    assert b.queue.ahead == 0


async def test_quick_worker_among_others_gets_one_batch_at_a_time(bench: MakeBench) -> None:
    b = bench()
    worker = await quick(b, b.slot())
    futures = [b.ask("a"), b.ask("b")]
    assert b.backend.batches == [["a"]]
    for future in futures:
        worker.answer()
        await b.answer_to(future)


async def test_death_fails_only_the_batch_that_was_worked_on(bench: MakeBench) -> None:
    b = bench()
    worker = await quick(b, b.slot(is_alone=True))
    lost, *safe = [b.ask(str(number)) for number in range(5)]
    b.backend.hold = False
    worker.die()
    assert isinstance(await error_of(lost), WorkerDied)
    assert [await b.answer_to(future) for future in safe] == [b"1", b"2", b"3", b"4"]


async def test_drained_slot_finishes_what_it_got_ahead_of_time(bench: MakeBench) -> None:
    b = bench()
    slot = b.slot(is_alone=True)
    worker = await quick(b, slot)
    futures = [b.ask(str(number)) for number in range(3)]
    slot.drain()
    for future in futures:
        worker.answer()
        await b.answer_to(future)
    await ended(slot)


async def test_gpu_of_the_slot_is_told_to_its_worker(bench: MakeBench) -> None:
    b = bench(gpus=2)
    started, _ = b.pool.scale(3, 3)
    assert [(await loaded(slot)).spec.gpu_id for slot in started] == [0, 1, 0]


async def test_each_request_of_a_batch_gets_its_own_result(bench: MakeBench) -> None:
    b = bench(batch_size=2)
    refused = Failure(400, "BadRequestException", "no JSON")
    b.backend.answer = lambda requests: PredictReply([Prediction(b"good"), refused])
    good, bad = b.ask("a"), b.ask("b")
    b.slot()
    assert await b.answer_to(good) == b"good"
    assert await bad == refused


async def test_reply_of_another_length_than_the_batch_fails_the_rest_of_it_and_nobody_else(bench: MakeBench) -> None:
    b = bench(batch_size=2)
    b.backend.answer = lambda requests: PredictReply([Prediction(b"one")])
    asked = [b.ask("a"), b.ask("b")]
    worker = await loaded(b.slot())
    for future in asked:
        error = await error_of(future)
        assert isinstance(error, InternalServerException)
        assert str(error) == "number of batch response mismatched"
    assert not worker.is_gone
    assert await b.answer_to(b.ask("c")) == b"one"


async def test_metrics_of_a_batch_reach_the_observer(bench: MakeBench) -> None:
    b = bench()
    record = MetricRecord("Hits", "Count", "1", ["Level:Model"], "a", 1795364378)
    b.backend.answer = lambda requests: PredictReply([Prediction(b"")], [record])
    b.slot()
    await b.answer_to(b.ask("a"))
    assert b.observer.records == [record]
    assert b.observer.times == []


async def test_time_of_a_batch_reaches_the_observer_with_the_ids_of_its_requests(bench: MakeBench) -> None:
    b = bench(batch_size=2)
    b.backend.answer = lambda requests: PredictReply([Prediction(b""), Prediction(b"")], (), 0.25)
    asked = [b.ask("a"), b.ask("b")]
    b.slot()
    for future in asked:
        await b.answer_to(future)
    assert b.observer.times == [("resnet", ["a", "b"], 0.25)]


async def test_lines_of_a_worker_reach_the_observer(bench: MakeBench) -> None:
    b = bench()
    (await loaded(b.slot())).on_line("stderr", "oh")
    assert b.observer.lines == [("resnet", 9000, "stderr", "oh")]


async def test_death_fails_the_batch_in_hand_and_the_next_worker_serves_the_rest(bench: MakeBench) -> None:
    b = bench(batch_size=2)
    b.backend.hold = True
    slot = b.slot()
    worker = await loaded(slot)
    lost, queued = [b.ask("a")], [b.ask("b"), b.ask("c")]
    worker.die()
    for future in lost:
        error = await error_of(future)
        assert isinstance(error, WorkerDied)
        assert str(error) == "Worker died."
    b.backend.hold = False
    assert [await b.answer_to(future) for future in queued] == [b"b", b"c"]
    assert len(b.backend.workers) == 2
    assert slot.state is WorkerState.READY


async def test_idle_death_is_repaired_without_a_request(bench: MakeBench, caplog: pytest.LogCaptureFixture) -> None:
    b = bench()
    worker = await loaded(b.slot())
    worker.die("SIGSEGV")
    await until(lambda: len(b.backend.alive) == 1)
    assert "Worker resnet-9000 (pid None) died: SIGSEGV." in caplog.text
    assert await b.answer_to(b.ask("a")) == b"a"


async def test_request_for_a_worker_that_died_unnoticed_goes_to_the_next(bench: MakeBench) -> None:
    b = bench()
    worker = await loaded(b.slot())
    worker.die(unnoticed=True)
    assert await b.answer_to(b.ask("a")) == b"a"
    assert b.backend.batches == [["a"]]


async def test_client_that_left_costs_nobody_anything(bench: MakeBench) -> None:
    b = bench(batch_size=2)
    b.backend.hold = True
    left, stays = b.ask("a"), b.ask("b")
    worker = await loaded(b.slot())
    left.cancel()
    worker.answer()
    assert await b.answer_to(stays) == b"b"


async def test_pauses_follow_the_table_and_the_last_one_repeats(
    bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    b = bench(backoff_s=(0.001, 0.002, 0.003))
    b.backend.fail_loads(5)
    slot = b.slot()
    await until(lambda: b.backend.loads == 6)
    await until(lambda: slot.state is WorkerState.READY)
    assert pauses(caplog) == [0.001, 0.002, 0.003, 0.003, 0.003]


async def test_load_that_succeeds_starts_the_table_again(bench: MakeBench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    b = bench(backoff_s=(0.001, 0.002))
    b.backend.fail_loads(2)
    slot = b.slot()
    await until(lambda: slot.worker)
    b.backend.alive[0].die()
    await until(lambda: len(b.backend.workers) == 2)
    assert pauses(caplog) == [0.001, 0.002, 0.001]


def test_table_is_the_one_of_mms() -> None:
    assert BACKOFF_S == (1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597)
    assert Workplace.__dataclass_fields__["backoff_s"].default is BACKOFF_S


async def test_first_failed_load_is_reported_once_and_in_the_log(
    bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    b = bench()
    b.backend.fail_loads(2)
    slot = b.slot()
    with pytest.raises(WorkerInitializationException, match="no weights"):
        await slot.first_load
    await until(lambda: slot.state is WorkerState.READY)
    assert b.failed_loads == 2
    assert "Worker resnet-9000 did not load: RuntimeError: no weights\nTraceback: weights.py" in caplog.text
    assert not slot.load_failed


async def test_slot_whose_load_failed_says_so(bench: MakeBench) -> None:
    b = bench(backoff_s=(60,))
    b.backend.fail_loads()
    slot = b.slot()
    await until(lambda: slot.state is WorkerState.FAILED)
    assert slot.load_failed


async def test_fault_of_the_backend_is_survived(bench: MakeBench, caplog: pytest.LogCaptureFixture) -> None:
    b = bench()
    b.backend.script.append(RuntimeError("no more memory maps"))
    slot = b.slot()
    with pytest.raises(WorkerInitializationException, match="no more memory maps"):
        await slot.first_load
    await until(lambda: slot.state is WorkerState.READY)
    assert "Worker resnet-9000: internal error" in caplog.text


async def test_batch_that_takes_too_long_fails_and_its_worker_is_replaced(
    bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    b = bench(response_timeout_s=0.01)
    b.backend.hold = True
    worker = await loaded(b.slot())
    assert isinstance(await error_of(b.ask("a")), WorkerDied)
    b.backend.hold = False
    assert await b.answer_to(b.ask("b")) == b"b"
    assert worker.grace_s == 0
    assert "gave no answer in 0.01 s (response_timeout) and is replaced" in caplog.text


async def test_time_limit_is_for_one_batch_and_not_for_all(bench: MakeBench) -> None:
    b = bench(response_timeout_s=0.2)
    worker = await loaded(b.slot())
    loop = asyncio.get_running_loop()
    end = loop.time() + 0.5
    while loop.time() < end:
        assert await b.answer_to(b.ask("a")) == b"a"
        await asyncio.sleep(0.01)
    assert not worker.is_gone


async def test_waiting_for_a_worker_does_not_count_as_its_time(bench: MakeBench) -> None:
    b = bench(response_timeout_s=0.02)
    loading = b.backend.block_load()
    asked = b.ask("a")
    b.slot()
    await asyncio.sleep(0.05)
    loading.set()
    assert await b.answer_to(asked) == b"a"


async def test_drained_slot_finishes_its_batch_and_takes_no_other(bench: MakeBench) -> None:
    b = bench()
    b.backend.hold = True
    slot = b.slot()
    worker = await loaded(slot)
    running, queued = b.ask("a"), b.ask("b")
    slot.drain()
    assert slot.state is WorkerState.UNLOADING
    worker.answer()
    assert await b.answer_to(running) == b"a"
    await ended(slot)
    assert worker.is_gone
    assert not queued.done()
    assert b.backend.batches == [["a"]]
    assert b.ended == [slot]


async def test_drained_idle_slot_asks_its_worker_before_forcing_it(bench: MakeBench) -> None:
    b = bench()
    slot = b.slot()
    worker = await loaded(slot)
    slot.drain()
    await ended(slot)
    assert worker.grace_s is not None
    assert worker.grace_s > 0


async def test_drained_slot_whose_batch_takes_too_long_ends(bench: MakeBench) -> None:
    b = bench(response_timeout_s=0.01)
    b.backend.hold = True
    slot = b.slot()
    await loaded(slot)
    asked = b.ask("a")
    slot.drain()
    assert isinstance(await error_of(asked), WorkerDied)
    await ended(slot)
    assert b.backend.loads == 1


async def test_worker_that_dies_while_it_is_drained_is_not_replaced(bench: MakeBench) -> None:
    b = bench()
    b.backend.hold = True
    slot = b.slot()
    worker = await loaded(slot)
    asked = b.ask("a")
    slot.drain()
    worker.die()
    assert isinstance(await error_of(asked), WorkerDied)
    await ended(slot)
    assert b.backend.loads == 1


async def test_drain_ends_the_pause_before_a_restart(bench: MakeBench) -> None:
    b = bench(backoff_s=(1000,))
    b.backend.fail_loads()
    slot = b.slot()
    await until(lambda: slot.state is WorkerState.FAILED)
    slot.drain()
    await ended(slot)


async def test_cancelled_slot_fails_its_batch_and_sees_its_worker_gone(bench: MakeBench) -> None:
    b = bench()
    b.backend.hold = b.backend.is_stuck = True
    slot = b.slot()
    worker = await loaded(slot)
    asked = b.ask("a")
    slot.drain()
    slot.cancel()
    await ended(slot)
    assert isinstance(await error_of(asked), WorkerDied)
    assert worker.is_gone
    assert worker.grace_s == 0
    assert b.ended == [slot]


async def test_slot_cancelled_while_it_loads_cancels_the_load(bench: MakeBench) -> None:
    b = bench()
    b.backend.block_load()
    slot = b.slot()
    await until(lambda: b.backend.loads)
    slot.cancel()
    await ended(slot)
    assert b.backend.cancelled_loads == 1
    with pytest.raises(WorkerInitializationException, match="scaled down"):
        await slot.first_load


async def test_slot_cancelled_before_its_first_step_tidies_up(bench: MakeBench) -> None:
    b = bench()
    slot = b.slot()
    slot.cancel()
    await ended(slot)
    assert b.backend.loads == 0
    assert b.ended == [slot]
    with pytest.raises(WorkerInitializationException, match="scaled down"):
        await slot.first_load


async def test_memory_is_read_from_the_worker(bench: MakeBench) -> None:
    b = bench()
    loading = b.backend.block_load()
    slot = b.slot()
    slot.refresh_memory()
    assert slot.memory_bytes == 0
    loading.set()
    await loaded(slot)
    slot.refresh_memory()
    assert slot.memory_bytes == 1 << 20
