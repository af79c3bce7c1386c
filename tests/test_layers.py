"""The walls of the house (docs/architecture.md): who may import whom, and which outside names live in which rooms."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for package in ("mms", "model_archiver") for path in (ROOT / package).rglob("*.py"))

# Rooms from the ground up: a module imports from its own floor's named rooms and from what stands before it.
HANDLER_API = ("mms.version", "mms.headers", "mms.metrics", "mms.context", "mms.service")
MAY_IMPORT = {
    "model_archiver": ("model_archiver",),
    "model_archiver.quantization": ("model_archiver.archive", "model_archiver.errors", "model_archiver.quantization"),
    "model_archiver.quantization.int8": (
        *("model_archiver.quantization.agreement", "model_archiver.quantization.network"),
        "model_archiver.quantization.rounding",
    ),
    "model_archiver.quantization.rounding": ("model_archiver.quantization.network",),
    "model_archiver.quantization.agreement": ("model_archiver.quantization.network",),
    "model_archiver.quantization.data": ("model_archiver.errors", "model_archiver.quantization.network"),
    "model_archiver.quantization.network": ("model_archiver.errors", "mms.worker.mxnet_compat"),
    "mms.protocol": ("mms.protocol",),
    "mms.version": (),
    "mms.headers": (),
    "mms.metrics": ("mms.metrics", "mms.protocol.messages"),
    "mms.context": ("mms.headers", "mms.metrics"),
    "mms.service": ("mms.headers", "mms.context", "mms.metrics", "mms.protocol.messages", "mms.version"),
    "mms.model_service": (*HANDLER_API, "mms.model_service", "mms.utils"),
    "mms.utils": ("mms.utils",),
    "mms.worker": (*HANDLER_API, "mms.protocol", "mms.worker", "mms.model_service", "model_archiver.manifest"),
    "mms.plugin": ("mms.headers",),
    "mms.sagemaker": ("mms.plugin",),
    "mms.server.errors": (),
    "mms.server.plugins": ("mms.plugin", "mms.server.config", "mms.server.errors"),
    "mms.server.config": ("mms.server.config", "mms.server.errors"),
    "mms.server.batching": ("mms.server.errors", "mms.protocol.messages"),
    "mms.server.backends": ("mms", "mms.server.backends", "mms.server.config", "mms.server.errors", "mms.protocol"),
    "mms.server.workplace": ("mms.server.backends.base", "mms.server.batching", "mms.protocol.messages"),
    "mms.server.slot": (
        *("mms.server.backends.base", "mms.server.batching", "mms.server.errors", "mms.protocol.messages"),
        "mms.server.workplace",
    ),
    "mms.server.pool": ("mms.server.slot", "mms.server.workplace", "mms.server.errors"),
    "mms.server.model": (
        *("mms.server.pool", "mms.server.slot", "mms.server.batching", "mms.server.model_store", "mms.server.errors"),
        *("mms.protocol.messages", "model_archiver.manifest"),
    ),
    "mms.server.download": ("mms.server.errors",),
    "mms.server.model_store": ("mms.server.download", "mms.server.errors", "model_archiver"),
    "mms.server.registry": (
        *("mms.server.model", "mms.server.pool", "mms.server.workplace", "mms.server.batching"),
        *("mms.server.model_store", "mms.server.backends.base", "mms.server.config", "mms.server.errors"),
        *("mms.protocol.messages", "model_archiver"),
    ),
    "mms.server.tls": ("mms.server.config", "mms.server.errors"),
    "mms.server.logs": ("mms.server.logs", "mms.server.config", "mms.server.errors", "mms.protocol.messages"),
    "mms.server.monitor": ("mms.server.config", "mms.server.logs", "mms.server.registry"),
    "mms.server.http": (
        *("mms.server.http", "mms.server.registry", "mms.server.model", "mms.server.slot", "mms.server.workplace"),
        *("mms.server.config", "mms.server.errors"),
        *("mms.protocol.messages", "mms.headers", "mms.plugin", "mms.server.plugins", "model_archiver.manifest"),
    ),
    "mms.server.arguments": ("mms.server.config",),
    "mms.server.command": (),
    "mms.server.pid_file": ("mms.server.errors",),
    "mms.server.daemon": ("mms.server.arguments", "mms.server.pid_file"),
    "mms.server.stop": ("mms.server.arguments", "mms.server.pid_file"),
    "mms.server.postponed": (),
    "mms.server.model_server": ("mms.server", "mms.version", "mms.plugin"),
    "mms.server.main": ("mms.server", "mms.protocol.memory"),
    "mms.server.cli": (
        *("mms.server.arguments", "mms.server.command", "mms.server.config", "mms.server.daemon", "mms.server.stop"),
        *("mms.server.errors", "mms.server.pid_file", "mms.version"),
    ),
    "mms.__init__": ("mms.version",),
    "mms.__main__": ("mms.server.cli",),
}
# An outside module and the rooms that may name it.
ROOMS_OF = {
    "aiohttp": ("mms.server.http", "mms.server.download"),
    "subprocess": ("mms.server.backends", "mms.server.daemon", "mms.server.config.hardware"),
    "signal": ("mms.server.backends", "mms.server.model_server", "mms.worker"),
    "ray": ("mms.server.backends.ray",),
    "psutil": ("mms.server.backends", "mms.server.stop", "mms.server.pid_file", "mms.server.monitor"),
    "click": ("mms.server.cli", "mms.server.command", "model_archiver"),
    "cryptography": ("mms.server.tls",),
    "javaproperties": ("mms.server.config",),
    "mxnet": (
        *("mms.model_service", "mms.utils", "model_archiver.quantization", "model_archiver.quantization.int8"),
        "model_archiver.quantization.network",
    ),
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts)
    return name if name in ("mms.__init__", "mms.__main__") else name.removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def room_of(module: str) -> str:
    return max((room for room in MAY_IMPORT if within(module, (room,))), key=len, default="")


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    module = module_of(path)
    room = room_of(module)
    assert room, f"{module} stands in no room: add it to MAY_IMPORT and docs/architecture.md"
    ours = [name for name in imports_of(path) if name.split(".")[0] in ("mms", "model_archiver")]
    allowed = (*MAY_IMPORT[room], room)
    assert [name for name in ours if not within(name, allowed) and name != "mms"] == []


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_outside_modules_stay_in_their_rooms(path: Path) -> None:
    module = module_of(path)
    strangers = [
        name
        for name in imports_of(path)
        for outside, rooms in ROOMS_OF.items()
        if within(name, (outside,)) and not within(module, rooms)
    ]
    assert strangers == []


def test_the_environment_is_read_in_the_configuration_and_copied_for_workers_only() -> None:
    rooms = ("mms.server.config", "mms.server.backends.process", "mms.worker.blank")
    readers = [
        module_of(path)
        for path in FILES
        if any(word in path.read_text() for word in ("os.environ", "os.getenv")) and not within(module_of(path), rooms)
    ]
    assert readers == []


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("mms.worker.__main__", ["aiohttp", "psutil", "mms.server", "click", "asyncio"]),
        ("mms.server.model_server", ["aiohttp", "mms.server.http", "mms.worker", "click"]),
        ("mms.server.main", ["mms.worker", "mms.service", "mms.context", "click"]),
        ("mms.server.cli", ["mms.worker", "mms.server.main", "mms.server.model_server", "asyncio", "psutil"]),
        ("model_archiver.cli", ["mms", "aiohttp", "mxnet", "numpy", "PIL", "onnx"]),
    ],
)
def test_importing_a_program_leaves_the_other_ones_out(module: str, absent: list[str]) -> None:
    code = f"import sys, {module}; print([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
