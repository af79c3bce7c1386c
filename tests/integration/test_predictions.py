"""Requests through everything: sockets, queue, worker processes, handlers."""

import asyncio
import io
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from fakes import until
from real import RunningServer, worker_processes

StartServer = Callable[..., Awaitable[RunningServer]]
MakeMar = Callable[..., Path]
Answered = tuple[int, bytes]

BATCHES = """
import time

def handle(data, context):
    if data is None:
        return None
    time.sleep(0.02)
    return [bytes(request["body"]) + b" of %d" % len(data) for request in data]
"""


class World:
    """A server and a client."""

    def __init__(self, running: RunningServer, client: aiohttp.ClientSession) -> None:
        self.running = running
        self.client = client

    async def ask(self, name: str, body: bytes = b"", content_type: str = "application/octet-stream") -> Answered:
        """Ask a model."""
        url = f"{self.running.inference}/predictions/{name}"
        async with self.client.post(url, data=io.BytesIO(body), headers={"Content-Type": content_type}) as response:
            return response.status, await response.read()

    async def manage(self, method: str, target: str) -> int:
        """Send a management call."""
        async with self.client.request(method, f"{self.running.management}{target}") as response:
            await response.read()
            return response.status

    async def error(self, name: str, body: bytes = b"") -> tuple[int, str, str]:
        """Ask a model that fails."""
        status, answer = await self.ask(name, body)
        document = json.loads(answer)
        assert document["code"] == status
        return status, document["type"], document["message"]

    async def workers(self, name: str) -> list[str]:
        """Return the states of a model's workers."""
        async with self.client.get(f"{self.running.management}/models/{name}") as response:
            return [worker["status"] for worker in (await response.json())["workers"]]


@pytest.fixture
async def world(server: StartServer, client: aiohttp.ClientSession, mar: MakeMar) -> Callable[..., Awaitable[World]]:
    """Start a server with these handlers of tests/handlers, each under its own name."""

    async def start(*handlers: str, **settings: object) -> World:
        for handler in handlers:
            mar(handler)
        return World(await server(load_models="ALL", **settings), client)

    return start


StartWorld = Callable[..., Awaitable[World]]


async def test_handler_sees_what_the_client_sent(world: StartWorld) -> None:
    w = await world("echo")
    _, body = await w.ask("echo", b'{"a": [1]}', "application/json")
    assert json.loads(body)["inputs"] == {"body": ["dict", {"a": [1]}]}
    _, body = await w.ask("echo", "größe".encode(), "text/plain")
    assert json.loads(body)["inputs"] == {"body": ["str", "größe"]}
    _, body = await w.ask("echo", b"\x00", "image/jpeg")
    document = json.loads(body)
    assert document["inputs"] == {"body": ["bytearray", "\x00"]}
    assert document["headers"]["body"] == {"content-type": "image/jpeg"}


@pytest.mark.parametrize(("content_type", "body"), [("application/json", b"{"), ("text/plain", b"\xff")])
async def test_body_that_cannot_be_decoded_is_the_clients_fault(
    world: StartWorld, content_type: str, body: bytes
) -> None:
    w = await world("echo")
    status, answer = await w.ask("echo", body, content_type)
    assert (status, json.loads(answer)["type"]) == (400, "BadRequestException")
    assert (await w.ask("echo", b"next"))[0] == 200


async def test_what_handlers_raise_is_answered_in_the_words_of_mms(world: StartWorld) -> None:
    w = await world("raises", "wrong_length")
    inner = "InternalServerException"
    assert await w.error("raises", b"ValueError") == (503, inner, "Prediction failed")
    assert await w.error("raises", b"418 short and stout") == (418, inner, "short and stout")
    assert await w.error("raises", b"MemoryError") == (507, inner, "Out of resources")
    assert await w.error("wrong_length") == (503, inner, "number of batch response mismatched")


@pytest.mark.parametrize("body", [b"SystemExit", b"KeyboardInterrupt"])
async def test_handler_that_ends_its_process_is_replaced(world: StartWorld, body: bytes) -> None:
    w = await world("raises")
    assert await w.error("raises", body) == (500, "InternalServerException", "Worker died.")
    assert (await w.error("raises", b"ValueError"))[0] == 503


async def test_kill_of_a_worker_fails_its_request_only(world: StartWorld) -> None:
    w = await world("slow")
    assert (await w.ask("slow", b"0"))[0] == 200
    [victim] = worker_processes()
    running = asyncio.create_task(w.ask("slow", b"1000"))
    await asyncio.sleep(0.05)
    queued = asyncio.create_task(w.ask("slow", b"0"))
    await asyncio.sleep(0.05)
    os.kill(victim.pid, signal.SIGKILL)
    status, body = await running
    assert (status, json.loads(body)["message"]) == (500, "Worker died.")
    assert await queued == (200, b"slept")
    log = w.running.config.log_location / "mms_log.log"
    await until(lambda: "died: SIGKILL, perhaps out of memory" in log.read_text())


async def test_slow_handler_is_replaced_after_its_time(world: StartWorld) -> None:
    w = await world("slow", default_response_timeout_seconds=1)
    assert await w.error("slow", b"1000") == (500, "InternalServerException", "Worker died.")
    assert await w.ask("slow", b"0") == (200, b"slept")


async def test_requests_share_batches(world: StartWorld, mar: MakeMar) -> None:
    mar(BATCHES, name="batches")
    w = await world()
    assert await w.manage("DELETE", "/models/batches") == 200
    target = "/models?url=batches.mar&batch_size=4&max_batch_delay=50&initial_workers=1"
    assert await w.manage("POST", target) == 200
    answers = await asyncio.gather(*(w.ask("batches", b"%d" % number) for number in range(8)))
    assert sorted(answers) == [(200, b"%d of 4" % number) for number in range(8)]
    assert await w.ask("batches", b"lone") == (200, b"lone of 1")


async def test_scaling_under_load_loses_nothing(world: StartWorld, mar: MakeMar) -> None:
    mar(BATCHES, name="batches")
    w = await world(job_queue_size=1000)
    asked = [asyncio.create_task(w.ask("batches", b"%d" % number)) for number in range(60)]
    for workers in (3, 1, 2):
        target = f"/models/batches?min_worker={workers}&max_worker={workers}&synchronous=true"
        assert await w.manage("PUT", target) == 200
        assert await w.workers("batches") == ["READY"] * workers
    assert await asyncio.gather(*asked) == [(200, b"%d of 1" % number) for number in range(60)]


async def test_unregister_under_load_answers_everybody(world: StartWorld, mar: MakeMar) -> None:
    mar(BATCHES, name="batches")
    w = await world()
    assert (await w.ask("batches"))[0] == 200
    asked = [asyncio.create_task(w.ask("batches")) for _ in range(20)]
    await asyncio.sleep(0.05)
    assert await w.manage("DELETE", "/models/batches") == 200
    assert {status for status, _ in await asyncio.gather(*asked)} <= {200, 503}
    assert worker_processes() == []
    assert list(w.running.config.temp_dir.glob("models/*")) == []


async def test_large_bodies_go_through(world: StartWorld, mar: MakeMar) -> None:
    mar("def handle(data, context):\n    return data and [bytes(r['body'])[::-1] for r in data]\n", name="reverse")
    w = await world(max_request_size=10_000_000, max_response_size=10_000_000)
    body = os.urandom(8 << 20)
    assert await w.ask("reverse", body) == (200, body[::-1])


async def test_download_registers_and_serves(world: StartWorld, mar: MakeMar, store: Path, tmp_path: Path) -> None:
    mar("echo").rename(tmp_path / "echo.mar")
    w = await world(allow_private_urls=True)
    site = web.AppRunner(web.Application())
    site.app.router.add_static("/", tmp_path)
    await site.setup()
    try:
        await web.TCPSite(site, "127.0.0.1", 0).start()
        port = site.addresses[0][1]
        target = f"/models?url=http://127.0.0.1:{port}/echo.mar&initial_workers=1"
        assert await w.manage("POST", target) == 200
    finally:
        await site.cleanup()
    assert (await w.ask("echo", b"x"))[0] == 200


async def test_lines_and_metrics_of_handlers_reach_the_logs(world: StartWorld, mar: MakeMar) -> None:
    mar(
        "def handle(data, context):\n"
        "    if data is None:\n        return None\n"
        "    print('said by the handler', flush=True)\n"
        "    context.metrics.add_counter('Cats', 3)\n"
        "    return ['x' for _ in data]\n",
        name="chatty",
    )
    w = await world()
    assert (await w.ask("chatty"))[0] == 200
    folder = w.running.config.log_location
    await until(lambda: "said by the handler" in (folder / "mms_log.log").read_text())
    await until(lambda: "Cats.Count:3|#" in (folder / "model_metrics.log").read_text())
    await until(lambda: '"POST /predictions/chatty HTTP/1.1" 200' in (folder / "access_log.log").read_text())
