"""What every backend promises, whatever it is made of: the same tests for all of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from fakes import DEADLINE_S, FakeBackend, ask
from real import make_model

from mms.protocol.messages import InferenceRequest, Parameter, Prediction, PredictReply, WorkerSpec
from mms.server.backends import Warmable
from mms.server.backends.base import Worker, WorkerBackend
from mms.server.backends.prefork import PreforkBackend
from mms.server.backends.process import ProcessBackend
from mms.server.backends.warm import WarmBackend
from mms.server.config import Config
from mms.server.errors import WorkerDied, WorkerInitializationException

LIMIT_S = 30.0
"""For one step of a real process on a busy machine."""

HANDLER = """
def handle(data, context):
    if data is None:
        return None
    return [bytes(request["body"]) for request in data]
"""

Start = Callable[[], Awaitable[Worker]]


def batch(*bodies: bytes) -> list[InferenceRequest]:
    return [
        InferenceRequest(f"r{number}", b"Host: here", [Parameter("body", "", body)])
        for number, body in enumerate(bodies)
    ]


async def bodies(answer: "asyncio.Future[PredictReply]") -> list[bytes]:
    async with asyncio.timeout(LIMIT_S):
        reply = await answer
    assert all(isinstance(result, Prediction) for result in reply.results)
    return [bytes(result.body) for result in reply.results if isinstance(result, Prediction)]


@pytest.fixture(params=[FakeBackend, ProcessBackend, PreforkBackend, WarmBackend])
async def backend(request: pytest.FixtureRequest, config: Callable[..., Config]) -> WorkerBackend:
    made: WorkerBackend = request.param(config())
    if isinstance(made, Warmable):
        made.warm_up()
    return made


@pytest.fixture
def spec(tmp_path: Path) -> WorkerSpec:
    return WorkerSpec(
        model_name="echo", model_dir=str(make_model(tmp_path / "echo", HANDLER)), handler="service.py", batch_size=8
    )


@pytest.fixture
async def start(backend: WorkerBackend, spec: WorkerSpec) -> AsyncIterator[Start]:
    workers: list[Worker] = []

    async def start_one() -> Worker:
        workers.append(await backend.start(spec, lambda stream, line: None))
        return workers[-1]

    yield start_one
    for worker in workers:
        await worker.stop(grace_s=DEADLINE_S)
    await backend.close()


async def test_batch_is_answered_in_its_order(start: Start) -> None:
    worker = await start()
    assert await bodies(ask(worker, batch(b"a", b"", b"c"))) == [b"a", b"", b"c"]


async def test_batches_may_follow_before_the_first_is_answered(start: Start) -> None:
    worker = await start()
    answers = [ask(worker, batch(b"%d" % number)) for number in range(20)]
    assert [await bodies(answer) for answer in answers] == [[b"%d" % number] for number in range(20)]


async def test_batch_that_nobody_waits_for_does_not_disturb_the_next(start: Start) -> None:
    worker = await start()
    ask(worker, batch(b"left"))
    assert await bodies(ask(worker, batch(b"next"))) == [b"next"]


async def test_workers_are_independent(start: Start) -> None:
    first, second = await start(), await start()
    await first.stop(grace_s=DEADLINE_S)
    assert await bodies(ask(second, batch(b"x"))) == [b"x"]


async def test_memory_is_known_while_it_runs(start: Start) -> None:
    worker = await start()
    assert worker.memory_usage() > 0
    await worker.stop(grace_s=DEADLINE_S)
    assert worker.memory_usage() == 0


async def test_wait_returns_when_the_worker_is_gone(start: Start) -> None:
    worker = await start()
    gone = asyncio.create_task(worker.wait())
    await asyncio.sleep(0)
    assert not gone.done()
    await worker.stop(grace_s=DEADLINE_S)
    async with asyncio.timeout(LIMIT_S):
        assert await gone != ""


async def test_stop_may_be_called_again_and_at_the_same_time(start: Start) -> None:
    worker = await start()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(worker.stop(grace_s=DEADLINE_S), worker.stop(grace_s=0))
        await worker.stop(grace_s=DEADLINE_S)


async def test_stopped_worker_takes_no_batch(start: Start) -> None:
    worker = await start()
    await worker.stop(grace_s=DEADLINE_S)
    with pytest.raises(WorkerDied):
        ask(worker, batch(b"late"))


async def test_stop_by_force_fails_the_batch_in_hand(start: Start, backend: WorkerBackend) -> None:
    worker = await start()
    if isinstance(backend, FakeBackend):
        backend.hold = True
    answer = ask(worker, batch(b"x" * 1000))
    await worker.stop(grace_s=0)
    async with asyncio.timeout(LIMIT_S):
        await asyncio.wait((answer,))
    assert isinstance(answer.exception(), WorkerDied)


async def test_failed_load_is_an_error_with_its_traceback(backend: WorkerBackend, spec: WorkerSpec) -> None:
    Path(spec.model_dir, "service.py").write_text("raise RuntimeError('no weights')\n")
    if isinstance(backend, FakeBackend):
        backend.fail_loads()
    with pytest.raises(WorkerInitializationException, match="RuntimeError: no weights") as failed:
        await backend.start(spec, lambda stream, line: None)
    assert failed.value.status == 500
    assert failed.value.traceback.startswith("Traceback")
    await backend.close()
