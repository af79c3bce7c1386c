"""One registered model, and the request that asked for it. Runs in the front process."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from mms.protocol.messages import InferenceRequest
from mms.server.batching import BatchQueue, Job, Result, Waiter
from mms.server.errors import ServiceUnavailableException, WorkerInitializationException
from mms.server.model_store import StoredModel
from mms.server.pool import WorkerPool
from mms.server.slot import Slot
from model_archiver.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterModelRequest:
    """What `POST /models` asks for; None means the default."""

    url: str
    model_name: str | None = None
    handler: str | None = None
    runtime: str | None = None
    batch_size: int = 1
    max_batch_delay_ms: int = 100
    response_timeout_s: int | None = None
    initial_workers: int | None = None
    preload_model: bool | None = None
    synchronous: bool = True
    default_name: str | None = None
    """For an archive without a name that the operator loads at start: made from the name of its file."""
    at_startup: bool = False


class Model:
    """One registered model: its files, its waiting requests and its workers."""

    def __init__(
        self,
        request: RegisterModelRequest,
        stored: StoredModel,
        manifest: Manifest,
        queue: BatchQueue,
        pool: WorkerPool,
    ) -> None:
        self.name = pool.model_name
        self.url = request.url
        self.batch_size = request.batch_size
        self.max_batch_delay_ms = request.max_batch_delay_ms
        self.loaded_at_startup = request.at_startup
        self.manifest = manifest
        self.stored = stored
        self.pool = pool
        self.min_workers = 0
        self.max_workers = 0
        self._queue = queue

    def predict(self, request: InferenceRequest) -> "asyncio.Future[Result]":
        """Queue a request; the future gives what its handler made of it.

        Cancelling the future takes the request out of the queue. Raises ServiceUnavailableException when nobody is
        there to serve it, or the queue is full.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.submit(request, future)
        return future

    def submit(self, request: InferenceRequest, waiter: Waiter) -> None:
        """Queue a request and settle `waiter` later, without asyncio's way round; raises as `predict` does."""
        if not self.pool.hopeful:
            raise ServiceUnavailableException(
                f"No worker is available to serve request for model: {self.name}. Consider increasing job queue size."
            )
        self._queue.put(Job(request, waiter))

    async def scale(self, minimum: int, maximum: int, *, wait: bool) -> bool:
        """Aim at `minimum` to `maximum` workers; with `wait`, return when they run and the surplus ones are gone.

        The result says whether all that was asked for is done. Raises WorkerInitializationException when a worker
        does not load.
        """
        self.min_workers, self.max_workers = minimum, maximum
        _, ending = self.pool.scale(minimum, maximum)
        if not wait:
            return False
        await _all_loaded(self.pool.loading)
        if ending:
            await asyncio.wait([slot.task for slot in ending])
        return True

    async def close(self, *, timeout_s: float) -> bool:
        """Fail what waits, finish what runs, end the workers, delete the files; say whether that was in time."""
        self._queue.close(ServiceUnavailableException(f'Model "{self.name}" was unregistered.'))
        in_time = await self.pool.close(timeout_s=timeout_s)
        await asyncio.to_thread(self.stored.clean)
        return in_time


async def _all_loaded(slots: Sequence[Slot]) -> None:
    loads = [slot.first_load for slot in slots]
    if loads:
        # Not gather: a client that leaves must not cancel what others wait for as well.
        await asyncio.wait(loads)
    errors = [error for load in loads if isinstance(error := load.exception(), WorkerInitializationException)]
    if errors:
        # Out of memory is told apart on the wire (507): clients of multi-model endpoints react to it.
        raise max(errors, key=lambda error: error.status)
