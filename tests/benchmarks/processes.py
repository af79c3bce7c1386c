"""What the processes of a server use: found anew each time, since workers come and go."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU time so far, in seconds, of the process that speaks HTTP and of all that it started."""

    front_s: float
    workers_s: float


class ServerProcesses:
    """The processes below the one that was started."""

    def __init__(self, pid: int, *, front_name: str = "") -> None:
        """`front_name`: of the process that speaks HTTP, where it is not the one that was started."""
        self._root = psutil.Process(pid)
        self._front_name = front_name

    @property
    def front(self) -> psutil.Process:
        """The process that speaks HTTP."""
        for child in self._root.children(recursive=True) if self._front_name else ():
            if child.name() == self._front_name:
                return child
        return self._root

    @property
    def workers(self) -> list[psutil.Process]:
        """The processes that run handlers: those without children of their own."""
        below = self.front.children(recursive=True)
        parents = {child.ppid() for child in below}
        return [child for child in below if child.pid not in parents]

    def cpu(self) -> Cpu:
        """Return the CPU time that was used so far."""
        front = self.front
        return Cpu(_total(front, _cpu_s), sum(_total(child, _cpu_s) for child in front.children(recursive=True)))

    def memory(self) -> dict[str, float]:
        """Return resident memory in MiB: of the front, and of one worker on average; and what is the workers' own."""
        workers = self.workers
        found = {"front_mib": _total(self.front, _rss) / MIB}
        if workers:
            found["worker_mib"] = _mean([_total(one, _rss) for one in workers]) / MIB
            found["worker_pss_mib"] = _mean([_total(one, _pss) for one in workers]) / MIB
        others = [one for one in self.front.children(recursive=True) if one not in workers]
        if others:
            found["parents_mib"] = sum(_total(one, _rss) for one in others) / MIB
        return found


def _total(process: psutil.Process, read: Callable[[psutil.Process], float]) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        return read(process)
    return 0.0


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _rss(process: psutil.Process) -> float:
    return float(process.memory_info().rss)


def _pss(process: psutil.Process) -> float:
    return float(process.memory_full_info().pss)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
