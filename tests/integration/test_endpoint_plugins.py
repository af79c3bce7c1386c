"""Endpoint plugins as their users meet them: installed by pip, named in a file, wrong in a file."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from real import RunningServer

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "endpoint_plugin"


def start_in_foreground(folder: Path, properties: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Start a server with this configuration, which is expected to be refused."""
    (folder / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:0\nmanagement_address=http://127.0.0.1:0\n{properties}"
    )
    return subprocess.run(
        [sys.executable, "-m", "mms", "--foreground", "--mms-config", "config.properties"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("properties", "environment"),
    [
        ("plugins=sagemaker-pong\n", {}),
        ("enable_envvars_config=true\n", {"MMS_PLUGINS": "execution-parameters, sagemaker-pong"}),
    ],
)
def test_a_server_with_an_unknown_plugin_does_not_start(
    properties: str, environment: dict[str, str], tmp_path: Path
) -> None:
    result = start_in_foreground(tmp_path, properties, **environment)
    assert result.returncode == 1
    line = "Invalid configuration: Unknown endpoint plugin sagemaker-pong. Installed are: "
    (said,) = (said for said in result.stdout.splitlines() if said.startswith(line))
    assert "execution-parameters, " in said
    assert "sagemaker-ping" in said
    assert "Traceback" not in result.stdout + result.stderr


@pytest.fixture
def installed_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pip install the example, into a folder that only this test looks into."""
    pytest.importorskip("pip")
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    # Without hatchling pip has to fetch it.
    how = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else ["--retries", "1", "--timeout", "20"]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*pip, *how, "--target", str(site), str(source)], capture_output=True, text=True, check=False)
    if done.returncode != 0 and len(how) > 1:
        pytest.skip(f"pip cannot build the example here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    monkeypatch.syspath_prepend(site)


@pytest.mark.slow
@pytest.mark.usefixtures("installed_example")
async def test_the_example_says_when_to_send_requests(
    server: Callable[..., Awaitable[RunningServer]], client: aiohttp.ClientSession, mar: Callable[..., Path]
) -> None:
    mar("echo")
    running = await server(plugins=("readiness",))
    url = f"{running.inference}/readiness"

    async def ready(query: str = "") -> tuple[int, bool, list[str]]:
        async with client.get(url + query) as response:
            document = await response.json()
            assert (response.status == 200) is document["ready"] is ("Retry-After" not in response.headers)
            return response.status, document["draining"], document["waitingFor"]

    assert await ready() == (200, False, [])
    assert await ready("?model=echo") == (503, False, ["echo"])
    async with client.post(f"{running.management}/models?url=echo.mar&initial_workers=1") as response:
        assert response.status == 200
    assert await ready("?model=echo") == (200, False, [])
    assert await ready("?model=translator&model=echo") == (503, False, ["translator"])
    for body, status in ((b"draining\n", 204), (b"nonsense", 400)):
        async with client.put(url, data=body) as response:
            assert response.status == status
    assert await ready() == (503, True, [])
    async with client.delete(url) as response:
        assert response.status == 204
    assert await ready() == (200, False, [])
