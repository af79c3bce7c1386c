"""The seam between the pool and whatever runs workers. Runs in the front process."""

from collections.abc import Callable, Sequence
from typing import Protocol

from mms.protocol.messages import InferenceRequest, PredictReply, WorkerSpec

LogLine = Callable[[str, str], None]
"""Called with the stream (`stdout` or `stderr`) and one line of text that a worker printed."""
Answered = Callable[[PredictReply | None], None]
"""Called once with the reply to a batch, or with None if the worker ended first."""


class Worker(Protocol):
    """One loaded model in one worker."""

    @property
    def pid(self) -> int | None:
        """Of the local process, or None where the backend has none."""

    def predict(self, requests: Sequence[InferenceRequest], answered: Answered) -> None:
        """Start on one batch, and call `answered` later, never from within this call.

        Raises WorkerDied when the worker is gone already and nothing was sent to it.
        May be called again before an earlier batch is answered; answers come in the order of the calls.
        """

    async def wait(self) -> str:
        """Return when the worker is gone, with the reason in words."""

    def memory_usage(self) -> int:
        """Resident bytes, 0 if unknown."""

    async def stop(self, *, grace_s: float) -> None:
        """End the worker: ask, wait `grace_s` seconds, then force. Returns when it is gone; may be called again."""


class WorkerBackend(Protocol):
    """Starts workers."""

    async def start(self, spec: WorkerSpec, on_line: LogLine) -> Worker:
        """Return a worker that has loaded its model. Raises WorkerInitializationException."""

    async def close(self) -> None:
        """Release what the backend itself holds; its workers have been stopped before."""
