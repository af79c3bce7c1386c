"""Fixtures for tests of the server: archives, configurations, servers, clients, and the parts without processes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from bench import Bench
from real import RunningServer, make_config, make_mar, running_server

from mms.server.config import Config


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The model store of `config` and `server`; `mar` fills it."""
    path = tmp_path / "store"
    path.mkdir(exist_ok=True)
    return path


@pytest.fixture
def mar(store: Path) -> Callable[..., Path]:
    """Build archives in the model store; see real.make_mar."""
    return lambda *args, **options: make_mar(store, *args, **options)


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    """Make configurations that keep to `tmp_path`; see real.make_config."""
    return lambda **settings: make_config(tmp_path, **settings)


@pytest.fixture
async def server(config: Callable[..., Config]) -> AsyncIterator[Callable[..., Awaitable[RunningServer]]]:
    """Start real servers, with these settings, in the test's own loop; they end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: object) -> RunningServer:
            return await stack.enter_async_context(running_server(config(**settings)))

        yield start


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield session


@pytest.fixture
async def bench() -> AsyncIterator[Callable[..., Bench]]:
    """Make benches: a model's queue and pool on a FakeBackend. The tasks of their slots end with the test."""
    yield Bench
    tasks = [task for task in asyncio.all_tasks() if task.get_name().startswith("worker-")]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
