"""Who is measured: how each server is started, as one command line. A further peer is a further class of this shape."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PORTS_EACH = 5
"""How many a server may listen on."""
LOG_NOTHING = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration><Loggers><Root level="off"/></Loggers></Configuration>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a peer is told at its start."""

    folder: Path
    """For its files; its configuration is in `config.properties` there."""
    port: int
    """The first of PORTS_EACH that nobody listens on; the second is for management."""
    answer: str
    """Which of models.HANDLERS it serves, for a peer that cannot read our archive."""
    store: Path
    startup_models: tuple[str, ...] = ()
    """`name=location` in the store, for the command line."""


class Peer(Protocol):
    """A server that can be measured."""

    name: str
    front_name: str
    """Of the process that speaks HTTP, where it is not the one that is started."""
    worker_name: str
    """Of the processes that run handlers, where other processes stand beside them."""
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
    worker_name = ""
    has_management = True
    properties: Mapping[str, str] = {}

    def __init__(self, python: Path, checkout: Path, *, name: str = "ours") -> None:
        self.name = name
        self.python = python
        self.checkout = checkout

    def command(self, launch: Launch) -> list[str]:
        """See Peer.command."""
        start = [str(self.python), "-m", "mms", "--foreground", "--mms-config", "config.properties"]
        return [*start, *_models(launch)]

    def environment(self) -> dict[str, str]:
        """See Peer.environment."""
        return {**clean_environment(), "PYTHONPATH": str(self.checkout)}


class RealMMS:
    """Multi Model Server 1.1.11 from PyPI, as installed or tuned: asynchronous logging, and nothing logged."""

    front_name = "java"
    worker_name = ""
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
        return clean_environment()


class BareAiohttp:
    """aiohttp that answers by itself: what a front end on its request handling would reach without workers and logs."""

    name = "aiohttp"
    front_name = ""
    worker_name = ""
    has_management = False
    properties: Mapping[str, str] = {}

    def __init__(self, python: Path) -> None:
        self._python = python

    def command(self, launch: Launch) -> list[str]:
        """See Peer.command."""
        return [str(self._python), str(Path(__file__).with_name("bare.py")), str(launch.port), launch.answer]

    def environment(self) -> dict[str, str]:
        """See Peer.environment."""
        return clean_environment()


def clean_environment() -> dict[str, str]:
    """Return our environment without what would change another server."""
    # Who sets PYTHONDONTWRITEBYTECODE would have a checkout compiled anew at every start, and an installed server not.
    foreign = ("PYTHONPATH", "MMS_CONFIG_FILE", "OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if name not in foreign}


def _models(launch: Launch) -> list[str]:
    if not launch.startup_models:
        return []
    return ["--model-store", str(launch.store), "--models", *launch.startup_models]
