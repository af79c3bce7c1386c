"""SageMaker's toolkit in an environment and, where that is possible, a process tree of its own, as in a container."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from mms.server.pid_file import MARKER

ROOT = Path(__file__).parents[2]
JSON = {"Content-Type": "application/json"}
LAUNCHER = """
import sys
from sagemaker_inference import model_server
# In a container this is a file in /etc.
model_server.MMS_CONFIG_FILE = sys.argv[1]
model_server.start_model_server(*sys.argv[2:])
"""


def make_models(folder: Path, **weights: str) -> None:
    """Lay out models as SageMaker unpacks them: `<folder>/<name>/model`."""
    for name, text in weights.items():
        (folder / name / "model").mkdir(parents=True)
        (folder / name / "model" / "weights.txt").write_text(text)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def install_toolkit(venv: Path) -> Path:
    """Make an environment with the toolkit and this project; return the folder of its programs. Skips without PyPI."""
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    # The toolkit needs pkg_resources, which newer versions of setuptools no longer have.
    fetched = subprocess.run(
        [*pip, "--retries", "1", "--timeout", "20", "sagemaker-inference", "setuptools<81", "hatchling"],
        capture_output=True,
        text=True,
        check=False,
    )
    if fetched.returncode != 0:
        pytest.skip(f"sagemaker-inference cannot be installed: {fetched.stderr.strip().splitlines()[-1]}")
    subprocess.run([*pip, "--no-build-isolation", str(ROOT)], check=True)
    return venv / "bin"


@dataclass(frozen=True)
class Container:
    """The toolkit, running our server."""

    port: int
    toolkit: psutil.Process
    output: Path
    folder: Path

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Send a request; return status and body."""
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, body, dict(headers or {}), method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def wait_until_healthy(self) -> None:
        """Wait for the first /ping that is answered 200."""
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                if self.call("GET", "/ping")[0] == 200:
                    return
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.1)


def alone() -> list[str]:
    """Return the command that gives a program process ids of its own, as a container does.

    Without it the toolkit finds any model server of the machine, and takes it for its own.
    """
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
        return command
    if any(MARKER in (process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])):
        pytest.skip("another model server runs on this machine, which the toolkit would take for its own")
    return []


@contextlib.contextmanager
def running_toolkit(programs: Path, folder: Path, *handler: str, **environment: str) -> Iterator[Container]:
    """Start the toolkit in `folder`; whatever it started ends with the block."""
    temp, output, port = folder / "temp", folder / "output.txt", free_port()
    temp.mkdir()
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environ = {
        **inherited,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "TEMP": str(temp),
        "TMPDIR": str(temp),
        "SAGEMAKER_BASE_DIR": str(folder / "ml"),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        "SAGEMAKER_STARTUP_TIMEOUT": "60",
        **environment,
    }
    isolated = alone()
    launch = [str(programs / "python"), "-c", LAUNCHER, str(folder / "sagemaker-mms.properties"), *handler]
    with (
        output.open("wb") as stdout,
        subprocess.Popen([*isolated, *launch], cwd=folder, env=environ, stdout=stdout, stderr=subprocess.STDOUT) as run,
    ):
        try:
            toolkit = psutil.Process(run.pid)
            yield Container(port, _only_child(toolkit) if isolated else toolkit, output, folder)
        finally:
            for process in processes_of(folder):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the processes whose command line names the folder of a test, which is nobody else's."""
    found = psutil.process_iter(["cmdline"])
    return [process for process in found if any(str(folder) in word for word in process.info["cmdline"] or [])]


def _only_child(process: psutil.Process) -> psutil.Process:
    deadline = time.monotonic() + 30
    while not (children := process.children()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return children[0]


def ends_in_order(container: Container) -> None:
    """Stop the toolkit as SageMaker does, with SIGTERM, and check that nothing is left."""
    everybody = {*processes_of(container.folder), *container.toolkit.children(recursive=True), container.toolkit}
    # The launcher may be left as a zombie, until the toolkit next looks for children that ended.
    everybody = {process for process in everybody if process.status() != psutil.STATUS_ZOMBIE}
    assert any(MARKER in process.cmdline() for process in everybody)
    _wait_until_caught(signal.SIGTERM, container.toolkit)
    container.toolkit.send_signal(signal.SIGTERM)
    _, left = psutil.wait_procs(everybody, timeout=30)
    assert left == [], container.output.read_text()
    assert list((container.folder / "temp").iterdir()) == []


def _wait_until_caught(number: signal.Signals, process: psutil.Process) -> None:
    """Wait for the process to have a handler: the toolkit looks for the server once a second, and only then sets it."""
    deadline = time.monotonic() + 60
    while True:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
        if int(caught, 16) >> (number - 1) & 1:
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)
