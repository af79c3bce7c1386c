"""Model folders and archives to test with."""

from collections.abc import Callable
from pathlib import Path

import pytest

HANDLER = "def handle(data, context):\n    return ['x']\n"


def write_tree(root: Path, files: dict[str, str]) -> Path:
    """Write text files, with their folders, below `root`."""
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder: a handler, weights and a file in a subfolder."""
    return write_tree(
        tmp_path / "model", {"service.py": HANDLER, "weights.bin": "0123456789" * 100, "sub/inner.py": "X = 1\n"}
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder for archives."""
    path = tmp_path / "out"
    path.mkdir()
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Make a model folder of the given files."""
    return lambda files: write_tree(tmp_path / "tree", files)
