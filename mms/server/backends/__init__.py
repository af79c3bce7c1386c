"""Worker backends by name, imported when chosen. Runs in the front process."""

from importlib import import_module
from typing import Protocol, runtime_checkable

from mms.server.backends.base import WorkerBackend
from mms.server.config import Config
from mms.server.errors import ConfigurationError

BACKENDS = {
    "process": "mms.server.backends.warm:WarmBackend",
    "spawn": "mms.server.backends.process:ProcessBackend",
    "prefork": "mms.server.backends.prefork:PreforkBackend",
}


def load_backend(config: Config) -> WorkerBackend:
    """Make the backend that `worker_backend` names: a key of BACKENDS, or `package.module:Class`.

    The class is called with the Config. Raises ConfigurationError for a name that leads nowhere.
    """
    return _make(config.worker_backend, config)


def load_preload_backend(config: Config, usual: WorkerBackend) -> WorkerBackend:
    """Return the backend of models with `preload_model`: another one beside our usual two, otherwise the usual one."""
    return _make("prefork", config) if config.worker_backend in ("process", "spawn") else usual


@runtime_checkable
class Warmable(Protocol):
    """A backend that can do a part of its work before the first worker is asked for."""

    def warm_up(self) -> None:
        """Begin with that, in the background; called once, in the event loop. Workers may be started at any time."""


def _make(name: str, config: Config) -> WorkerBackend:
    target = BACKENDS.get(name, name)
    module_name, _, class_name = target.partition(":")
    if not class_name:
        raise ConfigurationError(
            f"worker_backend {name!r} is unknown: use one of {', '.join(sorted(BACKENDS))}, or package.module:Class."
        )
    try:
        backend: WorkerBackend = getattr(import_module(module_name), class_name)(config)
    except (ImportError, AttributeError) as exc:
        raise ConfigurationError(f"worker_backend {name!r} cannot be loaded: {exc}") from exc
    return backend
