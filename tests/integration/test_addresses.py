"""Where the server listens: IPv6, a free port, and both APIs at one address."""

import socket
from collections.abc import Callable

import aiohttp
import pytest
from real import running_server

from mms.server.config import Address, Config

MakeConfig = Callable[..., Config]


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
async def test_ipv6_literal(config: MakeConfig, client: aiohttp.ClientSession) -> None:
    async with running_server(config(inference_address=Address("http", "::1", 0))) as running:
        assert "[::1]" in running.inference
        async with client.get(f"{running.inference}/ping") as answer:
            assert await answer.json() == {"status": "Healthy"}


async def test_one_address_serves_both_apis(config: MakeConfig, client: aiohttp.ClientSession) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    one = Address("http", "127.0.0.1", port)
    async with running_server(config(inference_address=one, management_address=one)) as running:
        for path in ("/ping", "/models"):
            async with client.get(f"{running.inference}{path}") as answer:
                assert answer.status == 200
        async with client.options(f"{running.inference}/") as answer:
            paths = (await answer.json())["paths"]
        assert {"/ping", "/models", "/predictions/{model_name}"} <= set(paths)
