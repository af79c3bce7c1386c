"""SageMaker's toolkit, the real one from PyPI, launches this server and stops it."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from integration.toolkit import JSON, Container, ends_in_order, install_toolkit, make_models, running_toolkit

Start = Callable[..., Container]

INFERENCE = """
import json

def model_fn(model_dir):
    return {"factor": 3}

def input_fn(data, content_type):
    return json.loads(data)

def predict_fn(data, model):
    return [number * model["factor"] for number in data]

def output_fn(prediction, accept):
    return json.dumps(prediction), accept
"""
MULTI_HANDLER = """
from pathlib import Path

from sagemaker_inference.default_handler_service import DefaultHandlerService
from sagemaker_inference.default_inference_handler import DefaultInferenceHandler
from sagemaker_inference.transformer import Transformer


class Inference(DefaultInferenceHandler):
    def default_model_fn(self, model_dir, context=None):
        weights = (Path(model_dir) / "weights.txt").read_text()
        if weights == "too big":
            raise MemoryError("no room")
        return weights

    def default_input_fn(self, data, content_type, context=None):
        return bytes(data).decode()

    def default_predict_fn(self, data, model, context=None):
        return f"{model}: {data}"

    def default_output_fn(self, prediction, accept, context=None):
        return prediction, "text/plain"


service = DefaultHandlerService(Transformer(Inference()))


def handle(data, context):
    return service.initialize(context) if data is None else service.handle(data, context)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the toolkit is for Linux"),
]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The programs of an environment with the toolkit and this project."""
    venv = tmp_path_factory.mktemp("toolkit") / "venv"
    yield install_toolkit(venv)
    # pytest keeps its folders for a while, and this one is large.
    shutil.rmtree(venv)


@pytest.fixture
def container(programs: Path, tmp_path: Path) -> Iterator[Start]:
    """Start the toolkit: `container(handler..., **environment)`; what it started ends with the test."""
    with ExitStack() as stack:
        yield lambda *handler, **environment: stack.enter_context(
            running_toolkit(programs, tmp_path, *handler, **environment)
        )


def test_the_toolkit_serves_one_model_with_this_server(container: Start, tmp_path: Path) -> None:
    code = tmp_path / "ml" / "model" / "code"
    code.mkdir(parents=True)
    (code / "inference.py").write_text(INFERENCE)
    running = container(MMS_PLUGINS="sagemaker-ping,execution-parameters")
    running.wait_until_healthy()
    assert running.call("POST", "/invocations", b"[1, 2]", JSON) == (200, "[3, 6]")
    status, text = running.call("POST", "/invocations", b"[1,", JSON)
    assert (status, "JSONDecodeError" in text) == (500, True)
    assert running.call("POST", "/invocations", b"[5]", JSON) == (200, "[15]")
    status, text = running.call("GET", "/execution-parameters")
    assert (status, json.loads(text)["BatchStrategy"]) == (200, "MULTI_RECORD")
    status, text = running.call("GET", "/models")
    expected = [{"modelName": "model", "modelUrl": str(tmp_path / "ml" / "model")}]
    assert (status, json.loads(text)["models"]) == (200, expected)
    ends_in_order(running)


def test_the_toolkit_serves_many_models_with_this_server(container: Start, tmp_path: Path) -> None:
    (tmp_path / "multi_handler.py").write_text(MULTI_HANDLER)
    make_models(tmp_path / "ml" / "models", a="first", b="second", big="too big")
    running = container(f"{tmp_path}/multi_handler.py:handle", SAGEMAKER_MULTI_MODEL="true")
    running.wait_until_healthy()

    def load(name: str) -> int:
        document = {"model_name": name, "url": f"{tmp_path}/ml/models/{name}/model"}
        return running.call("POST", "/models", json.dumps(document).encode(), JSON)[0]

    binary = {"Content-Type": "application/octet-stream"}
    assert [load(name) for name in ("a", "b", "a", "big", "none")] == [200, 200, 409, 507, 404]
    assert running.call("POST", "/models/a/invoke", b"hi", binary) == (200, "first: hi")
    assert running.call("POST", "/models/b/invoke", b"hi", binary) == (200, "second: hi")
    assert running.call("POST", "/models/none/invoke", b"hi", binary)[0] == 404
    assert running.call("DELETE", "/models/a")[0] == 200
    assert running.call("POST", "/models/a/invoke", b"hi", binary)[0] == 404
    assert load("a") == 200
    ends_in_order(running)
