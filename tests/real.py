"""Real things to test with: archives, configurations, running servers and bare connections to them."""

import asyncio
import contextlib
import gc
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from fakes import DEADLINE_S

from mms.server.config import Config
from mms.server.config.address import Address
from mms.server.model_server import ModelServer
from model_archiver.archive import ArchiveFile, write_mar
from model_archiver.manifest import Manifest, Model

HANDLERS = Path(__file__).parent / "handlers"
FREE_PORT = Address("http", "127.0.0.1", 0)


def make_model(folder: Path, handler: str, files: Mapping[str, str] | None = None) -> Path:
    """Write the files of a model: a handler of tests/handlers by its name, or a `service.py` of this text."""
    folder.mkdir(parents=True)
    is_text = "\n" in handler
    name = "service.py" if is_text else f"{handler}.py"
    (folder / name).write_text(handler if is_text else (HANDLERS / name).read_text())
    for path, text in (files or {}).items():
        (folder / path).write_text(text)
    return folder


def make_mar(
    store: Path,
    handler: str = "echo",
    *,
    name: str | None = None,
    files: Mapping[str, str] | None = None,
    **manifest: str,
) -> Path:
    """Write `<name>.mar` into a model store; `manifest` are fields of its Model, such as `version`."""
    is_text = "\n" in handler
    name = name or ("service" if is_text else handler)
    file = "service.py" if is_text else f"{handler}.py"
    model = replace(Model(name=name, handler=file), **manifest)  # type: ignore[arg-type]  # texts all
    archive = store / f"{name}.mar"
    with tempfile.TemporaryDirectory() as scratch:
        source = make_model(Path(scratch, "model"), handler, files)
        packed = [ArchiveFile(path.name, path) for path in sorted(source.iterdir())]
        write_mar(archive, packed, Manifest(model=model, runtime="python"))
    return archive


def make_config(folder: Path, **settings: object) -> Config:
    """Make the configuration of a server that keeps to `folder` and takes free ports."""
    for name in ("store", "temp", "logs"):
        (folder / name).mkdir(exist_ok=True)
    usual: dict[str, object] = {
        "inference_address": FREE_PORT,
        "management_address": FREE_PORT,
        "model_store": folder / "store",
        "temp_dir": folder / "temp",
        "log_location": folder / "logs",
        "metrics_location": folder / "logs",
        "worker_start_timeout": 30.0,
        "unregister_model_timeout": 5.0,
        "shutdown_timeout": 5.0,
    }
    return Config(**(usual | settings))  # type: ignore[arg-type]  # named by the tests


@dataclass(frozen=True)
class RunningServer:
    """A ModelServer that listens."""

    server: ModelServer
    config: Config

    @property
    def inference(self) -> str:
        """The address of the inference API."""
        return self.server.addresses[0]

    @property
    def management(self) -> str:
        """The address of the management API."""
        return self.server.addresses[-1]

    async def open(self) -> "Wire":
        """Connect to the inference API, without any HTTP."""
        host, _, port = self.inference.removeprefix("http://").rpartition(":")
        return await Wire.open(host, int(port))


@contextlib.asynccontextmanager
async def running_server(config: Config) -> AsyncIterator[RunningServer]:
    """Run a ModelServer in this loop; whatever it raises, it raises here."""
    server = ModelServer(config)
    ready = asyncio.Event()
    task = asyncio.create_task(server.run(on_ready=ready.set))
    waiting = asyncio.create_task(ready.wait())
    try:
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        if ready.is_set():
            yield RunningServer(server, config)
    finally:
        waiting.cancel()
        server.stop()
        await task
        gc.unfreeze()


def worker_processes() -> list[psutil.Process]:
    """Return the processes that servers in this one run handlers in, or load models for them."""
    alive = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE and not is_blank_host(child):
                alive.append(child)
    return alive


def runs(pid: int | None) -> bool:
    """Say whether a process runs; one that only waits to be reaped does not, nor one that ends at this very moment."""
    try:
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_blank_host(process: psutil.Process) -> bool:
    """Say whether this is the process that forks workers, and none of them."""
    try:
        return "mms.worker.blank" in process.cmdline()
    except psutil.Error:
        return False


@dataclass(frozen=True, slots=True)
class Response:
    """An answer as it came over the wire."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the one header of that name; names differ in their case."""
        found = [value for key, value in self.headers if key.lower() == name]
        assert len(found) < 2, f"{name} was sent {len(found)} times"
        return found[0] if found else None


class Wire:
    """A bare connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> "Wire":
        """Connect."""
        return cls(*await asyncio.open_connection(host, port))

    async def __aenter__(self) -> "Wire":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    async def answer(self, *, head_only: bool = False) -> Response:
        """Read one answer; `head_only` for those to a HEAD request."""
        async with asyncio.timeout(DEADLINE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head[:-4].split("\r\n")
            version, status, reason = status_line.split(" ", 2)
            assert version == "HTTP/1.1"
            headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
            response = Response(int(status), reason, headers, b"")
            length = int(response.header("content-length") or 0)
            body = b"" if head_only else await self.reader.readexactly(length)
        return replace(response, body=body)

    async def is_closed(self) -> bool:
        """Wait for the server to close, and say whether it did so without another byte."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.read() == b""
