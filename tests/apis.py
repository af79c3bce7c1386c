"""Both HTTP APIs on real sockets, as a test speaks to them."""

from dataclasses import dataclass, field

from fakes import FakeBackend, FakeObserver
from real import Response, Wire

from mms.protocol.messages import InferenceRequest
from mms.server.model import Model, RegisterModelRequest
from mms.server.registry import ModelRegistry


@dataclass
class Apis:
    """The two APIs and what is behind them."""

    registry: ModelRegistry
    backend: FakeBackend
    observer: FakeObserver
    inference_port: int
    management_port: int
    requests: list[InferenceRequest] = field(default_factory=list)
    """All that workers got."""

    async def open(self, *, management: bool = False) -> Wire:
        """Connect to one of the APIs."""
        return await Wire.open("127.0.0.1", self.management_port if management else self.inference_port)

    async def send(self, data: bytes, *, management: bool = False) -> Response:
        """Send one request on a connection of its own and return its answer."""
        async with await self.open(management=management) as wire:
            wire.send(data)
            return await wire.answer(head_only=data.startswith(b"HEAD"))

    async def ask(
        self, line: str, body: bytes = b"", *, content_type: str | None = None, management: bool = False
    ) -> Response:
        """Send `METHOD /target` with a body and return the answer."""
        head = f"{line} HTTP/1.1\r\nHost: here\r\n"
        if content_type is not None:
            head += f"Content-Type: {content_type}\r\n"
        if body:
            head += f"Content-Length: {len(body)}\r\n"
        return await self.send(f"{head}\r\n".encode("latin-1") + body, management=management)

    async def manage(self, line: str, body: bytes = b"", *, content_type: str | None = None) -> Response:
        """Send a request to the management API."""
        return await self.ask(line, body, content_type=content_type, management=True)

    async def model(
        self, name: str = "echo", *, workers: int = 1, at_startup: bool = False, batch_size: int = 1
    ) -> Model:
        """Register echo.mar under a name."""
        model = await self.registry.register(
            RegisterModelRequest(url="echo.mar", model_name=name, at_startup=at_startup, batch_size=batch_size)
        )
        if workers:
            await self.registry.start_workers(model, workers, wait=True)
        return model
