"""GPU numbers on a real server, which takes the configuration's word for the GPUs."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from real import RunningServer

HANDLER = """
class Model:
    def initialize(self, context):
        self.at_load = context.system_properties["gpu_id"]

    def handle(self, data, context):
        return [{"at_load": self.at_load, "now": context.system_properties["gpu_id"]} for _ in data]
"""

Serve = Callable[..., Awaitable[RunningServer]]
Client = aiohttp.ClientSession


@pytest.fixture(autouse=True)
def archive(mar: Callable[..., Path]) -> Path:
    return mar(HANDLER, name="m")


async def register(client: Client, server: RunningServer, name: str, workers: int, query: str = "") -> None:
    url = f"{server.management}/models?url=m.mar&model_name={name}&initial_workers={workers}{query}"
    async with client.post(url) as answer:
        assert answer.status == 200, await answer.text()


async def gpus(client: Client, server: RunningServer, name: str) -> list[bool]:
    async with client.get(f"{server.management}/models/{name}") as answer:
        return [worker["gpu"] for worker in (await answer.json())["workers"]]


async def predict(client: Client, server: RunningServer, name: str) -> dict[str, int | None]:
    async with client.post(f"{server.inference}/predictions/{name}", data=b"x") as answer:
        assert answer.status == 200, await answer.text()
        result: dict[str, int | None] = await answer.json(content_type=None)
        return result


async def test_workers_of_all_models_get_the_gpus_in_turn(server: Serve, client: Client) -> None:
    running = await server(number_of_gpu=3)
    names = ["a", "b", "c", "d", "e"]
    for name in names:
        await register(client, running, name, 1)
    answers = [await predict(client, running, name) for name in names]
    assert [answer["now"] for answer in answers] == [0, 1, 2, 0, 1]
    assert [answer["at_load"] for answer in answers] == [0, 1, 2, 0, 1]


async def test_round_goes_on_from_model_to_model(server: Serve, client: Client) -> None:
    running = await server(number_of_gpu=3)
    await register(client, running, "two", 2)
    await register(client, running, "third", 1)
    await register(client, running, "first", 1)
    assert (await predict(client, running, "third"))["now"] == 2
    assert (await predict(client, running, "first"))["now"] == 0


async def test_description_says_who_has_a_gpu(server: Serve, client: Client) -> None:
    running = await server(number_of_gpu=1)
    await register(client, running, "m", 2)
    assert await gpus(client, running, "m") == [True, True]


async def test_machine_without_gpus_gives_none(server: Serve, client: Client) -> None:
    running = await server(number_of_gpu=0)
    await register(client, running, "m", 2)
    assert await gpus(client, running, "m") == [False, False]
    assert await predict(client, running, "m") == {"at_load": None, "now": None}


async def test_restarted_worker_keeps_its_gpu(server: Serve, client: Client, mar: Callable[..., Path]) -> None:
    mar(
        "import os\n"
        "def handle(data, context):\n"
        "    if data and data[0]['body'] == b'die':\n"
        "        os._exit(1)\n"
        "    return data and [str(context.system_properties['gpu_id']) for _ in data]\n",
        name="mortal",
    )
    running = await server(number_of_gpu=3)
    await register(client, running, "other", 1)
    async with client.post(f"{running.management}/models?url=mortal.mar&initial_workers=1") as answer:
        assert answer.status == 200
    url = f"{running.inference}/predictions/mortal"
    async with client.post(url, data=b"die") as answer:
        assert answer.status == 500
    async with client.post(url, data=b"x") as answer:
        assert await answer.text() == "1"


async def test_preloading_process_has_no_gpu_but_its_workers_have(server: Serve, client: Client) -> None:
    running = await server(number_of_gpu=3)
    await register(client, running, "other", 1)
    await register(client, running, "m", 1, "&preload_model=true")
    assert await gpus(client, running, "m") == [True]
    assert await predict(client, running, "m") == {"at_load": None, "now": 1}
