"""Let mxnet 1.9.1 import and work on current Python and numpy, and import fast. Worker process, and any tool.

mxnet's last release uses names that numpy and the standard library have dropped since, makes thousands of functions
that few programs call, and imports every optional package that is installed. `install` registers an import hook that
mends that at the moment mxnet is imported, and never for a program that does not. Standard library only, and nothing
of the packages around this one, so that it can be used on its own.
"""

import builtins
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def install() -> None:
    """Register the import hook, once."""
    if not any(isinstance(finder, _MXNetFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _MXNetFinder())


# Neither this nor the loader derives from importlib.abc's classes: importing those costs every worker 12 ms.
class _MXNetFinder:
    """Finds mxnet's modules as the other finders do, and has them loaded by `_MXNetLoader`."""

    def __init__(self) -> None:
        self._builtins: dict[str, Any] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "mxnet" and not fullname.startswith("mxnet."):
            return None
        for finder in sys.meta_path:
            if isinstance(finder, _MXNetFinder):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _MXNetLoader(spec.loader, self._module_builtins())  # type: ignore[assignment]  # as above
                return spec
        return None

    def _module_builtins(self) -> dict[str, Any]:
        if not self._builtins:
            from .imports import import_later

            self._builtins = {**vars(builtins), "__import__": import_later}
        return self._builtins


class _MXNetLoader:
    """Wraps the real loader for the one call that runs the module's code, then steps aside."""

    def __init__(self, loader: Any, module_builtins: dict[str, Any]) -> None:
        self._loader = loader
        self._builtins = module_builtins

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        # Python takes `import` for this module's code from here, and leaves everybody else's as it is.
        vars(module)["__builtins__"] = self._builtins
        if module.__name__ == "mxnet":
            self._exec_mxnet(module)
        else:
            self._loader.exec_module(module)
            if module.__name__ == "mxnet.base":
                from .operators import defer

                defer(module)

    def _exec_mxnet(self, module: ModuleType) -> None:
        import numpy

        from . import names

        names.restore(numpy)
        self._loader.exec_module(module)
        names.make_arrays_convertible(module)
        names.mend_recordio(module, numpy)
