"""What mxnet's modules get when they import something that is costly, gone or of no use."""

import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any

_LATER = ("requests", "cv2", "h5py", "pandas", "onnx")
"""Packages that mxnet imports as a whole wherever they are installed, and needs for a few functions."""


def import_later(
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> Any:
    """Do as the built-in `__import__` does, but for some names."""
    if level:
        if name.startswith("gen_"):
            # Signatures of the operators, for editors; mxnet replaces them all by functions that work.
            raise ImportError(f"{name} is not needed.")
    elif name == "distutils.version":
        return SimpleNamespace(LooseVersion=_Version, StrictVersion=_Version)
    elif name in _LATER and not fromlist and _is_there(name):
        return _Later(name)
    elif name.split(".")[0] == "scipy" and _is_there("scipy"):
        return SimpleNamespace(sparse=_ScipySparse("scipy.sparse"), stats=_Later("scipy.stats"))
    elif name == "sklearn.base" and name not in sys.modules and _is_there("sklearn"):
        return SimpleNamespace(BaseEstimator=_Estimator)
    return __import__(name, globals, locals, fromlist or (), level)


def _is_there(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None  # None is how Python notes that a module must not be imported
    return importlib.util.find_spec(name) is not None


class _Later:
    """A module that is imported when something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


class _ScipySparse(_Later):
    """scipy.sparse, with the name `csr` that scipy 2 drops: mxnet looks there whenever it makes an array."""

    @property
    def csr(self) -> Any:
        # Before anybody has imported scipy.sparse, nothing can be an instance of its class: isinstance(x, ()) is False.
        return SimpleNamespace(csr_matrix=self.csr_matrix if self._name in sys.modules else ())


class _Estimator:
    """sklearn's BaseEstimator to mxnet.model.FeedForward, until the first is made."""

    def __new__(cls, *_args: object, **_options: object) -> Any:
        from sklearn.base import BaseEstimator

        for owner in cls.__mro__:
            if _Estimator in owner.__bases__:
                owner.__bases__ = tuple(BaseEstimator if base is _Estimator else base for base in owner.__bases__)
                owner.__init_subclass__()
        return object.__new__(cls)


class _Version(str):
    """As much of distutils' LooseVersion and StrictVersion as mxnet uses: comparing release numbers."""

    __slots__ = ()

    def _key(self) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", self)]

    def __lt__(self, other: str) -> bool:
        return self._key() < _Version(other)._key()

    def __le__(self, other: str) -> bool:
        return self._key() <= _Version(other)._key()

    def __gt__(self, other: str) -> bool:
        return self._key() > _Version(other)._key()

    def __ge__(self, other: str) -> bool:
        return self._key() >= _Version(other)._key()
