"""Markdown pages as tests see them: their blocks, tables, links, and a shell in which their commands run."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_VOLATILE = ("startTime", "memoryUsage", "id")
_COMMANDS = {
    "model-archiver": 'exec {python} -m model_archiver "$@"',
    "multi-model-server": 'exec {python} -m mms "$@"',
    # A server in the background keeps the output of its launcher, and with it our pipe.
    "mxnet-model-server": 'exec {python} -m mms "$@" >> {log} 2>&1',
}


@dataclass(frozen=True)
class Block:
    """One block of code of a page; `kind` is what the fence says, such as `bash`."""

    kind: str
    text: str
    output: "Block | None" = None
    """The block that follows without a word between them: what the commands print."""


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    text = page.read_text()
    found: list[Block] = []
    after = None
    for match in reversed(list(_BLOCK.finditer(text))):
        is_next = after is not None and not text[match.end() : after].strip()
        found.insert(0, Block(match[1], match[2], found[0] if is_next else None))
        after = match.start()
    return found


def links(page: Path) -> list[str]:
    """Return where the links of a page lead, without those that leave the project."""
    text = _BLOCK.sub("", page.read_text())
    return [link for link in _LINK.findall(text) if not link.startswith(("http://", "https://"))]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, made as GitHub makes them."""
    headings = _HEADING.findall(_BLOCK.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def first_cells(page: Path) -> Iterator[list[str]]:
    """Yield the cells of every table row whose first cell begins with code."""
    for line in page.read_text().splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@dataclass(frozen=True)
class Shell:
    """Runs commands in a folder of its own; ports 8080 and 8081 of the pages are free ones here."""

    folder: Path
    log: Path
    environment: dict[str, str]
    ports: dict[str, str]

    def run(self, script: str) -> str:
        """Run a script; return what it prints, with the documented ports. A command that fails, fails the test."""
        for documented, free in self.ports.items():
            script = script.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{free}")
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        log = self.log.read_text() if self.log.exists() else ""
        assert result.returncode == 0, f"{script}\n{result.stdout}\n{result.stderr}\n{log}"
        for documented, free in self.ports.items():
            result.stdout = result.stdout.replace(f"127.0.0.1:{free}", f"127.0.0.1:{documented}")
        return str(result.stdout)


def make_shell(folder: Path) -> Shell:
    """Make a shell with our commands in its path and, in its folder `project`, a configuration with free ports."""
    project, temp, commands, log = (folder / name for name in ("project", "temp", "bin", "server.log"))
    for new in (project, temp, commands):
        new.mkdir()
    for name, code in _COMMANDS.items():
        (commands / name).write_text(f"#!/bin/sh\n{code.format(python=sys.executable, log=log)}\n")
        (commands / name).chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = {"8080": str(one.getsockname()[1]), "8081": str(other.getsockname()[1])}
    (project / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{ports['8080']}\nmanagement_address=http://127.0.0.1:{ports['8081']}\n"
    )
    environment = {
        **os.environ,
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TEMP": str(temp),
        "TMPDIR": str(temp),
    }
    return Shell(project, log, environment, ports)


def alike(shown: str, expected: Block) -> bool:
    """Tell whether a command printed what its page says, but for what is new each time."""
    if expected.kind == "json":
        return bool(_steady(json.loads(shown)) == _steady(json.loads(expected.text)))
    return _lines(shown) == _lines(expected.text)


def _lines(text: str) -> list[str]:
    lines = _UUID.sub("<id>", text.replace("\r", "")).strip().split("\n")
    # The order of headers means nothing.
    return sorted(lines) if lines[0].startswith("HTTP/") else lines


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: type(item) if key in _VOLATILE else _steady(item) for key, item in value.items()}
    return [_steady(item) for item in value] if isinstance(value, list) else value
