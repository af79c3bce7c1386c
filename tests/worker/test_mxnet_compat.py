import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
COMPAT = ROOT / "mms" / "worker"
TOUR = ROOT / "tests" / "handlers" / "mxnet_tour.py"

NAMES = ("python3.11", "python3.12", "python3.13")
"""Interpreters that are tried where they have mxnet; MMS_TEST_PYTHONS adds paths of others, separated as in PATH."""

FAKE_MXNET = """
import numpy

class NDArray:
    def asnumpy(self):
        return numpy.array([1.0, 2.0], dtype="float32")

class nd:
    NDArray = NDArray

class recordio:
    pack = pack_img = None

from distutils.version import LooseVersion, StrictVersion
SEEN = numpy.bool, numpy.float, LooseVersion("1.17.0") < LooseVersion("1.26.4"), StrictVersion
"""


def run(code: str, *, folder: Path) -> str:
    """Run code in a fresh interpreter that finds `folder` and the compat module, warnings as errors."""
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{COMPAT}"}
    # distutils warns of its end on Python 3.11: mxnet's to silence, not ours.
    command = [sys.executable, "-W", "error", "-W", "ignore:::distutils", "-W", "ignore:distutils", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A folder with a package that asks numpy and the standard library for what mxnet asks them for."""
    pytest.importorskip("numpy")
    package = tmp_path / "mxnet"
    package.mkdir()
    (package / "__init__.py").write_text(FAKE_MXNET)
    return tmp_path


def test_installing_imports_nothing_and_happens_once(tmp_path: Path) -> None:
    code = """
import sys, mxnet_compat
finders = len(sys.meta_path)
mxnet_compat.install()
mxnet_compat.install()
print(len(sys.meta_path) - finders, [name for name in ("numpy", "mxnet", "mms", "distutils") if name in sys.modules])
"""
    assert run(code, folder=tmp_path) == "1 []"


def test_without_mxnet_numpy_stays_as_it_is(fake: Path) -> None:
    code = """
import mxnet_compat
import numpy
before = dict(vars(numpy))
mxnet_compat.install()
import json, numpy.linalg
print({name for name in vars(numpy) if vars(numpy)[name] is not before.get(name)} - {"linalg"})
"""
    assert run(code, folder=fake) == "set()"


def test_a_missing_mxnet_is_reported_as_ever(tmp_path: Path) -> None:
    code = """
import sys, mxnet_compat
sys.path[:] = [path for path in sys.path if "site-packages" not in path]
mxnet_compat.install()
try:
    import mxnet
except ModuleNotFoundError as exc:
    print(exc)
"""
    assert run(code, folder=tmp_path) == "No module named 'mxnet'"


def test_importing_mxnet_fills_in_what_it_needs(fake: Path) -> None:
    code = """
import mxnet_compat
mxnet_compat.install()
import mxnet, numpy
print(mxnet.SEEN[0] is numpy.bool, mxnet.SEEN[1] is float, mxnet.SEEN[2], numpy.mirr.__name__)
"""
    assert run(code, folder=fake) == "True True True mirr"


def test_versions_compare_by_number(fake: Path) -> None:
    code = """
import mxnet_compat
version = mxnet_compat._Version
print(version("1.9") < version("1.17"), version("1.26.4") >= "1.15", version("2.0.0rc1") > "1.99", version("2") <= "2")
"""
    assert run(code, folder=fake) == "True True True True"


def test_what_exists_is_not_touched(fake: Path) -> None:
    code = """
import mxnet_compat, numpy
numpy.float = "the handler's own"
mxnet_compat.install()
import mxnet
print(numpy.float)
"""
    assert run(code, folder=fake) == "the handler's own"


def test_a_handlers_own_distutils_is_kept(fake: Path) -> None:
    code = """
import mxnet_compat, sys, types
mine = sys.modules["distutils"] = types.ModuleType("distutils")
mine.version = sys.modules["distutils.version"] = types.ModuleType("distutils.version")
mine.version.LooseVersion = mine.version.StrictVersion = str
mxnet_compat.install()
import mxnet
print(sys.modules["distutils"] is mine)
"""
    assert run(code, folder=fake) == "True"


def test_the_stand_in_for_distutils_does_not_stay(fake: Path) -> None:
    code = """
import importlib.util, sys
had_distutils = importlib.util.find_spec("distutils") is not None
import mxnet_compat
mxnet_compat.install()
import mxnet
print(had_distutils == ("distutils" in sys.modules))
"""
    assert run(code, folder=fake) == "True"


def test_the_hook_leaves_no_trace_on_the_module(fake: Path) -> None:
    code = """
import mxnet_compat
mxnet_compat.install()
import mxnet
print(type(mxnet.__loader__).__name__, type(mxnet.__spec__.loader).__name__)
"""
    assert run(code, folder=fake) == "SourceFileLoader SourceFileLoader"


def test_numpy_converts_an_ndarray(fake: Path) -> None:
    code = """
import mxnet_compat
mxnet_compat.install()
import mxnet, numpy
array = mxnet.nd.NDArray()
print(numpy.asarray(array).tolist(), numpy.asarray(array, dtype="int64").dtype, numpy.asarray(array).dtype)
try:
    array.__array__(copy=False)
except ValueError as exc:
    print(exc)
"""
    assert run(code, folder=fake) == (
        "[1.0, 2.0] int64 float32\nAn NDArray cannot become a numpy array without a copy."
    )


def test_a_removed_function_says_so_when_called(fake: Path) -> None:
    code = """
import mxnet_compat
mxnet_compat.install()
import mxnet, numpy
try:
    numpy.npv(0.1, [1])
except NotImplementedError as exc:
    print(exc)
"""
    assert run(code, folder=fake) == "numpy.npv is no longer part of numpy."


def interpreters() -> list[str]:
    others = [path for name in NAMES if (path := shutil.which(name))]
    return [sys.executable, *others, *filter(None, os.environ.get("MMS_TEST_PYTHONS", "").split(os.pathsep))]


@pytest.mark.slow
@pytest.mark.parametrize("python", interpreters())
def test_mxnet_works(python: str, tmp_path: Path) -> None:
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('mxnet') is None)"
    if subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode:
        pytest.skip(f"{python} has no mxnet")
    done = subprocess.run([python, TOUR, COMPAT, tmp_path], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["toured"], done.stderr
