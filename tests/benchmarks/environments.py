"""The virtual environments that servers run in: made once, and kept while what they hold stays the same."""

import hashlib
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class PeerMissing(Exception):
    """A peer is not installed and cannot be: the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What is installed, by which Python."""

    name: str
    steps: tuple[tuple[str, ...], ...]
    """Arguments of `pip install`, one step after another."""
    python: str = THIS_PYTHON
    needs_java: bool = False

    def folder(self, cache: Path) -> Path:
        """Return where it is, or would be: another one for other contents."""
        contents = repr((self.python, self.steps)).encode()
        return cache / f"{self.name}-{hashlib.sha256(contents).hexdigest()[:8]}"

    def installed(self, cache: Path) -> Path:
        """Return its folder, made on the first call; raises PeerMissing."""
        if self.needs_java and shutil.which("java") is None:
            raise PeerMissing("java is not installed; on Debian: apt-get install default-jre-headless")
        folder = self.folder(cache).absolute()  # servers run elsewhere
        complete = folder / "complete"
        if not complete.exists():
            self._install(folder)
            complete.touch()
        return folder

    def _install(self, folder: Path) -> None:
        print(f"Installing {self.name} into {folder}.", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        try:
            subprocess.run([_interpreter(self.python), "-m", "venv", str(folder)], check=True)
            for step in self.steps:
                subprocess.run([*pip, *step], check=True)
        except (OSError, subprocess.CalledProcessError) as exc:
            raise PeerMissing(f"it could not be installed: {exc}") from exc


# mxnet's metadata lets pip take a numpy that mxnet does not import with, so it comes last and brings nothing along.
MMS = Environment(
    name="multi-model-server-1.1.11",
    python="3.11",
    needs_java=True,
    steps=(
        ("multi-model-server==1.1.11", "model-archiver==1.0.3", "numpy==1.23.5", "setuptools<81"),
        ("psutil", "future", "pillow", "requests"),
        ("--no-deps", "mxnet==1.9.1"),
    ),
)
# torch is needed to start a worker, whatever its handler does; PyPI's build for Linux brings CUDA along.
TORCHSERVE = Environment(
    name="torchserve-0.12.0",
    needs_java=True,
    steps=(("torchserve==0.12.0", "torch-model-archiver==0.12.0", "torch==2.13.0", "pyyaml==6.0.4", "numpy==2.4.6"),),
)
LITSERVE = Environment(
    name="litserve-0.2.19", steps=(("litserve==0.2.19", "fastapi==0.165.0", "uvicorn[standard]==0.54.0"),)
)


def of_checkout(checkout: Path, *extras: str) -> Environment:
    """Name what a checkout of this project asks for with some of its extras; it itself is not installed."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for extra in extras for one in optional.get(extra, ()))]
    # Python 3.13 has no wheel of the numpy that mxnet's metadata asks for, so it comes without what it asks for there.
    mxnet = [one.partition(";")[0].strip() for one in wanted if one.startswith("mxnet==")]
    steps = [tuple(wanted), *(("--no-deps", one) for one in mxnet)]
    return Environment(name="-".join(["ours", *extras]), steps=tuple(steps))


def _interpreter(version: str) -> str:
    """Find a Python by its version."""
    found = sys.executable if version == THIS_PYTHON else shutil.which(f"python{version}")
    if found is None:
        raise PeerMissing(f"it needs Python {version}: python{version} is not in PATH")
    return found
