"""The management API: register, list, describe, scale and unregister."""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from apis import Apis
from fakes import until

from mms.server.http.openapi import management_description

StartApis = Callable[..., Awaitable[Apis]]


@pytest.fixture
async def world(start_apis: StartApis) -> Apis:
    return await start_apis(has_lane=False)


def status(body: bytes) -> str:
    return str(json.loads(body)["status"])


def error(body: bytes) -> tuple[str, str]:
    document = json.loads(body)
    return document["type"], document["message"]


async def describe(world: Apis, name: str = "echo") -> dict[str, Any]:
    document: dict[str, Any] = json.loads((await world.manage(f"GET /models/{name}")).body)
    return document


async def test_register_without_workers(world: Apis) -> None:
    response = await world.manage("POST /models?url=echo.mar&initial_workers=0")
    assert (response.status, status(response.body)) == (200, 'Model "echo" registered')
    assert world.backend.loads == 0


async def test_register_starts_the_configured_number_of_workers(start_apis: StartApis) -> None:
    world = await start_apis(has_lane=False, default_workers_per_model=2)
    response = await world.manage("POST /models?url=echo.mar")
    assert (response.status, status(response.body)) == (200, "Workers scaled")
    assert len(world.backend.alive) == 2


async def test_register_by_json(world: Apis) -> None:
    body = json.dumps({"url": "echo.mar", "model_name": "mine", "initial_workers": 1, "batch_size": 4}).encode()
    response = await world.manage("POST /models?url=ignored", body, content_type="application/json")
    assert (response.status, status(response.body)) == (200, "Workers scaled")
    assert (await describe(world, "mine"))["batchSize"] == 4


async def test_register_in_the_background(world: Apis) -> None:
    loading = world.backend.block_load()
    response = await world.manage("POST /models?url=echo.mar&initial_workers=1&synchronous=false")
    assert (response.status, status(response.body)) == (202, "Processing worker updates...")
    loading.set()
    await until(lambda: world.backend.alive)


@pytest.mark.parametrize("code", [500, 507])
async def test_register_with_workers_that_do_not_load(world: Apis, code: int) -> None:
    world.backend.fail_loads(1, code)
    response = await world.manage("POST /models?url=echo.mar&initial_workers=1")
    assert (response.status, error(response.body)) == (code, ("InternalServerException", "Failed to start workers"))
    assert (await world.manage("GET /models/echo")).status == 404


@pytest.mark.parametrize(
    ("query", "code", "kind", "message"),
    [
        ("", 400, "BadRequestException", "Parameter url is required."),
        ("url=echo.mar&runtime=java", 400, "BadRequestException", "Invalid RuntimeType value: java"),
        ("url=../x", 404, "ModelNotFoundException", "Relative path is not allowed in url: ../x"),
        ("url=x.mar", 404, "ModelNotFoundException", "Model not found in model store: x.mar"),
        ("url=taken.mar&model_name=taken", 409, "ConflictStatusException", "Model taken is already registered."),
    ],
)
async def test_register_that_is_refused(world: Apis, query: str, code: int, kind: str, message: str) -> None:
    await world.model("taken", workers=0)
    response = await world.manage(f"POST /models?{query}")
    assert (response.status, error(response.body)) == (code, (kind, message))


async def test_private_download_is_refused(world: Apis) -> None:
    response = await world.manage("POST /models?url=http://127.0.0.1:9/m.mar")
    kind, message = error(response.body)
    assert (response.status, kind) == (400, "DownloadModelException")
    assert message.startswith("Failed to download model from: http://127.0.0.1:9/m.mar")


async def test_description_of_a_model(world: Apis, mar: Callable[..., Path]) -> None:
    mar("echo", version="1.5")
    before = datetime.now(UTC)
    await world.manage("POST /models?url=echo.mar&initial_workers=1&batch_size=4&max_batch_delay=50")
    document = await describe(world)
    [worker] = document.pop("workers")
    assert list(document.items()) == [
        ("modelName", "echo"),
        ("modelVersion", "1.5"),
        ("modelUrl", "echo.mar"),
        ("runtime", "python"),
        ("minWorkers", 1),
        ("maxWorkers", 1),
        ("batchSize", 4),
        ("maxBatchDelay", 50),
        ("loadedAtStartup", False),
    ]
    assert list(worker) == ["id", "startTime", "status", "gpu", "memoryUsage"]
    assert (worker["id"], worker["status"], worker["gpu"], worker["memoryUsage"]) == ("9000", "READY", False, 0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", worker["startTime"])
    started = datetime.fromisoformat(worker["startTime"])
    assert abs(started - before) < timedelta(minutes=1)


async def test_description_tells_what_workers_do(start_apis: StartApis) -> None:
    world = await start_apis(has_lane=False, number_of_gpu=1)
    model = await world.model(workers=0)
    loading = world.backend.block_load()
    await model.scale(1, 1, wait=False)
    [worker] = (await describe(world))["workers"]
    assert (worker["status"], worker["gpu"]) == ("LOADING", True)
    loading.set()
    await until(lambda: world.backend.alive)
    world.backend.alive[0].die()
    await until(lambda: str(model.pool.slots[0].state) == "FAILED")
    [worker] = (await describe(world))["workers"]
    assert worker["status"] == "FAILED"


async def test_unknown_model_is_named(world: Apis) -> None:
    for line in ("GET /models/x", "PUT /models/x", "DELETE /models/x"):
        response = await world.manage(line)
        assert (response.status, error(response.body)) == (404, ("ModelNotFoundException", "Model not found: x"))


async def test_name_with_escapes_is_found(world: Apis) -> None:
    await world.model("mit blank ü", workers=0)
    assert (await describe(world, "mit%20blank%20%C3%BC"))["modelName"] == "mit blank ü"


async def test_list_in_pages(world: Apis) -> None:
    for name in ("c", "a", "b"):
        await world.model(name, workers=0)

    async def page(query: str) -> object:
        document = json.loads((await world.manage(f"GET /models{query}")).body)
        return [model["modelName"] for model in document["models"]], document.get("nextPageToken")

    assert await page("") == (["a", "b", "c"], None)
    assert await page("?limit=2") == (["a", "b"], "2")
    assert await page("?limit=2&next_page_token=2") == (["c"], None)
    assert await page("?limit=3") == (["a", "b", "c"], None)
    assert await page("?next_page_token=9") == ([], None)
    assert await page("?model_name_pattern=b") == (["b"], None)
    assert await page("/?limit=2") == (["a", "b"], "2")
    document = json.loads((await world.manage("GET /models?limit=1")).body)
    assert list(document.items()) == [("nextPageToken", "1"), ("models", [{"modelName": "a", "modelUrl": "echo.mar"}])]


async def test_scale_up_and_down(world: Apis) -> None:
    await world.model()
    response = await world.manage("PUT /models/echo?min_worker=3&synchronous=true")
    assert (response.status, status(response.body)) == (200, "Workers scaled")
    assert len(world.backend.alive) == 3
    response = await world.manage("PUT /models/echo?min_worker=0&max_worker=0&synchronous=true")
    assert (response.status, status(response.body)) == (200, "Workers scaled")
    assert world.backend.alive == []
    response = await world.manage("PUT /models/echo?synchronous=true")
    assert len(world.backend.alive) == 1


async def test_scale_in_the_background_is_the_default(world: Apis) -> None:
    await world.model(workers=0)
    response = await world.manage("PUT /models/echo?min_worker=2")
    assert (response.status, status(response.body)) == (202, "Processing worker updates...")
    await until(lambda: len(world.backend.alive) == 2)


async def test_scale_that_is_refused(world: Apis) -> None:
    response = await world.manage("PUT /models/nobody?min_worker=2&max_worker=1")
    assert (response.status, error(response.body)) == (
        400,
        ("BadRequestException", "max_worker cannot be less than min_worker."),
    )


async def test_failed_scale_keeps_the_model(world: Apis) -> None:
    await world.model()
    world.backend.fail_loads()
    response = await world.manage("PUT /models/echo?min_worker=2&synchronous=true")
    assert (response.status, error(response.body)) == (500, ("InternalServerException", "Failed to start workers"))
    assert (await world.manage("GET /models/echo")).status == 200


async def test_fewer_running_than_asked_for_is_a_partial_success(world: Apis) -> None:
    model = await world.model(workers=0)
    world.backend.fail_loads(1)
    await model.scale(1, 1, wait=False)
    await until(lambda: str(model.pool.slots[0].state) == "FAILED")
    response = await world.manage("PUT /models/echo?synchronous=true")
    assert (response.status, response.reason) == (210, "Partial Success")
    assert status(response.body) == "Workers scaling in progress..."


async def test_unregister(world: Apis) -> None:
    await world.model()
    response = await world.manage("DELETE /models/echo")
    assert (response.status, status(response.body)) == (200, 'Model "echo" unregistered')
    assert world.backend.alive == []
    assert (await world.manage("DELETE /models/echo")).status == 404


async def test_unregister_that_takes_too_long(start_apis: StartApis) -> None:
    world = await start_apis(has_lane=False, unregister_model_timeout=0.02)
    world.backend.hold = True
    await world.model()
    async with await world.open() as wire:
        wire.send(b"POST /predictions/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
        await until(lambda: world.backend.batches)
        response = await world.manage("DELETE /models/echo")
        assert (response.status, error(response.body)) == (
            408,
            ("RequestTimeoutException", "Timed out while cleaning resources: echo"),
        )
        assert (await wire.answer()).status == 500


@pytest.mark.parametrize(
    "line", ["PUT /models", "DELETE /models/", "POST /models/echo", "OPTIONS /models", "HEAD /models"]
)
async def test_wrong_method_is_refused(world: Apis, line: str) -> None:
    assert (await world.ask(line, management=True)).status == 405


@pytest.mark.parametrize("line", ["GET /ping", "POST /predictions/echo", "GET /models/a/b", "POST /invocations"])
async def test_inference_routes_are_not_here(world: Apis, line: str) -> None:
    assert (await world.manage(line)).status == 404


@pytest.mark.parametrize("line", ["OPTIONS /", "GET /api-description"])
async def test_api_describes_itself(world: Apis, line: str) -> None:
    assert json.loads((await world.manage(line)).body) == management_description()
