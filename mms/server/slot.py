"""The place of one worker in a pool: restarts it, feeds it, drains it. Runs in the front process."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

from mms.protocol.messages import PredictReply
from mms.server.backends.base import Worker
from mms.server.batching import Job
from mms.server.errors import InternalServerException, MMSError, WorkerDied, WorkerInitializationException
from mms.server.workplace import WorkerState, Workplace

logger = logging.getLogger(__name__)

IN_HAND = ((0.001, 32), (0.25, 2))
"""How many batches a worker may hold while it is alone, by the seconds that it takes for one: it finds the next one in
its socket instead of waiting for the front end, both work at the same time, and wake up less often. With as few as 8, a
quick worker and the front end wait for each other by turns. It changes no order: with one worker there is only one.
Only full batches go ahead of time, and what they hold still counts as waiting. One that takes longer has nothing to
gain, and whoever ends it should not wait for more than what runs."""
STOP_GRACE_S = 5.0
"""How long an idle worker may take to leave once its socket is closed."""


class Slot:
    """Keeps one worker alive. Made and owned by a WorkerPool."""

    def __init__(
        self,
        workplace: Workplace,
        number: int,
        gpu_id: int | None,
        *,
        on_load_failed: Callable[[], None],
        on_end: Callable[["Slot"], None],
        is_alone: Callable[[], bool] = lambda: False,
    ) -> None:
        self.number = number
        self._loop = asyncio.get_running_loop()
        self.started_at = time.time()
        self.memory_bytes = 0
        self.state = WorkerState.LOADING
        self.gpu_id = gpu_id
        self.worker: Worker | None = None
        self._workplace = workplace
        self._logger = logging.LoggerAdapter(logger, {"thread_name": f"W-{number}-{workplace.spec.model_name[:25]}"})
        self._on_load_failed = on_load_failed
        self._on_end = on_end
        self._is_alone = is_alone
        self._killing: asyncio.Task[None] | None = None
        self._batches: deque[list[Job]] = deque()
        """In the worker's hands, oldest first: the first is being worked on, the others lie ready in its socket."""
        self._begun = 0.0
        """When the first of them became the first, in the loop's time."""
        self._service_s = 1.0
        """How long the worker takes for a batch: an average in which the last ten count most."""
        self._asked = False
        self._asked_ahead = False
        self._watchdog: asyncio.TimerHandle | None = None
        self.load_failed = False
        self._draining = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.first_load: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Whoever asked for the worker may have gone without waiting for it: asyncio need not complain then.
        self.first_load.add_done_callback(lambda future: future.cancelled() or future.exception())
        self.task = asyncio.create_task(self._run(), name=f"worker-{workplace.spec.model_name}-{number}")
        self.task.add_done_callback(self._ended)

    def refresh_memory(self) -> None:
        """Read the worker's memory; called by the monitor, in a thread."""
        worker = self.worker
        self.memory_bytes = worker.memory_usage() if worker is not None else 0

    def drain(self) -> None:
        """Take no further batch, finish the one in hand, then end. Await `task` for the end."""
        self.state = WorkerState.UNLOADING
        self._ask_no_more()
        self._draining.set()

    def cancel(self) -> None:
        """End at once; the batch in hand fails with `Worker died.`"""
        self.task.cancel()

    async def _run(self) -> None:
        table = self._workplace.backoff_s
        backoff = iter(table)
        try:
            while not self._draining.is_set():
                try:
                    lived = await self._live()
                except Exception as exc:
                    # A fault of the backend or of ours: the worker's place must outlive it.
                    self._logger.exception("Worker %s-%d: internal error", self._workplace.spec.model_name, self.number)
                    self._report_failed_load(WorkerInitializationException(f"internal error: {exc}"))
                    lived = False
                if lived:
                    backoff = iter(table)
                if not self._draining.is_set():
                    self.state = WorkerState.FAILED
                    await self._pause(next(backoff, table[-1]))
        finally:
            if self._killing is not None:
                await self._killing

    def _ended(self, _task: "asyncio.Task[None]") -> None:
        """Tidy up. A callback of the task, since a task that is cancelled before its first step runs no `finally`."""
        self._ask_no_more()
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._fail_batch(WorkerDied())
        if not self.first_load.done():
            self.first_load.set_exception(WorkerInitializationException("Worker scaled down."))
        self._on_end(self)

    async def _pause(self, seconds: float) -> None:
        self._logger.info("Retry worker: %s in %g seconds.", self.number, seconds)
        try:
            async with asyncio.timeout(seconds):
                await self._draining.wait()
        except TimeoutError:
            self.state = WorkerState.LOADING

    async def _live(self) -> bool:
        """Start a worker and keep it until it dies or is drained; say whether it was ever ready."""
        place = self._workplace
        begin = time.monotonic()
        self.started_at = time.time()
        try:
            spec = place.spec._replace(gpu_id=self.gpu_id)
            self.worker = worker = await place.backend.start(spec, self._log_line)
        except WorkerInitializationException as exc:
            self._report_failed_load(exc)
            return False
        self.load_failed = False
        try:
            place.observer.worker_loaded(place.spec.model_name, self.number, round((time.monotonic() - begin) * 1000))
            self._serve()
            await self._until_gone(worker)
        finally:
            self._ask_no_more()
            self.worker = None
            # A batch in hand: its time is up, since draining would have waited for it.
            grace_s = STOP_GRACE_S if self._draining.is_set() and not self._batches else 0
            # Shielded: a cancelled slot must still see its process gone.
            await asyncio.shield(worker.stop(grace_s=grace_s))
        return True

    async def _until_gone(self, worker: Worker) -> None:
        gone = asyncio.create_task(worker.wait())
        drained = asyncio.create_task(self._drained())
        try:
            await asyncio.wait((gone, drained), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            drained.cancel()
        if gone.done() and not gone.cancelled() and not self._draining.is_set():
            self._ask_no_more()
            self._logger.error(
                "Worker %s-%d (pid %s) died: %s.",
                *(self._workplace.spec.model_name, self.number, worker.pid, gone.result()),
            )

    async def _drained(self) -> None:
        await self._draining.wait()
        await self._idle.wait()

    def _serve(self) -> None:
        if not self._draining.is_set():
            self.state = WorkerState.READY
            if not self.first_load.done():
                self.first_load.set_result(None)
            self._ask()

    def _ask(self) -> None:
        """Ask the queue for a batch: when there is none in hand, or ahead of time (IN_HAND)."""
        if self._draining.is_set():
            return
        in_hand = len(self._batches)
        if in_hand and (in_hand >= most_in_hand(self._service_s) or not self._is_alone()):
            return
        is_ahead = in_hand > 0
        if self._asked:
            if is_ahead or not self._asked_ahead:
                return
            self._ask_no_more()
        self._asked, self._asked_ahead = True, is_ahead
        self._workplace.queue.take(self._take, only_full=is_ahead)

    def _ask_no_more(self) -> None:
        self._asked = False
        self._workplace.queue.untake(self._take)

    def _take(self, batch: list[Job]) -> None:
        """Hand a batch to the worker. On the path of every request: no task, no await."""
        self._asked = False
        assert self.worker is not None
        try:
            self.worker.predict([job.request for job in batch], self._answered)
        except WorkerDied:
            # It died idle and nothing was sent: the batch goes to another worker, or waits for the next.
            self._workplace.queue.put_back(batch)
            return
        if self._batches:
            self._workplace.queue.ahead += len(batch)
        else:
            self._begun = self._loop.time()
            self._idle.clear()
        self._batches.append(batch)
        if self._watchdog is None:
            self._watch()
        self._ask()

    def _answered(self, reply: PredictReply | None) -> None:
        if reply is None:
            self._fail_batch(WorkerDied())
            return
        if not self._batches:
            # Its time was up, and everybody has been told.
            return
        batch = self._batches.popleft()
        if self._batches:
            self._workplace.queue.ahead -= len(self._batches[0])
        now = self._loop.time()
        self._service_s += (now - self._begun - self._service_s) / 10
        self._begun = now
        if not self._batches:
            self._idle.set()
            # A worker that waits comes first. One that has its next batch may wait: the answer's bytes, just received,
            # are quicker to send on before others push them out of the processor's caches.
            self._ask()
        if len(reply.results) != len(batch):
            for job in batch:
                job.fail(InternalServerException("number of batch response mismatched"))
        for job, result in zip(batch, reply.results, strict=False):
            job.resolve(result)
        self._ask()
        if reply.metrics:
            self._workplace.observer.model_metrics(reply.metrics)
        if reply.prediction_ms is not None:
            ids = [job.request.request_id for job in batch]
            self._workplace.observer.prediction_time(self._workplace.spec.model_name, ids, reply.prediction_ms)

    def _fail_batch(self, error: MMSError) -> None:
        """Fail the batch that was worked on; those that lay ready were never started and go to another worker."""
        self._ask_no_more()
        batches, self._batches = self._batches, deque()
        if batches:
            for job in batches.popleft():
                job.fail(error)
        for batch in reversed(batches):
            self._workplace.queue.ahead -= len(batch)
            self._workplace.queue.put_back(batch)
        self._idle.set()

    def _watch(self) -> None:
        """End a worker that holds a batch for too long. One timer a worker, moved only when it fires."""
        self._watchdog = None
        if not self._batches:
            return
        deadline = self._begun + self._workplace.response_timeout_s
        if self._loop.time() < deadline:
            self._watchdog = self._loop.call_at(deadline, self._watch)
            return
        self._logger.error(
            "Worker %s-%d gave no answer in %g s (response_timeout) and is replaced.",
            *(self._workplace.spec.model_name, self.number, self._workplace.response_timeout_s),
        )
        self._fail_batch(WorkerDied())
        if self.worker is not None:
            self._killing = asyncio.create_task(self.worker.stop(grace_s=0))

    def _report_failed_load(self, error: WorkerInitializationException) -> None:
        self._logger.error(
            "Worker %s-%d did not load: %s%s",
            *(self._workplace.spec.model_name, self.number, error, f"\n{error.traceback}" if error.traceback else ""),
        )
        self.load_failed = True
        if not self.first_load.done():
            self.first_load.set_exception(error)
        self._on_load_failed()

    def _log_line(self, stream: str, line: str) -> None:
        self._workplace.observer.worker_line(self._workplace.spec.model_name, self.number, stream, line)


def most_in_hand(service_s: float) -> int:
    """Return how many batches a worker may hold that is alone and takes so long for one; see IN_HAND."""
    for limit_s, batches in IN_HAND:
        if service_s < limit_s:
            return batches
    return 1
