"""The plugins `sagemaker-ping` and `execution-parameters`."""

import json
from pathlib import Path
from typing import Any

import pytest

from mms.plugin import Context, Model, Request, Response, Worker
from mms.sagemaker import ExecutionParameters, Ping

REQUEST = Request(method="GET", uri="/", path="/", parameters={}, headers={}, body=b"")


def a_model(*running: bool) -> Model:
    return Model("m", "m.mar", "m:handle", tuple(Worker(is_running, 0) for is_running in running))


def ping(endpoint: Ping, *models: Model, **config: str) -> tuple[int, str | None, str]:
    response = Response()
    endpoint.do_get(REQUEST, response, Context(config, {str(number): model for number, model in enumerate(models)}))
    return response.status, response.reason, bytes(response.body).decode()


LOADING = (503, "Model loading...", "Models are not loaded")
HEALTHY = (200, None, '{\n  "Status": "Healthy"\n}\n')
NO_HANDLER = (503, "Service file unavailable", "Service file unavailable")


@pytest.mark.parametrize("models", [[], [a_model()], [a_model(False, False)], [a_model(False), a_model()]])
def test_ping_is_503_until_a_worker_runs(models: list[Model]) -> None:
    endpoint = Ping()
    assert ping(endpoint, *models) == LOADING
    assert ping(endpoint, a_model(False), a_model(False, True)) == HEALTHY


def test_ping_stays_200_when_workers_restart() -> None:
    endpoint = Ping()
    assert ping(endpoint, a_model(True)) == HEALTHY
    assert ping(endpoint, a_model(False)) == HEALTHY


def test_ping_of_many_models_needs_none_but_a_handler_for_them(tmp_path: Path) -> None:
    file = tmp_path / "service.py"
    many = {"sagemaker_multi_model": "true"}
    assert ping(Ping(), **many) == NO_HANDLER
    for handler in (str(file), f"{file}:handle", f"{tmp_path}/service:handle"):
        assert ping(Ping(), **many, default_service_handler=handler) == NO_HANDLER
    file.touch()
    for handler in (str(file), f"{file}:handle", f"{tmp_path}/service:handle", f"{tmp_path}/service"):
        assert ping(Ping(), **many, default_service_handler=handler) == HEALTHY


@pytest.mark.parametrize("handler", ["sagemaker_inference.default_handler_service", "service:handle"])
def test_a_handler_that_may_be_anywhere_on_the_path_is_believed_in(handler: str) -> None:
    assert ping(Ping(), sagemaker_multi_model="true", default_service_handler=handler) == HEALTHY


def execution_parameters(**config: str) -> Any:
    response = Response()
    ExecutionParameters().do_get(REQUEST, response, Context(config))
    assert response.status == 200
    return json.loads(response.body)


@pytest.mark.parametrize(("limit", "megabytes"), [("6553500", 6), ("104857600", 100), ("1048576", 1), ("1000", 1)])
def test_execution_parameters_are_the_workers_and_the_limit(limit: str, megabytes: int) -> None:
    assert execution_parameters(startup_workers="4", max_request_size=limit) == {
        "MaxConcurrentTransforms": 4,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": megabytes,
    }
