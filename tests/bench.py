"""A model without processes: queue, backend and observer, ready for slots and pools."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fakes import DEADLINE_S, FakeBackend, FakeObserver

from mms.protocol.messages import InferenceRequest, Parameter, Prediction, WorkerSpec
from mms.server.batching import BatchQueue, Job, Result
from mms.server.pool import WorkerNumbers, WorkerPool
from mms.server.slot import Slot
from mms.server.workplace import Workplace

SPEC = WorkerSpec(model_name="resnet", model_dir="/models/resnet", handler="service.py")


@dataclass
class Bench:
    """One model's queue and backend, and the slots and pools that a test sets up on them."""

    batch_size: int = 1
    max_delay_s: float = 0.0
    capacity: int = 100
    response_timeout_s: float = 60.0
    backoff_s: Sequence[float] = (0.0,)
    gpus: int = 0
    backend: FakeBackend = field(default_factory=FakeBackend)
    observer: FakeObserver = field(default_factory=FakeObserver)

    def __post_init__(self) -> None:
        self.queue = BatchQueue(
            "resnet", capacity=self.capacity, batch_size=self.batch_size, max_delay_s=self.max_delay_s
        )
        self.place = Workplace(
            SPEC, self.queue, self.backend, self.response_timeout_s, self.observer, backoff_s=self.backoff_s
        )
        gpu_ids = itertools.cycle(range(self.gpus)) if self.gpus else itertools.repeat(None)
        self.pool = WorkerPool(self.place, WorkerNumbers(itertools.count(9000), lambda: next(gpu_ids)))
        self.failed_loads = 0
        self.ended: list[Slot] = []

    def slot(self, *, is_alone: bool = False) -> Slot:
        """Start a slot outside the pool."""

        def on_load_failed() -> None:
            self.failed_loads += 1

        callbacks: dict[str, Any] = {"on_load_failed": on_load_failed, "on_end": self.ended.append}
        return Slot(self.place, 9000, None, is_alone=lambda: is_alone, **callbacks)

    def ask(self, name: str) -> "asyncio.Future[Result]":
        """Put a request into the queue, with its own name as its body."""
        request = InferenceRequest(name, b"", [Parameter("body", "", name.encode())])
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.queue.put(Job(request, future))
        return future

    async def answer_to(self, future: "asyncio.Future[Result]") -> bytes:
        """Wait for a prediction and return its body."""
        async with asyncio.timeout(DEADLINE_S):
            result = await future
        assert isinstance(result, Prediction)
        return bytes(result.body)
