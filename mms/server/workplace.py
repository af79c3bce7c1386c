"""What the workers of one model have in common: their model, their queue, their backend. Runs in the front process."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mms.protocol.messages import MetricRecord, WorkerSpec
from mms.server.backends.base import WorkerBackend
from mms.server.batching import BatchQueue

# MMS: wlm/WorkerThread.java; the leading 0 of its table is never used. Seconds; the last one repeats.
BACKOFF_S = (1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597)


class WorkerState(StrEnum):
    """What a worker is doing, in the words of the describe API."""

    LOADING = "LOADING"
    READY = "READY"
    FAILED = "FAILED"
    UNLOADING = "UNLOADING"


class PoolObserver(Protocol):
    """Hears of what the log files are about."""

    def worker_line(self, model_name: str, number: int, stream: str, line: str) -> None:
        """Take a line that a worker printed."""

    def model_metrics(self, records: Sequence[MetricRecord]) -> None:
        """Take what a handler recorded during one batch."""

    def prediction_time(self, model_name: str, request_ids: Sequence[str], milliseconds: float) -> None:
        """Take how long a handler worked on one batch."""

    def worker_loaded(self, model_name: str, number: int, milliseconds: int) -> None:
        """Take the time that a worker needed to be ready."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """What all workers of one model share."""

    spec: WorkerSpec
    queue: BatchQueue
    backend: WorkerBackend
    response_timeout_s: float
    observer: PoolObserver
    backoff_s: Sequence[float] = BACKOFF_S
    """Pauses before a restart, one for every failure in a row; the last one repeats."""
