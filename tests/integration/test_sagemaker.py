"""SageMaker: the packaged configuration and the contract of multi-model endpoints."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from integration.toolkit import JSON, make_models
from real import running_server

from mms.server.config import Address, CommandLineOptions, Config, Hardware, load_config

Send = Callable[..., Awaitable[tuple[int, Any]]]

HANDLER = """
import os, signal
from pathlib import Path

weights = None

def handle(data, context):
    global weights
    if data is None:
        weights = (Path(context.system_properties["model_dir"]) / "weights.txt").read_text()
        if weights == "too big":
            raise MemoryError("no room")
        if weights == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if weights == "broken":
            raise ValueError("broken weights")
        return None
    if data[0]["body"] == b"hog":
        raise MemoryError
    return [f"{weights}: {row['body'].decode()}" for row in data]
"""


def sagemaker_config(tmp_path: Path, **environ: str) -> Config:
    """Read the packaged configuration in an environment like that of a container."""
    usual = {
        "SAGEMAKER_BIND_TO_PORT": "8080",
        "SAGEMAKER_MODEL_STORE": "/",
        "SAGEMAKER_HANDLER": f"{tmp_path}/handler.py:handle",
        "SAGEMAKER_NUM_MODEL_WORKERS": "1",
        "SAGEMAKER_RESPONSE_TIMEOUT": "2",
        "SAGEMAKER_MAX_REQUEST_SIZE": "7340032",
        "SAGEMAKER_MAX_RESPONSE_SIZE": "6553500",
    }
    hardware = Hardware(gpus=lambda _: 0, cpus=lambda: 1)
    return load_config(CommandLineOptions(mms_config="sagemaker"), usual | environ, hardware)


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[Send]:
    """A server with the packaged configuration and a client that sends to it: `endpoint(method, path, body)`."""
    (tmp_path / "handler.py").write_text(HANDLER)
    for folder in ("temp", "logs"):
        (tmp_path / folder).mkdir()
    config = sagemaker_config(tmp_path)
    assert config.inference_address == config.management_address == Address("http", "0.0.0.0", 8080)
    both = Address("unix", path=str(tmp_path / "both.sock"))
    config = replace(
        config,
        inference_address=both,
        management_address=both,
        temp_dir=tmp_path / "temp",
        log_location=tmp_path / "logs",
        metrics_location=tmp_path / "logs",
    )
    connector = aiohttp.UnixConnector(both.path)
    async with running_server(config), aiohttp.ClientSession(connector=connector) as session:

        async def send(method: str, path: str, body: object = None) -> tuple[int, Any]:
            data = json.dumps(body) if isinstance(body, dict) else body
            headers = JSON if isinstance(body, dict) else {"Content-Type": "application/octet-stream"}
            async with session.request(method, f"http://h{path}", data=data, headers=headers) as response:
                text = await response.text()
            return response.status, json.loads(text) if text.startswith("{") else text

        yield send


def test_the_packaged_configuration_follows_the_container(tmp_path: Path) -> None:
    config = sagemaker_config(tmp_path, SAGEMAKER_BIND_TO_PORT="9999", SAGEMAKER_NUM_MODEL_WORKERS="3")
    assert config.inference_address == config.management_address == Address("http", "0.0.0.0", 9999)
    assert (config.startup_workers, config.max_request_size, config.response_timeout) == (3, 7340032, 120)
    assert config.plugins == ("execution-parameters",)
    assert not config.decode_input_request
    assert not config.sagemaker_multi_model


@pytest.mark.parametrize("variable", ["SAGEMAKER_MULTI_MODEL", "SAGEMAKER_MULTI_MODE"])
@pytest.mark.parametrize(("value", "expected"), [("true", True), ("TRUE", True), ("false", False), ("", False)])
def test_multi_model_mode_comes_from_the_container(
    variable: str, value: str, *, expected: bool, tmp_path: Path
) -> None:
    assert sagemaker_config(tmp_path, **{variable: value}).sagemaker_multi_model is expected


def test_java_plugins_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    file = tmp_path / "config.properties"
    file.write_text("plugins_path=/opt/endpoints-1.0.jar\n")
    hardware = Hardware(gpus=lambda _: 0, cpus=lambda: 1)
    warnings = load_config(CommandLineOptions(mms_config=str(file)), {}, hardware).warnings
    assert any("plugins=sagemaker-ping,execution-parameters" in warning for warning in warnings)


async def test_the_contract_of_a_multi_model_endpoint(endpoint: Send, tmp_path: Path) -> None:
    make_models(tmp_path / "models", a="first", b="second")

    def where(name: str) -> dict[str, str]:
        return {"model_name": name, "url": f"{tmp_path}/models/{name}/model"}

    assert await endpoint("GET", "/ping") == (200, {"status": "Healthy"})
    assert await endpoint("GET", "/models") == (200, {"models": []})
    for name in ("a", "b"):
        status, _ = await endpoint("POST", "/models", where(name))
        assert status == 200
    status, error = await endpoint("POST", "/models", where("a"))
    assert (status, error["type"]) == (409, "ConflictStatusException")
    listed = [{"modelName": name, "modelUrl": where(name)["url"]} for name in ("a", "b")]
    assert await endpoint("GET", "/models") == (200, {"models": listed})
    status, described = await endpoint("GET", "/models/a")
    assert (status, described["modelName"], described["workers"][0]["status"]) == (200, "a", "READY")
    assert await endpoint("POST", "/models/a/invoke", b"hello") == (200, "first: hello")
    assert await endpoint("POST", "/models/b/invoke", b"hello") == (200, "second: hello")
    assert (await endpoint("DELETE", "/models/a"))[0] == 200
    assert await endpoint("GET", "/models") == (200, {"models": listed[1:]})
    for method, path in (("GET", "/models/a"), ("POST", "/models/a/invoke"), ("DELETE", "/models/a")):
        assert (await endpoint(method, path))[0] == 404
    # Unloaded and loaded again; its files are SageMaker's and still there.
    assert (await endpoint("POST", "/models", where("a")))[0] == 200
    assert await endpoint("POST", "/models/a/invoke", b"again") == (200, "first: again")


@pytest.mark.parametrize(("weights", "expected"), [("too big", 507), ("killed", 507), ("broken", 500)])
async def test_a_model_that_finds_no_room_is_507_and_not_kept(
    weights: str, expected: int, endpoint: Send, tmp_path: Path
) -> None:
    make_models(tmp_path / "models", a=weights)
    status, _ = await endpoint("POST", "/models", {"model_name": "a", "url": f"{tmp_path}/models/a/model"})
    assert status == expected
    assert await endpoint("GET", "/models") == (200, {"models": []})


async def test_a_prediction_that_finds_no_room_is_507(endpoint: Send, tmp_path: Path) -> None:
    make_models(tmp_path / "models", a="first")
    await endpoint("POST", "/models", {"model_name": "a", "url": f"{tmp_path}/models/a/model"})
    assert (await endpoint("POST", "/models/a/invoke", b"hog"))[0] == 507
    assert await endpoint("POST", "/models/a/invoke", b"hello") == (200, "first: hello")


async def test_a_model_that_is_not_there_is_404(endpoint: Send, tmp_path: Path) -> None:
    assert (await endpoint("POST", "/models", {"model_name": "a", "url": f"{tmp_path}/models/a/model"}))[0] == 404
    assert (await endpoint("POST", "/models/a/invoke", b"hello"))[0] == 404


async def test_batch_transform_is_told_its_limits(endpoint: Send) -> None:
    expected = {"MaxConcurrentTransforms": 1, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 7}
    assert await endpoint("GET", "/execution-parameters") == (200, expected)
