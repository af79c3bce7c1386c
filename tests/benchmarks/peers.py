"""Who is measured: how each server is started, as one command line. A further peer is a further class of this shape."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

MMS_REQUIREMENTS = (
    *("multi-model-server==1.1.11", "model-archiver==1.0.3"),
    *("numpy<1.24", "psutil", "future", "pillow", "setuptools<81"),
)
LOG_NOTHING = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration><Loggers><Root level="off"/></Loggers></Configuration>
"""


class PeerMissing(Exception):
    """A peer is not installed and cannot be: the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a peer is told at its start."""

    folder: Path
    """For its files; its configuration is in `config.properties` there."""
    port: int
    answer: str
    """What the handler does, for a peer without handlers: `noop` or `echo`."""
    store: Path
    startup_models: tuple[str, ...] = ()
    """`name=location` in the store, for the command line."""


class Peer(Protocol):
    """A server that can be measured."""

    name: str
    front_name: str
    """Of the process that speaks HTTP, where it is not the one that is started."""
    has_management: bool
    properties: Mapping[str, str]
    """Of its own in `config.properties`."""

    def command(self, launch: Launch) -> list[str]:
        """Return the command line that starts it in the foreground."""

    def environment(self) -> dict[str, str]:
        """Return its environment."""


class Ours:
    """The server of a checkout, under a Python interpreter that has its dependencies."""

    front_name = ""
    has_management = True
    properties: Mapping[str, str] = {}

    def __init__(self, python: Path, checkout: Path, *, name: str = "ours") -> None:
        self.name = name
        self._python = python
        self._checkout = checkout

    def command(self, launch: Launch) -> list[str]:
        """See Peer.command."""
        start = [str(self._python), "-m", "mms", "--foreground", "--mms-config", "config.properties"]
        return [*start, *_models(launch)]

    def environment(self) -> dict[str, str]:
        """See Peer.environment."""
        return {**_clean_environment(), "PYTHONPATH": str(self._checkout)}


class RealMMS:
    """Multi Model Server 1.1.11 from PyPI, as installed or tuned: asynchronous logging, and nothing logged."""

    front_name = "java"
    has_management = True

    def __init__(self, venv: Path, *, tuned: bool = False) -> None:
        self.name = "mms-tuned" if tuned else "mms"
        self.properties: Mapping[str, str] = {"async_logging": "true"} if tuned else {}
        self._venv = venv
        self._tuned = tuned

    def command(self, launch: Launch) -> list[str]:
        """See Peer.command."""
        program = str(self._venv / "bin" / "multi-model-server")
        start = [program, "--foreground", "--mms-config", "config.properties"]
        if self._tuned:
            (launch.folder / "log4j2.xml").write_text(LOG_NOTHING)
            start += ["--log-config", "log4j2.xml"]
        return [*start, *_models(launch)]

    def environment(self) -> dict[str, str]:
        """See Peer.environment."""
        return _clean_environment()


class BareAiohttp:
    """aiohttp that answers by itself: what a front end without workers, logs and rules would reach."""

    name = "aiohttp"
    front_name = ""
    has_management = False
    properties: Mapping[str, str] = {}

    def __init__(self, python: Path) -> None:
        self._python = python

    def command(self, launch: Launch) -> list[str]:
        """See Peer.command."""
        return [str(self._python), str(Path(__file__).with_name("bare.py")), str(launch.port), launch.answer]

    def environment(self) -> dict[str, str]:
        """See Peer.environment."""
        return _clean_environment()


def install_mms(cache: Path) -> Path:
    """Return a virtual environment with the real MMS, made on the first call; raises PeerMissing."""
    if shutil.which("java") is None:
        raise PeerMissing("Multi Model Server needs java; on Debian: apt-get install default-jre-headless")
    venv = cache / "multi-model-server-1.1.11"
    if (venv / "complete").exists():
        return venv
    python = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if python is None:
        raise PeerMissing("mxnet 1.9.1 under Multi Model Server needs Python 3.11: python3.11 is not in PATH")
    shutil.rmtree(venv, ignore_errors=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    try:
        subprocess.run([python, "-m", "venv", str(venv)], check=True)
        subprocess.run([*pip, *MMS_REQUIREMENTS], check=True)
        subprocess.run([*pip, "--no-deps", "mxnet==1.9.1"], check=True)
        subprocess.run([*pip, "requests"], check=True)  # mxnet imports it
    except subprocess.CalledProcessError as exc:
        raise PeerMissing(f"Multi Model Server could not be installed: {exc}") from exc
    (venv / "complete").touch()
    return venv


def _models(launch: Launch) -> list[str]:
    if not launch.startup_models:
        return []
    return ["--model-store", str(launch.store), "--models", *launch.startup_models]


def _clean_environment() -> dict[str, str]:
    """Return our environment without what would change another server."""
    foreign = ("PYTHONPATH", "MMS_CONFIG_FILE", "OMP_NUM_THREADS")
    return {name: value for name, value in os.environ.items() if name not in foreign}
