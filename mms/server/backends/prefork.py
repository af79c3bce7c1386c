"""The backend of `preload_model`: one process loads a model once and forks its workers. Runs in the front process."""

import asyncio
from functools import partial

from mms.protocol.messages import WorkerSpec
from mms.server.backends.base import LogLine
from mms.server.backends.host import Host
from mms.server.backends.process import ProcessBackend
from mms.server.backends.worker import ProcessWorker
from mms.server.config import Config

PROGRAM = "mms.worker.prefork"


class PreforkBackend:
    """Starts workers that share the memory of one loaded model: the host process of the model forks them.

    A host lives as long as it has a worker. If it dies before, the next start makes another.
    """

    def __init__(self, config: Config) -> None:
        self._processes = ProcessBackend(config)
        self._timeout_s = config.worker_start_timeout
        self._hosts: dict[WorkerSpec, Host] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self, spec: WorkerSpec, on_line: LogLine) -> ProcessWorker:
        """See WorkerBackend.start. What the host prints while it loads belongs to the worker that came first."""
        shared = spec._replace(gpu_id=None)
        host = self._hosts.get(shared)
        if host is None:
            name = f"The host process of model {shared.model_name}"
            loading = partial(self._load, shared, on_line)
            host = self._hosts[shared] = Host(name, loading, on_end=partial(self._forget, shared))
        try:
            with host.held():
                await host.loaded()
                worker = await host.fork(spec, on_line, timeout_s=self._timeout_s)
                await worker.start(spec, timeout_s=self._timeout_s)
        except BaseException:
            if host.ending is not None:
                await asyncio.wait((host.ending,))
            raise
        return worker

    async def close(self) -> None:
        """Wait until the hosts are gone; their workers have been stopped before."""
        while self._ending:
            await asyncio.wait(self._ending)

    async def _load(self, shared: WorkerSpec, on_line: LogLine, channel: int) -> ProcessWorker:
        return await self._processes.start(shared, on_line, program=PROGRAM, descriptors=[channel])

    def _forget(self, shared: WorkerSpec, ending: "asyncio.Task[None]") -> None:
        del self._hosts[shared]
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
