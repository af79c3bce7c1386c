"""A worker backend without processes: real objects behind the real protocol, which do what the test says."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from mms.protocol.messages import Failure, InferenceRequest, MetricRecord, Prediction, PredictReply, WorkerSpec
from mms.server.backends.base import Answered, LogLine, Worker
from mms.server.config import Config
from mms.server.errors import WorkerDied, WorkerInitializationException

DEADLINE_S = 10.0
"""How long a test waits for what must happen soon."""

Answer = Callable[[Sequence[InferenceRequest]], PredictReply]


async def until(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds; fail after DEADLINE_S."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.001)


def echo(requests: Sequence[InferenceRequest]) -> PredictReply:
    """Answer every request with its first parameter."""
    return PredictReply([Prediction(bytes(r.parameters[0].value) if r.parameters else b"") for r in requests])


def failing(code: int, message: str) -> Answer:
    """Make an answer that fails every request of a batch."""
    return lambda requests: PredictReply([Failure(code, "InternalServerException", message) for _ in requests])


def ask(worker: Worker, requests: Sequence[InferenceRequest]) -> "asyncio.Future[PredictReply]":
    """Give a batch to a worker; the future fails with WorkerDied if it ends first."""
    future: asyncio.Future[PredictReply] = asyncio.get_running_loop().create_future()

    def answered(reply: PredictReply | None) -> None:
        if reply is None:
            future.set_exception(WorkerDied())
        else:
            future.set_result(reply)

    worker.predict(requests, answered)
    return future


class FakeWorker:
    """Answers as its backend says: at once, or when the test calls `answer`."""

    def __init__(self, spec: WorkerSpec, backend: "FakeBackend", on_line: LogLine) -> None:
        self.pid: int | None = None
        self.spec = spec
        self.on_line = on_line
        self.pending: deque[tuple[Sequence[InferenceRequest], Answered]] = deque()
        self.grace_s: float | None = None
        """What the first `stop` was called with."""
        self.memory = 1 << 20
        self.answered = 0
        """How many batches it answered."""
        self._backend = backend
        self._gone = asyncio.Event()
        self._reason = ""

    @property
    def is_gone(self) -> bool:
        """Whether it died or was stopped."""
        return self._gone.is_set()

    def predict(self, requests: Sequence[InferenceRequest], answered: Answered) -> None:
        """See Worker.predict."""
        if self.is_gone:
            raise WorkerDied
        self._backend.batches.append([request.request_id for request in requests])
        self.pending.append((requests, answered))
        if not self._backend.hold:
            asyncio.get_running_loop().call_soon(self.answer)

    def answer(self, reply: PredictReply | None = None) -> None:
        """Answer the oldest batch that waits, with `reply` or as the backend answers."""
        if self.is_gone or not self.pending:
            return
        requests, answered = self.pending.popleft()
        self.answered += 1
        answered(self._backend.answer(requests) if reply is None else reply)

    def die(self, reason: str = "SIGSEGV", *, unnoticed: bool = False) -> None:
        """End as a crashed process does; `unnoticed`: only what is sent to it next shows it."""
        self._reason = self._reason or reason
        self._gone.set()
        if unnoticed:
            return
        while self.pending:
            _, answered = self.pending.popleft()
            answered(None)

    async def wait(self) -> str:
        """See Worker.wait."""
        await self._gone.wait()
        return self._reason

    def memory_usage(self) -> int:
        """See Worker.memory_usage."""
        return 0 if self.is_gone else self.memory

    async def stop(self, *, grace_s: float) -> None:
        """See Worker.stop."""
        if self.grace_s is None:
            self.grace_s = grace_s
        if self._backend.is_stuck:
            await asyncio.sleep(grace_s)
        self.die("stopped")


class FakeBackend:
    """Starts FakeWorkers. The loads follow `script`, one item a load; when it is used up, every load succeeds."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config
        self.script: deque[Exception | asyncio.Event] = deque()
        """An exception ends the load; an Event is waited for, then the load succeeds."""
        self.answer: Answer = echo
        self.hold = False
        """Whether batches wait until the test calls `FakeWorker.answer`."""
        self.is_stuck = False
        """Whether workers use up the grace that `stop` gives them."""
        self.workers: list[FakeWorker] = []
        """All that were ever loaded."""
        self.batches: list[list[str]] = []
        """The request ids of all batches, in the order in which workers got them."""
        self.loads = 0
        """How many loads were begun."""
        self.cancelled_loads = 0
        self.closed = False

    @property
    def alive(self) -> list[FakeWorker]:
        """The workers that run now."""
        return [worker for worker in self.workers if not worker.is_gone]

    def fail_loads(self, count: int = 1, code: int = 500) -> None:
        """Make the next `count` loads fail."""
        self.script.extend(
            WorkerInitializationException("RuntimeError: no weights", code, "Traceback: weights.py")
            for _ in range(count)
        )

    def block_load(self) -> asyncio.Event:
        """Make the next load wait for the event that is returned."""
        event = asyncio.Event()
        self.script.append(event)
        return event

    async def start(self, spec: WorkerSpec, on_line: LogLine) -> FakeWorker:
        """See WorkerBackend.start."""
        self.loads += 1
        step = self.script.popleft() if self.script else None
        if isinstance(step, Exception):
            raise step
        if step is not None:
            try:
                await step.wait()
            except asyncio.CancelledError:
                self.cancelled_loads += 1
                raise
        worker = FakeWorker(spec, self, on_line)
        self.workers.append(worker)
        return worker

    async def close(self) -> None:
        """See WorkerBackend.close."""
        self.closed = True


class FakeObserver:
    """Remembers what pools and connections told it."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int, str, str]] = []
        self.records: list[MetricRecord] = []
        self.times: list[tuple[str, list[str], float]] = []
        self.loaded: list[tuple[str, int]] = []
        self.accesses: list[tuple[str, str, int]] = []

    def worker_line(self, model_name: str, number: int, stream: str, line: str) -> None:
        """See PoolObserver."""
        self.lines.append((model_name, number, stream, line))

    def model_metrics(self, records: Sequence[MetricRecord]) -> None:
        """See PoolObserver."""
        self.records += records

    def prediction_time(self, model_name: str, request_ids: Sequence[str], milliseconds: float) -> None:
        """See PoolObserver."""
        self.times.append((model_name, list(request_ids), milliseconds))

    def worker_loaded(self, model_name: str, number: int, milliseconds: int) -> None:
        """See PoolObserver."""
        assert milliseconds >= 0
        self.loaded.append((model_name, number))

    def answered(self, peer: str, method: str, target: str, version: str, status: int, milliseconds: int) -> None:
        """See express.Sink."""
        assert milliseconds >= 0
        self.accesses.append((peer, f"{method} {target} {version}", status))
