"""Endpoint plugins on a real server, as their clients see them."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fakes import until
from plugin_packages import PluginPackages
from real import RunningServer

from mms.server.config import Address

StartServer = Callable[..., Awaitable[RunningServer]]

PARROT = """
class Parrot(ModelServerEndpoint):
    url_pattern = "parrot"
    description = "Repeat."

    def do_get(self, request, response, context):
        response.write_json({
            "method": request.method, "uri": request.uri, "path": request.path,
            "parameters": {name: list(values) for name, values in request.parameters.items()},
            "first": request.parameter("a"), "missing": request.parameter("zzz"),
            "header": request.header("X-Twice"),
        })

    async def do_post(self, request, response, context):
        response.set_status(201, "Said")
        response.set_header("X-Word", "one")
        response.set_header("x-word", "two")
        response.add_header("X-Many", "1")
        response.add_header("X-Many", "2")
        response.set_content_type(request.content_type or "text/plain")
        response.write(request.stream.read(4))
        response.write(request.body[4:])
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PluginPackages:
    return PluginPackages(tmp_path, monkeypatch)


async def start_with(packages: PluginPackages, server: StartServer, body: str, **settings: object) -> RunningServer:
    """Start a server with a plugin at /it, whose class has this body."""
    lines = "\n".join(f"    {line}" for line in ('url_pattern = "it"', *body.strip("\n").split("\n")))
    packages.install(f"class It(ModelServerEndpoint):\n{lines}\n", it="It")
    return await server(plugins=("it",), **settings)


async def test_a_plugin_sees_the_whole_request(packages: PluginPackages, server: StartServer) -> None:
    packages.install(PARROT, parrot="Parrot")
    running = await server(plugins=("parrot",))
    async with await running.open() as wire:
        target = b"/parrot/be%20low?a=1&a=2&b=x+y&flag"
        wire.send(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\nX-Twice: 1\r\nx-twice: 2\r\n\r\n")
        response = await wire.answer()
    assert (response.status, response.header("content-type")) == (200, "application/json")
    assert json.loads(response.body) == {
        "method": "GET",
        "uri": "/parrot/be%20low?a=1&a=2&b=x+y&flag",
        "path": "/parrot/be low",
        "parameters": {"a": ["1", "2"], "b": ["x y"], "flag": [""]},
        "first": "1",
        "missing": None,
        "header": "1, 2",
    }


async def test_an_answer_is_what_the_plugin_made_and_the_headers_of_every_answer(
    packages: PluginPackages, server: StartServer
) -> None:
    packages.install(PARROT, parrot="Parrot")
    running = await server(plugins=("parrot",))
    async with await running.open() as wire:
        wire.send(b"POST /parrot HTTP/1.1\r\nHost: h\r\nContent-Type: a/b\r\nContent-Length: 9\r\n\r\nPolly yes")
        response = await wire.answer()
    assert (response.status, response.reason, response.body) == (201, "Said", b"Polly yes")
    assert response.header("content-type") == "a/b"
    assert response.header("x-word") == "two"
    assert [value for name, value in response.headers if name == "X-Many"] == ["1", "2"]
    assert response.header("x-request-id")
    assert response.header("pragma") == "no-cache"


async def test_head_is_get_without_the_body(packages: PluginPackages, server: StartServer) -> None:
    running = await start_with(packages, server, "def do_get(self, q, r, c): r.write('12345')")
    async with await running.open() as wire:
        wire.send(b"HEAD /it HTTP/1.1\r\nHost: h\r\n\r\n")
        response = await wire.answer(head_only=True)
        assert (response.status, response.header("content-length")) == (200, "5")
        wire.send(b"GET /it HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await wire.answer()).body == b"12345"


async def test_an_answer_without_a_body_is_empty(
    packages: PluginPackages, server: StartServer, client: aiohttp.ClientSession
) -> None:
    running = await start_with(packages, server, "async def do_delete(self, q, r, c): r.set_status(204)")
    async with client.delete(f"{running.inference}/it") as response:
        assert (response.status, await response.read()) == (204, b"")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_a_method_that_the_plugin_does_not_have_is_405(
    method: str, packages: PluginPackages, server: StartServer, client: aiohttp.ClientSession
) -> None:
    packages.install(PARROT, parrot="Parrot")
    running = await server(plugins=("parrot",))
    async with client.request(method, f"{running.inference}/parrot") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET, POST, HEAD"
        assert (await response.json())["type"] == "MethodNotAllowedException"


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    "failure",
    [
        "raise ValueError('it broke')",
        "raise SystemExit('it broke')",
        "raise StopIteration('it broke')",
        "r.set_header('X-A', 'b\\r\\nX-Evil: it broke')",
        "r.headers.append(('X-A\\r\\nX-Evil', 'it broke'))",
        "r.set_status(42)",
        "r.status = 'it broke'",
        "r.set_status(200, 'it\\nbroke')",
        "r.reason = 'it\\r\\nbroke'",
    ],
)
async def test_a_failing_plugin_is_a_500_with_its_traceback_in_the_log(
    kind: str,
    failure: str,
    packages: PluginPackages,
    server: StartServer,
    client: aiohttp.ClientSession,
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = await start_with(packages, server, f"{kind} do_get(self, q, r, c):\n    {failure}")
    with caplog.at_level(logging.ERROR):
        async with client.get(f"{running.inference}/it") as response:
            assert response.status == 500
            assert "X-Evil" not in response.headers
            document = await response.json()
    assert document == {
        "code": 500,
        "type": "InternalServerException",
        "message": "Internal server error; the log has the details.",
    }
    assert "Traceback" in caplog.text
    async with client.get(f"{running.inference}/ping") as response:
        assert response.status == 200


async def test_a_plugin_that_blocks_holds_nobody_up(
    packages: PluginPackages, server: StartServer, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    blocking = (
        f"import pathlib, time\ngate = pathlib.Path({str(gate)!r})\n"
        "def do_get(self, q, r, c):\n    while not self.gate.exists(): self.time.sleep(0.01)\n    r.write('done')"
    )
    running = await start_with(packages, server, blocking)
    requests = [asyncio.create_task(client.get(f"{running.inference}/it")) for _ in range(3)]
    async with client.get(f"{running.inference}/ping") as response:
        assert response.status == 200
    assert not any(request.done() for request in requests)
    gate.touch()
    for request in requests:
        response = await request
        assert await response.text() == "done"


async def test_a_plugin_that_never_returns_does_not_keep_the_server_from_ending(
    packages: PluginPackages, server: StartServer, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    endless = (
        f"import pathlib, threading\nstarted = pathlib.Path({str(started)!r})\n"
        "def do_get(self, q, r, c):\n    self.started.touch()\n    self.threading.Event().wait()"
    )
    running = await start_with(packages, server, endless, shutdown_timeout=0.1)
    async with await running.open() as wire:
        wire.send(b"GET /it HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(started.exists)
    # That the server ends is what the fixture waits for.


async def test_an_undecorated_wrapper_of_an_async_method_works(
    packages: PluginPackages, server: StartServer, client: aiohttp.ClientSession
) -> None:
    wrapped = "async def real(self, q, r, c): r.write('awaited')\ndef do_get(self, q, r, c): return self.real(q, r, c)"
    running = await start_with(packages, server, wrapped)
    async with client.get(f"{running.inference}/it") as response:
        assert await response.text() == "awaited"


async def test_a_body_that_is_too_large_is_413(
    packages: PluginPackages, server: StartServer, client: aiohttp.ClientSession
) -> None:
    packages.install(PARROT, parrot="Parrot")
    running = await server(plugins=("parrot",), max_request_size=10)
    async with client.post(f"{running.inference}/parrot", data=b"x" * 11) as response:
        assert response.status == 413
    async with client.post(f"{running.inference}/parrot", data=b"x" * 10) as response:
        assert response.status == 201


async def test_a_plugin_answers_on_its_own_port_only(
    packages: PluginPackages, server: StartServer, client: aiohttp.ClientSession
) -> None:
    packages.install(PARROT, parrot="Parrot")
    packages.install(PARROT.replace('"parrot"', '"cage"\n    endpoint_type = "management"', 1), cage="Parrot")
    running = await server(plugins=("parrot", "cage"))
    statuses = {}
    for port, address in (("inference", running.inference), ("management", running.management)):
        for path in ("parrot", "cage"):
            async with client.get(f"{address}/{path}") as response:
                statuses[port, path] = response.status
    assert statuses == {
        ("inference", "parrot"): 200,
        ("inference", "cage"): 404,
        ("management", "parrot"): 404,
        ("management", "cage"): 200,
    }


async def test_one_port_for_both_apis_has_both_kinds_of_plugins(
    packages: PluginPackages, server: StartServer, tmp_path: Path
) -> None:
    packages.install(PARROT, parrot="Parrot")
    packages.install(PARROT.replace('"parrot"', '"cage"\n    endpoint_type = "management"', 1), cage="Parrot")
    both = Address("unix", path=str(tmp_path / "both.sock"))
    await server(plugins=("parrot", "cage"), inference_address=both, management_address=both)
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(both.path)) as client:
        for path in ("parrot", "cage", "ping", "models"):
            async with client.get(f"http://h/{path}") as response:
                assert response.status == 200


@pytest.mark.parametrize(
    ("pattern", "request_line"),
    [
        ("ping", "GET /ping"),
        ("predictions", "POST /predictions/echo"),
        ("invocations", "POST /invocations"),
        ("models", "POST /models/echo/invoke"),
    ],
)
async def test_a_plugin_takes_the_place_of_a_route_of_the_server(
    pattern: str, request_line: str, packages: PluginPackages, server: StartServer, client: aiohttp.ClientSession
) -> None:
    mine = f"""
class Mine(ModelServerEndpoint):
    url_pattern = "{pattern}"

    def do_get(self, request, response, context):
        response.write("mine")

    do_post = do_get
"""
    packages.install(mine, mine="Mine")
    running = await server(plugins=("mine",))
    method, path = request_line.split()
    async with client.request(method, running.inference + path) as response:
        assert await response.text() == "mine"


async def description(client: aiohttp.ClientSession, address: str) -> dict[str, Any]:
    async with client.options(f"{address}/") as response:
        document: dict[str, Any] = await response.json()
        return document


async def test_the_api_description_has_the_plugins(
    packages: PluginPackages, server: StartServer, client: aiohttp.ClientSession
) -> None:
    packages.install(PARROT, parrot="Parrot")
    running = await server(plugins=("parrot", "sagemaker-ping"))
    paths = (await description(client, running.inference))["paths"]
    assert sorted(paths["/parrot"]) == ["get", "post"]
    assert paths["/parrot"]["get"]["description"] == "Repeat."
    assert "SageMaker" in paths["/ping"]["get"]["description"]
    assert "/predictions/{model_name}" in paths
    assert "/parrot" not in (await description(client, running.management))["paths"]


async def test_without_plugins_nothing_is_different(server: StartServer, client: aiohttp.ClientSession) -> None:
    running = await server()
    assert len((await description(client, running.inference))["paths"]) == 7
    async with client.get(f"{running.inference}/execution-parameters") as response:
        assert response.status == 404


async def test_a_plugin_sees_models_workers_and_settings(
    packages: PluginPackages, server: StartServer, client: aiohttp.ClientSession, mar: Callable[..., Path]
) -> None:
    mar("echo")
    body = """
def do_get(self, request, response, context):
    models = [[m.name, m.url, m.handler, [w.is_running for w in m.workers]] for m in context.models.values()]
    response.write_json({"models": models, "limit": context.config["max_request_size"]})
"""
    running = await start_with(packages, server, body, max_request_size=1000)

    async def seen() -> Any:
        async with client.get(f"{running.inference}/it") as response:
            return json.loads(await response.text())

    assert await seen() == {"models": [], "limit": "1000"}
    register = f"{running.management}/models?url=echo.mar&initial_workers=1"
    async with client.post(register) as response:
        assert response.status == 200
    assert await seen() == {"models": [["echo", "echo.mar", "echo.py", [True]]], "limit": "1000"}
