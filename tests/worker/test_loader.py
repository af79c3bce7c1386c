import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mms.protocol.messages import Failure, InferenceRequest, Parameter, Prediction, WorkerSpec
from mms.service import Service
from mms.worker.loader import load_failure, load_service

HANDLERS = Path(__file__).parent.parent / "handlers"

Load = Callable[..., Service]

ANSWERING = "def handle(data, context):\n    return None if data is None else [{answer!r} for _ in data]\n"


@pytest.fixture(autouse=True)
def _own_imports(tmp_path: Path) -> Iterator[None]:
    """Forget what a test imports from its model, as the end of a worker process would."""
    path, finders = sys.path[:], sys.meta_path[:]
    yield
    sys.path[:], sys.meta_path[:] = path, finders
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "")
        if file.startswith((str(tmp_path), str(HANDLERS))):
            del sys.modules[name]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write files into a model's folder and load it."""

    def make(handler: str, files: dict[str, str], **options: Any) -> Service:
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return load_service(WorkerSpec(model_name="m", model_dir=str(tmp_path), handler=handler, **options))

    return make


def answer(service: Service, body: bytes = b"", content_type: str = "") -> Any:
    (result,) = service.predict([InferenceRequest("r", b"", [Parameter("body", content_type, body)])]).results
    return result.body if isinstance(result, Prediction) else result


def own_handler(name: str) -> Service:
    return load_service(WorkerSpec(model_name="m", model_dir=str(HANDLERS), handler=name))


@pytest.mark.parametrize(
    ("handler", "file"),
    [
        ("model", "model.py"),
        ("model.py", "model.py"),
        ("model:handle", "model.py"),
        ("model.py:handle", "model.py"),
        ("dir/model.py:handle", "dir/model.py"),
        ("dir/deep/model", "dir/deep/model.py"),
        ("package.model:handle", "package/model.py"),
    ],
)
def test_a_function_is_found_in_every_form(load: Load, handler: str, file: str) -> None:
    assert answer(load(handler, {file: ANSWERING.format(answer="found")})) == b"found"


def test_a_function_may_have_any_name(load: Load) -> None:
    code = ANSWERING.format(answer="wrong") + ANSWERING.format(answer="right").replace("handle", "run")
    assert answer(load("model:run", {"model.py": code})) == b"right"


def test_a_function_is_called_once_to_load_the_model(load: Load) -> None:
    code = """
loads = []

def handle(data, context):
    if data is None:
        loads.append(context.system_properties["model_dir"])
        return None
    return [loads for _ in data]
"""
    service = load("model", {"model.py": code})
    assert json.loads(answer(service)) == [service.context.system_properties["model_dir"]]


def test_the_only_class_is_the_handler() -> None:
    service = own_handler("class_style")
    assert json.loads(answer(service)) == {"model": "m", "calls": 1, "batch": 1}
    assert json.loads(answer(service))["calls"] == 2


def test_a_class_is_found_where_the_named_function_is_not(load: Load) -> None:
    code = (HANDLERS / "class_style.py").read_text()
    assert json.loads(answer(load("model:predict", {"model.py": code})))["calls"] == 1


def test_a_class_known_by_two_names_is_one_class(load: Load) -> None:
    code = (HANDLERS / "class_style.py").read_text() + "\n\nAlias = Counter\n"
    assert json.loads(answer(load("model", {"model.py": code})))["calls"] == 1


def test_imported_classes_do_not_count(load: Load) -> None:
    code = "from pathlib import Path\n" + (HANDLERS / "class_style.py").read_text()
    assert json.loads(answer(load("model", {"model.py": code})))["calls"] == 1


@pytest.mark.parametrize("code", ["VALUE = 1\n", "class One:\n    pass\n\n\nclass Two:\n    pass\n"])
def test_no_class_or_several_are_refused_in_mms_words(load: Load, code: str) -> None:
    with pytest.raises(ValueError, match="Expected only one class in custom service code or a function entry point"):
        load("model:nosuchfunction", {"model.py": code})


@pytest.mark.parametrize("missing", ["initialize", "handle"])
def test_a_class_needs_both_methods(load: Load, missing: str) -> None:
    code = "class Handler:\n    def initialize(self, context): pass\n    def handle(self, data, context): pass\n"
    with pytest.raises(ValueError, match=f"Expect {missing} method in class"):
        load("model", {"model.py": code.replace(missing, "other")})


def test_the_context_is_filled_from_spec_and_manifest(load: Load, tmp_path: Path) -> None:
    manifest = {"runtime": "python", "model": {"modelName": "m", "handler": "model"}, "userData": {"own": 1}}
    files = {"model.py": ANSWERING.format(answer=""), "MAR-INF/MANIFEST.json": json.dumps(manifest)}
    context = load("model", files, batch_size=8, gpu_id=2).context
    assert (context.model_name, context.manifest) == ("m", manifest)
    properties = context.system_properties
    assert (properties["model_dir"], properties["batch_size"], properties["gpu_id"]) == (str(tmp_path), 8, 2)
    assert properties["server_name"] == "MMS"
    assert isinstance(properties["server_version"], str)


def test_a_model_without_a_manifest_has_none(load: Load) -> None:
    assert load("model", {"model.py": ANSWERING.format(answer="")}).context.manifest is None


def test_decoding_and_the_size_limit_follow_the_spec(load: Load) -> None:
    code = "def handle(data, context):\n    return None if data is None else [r['body'] for r in data]\n"
    service = load("model", {"model.py": code}, decode_input=False, max_response_bytes=3)
    assert answer(service, b"{x", "application/json") == b"{x"
    assert isinstance(answer(service, b"long"), Failure)


def test_a_handler_imports_what_lies_beside_it_and_in_the_model(load: Load) -> None:
    files = {
        "dir/model.py": "import beside, above\n\n"
        "def handle(data, context):\n    return None if data is None else [beside.VALUE + above.VALUE for _ in data]\n",
        "dir/beside.py": "VALUE = 'beside '\n",
        "above.py": "VALUE = 'above'\n",
    }
    assert answer(load("dir/model.py:handle", files)) == b"beside above"


@pytest.mark.parametrize("name", ["json", "mms", "logging", "test_loader"])
def test_a_handler_may_have_the_name_of_a_loaded_module(load: Load, name: str) -> None:
    before = sys.modules.get(name)
    assert answer(load(name, {f"{name}.py": ANSWERING.format(answer="own")})) == b"own"
    assert sys.modules.get(name) is before or before is None


def test_two_models_may_name_their_handlers_alike(load: Load, tmp_path: Path) -> None:
    first = load("service", {"service.py": ANSWERING.format(answer="first")})
    other = tmp_path / "other"
    other.mkdir()
    (other / "service.py").write_text(ANSWERING.format(answer="second"))
    second = load_service(WorkerSpec(model_name="n", model_dir=str(other), handler="service"))
    assert (answer(first), answer(second)) == (b"first", b"second")


def failure_of(load: Load, handler: str, files: dict[str, str]) -> tuple[int, str, str]:
    with pytest.raises(Exception) as caught:
        load(handler, files)
    reply = load_failure(caught.value)
    return reply.code, reply.message, reply.traceback


def test_an_exception_in_initialize_fails_the_load(load: Load) -> None:
    code, message, report = failure_of(load, "model", {"model.py": (HANDLERS / "bad_init.py").read_text()})
    assert (code, message) == (500, "RuntimeError: the weights are not there")
    assert 'model.py", line' in report
    assert "loader.py" not in report


def test_an_exception_in_the_load_call_fails_the_load(load: Load) -> None:
    code = "def handle(data, context):\n    raise KeyError('weights')\n"
    assert failure_of(load, "model", {"model.py": code})[:2] == (500, "KeyError: 'weights'")


def test_out_of_memory_is_507(load: Load) -> None:
    code = "def handle(data, context):\n    raise MemoryError('no memory')\n"
    code_, message, report = failure_of(load, "model", {"model.py": code})
    assert (code_, message) == (507, "System out of memory")
    assert "MemoryError: no memory" in report


def test_a_message_is_one_line(load: Load) -> None:
    code = "raise ValueError('first\\n  second')\n"
    assert failure_of(load, "model", {"model.py": code})[1] == "ValueError: first second"


def test_a_missing_handler_says_what_was_looked_for(load: Load) -> None:
    code, message, report = failure_of(load, "dir/model.py:handle", {"other.py": ""})
    assert code == 500
    assert message == 'ModuleNotFoundError: There is no handler "model": the model has no dir/model.py.'
    assert report == ""


@pytest.mark.parametrize("handler", ["model", "package.model"])
def test_a_missing_dependency_is_named_as_such(load: Load, handler: str) -> None:
    code = (HANDLERS / "missing_dependency.py").read_text()
    files = {"model.py": code, "package/model.py": code, "package/__init__.py": ""}
    _, message, report = failure_of(load, handler, files)
    assert message == "ModuleNotFoundError: No module named 'a_package_that_nobody_has'"
    assert "import a_package_that_nobody_has" in report
    assert "importlib" not in report


def test_a_syntax_error_shows_its_line(load: Load) -> None:
    code, message, report = failure_of(load, "model", {"model.py": (HANDLERS / "broken_syntax.py").read_text()})
    assert code == 500
    assert message == "SyntaxError: expected ':' (model.py, line 4)"
    assert "def handle(data, context)" in report


def test_the_cause_of_an_exception_is_kept(load: Load) -> None:
    code = """
def handle(data, context):
    try:
        open("no-such-file")
    except OSError as exc:
        raise RuntimeError("no weights") from exc
"""
    _, message, report = failure_of(load, "model", {"model.py": code})
    assert message == "RuntimeError: no weights"
    assert "FileNotFoundError" in report
    assert "direct cause" in report


@pytest.mark.parametrize("exit_call", ["sys.exit(3)", "raise KeyboardInterrupt"])
def test_an_exit_while_loading_ends_the_process(load: Load, exit_call: str) -> None:
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        load("model", {"model.py": f"import sys\n{exit_call}\n"})


LEGACY_MANIFEST = {
    "Engine": {"MXNet": 0.12},
    "Model": {"Service": "legacy.py", "Signature": "signature.json", "Model-Name": "m"},
}
LEGACY_SERVICE = """
from mms.model_service.model_service import ModelService, SingleNodeService


class Base(ModelService):
    pass


class Legacy(SingleNodeService):
    def _preprocess(self, data):
        return data[0]

    def _inference(self, data):
        return {"got": data, "gpu": self._context.system_properties["gpu_id"]}


class Zweite(SingleNodeService):
    pass
"""


def legacy_files(**signature: Any) -> dict[str, str]:
    signature = {"inputs": [{"data_name": "data", "data_shape": [0]}], "input_type": "application/json", **signature}
    return {
        "MANIFEST.json": json.dumps(LEGACY_MANIFEST),
        "signature.json": json.dumps(signature),
        "legacy.py": LEGACY_SERVICE,
    }


@pytest.mark.parametrize("handler", ["legacy.py", "legacy", "legacy.py:handle"])
def test_a_0x_archive_is_served_by_its_first_service(load: Load, handler: str) -> None:
    service = load(handler, legacy_files(), gpu_id=1)
    assert service.context.manifest == LEGACY_MANIFEST
    assert json.loads(answer(service, b'{"a": true}')) == {"got": {"a": True}, "gpu": 1}


def test_a_0x_archive_answers_every_request_of_a_batch(load: Load) -> None:
    service = load("legacy.py", legacy_files(), batch_size=2)
    reply = service.predict([InferenceRequest("r", b"", [Parameter("data", "", text)]) for text in (b"1", b"2")])
    assert [json.loads(result.body)["got"] for result in reply.results] == [1, 2]  # type: ignore[union-attr]


def test_a_0x_archive_with_a_1x_manifest_is_no_0x_archive(load: Load) -> None:
    files = {**legacy_files(), "MAR-INF/MANIFEST.json": "{}", "model.py": ANSWERING.format(answer="1.x")}
    assert answer(load("model", files)) == b"1.x"


def test_a_0x_archive_without_a_service_is_refused(load: Load) -> None:
    with pytest.raises(ValueError, match="derived from SingleNodeService"):
        load("legacy.py", {**legacy_files(), "legacy.py": "class Other: pass\n"})


def test_a_0x_archive_without_its_signature_is_refused(load: Load) -> None:
    files = legacy_files()
    del files["signature.json"]
    with pytest.raises(ValueError, match="Signature file is not found"):
        load("legacy.py", files)
