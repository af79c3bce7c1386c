"""The documentation is complete, and what it says is true."""

import ast
import inspect
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import aiohttp
import javaproperties
import pytest
from documents import DOCS, ROOT, Shell, alike, anchors, blocks, first_cells, links, make_shell
from real import RunningServer

from mms import __version__
from mms.context import Context, RequestProcessor
from mms.metrics.metrics_store import MetricsStore
from mms.server.config import Config
from mms.server.http.openapi import inference_paths, management_paths
from model_archiver.onnx.elementwise import ELEMENTWISE
from model_archiver.onnx.layers import LAYERS
from model_archiver.onnx.shaping import SHAPING

PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md"), *(ROOT / "examples").glob("**/README.md")])
DOC_PAGES = sorted(DOCS.glob("*.md"))
KEYS = {key.name: key for key in fields(Config) if key.metadata["parse"]}
# Keys whose default is found out on each machine.
DEFAULTS_IN_WORDS = {"number_of_gpu": "all", "model_server_home": "where the server is installed"}
FILE_NAME = re.compile(r"# (model/\w+\.py)\n")


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def documented_keys() -> dict[str, str]:
    return {
        cells[0].strip("`"): cells[1].strip("`") for cells in first_cells(DOCS / "configuration.md") if len(cells) == 3
    }


def default_of(name: str) -> str:
    if name in DEFAULTS_IN_WORDS:
        return DEFAULTS_IN_WORDS[name]
    value = KEYS[name].default
    if value in (None, ()):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_every_key_is_documented_with_its_default() -> None:
    assert documented_keys() == {name: default_of(name) for name in KEYS}


def test_the_keys_without_effect_are_under_their_heading() -> None:
    _, idle = (DOCS / "configuration.md").read_text().split("## Accepted, without effect")
    assert set(re.findall(r"^\| `(\w+)`", idle, re.MULTILINE)) == {
        name for name, key in KEYS.items() if not key.metadata["effect"]
    }


def test_the_keys_that_the_environment_cannot_set_are_named() -> None:
    match = re.search(r"can be set so, but these:\s+(.*?)\n\n", (DOCS / "configuration.md").read_text(), re.DOTALL)
    assert match
    assert set(re.findall(r"`(\w+)`", match[1])) == {name for name, key in KEYS.items() if not key.metadata["env"]}


@pytest.mark.parametrize(("module", "page"), [("mms", "server.md"), ("model_archiver", "model_archiver.md")])
def test_every_option_of_a_command_is_documented(module: str, page: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    offered = {name for line in re.findall(r"^  (-.*?)(?:  |$)", shown, re.MULTILINE) for name in options_in(line)}
    documented = {name for cells in first_cells(DOCS / page) for name in options_in(cells[0])}
    assert documented == offered


def options_in(text: str) -> list[str]:
    return re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", text)


def described_routes() -> set[str]:
    return {
        f"{method.upper()} {path}"
        for paths in (inference_paths(), management_paths())
        for path, operations in paths.items()
        for method in operations
    }


def documented_routes() -> set[str]:
    cells = (row[0].strip("`") for row in first_cells(DOCS / "rest_api.md"))
    return {cell for cell in cells if re.match(r"[A-Z]+ /", cell)}


def test_every_route_is_documented() -> None:
    assert documented_routes() == described_routes()


def test_every_parameter_of_the_management_api_is_documented() -> None:
    described = {
        parameter["name"].removeprefix("model_") if parameter["name"] == "model_url" else parameter["name"]
        for operations in management_paths().values()
        for operation in operations.values()
        for parameter in operation["parameters"]
        if parameter["in"] == "query"
    }
    documented = {
        name for cells in first_cells(DOCS / "management_api.md") for name in re.findall(r"`(\w+)`", cells[0])
    }
    assert described <= documented


async def test_every_documented_route_is_there(
    server: Callable[..., Awaitable[RunningServer]], mar: Callable[..., Path], client: aiohttp.ClientSession
) -> None:
    mar("echo", name="length")
    running = await server()
    async with client.post(f"{running.management}/models", params={"url": "length.mar"}) as response:
        assert response.status == 200
    # Last, what removes the model that the others are about.
    for route in sorted(documented_routes(), key=lambda route: route.startswith("DELETE")):
        method, path = route.split()
        path = path.replace("{model_name}", "length")
        answers = []
        for address in (running.inference, running.management):
            async with client.request(method, address + path) as response:
                answers.append(await response.text())
        wrong = ("ResourceNotFoundException", "MethodNotAllowedException")
        assert any(not any(word in answer for word in wrong) for answer in answers), route


@pytest.mark.parametrize(
    ("api", "page"),
    [(Context, "custom_service.md"), (RequestProcessor, "custom_service.md"), (MetricsStore, "metrics.md")],
)
def test_every_call_of_the_handler_api_is_documented(api: type, page: str) -> None:
    text = (DOCS / page).read_text()
    calls = [name for name, _ in inspect.getmembers(api) if not name.startswith("_")]
    assert [name for name in calls if f"`{name}`" not in text and f"`{name}(" not in text] == []


def test_every_onnx_operator_is_documented() -> None:
    text = (DOCS / "model_archiver.md").read_text().split("These operators are converted:")[1].split("Any other")[0]
    converted = {*LAYERS, *ELEMENTWISE, *SHAPING, "Constant"}
    assert set(re.findall(r"\w+", text)) == converted


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_index_has_every_page() -> None:
    index = set(links(DOCS / "README.md"))
    assert [page.name for page in DOC_PAGES if page.name not in (*index, "README.md")] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOC_PAGES], ids=page_id)
def test_code_can_be_read(page: Path) -> None:
    readers: dict[str, Callable[[str], Any]] = {"python": ast.parse, "json": json.loads, "toml": tomllib.loads}
    for block in blocks(page):
        if block.kind in readers:
            readers[block.kind](block.text)
        if block.kind == "properties":
            assert set(javaproperties.loads(block.text)) <= set(KEYS)


def test_the_release_notes_have_this_version() -> None:
    assert re.search(
        rf"^## {re.escape(__version__)} \(\d{{4}}-\d\d-\d\d\)$", (DOCS / "release-notes.md").read_text(), re.M
    )


def test_the_migration_page_lists_every_fault_of_mms() -> None:
    rows = re.findall(r"^\| (\d+) \|", (DOCS / "migration.md").read_text(), re.MULTILINE)
    assert rows == [str(number) for number in range(1, 38)]


def test_the_steps_of_the_readme_are_those_of_the_example() -> None:
    steps = (ROOT / "README.md").read_text().split("## The example in eight steps")[1].split("\n## ")[0]
    commands = re.findall(r"`((?:python|cp|model-archiver|mxnet-model-server|curl) [^`]+)`", steps)
    example = (ROOT / "examples" / "mxnet_vision" / "README.md").read_text()
    assert len(commands) >= 7
    assert [command for command in commands if command not in example] == []


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell in a folder with the model of the README; whatever server is started in it ends with the test."""
    shell = make_shell(tmp_path)
    (shell.folder / "model").mkdir()
    (handler,) = (block.text for block in blocks(ROOT / "README.md") if block.kind == "python")
    (shell.folder / "model" / "length.py").write_text(handler)
    try:
        yield shell
    finally:
        shell.run("mxnet-model-server --stop")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the commands need curl")
def test_a_model_of_your_own_as_in_the_readme(shell: Shell) -> None:
    text = (ROOT / "README.md").read_text().split("## A model of your own")[1].split("\n## ")[0]
    commands = text.split("```")[3]
    assert json.loads(shell.run(commands)) == {"length": len("how long?")}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the commands need curl")
@pytest.mark.parametrize(
    "page", [page for page in DOC_PAGES if any(block.kind == "bash" for block in blocks(page))], ids=page_id
)
def test_commands_do_what_their_page_says(page: Path, shell: Shell) -> None:
    steps = blocks(page)
    for block in steps:
        if match := FILE_NAME.match(block.text):
            (shell.folder / match[1]).write_text(block.text)
    shell.run(
        "mkdir model_store; model-archiver --model-name length --model-path model --handler length:handle"
        " --export-path model_store"
    )
    if not any("--start" in block.text for block in steps if block.kind == "bash"):
        shell.run("mxnet-model-server --start --model-store model_store --models length.mar")
    for block in steps:
        if block.kind == "bash":
            shown = shell.run(block.text)
            assert block.output is None or alike(shown, block.output), shown
