"""The API descriptions say what the routes are, in documents that tools can read."""

import json
from collections.abc import Callable

import pytest

from mms.server.http import openapi

DOCUMENTS: list[Callable[[], openapi.Json]] = [
    openapi.inference_description,
    openapi.management_description,
    openapi.combined_description,
    lambda: openapi.model_description("resnet-18"),
]

INFERENCE = {
    "/": {"options"},
    "/{model_name}/predict": {"post"},
    "/ping": {"get"},
    "/predictions/{model_name}": {"post", "options"},
    "/api-description": {"get"},
    "/invocations": {"post"},
    "/models/{model_name}/invoke": {"post"},
}
MANAGEMENT = {"/": {"options"}, "/models": {"get", "post"}, "/models/{model_name}": {"get", "put", "delete"}}


def methods(document: openapi.Json) -> dict[str, set[str]]:
    return {path: set(operations) for path, operations in document["paths"].items()}


def test_paths_are_those_of_mms() -> None:
    assert methods(openapi.inference_description()) == INFERENCE
    assert methods(openapi.management_description()) == MANAGEMENT
    assert methods(openapi.combined_description()) == INFERENCE | MANAGEMENT
    assert methods(openapi.model_description("resnet")) == {"/prediction/resnet": {"post"}}


@pytest.mark.parametrize("make", DOCUMENTS)
def test_documents_are_json(make: Callable[[], openapi.Json]) -> None:
    assert json.loads(json.dumps(make())) == make()


@pytest.mark.parametrize("make", DOCUMENTS)
def test_every_operation_is_described(make: Callable[[], openapi.Json]) -> None:
    document = make()
    assert document["openapi"] == "3.0.1"
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["responses"]
            assert operation["operationId"]
            for parameter in operation.get("parameters", []):
                assert {"in", "name", "schema"} <= set(parameter)


def without_quirks(document: openapi.Json) -> openapi.Json:
    """Mend what is wrong in MMS's documents, and so in ours: defaults as text, ids used twice, one path parameter."""

    def mended(node: object) -> object:
        if isinstance(node, list):
            return [mended(item) for item in node]
        if not isinstance(node, dict):
            return node
        copy = {key: mended(value) for key, value in node.items()}
        default = copy.get("default")
        if isinstance(default, str) and copy.get("type") in ("integer", "boolean"):
            copy["default"] = json.loads(default)
        return copy

    copy = mended(document)
    assert isinstance(copy, dict)
    for path, operations in copy["paths"].items():
        for method, operation in operations.items():
            operation["operationId"] = f"{method} {path}"
            if path == "/models/{model_name}/invoke":
                operation["parameters"][0] |= {"in": "path", "required": True}
    return copy


@pytest.mark.parametrize("make", DOCUMENTS)
def test_documents_are_valid_but_for_the_quirks_of_mms(make: Callable[[], openapi.Json]) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(without_quirks(make()))
