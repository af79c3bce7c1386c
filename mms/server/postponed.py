"""Imports that wait until somebody needs them. Runs in the front process, before anything else is imported."""

import sys
import threading
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec


def postpone_aiohttp_client() -> None:
    """Have `import aiohttp` run the package's own code only when it is asked for a name that is no module of it.

    That code imports the client, which reads all the certificates of the system: half of what a server needs until it
    listens, and only downloads ever use it. `aiohttp.web_request` and the other modules are imported as usual.
    """
    if "aiohttp" in sys.modules:
        return
    spec = find_spec("aiohttp")
    assert spec is not None
    assert spec.loader is not None
    package = module_from_spec(spec)
    names = vars(package)
    run = spec.loader.exec_module
    running = threading.RLock()
    has_run = False

    def missing(name: str) -> object:
        nonlocal has_run
        # All that its modules ask of it.
        if name == "__version__":
            return version("aiohttp")
        if find_spec(f"aiohttp.{name}") is not None:
            return import_module(f"aiohttp.{name}")
        with running:
            if not has_run:
                has_run = True
                run(package)
                if names.get("__getattr__") is missing:
                    del names["__getattr__"]
            elif names.get("__getattr__") is missing:
                # Asked by the code that is being run.
                raise AttributeError(f"module 'aiohttp' has no attribute {name!r}")
        return getattr(package, name)

    names["__getattr__"] = missing
    sys.modules["aiohttp"] = package
