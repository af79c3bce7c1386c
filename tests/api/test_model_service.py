import json
import logging
from pathlib import Path
from typing import Any

import pytest

from mms.context import Context
from mms.model_service.model_service import ModelService, SingleNodeService, read_signature
from mms.service import PredictionException

MANIFEST = {"Model": {"Signature": "signature.json"}}


def initialized(service: ModelService, folder: Path, **signature: Any) -> ModelService:
    signature = {"inputs": [{"data_name": "data"}], "input_type": "image/jpeg", **signature}
    (folder / "signature.json").write_text(json.dumps(signature))
    service.initialize(Context("m", str(folder), MANIFEST, 1, None, "2"))
    return service


class Echo(SingleNodeService):
    def _inference(self, data: Any) -> Any:
        return data


def echo(folder: Path, **signature: Any) -> ModelService:
    return initialized(Echo("m", str(folder), MANIFEST), folder, **signature)


def answers(service: ModelService, *requests: dict[str, Any]) -> list[Any]:
    assert service._context is not None
    return service.handle(list(requests), service._context)


def test_the_signature_is_read_from_the_archive(tmp_path: Path) -> None:
    assert echo(tmp_path, output_type="application/json").signature()["output_type"] == "application/json"


def test_a_missing_signature_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Signature file is not found: signature\.json"):
        read_signature(str(tmp_path), MANIFEST)


@pytest.mark.parametrize("name", ["data", "body"])
def test_the_input_may_have_the_signatures_name_or_body_or_data(tmp_path: Path, name: str) -> None:
    assert answers(echo(tmp_path, inputs=[{"data_name": "image"}]), {name: b"x"}) == [b"x"]
    assert answers(echo(tmp_path, inputs=[{"data_name": "image"}]), {name: b"x", "image": b"y"}) == [b"y"]


def test_a_request_without_the_input_has_none(tmp_path: Path) -> None:
    assert answers(echo(tmp_path), {"other": b"x"}) == [None]


def test_several_inputs_come_in_the_order_of_the_signature(tmp_path: Path) -> None:
    service = echo(tmp_path, inputs=[{"data_name": "a"}, {"data_name": "b"}, {"data_name": "c"}])
    assert answers(service, {"c": 3, "a": 1}) == [[1, 3]]


@pytest.mark.parametrize(
    ("text", "value"), [(b'{"a": true}', {"a": True}), (b"{'a': (1, None)}", {"a": (1, None)}), (b"5", 5)]
)
def test_json_input_is_parsed(tmp_path: Path, text: bytes, value: Any) -> None:
    service = echo(tmp_path, input_type="application/json")
    assert answers(service, {"body": bytearray(text)}, {"body": value}) == [value, value]


@pytest.mark.parametrize("text", [b"{", b"\xff", b"__import__('os')", b""])
def test_json_that_is_none_is_the_clients_error(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(PredictionException) as caught:
        answers(echo(tmp_path, input_type="application/json"), {"body": bytearray(text)})
    assert caught.value.error_code == 400


def test_each_request_gets_one_result(tmp_path: Path) -> None:
    class TwoOutputs(SingleNodeService):
        def _inference(self, data: Any) -> Any:
            return data * 2

    service = initialized(TwoOutputs("m", str(tmp_path), MANIFEST), tmp_path)
    assert answers(service, {"data": 1}, {"data": 2}) == [[1, 1], [2, 2]]


def test_the_steps_run_in_order_and_are_timed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Steps(SingleNodeService):
        def _preprocess(self, data: Any) -> Any:
            return [*data, "pre"]

        def _inference(self, data: Any) -> Any:
            return [*data, "infer"]

        def _postprocess(self, data: Any) -> Any:
            return [[*data, "post"]]

    with caplog.at_level(logging.INFO):
        service = initialized(Steps("m", str(tmp_path), MANIFEST), tmp_path)
        assert answers(service, {"data": "in"}) == [["in", "pre", "infer", "post"]]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "preprocess time",
        "inference time",
        "postprocess time",
    ]


def test_what_a_service_must_write_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="ModelService has no inference method"):
        ModelService("m", "", {}).inference([])
    with pytest.raises(NotImplementedError, match="SingleNodeService has no _inference method"):
        SingleNodeService("m", "", {}).inference([])
    assert SingleNodeService("m", "", {}).ping() is None
