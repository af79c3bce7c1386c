"""`python -m model_archiver`."""

import subprocess
import sys
from pathlib import Path


def test_module_is_the_command(model: Path, out: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "model_archiver",
        "--model-name",
        "m",
        "--model-path",
        model,
        "--handler",
        "service",
    ]
    done = subprocess.run(command, check=False, cwd=out, capture_output=True, env={"PYTHONPATH": _source_root()})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (out / "m.mar").is_file()


def test_usage_names_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "model_archiver"],
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": _source_root()},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: model-archiver ")


def _source_root() -> str:
    import model_archiver

    return str(Path(model_archiver.__file__).parents[1])
