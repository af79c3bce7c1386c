"""The server as a whole: how it starts, where it listens, what it loads, and that nothing of it stays."""

import asyncio
import contextlib
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import psutil
import pytest
from fakes import DEADLINE_S, until
from real import RunningServer, make_model, running_server, worker_processes

from mms.server.config import Address, Config, StartupModel
from mms.server.model_server import ModelServer

StartServer = Callable[..., Awaitable[RunningServer]]
MakeConfig = Callable[..., Config]
MakeMar = Callable[..., Path]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


async def get(client: aiohttp.ClientSession, url: str) -> object:
    async with client.get(url) as response:
        return await response.json()


async def names(client: aiohttp.ClientSession, running: RunningServer) -> list[str]:
    document = await get(client, f"{running.management}/models")
    assert isinstance(document, dict)
    return [model["modelName"] for model in document["models"]]


async def predict(client: aiohttp.ClientSession, running: RunningServer, name: str, body: str) -> tuple[int, str]:
    async with client.post(f"{running.inference}/predictions/{name}", data=body.encode()) as response:
        return response.status, await response.text()


def temp_left(config: Config) -> list[str]:
    return [path.name for path in config.temp_dir.iterdir()]


async def test_two_addresses_serve_an_api_each(server: StartServer, client: aiohttp.ClientSession) -> None:
    running = await server()
    assert await get(client, f"{running.inference}/ping") == {"status": "Healthy"}
    assert await get(client, f"{running.management}/models") == {"models": []}
    assert (await client.get(f"{running.management}/ping")).status == 404
    assert (await client.get(f"{running.inference}/models")).status == 404


async def test_one_address_serves_both(server: StartServer, client: aiohttp.ClientSession) -> None:
    both = Address("http", "127.0.0.1", free_port())
    running = await server(inference_address=both, management_address=both)
    assert running.server.addresses == [str(both)]
    assert await get(client, f"{both}/ping") == {"status": "Healthy"}
    assert await get(client, f"{both}/models") == {"models": []}
    document = await get(client, f"{both}/api-description")
    assert isinstance(document, dict)
    assert {"/ping", "/models"} <= set(document["paths"])


async def test_unix_socket_serves_and_is_removed(server: StartServer, config: MakeConfig, tmp_path: Path) -> None:
    path = tmp_path / "inference.sock"
    async with running_server(config(inference_address=Address("unix", path=str(path)))) as running:
        assert running.inference == f"unix:{path}"
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as local,
            local.get("http://here/ping") as response,
        ):
            assert response.status == 200
    assert not path.exists()


async def test_unix_socket_left_behind_is_replaced(config: MakeConfig, tmp_path: Path) -> None:
    path = tmp_path / "inference.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with running_server(config(inference_address=Address("unix", path=str(path)))):
        assert stat.S_ISSOCK(path.stat().st_mode)


async def test_unix_socket_in_use_is_left_alone(config: MakeConfig, tmp_path: Path) -> None:
    path = tmp_path / "inference.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(OSError, match="another server listens there|another program"):
            await ModelServer(config(inference_address=Address("unix", path=str(path)))).run(on_ready=lambda: None)
    assert path.exists()


async def test_file_in_the_place_of_a_unix_socket_is_left_alone(config: MakeConfig, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match=f"Failed to bind to address unix:{path}"):
        await ModelServer(config(inference_address=Address("unix", path=str(path)))).run(on_ready=lambda: None)
    assert path.read_text() == "data"


async def test_port_in_use_is_named_and_everything_closed(config: MakeConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = Address("http", "127.0.0.1", other.getsockname()[1])
        settings = config(management_address=taken)
        with pytest.raises(OSError, match=f"Failed to bind to address {taken}.*another program listens there"):
            await ModelServer(settings).run(on_ready=lambda: None)
    assert temp_left(settings) == []
    assert psutil.Process().children() == []


async def test_startup_models_are_loaded_and_serve(
    server: StartServer, client: aiohttp.ClientSession, mar: MakeMar
) -> None:
    mar("echo")
    mar("class_style")
    models = (StartupModel("echo.mar"), StartupModel("class_style.mar", "mine"))
    running = await server(load_models=models, startup_workers=2)
    assert await names(client, running) == ["echo", "mine"]
    status, text = await predict(client, running, "mine", "x")
    assert (status, '"model": "mine"' in text) == (200, True)
    document = await get(client, f"{running.management}/models/mine")
    assert isinstance(document, dict)
    assert (document["loadedAtStartup"], len(document["workers"])) == (True, 2)


async def test_all_models_of_the_store(
    server: StartServer, client: aiohttp.ClientSession, mar: MakeMar, store: Path
) -> None:
    mar("echo")
    make_model(store / "folder one", "echo")
    (store / "notes.txt").touch()
    running = await server(load_models="ALL", default_service_handler="echo.py", startup_workers=0)
    assert await names(client, running) == ["echo", "folder_one"]


async def test_startup_model_that_cannot_be_registered_is_skipped(
    server: StartServer, client: aiohttp.ClientSession, mar: MakeMar, config: MakeConfig
) -> None:
    mar("echo")
    models = tuple(StartupModel(url) for url in ("nowhere.mar", "echo.mar", "echo.mar"))
    async with running_server(config(load_models=models)) as running:
        assert await names(client, running) == ["echo"]
    log = (running.config.log_location / "mms_log.log").read_text()
    assert "Failed to load model: nowhere.mar: Model not found in model store: nowhere.mar" in log
    assert "Failed to load model: echo.mar: Model echo is already registered." in log


async def test_startup_model_that_cannot_load_leaves_the_server_up(
    server: StartServer, client: aiohttp.ClientSession, mar: MakeMar
) -> None:
    mar("bad_init")
    running = await server(load_models=(StartupModel("bad_init.mar"),))
    async with asyncio.timeout(DEADLINE_S):
        while await get(client, f"{running.inference}/ping") != {"status": "Unhealthy"}:
            await asyncio.sleep(0.01)
    status, text = await predict(client, running, "bad_init", "x")
    assert status == 503
    assert "No worker is available" in text


async def test_stop_leaves_nothing(config: MakeConfig, client: aiohttp.ClientSession, mar: MakeMar) -> None:
    mar("echo")
    settings = config(load_models="ALL", startup_workers=2)
    async with running_server(settings) as running:
        assert (await predict(client, running, "echo", "x"))[0] == 200
        await until(lambda: len(worker_processes()) == 2)
        below = psutil.Process().children(recursive=True)
        assert temp_left(settings) == ["models"]
    assert not any(process.is_running() for process in below)
    assert temp_left(settings) == []
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get(f"{running.inference}/ping")


async def test_stop_lets_running_requests_finish(
    config: MakeConfig, client: aiohttp.ClientSession, mar: MakeMar
) -> None:
    mar("slow")
    async with running_server(config(load_models="ALL")) as running:
        assert (await predict(client, running, "slow", "0"))[0] == 200
        asked = asyncio.create_task(predict(client, running, "slow", "0.3"))
        await asyncio.sleep(0.1)
    assert await asked == (200, "slept")


async def test_stop_does_not_wait_for_ever(config: MakeConfig, client: aiohttp.ClientSession, mar: MakeMar) -> None:
    mar("slow")
    async with running_server(config(load_models="ALL", shutdown_timeout=0.2)) as running:
        assert (await predict(client, running, "slow", "0"))[0] == 200
        asked = asyncio.create_task(predict(client, running, "slow", "1000"))
        await asyncio.sleep(0.1)
    with contextlib.suppress(aiohttp.ClientError):
        assert (await asked)[0] >= 500
    assert psutil.Process().children() == []


async def test_stop_during_the_start_ends_it(config: MakeConfig, store: Path) -> None:
    # A web server that never answers: the start waits for its download.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/m.mar"
        settings = config(load_models=(StartupModel(url),))
        server = ModelServer(settings)
        ready: list[bool] = []
        running = asyncio.create_task(server.run(on_ready=lambda: ready.append(True)))
        silent.setblocking(False)
        connection, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(silent), DEADLINE_S)
        with connection:
            server.stop()
            async with asyncio.timeout(DEADLINE_S):
                await running
    assert ready == []
    assert temp_left(settings) == []


async def test_private_urls_are_for_the_operator_unless_allowed(
    server: StartServer, client: aiohttp.ClientSession
) -> None:
    url = f"http://127.0.0.1:{free_port()}/m.mar"
    for allowed in (False, True):
        running = await server(allow_private_urls=allowed)
        async with client.post(f"{running.management}/models", params={"url": url}) as response:
            message = (await response.json())["message"]
        assert response.status == 400
        assert ("allow_private_urls" in message) is not allowed


async def test_limits_of_the_configuration_reach_the_apis(
    server: StartServer, client: aiohttp.ClientSession, mar: MakeMar
) -> None:
    mar("echo")
    running = await server(load_models="ALL", max_request_size=5, cors_allowed_origin="https://me")
    async with client.post(f"{running.inference}/predictions/echo", data="123456") as response:
        assert response.status == 413
    async with client.post(f"{running.inference}/predictions/echo", data="12345") as response:
        assert response.status == 200
        assert response.headers["access-control-allow-origin"] == "https://me"


async def test_gpus_are_handed_out_in_turn(server: StartServer, client: aiohttp.ClientSession, mar: MakeMar) -> None:
    mar("def handle(data, context):\n    return data and [str(context.system_properties['gpu_id'])]\n")
    running = await server(load_models="ALL", number_of_gpu=3)
    assert await predict(client, running, "service", "x") == (200, "0")
    await client.put(f"{running.management}/models/service?min_worker=2&synchronous=true")
    seen = set()

    async def ask() -> None:
        seen.add((await predict(client, running, "service", "x"))[1])

    async with asyncio.timeout(DEADLINE_S):
        while seen != {"0", "1"}:
            await asyncio.gather(ask(), ask())
