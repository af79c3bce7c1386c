"""The workers of one model: as many as were asked for. Runs in the front process."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mms.server.errors import ServiceUnavailableException
from mms.server.slot import Slot
from mms.server.workplace import WorkerState, Workplace


@dataclass(frozen=True)
class WorkerNumbers:
    """The counters that all pools of one server share."""

    number: Iterator[int]
    """Counts from 9000, since log readers know MMS's workers by their ports."""
    gpu_id: Callable[[], int | None]
    """The next GPU of the round, or None on a machine without."""


class WorkerPool:
    """The workers of one model: as many as were last asked for, each restarted when it dies."""

    def __init__(self, workplace: Workplace, numbers: WorkerNumbers) -> None:
        self.slots: list[Slot] = []
        self._workplace = workplace
        self._numbers = numbers

    @property
    def model_name(self) -> str:
        """Of the model that the workers run."""
        return self._workplace.spec.model_name

    @property
    def running(self) -> int:
        """How many workers are ready or on their way, as MMS counts them for /ping."""
        return sum(slot.state in (WorkerState.READY, WorkerState.LOADING) for slot in self.slots)

    @property
    def loading(self) -> list[Slot]:
        """Those that load for the first time, whoever asked for them; without those that end before they have."""
        staying = [slot for slot in self.slots if slot.state is not WorkerState.UNLOADING]
        return [slot for slot in staying if not slot.first_load.done()]

    @property
    def hopeful(self) -> bool:
        """Whether a request may expect an answer: false without workers, and when none of them can load its model."""
        # On the path of every request, where a generator costs more than what it asks.
        for slot in self.slots:  # noqa: SIM110
            if not slot.load_failed and slot.state is not WorkerState.UNLOADING:
                return True
        return False

    def scale(self, minimum: int, maximum: int) -> tuple[list[Slot], list[Slot]]:
        """Aim at `minimum` to `maximum` workers; return the slots that were started and those that end now.

        Fewer than `minimum`: up to it. More than `maximum`: the newest are drained. In between: nothing.
        """
        current = [slot for slot in self.slots if slot.state is not WorkerState.UNLOADING]
        surplus = current[maximum:]
        for slot in surplus:
            self._end(slot)
        started = [self._start_slot() for _ in range(minimum - len(current))]
        if surplus:
            self._give_up_waiting_jobs("it was scaled down")
        return started, surplus

    async def close(self, *, timeout_s: float) -> bool:
        """Drain every worker for at most `timeout_s` seconds, then end the rest; say whether all finished in time."""
        _, ending = self.scale(0, 0)
        tasks = [slot.task for slot in [*self.slots, *ending]]
        in_time = True
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout_s)
            in_time = not late
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        return in_time

    def _start_slot(self) -> Slot:
        slot = Slot(
            self._workplace,
            next(self._numbers.number),
            self._numbers.gpu_id(),
            on_load_failed=lambda: self._give_up_waiting_jobs("none could load it"),
            on_end=self.slots.remove,
            is_alone=lambda: len(self.slots) == 1,
        )
        self.slots.append(slot)
        return slot

    def _end(self, slot: Slot) -> None:
        loading = slot.worker is None
        slot.drain()
        if loading:
            # There is nothing to finish, and a load may take minutes.
            slot.cancel()

    def _give_up_waiting_jobs(self, why: str) -> None:
        """Unless there is hope of a worker, leave nobody waiting in vain."""
        if not self.hopeful:
            self._workplace.queue.fail_all(
                ServiceUnavailableException(
                    f"No worker is available to serve request for model: {self.model_name}: {why}."
                )
            )
