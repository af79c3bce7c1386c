"""The front end without sockets and processes: a client that is a list, and a worker that answers at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import cast

from mms.protocol.messages import InferenceRequest, Prediction, PredictReply, WorkerSpec
from mms.server.backends.base import Answered, LogLine
from mms.server.config import Config
from mms.server.http.express import ExpressLane, Head
from mms.server.logs import Logs
from mms.server.model import RegisterModelRequest
from mms.server.model_store import ModelStore
from mms.server.registry import ModelRegistry
from model_archiver.archive import write_dir
from model_archiver.manifest import Manifest, Model

MAX_REQUEST_BYTES = 1 << 20


class Client:
    """A connection: it is its own transport, and keeps what was written to it. Also stands for whoever waits."""

    peer = "127.0.0.1:50000"
    head: Head | None = None

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        # Of all that a transport can, the lane uses two methods.
        self.transport: asyncio.Transport | None = cast(asyncio.Transport, self)

    def ask(self, lane: ExpressLane, data: bytes) -> None:
        """Let the bytes of one request arrive."""
        ride = lane.board(self, data)
        if ride is None:
            raise ValueError("not a request for the express lane")
        ride.more(data[ride.start :])

    def ride_is_over(self, rest: bytes) -> None:
        """See express.Line."""

    def write(self, data: bytes) -> None:
        """asyncio.Transport: send."""
        self.answers.append(data)

    def is_closing(self) -> bool:
        """asyncio.Transport: whether it is closed."""
        return False

    def done(self) -> bool:
        """See batching.Waiter."""
        return False

    def set_result(self, result: object, /) -> None:
        """See batching.Waiter."""

    def set_exception(self, error: BaseException, /) -> None:
        """See batching.Waiter."""


class InstantWorker:
    """A worker without a process."""

    pid = None

    def __init__(self) -> None:
        self._gone = asyncio.Event()

    def predict(self, requests: Sequence[InferenceRequest], answered: Answered) -> None:
        """See Worker.predict."""
        reply = PredictReply([Prediction(b"OK") for _ in requests], (), 0.01)
        asyncio.get_running_loop().call_soon(answered, reply)

    async def wait(self) -> str:
        """See Worker.wait."""
        await self._gone.wait()
        return "stopped"

    def memory_usage(self) -> int:
        """See Worker.memory_usage."""
        return 0

    async def stop(self, *, grace_s: float) -> None:
        """See Worker.stop."""
        self._gone.set()


class InstantBackend:
    """Makes such workers."""

    async def start(self, spec: WorkerSpec, on_line: LogLine) -> InstantWorker:
        """See WorkerBackend.start."""
        return InstantWorker()

    async def close(self) -> None:
        """See WorkerBackend.close."""


@contextlib.asynccontextmanager
async def front(folder: Path, logs: Logs) -> AsyncIterator[ExpressLane]:
    """Make the express lane of a server with one model, `bench`, and one worker."""
    model = folder / "store" / "bench"
    model.mkdir(parents=True)
    write_dir(model, [], Manifest(model=Model(name="bench", handler="bench.py"), runtime="python"))
    config = Config(model_store=model.parent, temp_dir=folder)
    store = ModelStore(config.model_store, config.temp_dir, allow_private_urls=False)
    registry = ModelRegistry(config, store, InstantBackend(), logs)
    try:
        registered = await registry.register(RegisterModelRequest(url="bench"))
        await registered.scale(1, 1, wait=True)
        yield ExpressLane(registry, logs, max_request_bytes=MAX_REQUEST_BYTES, cors=())
    finally:
        await registry.close(timeout_s=5.0)
        store.close()
