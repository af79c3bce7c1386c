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
    command = [sys.executable, "-W", "error", "-c", code]
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
from mxnet_compat.imports import _Version as version
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
print(sys.modules["distutils"] is mine, mxnet.SEEN[2])
"""
    assert run(code, folder=fake) == "True True"


def test_nobody_else_gets_the_stand_in_for_distutils(fake: Path) -> None:
    code = """
import sys
import mxnet_compat
mxnet_compat.install()
import mxnet
print([name for name in sys.modules if name.startswith("distutils")])
"""
    assert run(code, folder=fake) == "[]"


def test_the_hook_leaves_no_trace_on_the_module(fake: Path) -> None:
    code = """
import mxnet_compat
mxnet_compat.install()
import mxnet
import mxnet.submodule
for module in (mxnet, mxnet.submodule):
    print(type(module.__loader__).__name__, type(module.__spec__.loader).__name__)
"""
    write(fake, mxnet__submodule="")
    assert run(code, folder=fake).split() == ["SourceFileLoader"] * 4


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


def write(folder: Path, **sources: str) -> None:
    """Write modules; a double underscore in a name is a dot."""
    for name, source in sources.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        if path.parent != folder:
            (path.parent / "__init__.py").touch()
        path.write_text(source)


def test_an_optional_package_is_imported_when_it_is_used(fake: Path) -> None:
    write(
        fake,
        requests="print('imported'); VALUE = 1",
        mxnet__uses="""
import requests
def use(): return requests.VALUE
""",
    )
    code = """
import mxnet_compat
mxnet_compat.install()
import mxnet.uses
print("before")
print(mxnet.uses.use())
"""
    assert run(code, folder=fake).split() == ["before", "imported", "1"]


def test_a_package_that_is_not_there_is_missed_at_once(fake: Path) -> None:
    write(
        fake,
        mxnet__uses="""
try:
    import h5py
except ImportError as exc:
    WHY = exc
""",
    )
    code = """
import sys
sys.modules["h5py"] = None
import mxnet_compat
mxnet_compat.install()
import mxnet.uses
print(type(mxnet.uses.WHY).__name__)
"""
    assert run(code, folder=fake) == "ModuleNotFoundError"


def test_scipys_matrices_are_known_by_their_old_name_and_before_scipy_is_imported(fake: Path) -> None:
    write(
        fake,
        scipy__sparse="class csr_matrix: pass",
        mxnet__uses="""
import scipy.sparse as s
from scipy import stats
def ask(x): return isinstance(x, s.csr.csr_matrix)
""",
    )
    code = """
import sys
import mxnet_compat
mxnet_compat.install()
import mxnet.uses
print(mxnet.uses.ask([]), "scipy.sparse" in sys.modules)
import scipy.sparse
print(mxnet.uses.ask([]), mxnet.uses.ask(scipy.sparse.csr_matrix()), hasattr(scipy.sparse, "csr"))
print(type(mxnet.uses.s.csr_matrix()).__name__)
"""
    assert run(code, folder=fake).split() == ["False", "False", "False", "True", "False", "csr_matrix"]


def test_an_estimator_gets_its_real_base_when_it_is_made(fake: Path) -> None:
    write(
        fake,
        sklearn__base="""
class BaseEstimator:
    def get_params(self): return self.value
""",
        mxnet__uses="""
from sklearn.base import BaseEstimator
class FeedForward(BaseEstimator):
    def __init__(self, value): self.value = value
""",
    )
    code = """
import sys
import mxnet_compat
mxnet_compat.install()
import mxnet.uses
class Own(mxnet.uses.FeedForward): pass
print("sklearn.base" in sys.modules, Own(7).get_params())
import sklearn.base
print(issubclass(mxnet.uses.FeedForward, sklearn.base.BaseEstimator))
"""
    assert run(code, folder=fake).split() == ["False", "7", "True"]


def test_an_operators_function_is_made_when_it_is_first_called(fake: Path) -> None:
    write(
        fake,
        mxnet__base="""
def _init_op_module(root, name, make):
    import mxnet.register as register
    register.ADD, register.DOCUMENTED = make("handle", "add", "plus"), make("handle", "add", "plus")
    register.DOCUMENTED.__doc__ = "better"

def _init_np_op_module(root, np_name, name, make):
    _init_op_module(root, name, make)
""",
        mxnet__register="""
MADE, UNIT = [], 1

def make(handle, name, func_name):
    MADE.append((handle, name))
    scope = {}
    exec("def plus(a, b=UNIT, **options): 'Add two numbers.'; return a + b * UNIT", None, scope)
    return scope[func_name]

from mxnet.base import _init_op_module
_init_op_module("mxnet", "nd", make)
""",
    )
    code = """
import inspect
import mxnet_compat
mxnet_compat.install()
import mxnet.register as register
add = register.ADD
print(register.MADE, add.__name__)
print(add(1), add(2, b=3), register.MADE, add is register.ADD)
print(inspect.signature(add), add.__doc__)
print(register.DOCUMENTED(1), register.DOCUMENTED.__doc__)
"""
    assert run(code, folder=fake).splitlines() == [
        "[] plus",
        "2 5 [('handle', 'add')] True",
        "(a, b=1, **options) Add two numbers.",
        "2 better",
    ]


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
