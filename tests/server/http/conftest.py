"""Both APIs on real sockets, above a FakeBackend: everything of the front end but its processes."""

import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from apis import Apis
from fakes import FakeBackend, FakeObserver

from mms.protocol.messages import InferenceRequest, PredictReply
from mms.server.config import Config
from mms.server.http import openapi
from mms.server.http.app import Front
from mms.server.http.connection import Server
from mms.server.http.express import ExpressLane
from mms.server.http.inference import InferenceApi
from mms.server.http.listener import Listener
from mms.server.http.management import ManagementApi
from mms.server.model_store import ModelStore
from mms.server.registry import ModelRegistry


async def _listen(server: Server) -> tuple[Listener, int]:
    """Return what listens, and its port."""
    sock = socket.create_server(("127.0.0.1", 0))
    listener = Listener(server, shutdown_timeout_s=1)
    await listener.open(sock, None)
    return listener, sock.getsockname()[1]


@pytest.fixture
async def start_apis(
    config: Callable[..., Config], mar: Callable[..., Path]
) -> AsyncIterator[Callable[..., Awaitable[Apis]]]:
    """Start both APIs with these settings, with or without the express lane; the store holds echo.mar."""
    mar("echo")
    started: list[tuple[Apis, ModelStore, list[Listener]]] = []

    async def start(*, has_lane: bool, **settings: object) -> Apis:
        chosen = config(**settings)
        backend, observer = FakeBackend(), FakeObserver()
        store = ModelStore(chosen.model_store, chosen.temp_dir, allow_private_urls=chosen.allow_private_urls)
        registry = ModelRegistry(chosen, store, backend, observer)
        limit = chosen.max_request_size
        inference = InferenceApi(registry, max_request_bytes=limit)
        management = ManagementApi(registry, default_workers=chosen.default_workers_per_model, max_request_bytes=limit)
        fronts = [
            Front(chosen, [inference], openapi.inference_description()),
            Front(chosen, [management], openapi.management_description()),
        ]
        lane = ExpressLane(registry, observer, max_request_bytes=limit, cors=fronts[0].cors) if has_lane else None
        lenient = chosen.lenient_http
        listening = [
            await _listen(Server(fronts[0], observer, lane=lane, lenient=lenient)),
            await _listen(Server(fronts[1], observer, lane=None, lenient=lenient)),
        ]
        world = Apis(registry, backend, observer, *(port for _, port in listening))
        answer = backend.answer

        def remember(requests: Sequence[InferenceRequest]) -> PredictReply:
            world.requests += requests
            return answer(requests)

        backend.answer = remember
        started.append((world, store, [listener for listener, _ in listening]))
        return world

    yield start
    for world, store, listeners in started:
        world.backend.hold = False
        for worker in world.backend.alive:
            worker.die()
        for listener in listeners:
            await listener.close()
        await world.registry.close(timeout_s=0)
        store.close()


@pytest.fixture(params=["express", "aiohttp"])
def apis(request: pytest.FixtureRequest, start_apis: Callable[..., Awaitable[Apis]]) -> Callable[..., Awaitable[Apis]]:
    """Start both APIs with these settings. Every test runs twice: ordinary predictions may take two ways."""
    return functools.partial(start_apis, has_lane=request.param == "express")
