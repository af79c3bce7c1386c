"""Model servers that take part when they are asked for: they run the same handler, but read no archive of ours."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from .models import HANDLERS
from .peers import PORTS_EACH, Launch, clean_environment


class TorchServe:
    """TorchServe as installed, from an archive of its own archiver."""

    name = "torchserve"
    front_name = "java"
    worker_name = ""
    has_management = True
    properties: Mapping[str, str] = {}

    def __init__(self, venv: Path) -> None:
        self._programs = venv / "bin"

    def command(self, launch: Launch) -> list[str]:
        """See Peer.command. Its settings are config.properties, and addresses that MMS does not have."""
        _, _, metrics, *grpc = range(launch.port, launch.port + PORTS_EACH)
        settings = (launch.folder / "config.properties").read_text() + (
            f"metrics_address=http://127.0.0.1:{metrics}\n"
            f"grpc_inference_port={grpc[0]}\ngrpc_management_port={grpc[1]}\n"
        )
        (launch.folder / "torchserve.properties").write_text(settings)
        start = [str(self._programs / "torchserve"), "--start", "--foreground", "--ncs", "--enable-model-api"]
        store = self._pack(launch)
        return [*start, "--disable-token-auth", "--ts-config", "torchserve.properties", "--model-store", str(store)]

    def environment(self) -> dict[str, str]:
        """See Peer.environment."""
        environment = clean_environment()
        return environment | {"PATH": f"{self._programs}:{environment.get('PATH', '')}"}

    def _pack(self, launch: Launch) -> Path:
        """Make a model store with the handler, under the name that its archive has in ours."""
        store = launch.folder / "store"
        store.mkdir()
        archiver = [str(self._programs / "torch-model-archiver"), "--model-name", launch.answer, "--version", "1.0"]
        archiver += ["--handler", str(_handler(launch)), "--export-path", str(store)]
        subprocess.run(archiver, cwd=launch.folder, check=True)
        return store


class LitServe:
    """LitServe with its defaults, around the handler."""

    name = "litserve"
    front_name = "litserve-front"
    worker_name = "litserve-worker"
    has_management = False
    properties: Mapping[str, str] = {}

    def __init__(self, venv: Path) -> None:
        self._python = venv / "bin" / "python"

    def command(self, launch: Launch) -> list[str]:
        """See Peer.command."""
        script = Path(__file__).with_name("litserver.py")
        return [str(self._python), str(script), str(launch.port), str(_handler(launch))]

    def environment(self) -> dict[str, str]:
        """See Peer.environment."""
        return clean_environment()


def _handler(launch: Launch) -> Path:
    """Write the handler's source."""
    source = launch.folder / f"{launch.answer}.py"
    source.write_text(HANDLERS[launch.answer])
    return source
