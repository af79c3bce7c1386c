"""From a model's folder to a `Service`: find the handler, run its start-up code. Worker process."""

import importlib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from mms.context import Context
from mms.protocol.messages import LoadReply, WorkerSpec
from mms.service import EntryPoint, Service
from mms.worker import mxnet_compat

MANIFEST = Path("MAR-INF", "MANIFEST.json")
LEGACY_MANIFEST = Path("MANIFEST.json")

DEFAULT_FUNCTION = "handle"

_NOT_THE_HANDLERS = ("<frozen importlib", importlib.__file__, f"{Path(__file__).parent.parent}{os.sep}")


class InitializeError(Exception):
    """The handler was found and made, but its `initialize` raised; the cause is what it raised."""


def load_service(spec: WorkerSpec) -> Service:
    """Load the model of `spec` and run its start-up code.

    Raises what the handler raises, from `initialize` as an InitializeError; `load_failure` turns that into the answer.
    """
    mxnet_compat.install()
    model_dir = Path(spec.model_dir).absolute()
    if not (model_dir / MANIFEST).is_file() and (model_dir / LEGACY_MANIFEST).is_file():
        return _load_legacy(spec, model_dir)
    path, _, function = spec.handler.partition(":")
    module = _import_handler(model_dir, Path(path))
    manifest = _read_manifest(model_dir / MANIFEST)
    entry_point = getattr(module, function or DEFAULT_FUNCTION, None)
    if entry_point is not None:
        service = _service(spec, model_dir, manifest, entry_point)
        # MMS: model_loader.py. A function loads its model when it is called without data.
        entry_point(None, service.context)
        return service
    handler = _only_class(module)()
    service = _service(spec, model_dir, manifest, _method(handler, "handle"))
    _initialize(_method(handler, "initialize"), service)
    return service


def load_failure(exc: Exception) -> LoadReply:
    """Return the answer for a load that ended with `exc`. Its traceback shows the handler's frames, not ours."""
    in_initialize = isinstance(exc, InitializeError)
    if isinstance(exc, InitializeError) and isinstance(exc.__cause__, Exception):
        exc = exc.__cause__
    report = traceback.TracebackException.from_exception(exc)
    has_frames = _drop_own_frames(report)
    text = "".join(report.format()) if has_frames else ""
    if isinstance(exc, MemoryError):
        return LoadReply(507, "System out of memory", text, in_initialize)
    return LoadReply(500, " ".join(f"{type(exc).__name__}: {exc}".split()), text, in_initialize)


def _service(spec: WorkerSpec, model_dir: Path, manifest: dict[str, Any] | None, entry_point: EntryPoint) -> Service:
    return Service(
        spec.model_name,
        str(model_dir),
        manifest,
        entry_point,
        spec.gpu_id,
        spec.batch_size,
        decode_input=spec.decode_input,
        max_response_bytes=spec.max_response_bytes,
    )


def _initialize(initialize: Callable[[Context], object], service: Service) -> None:
    try:
        initialize(service.context)
    except Exception as exc:
        raise InitializeError from exc


def _read_manifest(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    manifest: dict[str, Any] = json.loads(path.read_bytes())
    return manifest


def _import_handler(model_dir: Path, path: Path) -> ModuleType:
    """Import `module`, `module.py`, `package.module` or `dir/module.py` of a model's folder."""
    folder = model_dir / path.parent
    name = path.name.removesuffix(".py")
    for directory in (model_dir, folder):
        if str(directory) not in sys.path:
            sys.path.insert(0, str(directory))
    importlib.invalidate_caches()
    file = folder / f"{name}.py"
    if file.is_file() and _is_taken(name, file):
        return _load_file(file, f"mms_handler_{name}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise
        missing = path.parent / f"{name.replace('.', '/')}.py"
        raise ModuleNotFoundError(f'There is no handler "{name}": the model has no {missing}.', name=name) from None


def _is_taken(name: str, file: Path) -> bool:
    """Say whether another module has the name of a handler's file already: json.py, or another model's service.py."""
    module = sys.modules.get(name)
    if module is None:
        return False
    origin = getattr(module, "__file__", None)
    return origin is None or Path(origin).resolve() != file.resolve()


def _load_file(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f'"{file.name}" is not a Python file.')
    module = importlib.util.module_from_spec(spec)
    # Pickle and dataclasses look a class's module up here.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _classes(module: ModuleType) -> list[type]:
    """Return the classes that the module itself defines, by name."""
    members = [member for _, member in sorted(vars(module).items()) if isinstance(member, type)]
    return list(dict.fromkeys(member for member in members if member.__module__ == module.__name__))


def _only_class(module: ModuleType) -> type:
    classes = _classes(module)
    if len(classes) != 1:
        raise ValueError(f"Expected only one class in custom service code or a function entry point {classes}")
    return classes[0]


def _method(handler: object, name: str) -> Any:
    method = getattr(handler, name, None)
    if method is None:
        raise ValueError(f"Expect {name} method in class {type(handler)}")
    return method


def _load_legacy(spec: WorkerSpec, model_dir: Path) -> Service:
    """Load an archive of MMS 0.x: its handler is the file of a class derived from SingleNodeService."""
    # Lazily, since no other model needs them.
    import inspect

    from mms.model_service.model_service import SingleNodeService

    manifest = _read_manifest(model_dir / LEGACY_MANIFEST) or {}
    path = Path(spec.handler.partition(":")[0])
    module = _import_handler(model_dir, path)
    services = [cls for cls in _classes(module) if issubclass(cls, SingleNodeService)]
    if not services:
        raise ValueError(f'Expected a class derived from SingleNodeService in "{path}".')
    service_class = services[0]
    # GluonImperativeBaseService has another parameter before its gpu.
    if "gpu" in inspect.signature(service_class).parameters:
        handler = service_class(spec.model_name, str(model_dir), manifest, gpu=spec.gpu_id)
    else:
        handler = service_class(spec.model_name, str(model_dir), manifest, spec.gpu_id)
    service = _service(spec, model_dir, manifest, _method(handler, "handle"))
    handler.initialize(service.context)
    return service


def _drop_own_frames(report: traceback.TracebackException) -> bool:
    """Cut our frames and those of importlib out of a report; say whether it still points at a line of code."""
    frames = list(report.stack)
    # Whoever called the loader is no part of the handler either.
    start = max((position for position, frame in enumerate(frames, 1) if frame.filename == __file__), default=0)
    kept = [frame for frame in frames[start:] if not frame.filename.startswith(_NOT_THE_HANDLERS)]
    report.stack = traceback.StackSummary.from_list(kept)
    parts = [report.__cause__, report.__context__, *(report.exceptions or ())]
    # A list, not a generator: every part has to be cut.
    found = [_drop_own_frames(part) for part in parts if part is not None]
    is_syntax_error = getattr(report, "lineno", None) is not None
    return bool(report.stack) or is_syntax_error or any(found)
