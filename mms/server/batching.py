"""The waiting requests of one model, and the rule by which they become batches. Runs in the front process."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from mms.protocol.messages import Failure, InferenceRequest, Prediction
from mms.server.errors import MMSError, ServiceUnavailableException

Result = Prediction | Failure
Taker = Callable[[list["Job"]], None]
"""Takes the next batch: at least one job, oldest first."""


class Waiter(Protocol):
    """Who waits for a job: an asyncio future, or something that behaves like one for that purpose."""

    def done(self) -> bool:
        """Whether nobody waits any more: settled, or the client left."""

    def set_result(self, result: Result, /) -> None:
        """Take the result."""

    def set_exception(self, error: BaseException, /) -> None:
        """Take an error instead."""


class Job:
    """One request on its way to a worker, and who waits for it.

    Settled once: a second settlement, or one after the client has left, changes nothing.
    """

    __slots__ = ("request", "waiter")

    def __init__(self, request: InferenceRequest, waiter: Waiter) -> None:
        self.request = request
        self.waiter = waiter

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits any more: the client left, or the job was settled."""
        return self.waiter.done()

    def resolve(self, result: Result) -> None:
        """Give the client its result."""
        if not self.waiter.done():
            self.waiter.set_result(result)

    def fail(self, error: MMSError) -> None:
        """Give the client an error instead."""
        if not self.waiter.done():
            self.waiter.set_exception(error)


class BatchQueue:
    """Jobs in order of arrival, handed out as batches to whoever said that it can take one.

    Same rule as MMS (frontend/.../wlm/Model.java, pollBatch): one batch is collected at a time; it is complete with
    `batch_size` jobs, or `max_delay_s` seconds after its first job met a taker. Nothing here awaits: a batch leaves
    in the same step in which it becomes complete.
    """

    def __init__(self, model_name: str, *, capacity: int, batch_size: int = 1, max_delay_s: float = 0.0) -> None:
        self._model_name = model_name
        self._capacity = capacity
        self._batch_size = batch_size
        self._max_delay_s = max_delay_s
        self._jobs: deque[Job] = deque()
        self._takers: deque[Taker] = deque()
        self._patient: deque[Taker] = deque()
        """Those that take full batches only, while nobody else wants any."""
        self._delay: asyncio.TimerHandle | None = None
        self.ahead = 0
        """How many jobs wait in the hands of workers that are still busy with others: they count as waiting here."""

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        """Append a job. Raises ServiceUnavailableException when `capacity` jobs wait already."""
        # The batch that is being collected has left the queue as far as MMS's limit is concerned.
        limit = self._capacity - self.ahead + (self._batch_size if self._takers else 0)
        if len(self._jobs) >= limit and not self._drop_abandoned(limit):
            raise ServiceUnavailableException(
                f"No worker is available to serve request for model: {self._model_name}. "
                "Consider increasing job queue size."
            )
        self._jobs.append(job)
        if self._takers or self._patient:
            self._hand_out()

    def take(self, taker: Taker, *, only_full: bool = False) -> None:
        """Call `taker` with the next batch, once; perhaps at once.

        One that takes `only_full` batches is in no hurry: it waits until there is one that nobody else wants.
        """
        (self._patient if only_full else self._takers).append(taker)
        if self._jobs:
            self._hand_out()

    def untake(self, taker: Taker) -> None:
        """Forget a taker that has not been called yet; unknown ones are ignored."""
        for takers in (self._takers, self._patient):
            if taker in takers:
                takers.remove(taker)
        if not self._takers:
            self._stop_delay()

    def put_back(self, batch: list[Job]) -> None:
        """Return a batch that was handed out but never started to the front of the queue; the limit does not count."""
        self._jobs.extendleft(reversed(batch))
        self._hand_out()

    def fail_all(self, error: MMSError) -> None:
        """Fail every waiting job with `error`."""
        self._stop_delay()
        while self._jobs:
            self._jobs.popleft().fail(error)

    def close(self, error: MMSError) -> None:
        """Fail every waiting job and forget the takers."""
        self._takers.clear()
        self._patient.clear()
        self.fail_all(error)

    def _hand_out(self) -> None:
        while self._jobs:
            is_full = len(self._jobs) >= self._batch_size
            if self._takers:
                if not is_full and self._max_delay_s > 0:
                    if self._delay is None:
                        self._delay = asyncio.get_running_loop().call_later(self._max_delay_s, self._delay_is_over)
                    return
                self._stop_delay()
                self._hand_out_one(self._takers)
            elif is_full and self._patient:
                self._hand_out_one(self._patient)
            else:
                return

    def _delay_is_over(self) -> None:
        self._delay = None
        self._hand_out_one(self._takers)
        self._hand_out()

    def _hand_out_one(self, takers: deque[Taker]) -> None:
        batch: list[Job] = []
        while self._jobs and len(batch) < self._batch_size:
            job = self._jobs.popleft()
            if not job.abandoned:
                batch.append(job)
        if batch:
            takers.popleft()(batch)

    def _drop_abandoned(self, limit: int) -> bool:
        """Make room by forgetting jobs whose client has left; say whether there is room now."""
        self._jobs = deque(job for job in self._jobs if not job.abandoned)
        return len(self._jobs) < limit

    def _stop_delay(self) -> None:
        if self._delay is not None:
            self._delay.cancel()
            self._delay = None
