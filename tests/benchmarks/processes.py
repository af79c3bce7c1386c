"""What the processes of a server use: found anew each time, since workers come and go."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU time so far, in seconds, of the process that speaks HTTP and of all others of the server."""

    front_s: float
    workers_s: float


class ServerProcesses:
    """The process that was started, and all below it."""

    def __init__(self, pid: int, *, front_name: str = "", worker_name: str = "") -> None:
        """See Peer.front_name and Peer.worker_name."""
        self._root = psutil.Process(pid)
        self._front_name = front_name
        self._worker_name = worker_name

    @property
    def front(self) -> psutil.Process:
        """The process that speaks HTTP."""
        for child in self._root.children(recursive=True) if self._front_name else ():
            if _name(child) == self._front_name:
                return child
        return self._root

    @property
    def others(self) -> list[psutil.Process]:
        """All but the front."""
        front = self.front
        return [one for one in (self._root, *self._root.children(recursive=True)) if one != front]

    @property
    def workers(self) -> list[psutil.Process]:
        """The processes that run handlers: those with their name, or those without children of their own."""
        others = self.others
        if self._worker_name:
            return [one for one in others if _name(one) == self._worker_name]
        parents = {one.ppid() for one in (self.front, *others)}
        return [one for one in others if one.pid not in parents and not _is_blank_host(one)]

    def cpu(self) -> Cpu:
        """Return the CPU time that was used so far, by those that have ended as well."""
        front = self.front
        workers_s = _total(front, _ended_children_s)
        for one in self.others:
            workers_s += _total(one, _cpu_s) + _total(one, _ended_children_s)
        return Cpu(_total(front, _cpu_s), workers_s)

    def memory(self) -> dict[str, float]:
        """Return memory in MiB: resident, of the front and of one worker on average; proportional, of the same."""
        front, workers = self.front, self.workers
        found = {"front_mib": _total(front, _rss) / MIB, "front_pss_mib": _total(front, _pss) / MIB}
        if workers:
            found["worker_mib"] = _mean([_total(one, _rss) for one in workers]) / MIB
            found["worker_pss_mib"] = _mean([_total(one, _pss) for one in workers]) / MIB
        rest = [one for one in self.others if one not in workers]
        if rest:
            found["parents_mib"] = sum(_total(one, _rss) for one in rest) / MIB
        return found


def _is_blank_host(process: psutil.Process) -> bool:
    """Say whether this is the process of ours that forks workers, which has none at the moment."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return "mms.worker.blank" in process.cmdline()
    return False


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


def _total(process: psutil.Process, read: Callable[[psutil.Process], float]) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        return read(process)
    return 0.0


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _ended_children_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


def _rss(process: psutil.Process) -> float:
    return float(process.memory_info().rss)


def _pss(process: psutil.Process) -> float:
    return float(process.memory_full_info().pss)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
